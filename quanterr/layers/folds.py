"""A layer with the Gram matrices of disjoint parts of its calibration inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bounds.gram import Array

from ..errors import LayerError
from .layer import Layer


@dataclass(frozen=True, eq=False)
class LayerFolds:
    """How the Gram matrix of a layer is made up of parts, each from inputs that no other part has seen.

    The unit that is drawn at random is the *input*: an image, a text; never one of its positions or tokens. Positions
    of one image resemble each other, so that a thousand of them say far less than a thousand images would; whoever
    resamples vectors as if they were independent gets an interval that is too short by any factor. So every part
    holds whole inputs, and where several inputs come from one source (crops of a photograph) whole sources.

    Attributes
    ----------
    layer : Layer
        On all inputs: its Gram matrix is `sums` added up, divided by all vectors.
    sums : (folds, columns, columns), or (folds, groups, columns, columns) for grouped convolutions
        `Σ x xᵀ` over the input vectors of each part.
    samples : (folds,) input vectors of each part
    sources : (folds,) independent inputs (sources of `group` inputs) of each part

    Raises
    ------
    LayerError
        Shapes that do not fit, NaN or infinity, no part, or sums that do not add up to the layer's Gram matrix.
    """

    layer: Layer
    sums: Array
    samples: tuple[int, ...]
    sources: tuple[int, ...]

    def __post_init__(self) -> None:
        sums = np.ascontiguousarray(self.sums, dtype=np.float64).view()
        name, gram = self.layer.name, self.layer.gram
        if len(sums) == 0 or sums.shape[1:] != gram.shape or {len(self.samples), len(self.sources)} != {len(sums)}:
            raise LayerError(
                f"layer {name!r}: parts of shape {sums.shape} with {len(self.samples)} counts of vectors and "
                f"{len(self.sources)} of sources: expected (parts, {', '.join(map(str, gram.shape))})"
            )
        if not np.isfinite(sums).all():
            part = int(np.argwhere(~np.isfinite(sums))[0][0])
            raise LayerError(f"layer {name!r}: part {part} of the inputs holds NaN or infinity: repair or leave it out")
        if min(self.samples) < 0 or min(self.sources) < 1 or sum(self.samples) != self.layer.samples:
            raise LayerError(
                f"layer {name!r}: parts of {self.samples} vectors from {self.sources} sources are not the "
                f"{self.layer.samples} vectors of the layer"
            )
        if self.layer.damping:
            raise LayerError(f"layer {name!r} is damped: its Gram matrix is not the sum of its parts")
        whole = sums.sum(axis=0) / self.layer.samples
        if abs(whole - gram).max() > 1e-12 * abs(gram).max():
            raise LayerError(f"layer {name!r}: the parts do not add up to its Gram matrix")
        sums.setflags(write=False)
        object.__setattr__(self, "sums", sums)

    @property
    def folds(self) -> int:
        return len(self.sums)

    def part(self, folds: Sequence[int]) -> Layer:
        """The layer as if only these parts had been captured; its notes and mean are those of all inputs.

        Raises
        ------
        LayerError
            No input vector reached the layer in these parts.
        """
        chosen = list(folds)
        samples = sum(self.samples[i] for i in chosen)
        if samples == 0:
            raise LayerError(f"layer {self.layer.name!r}: no input reaches it in parts {chosen}: give more inputs")
        return replace(self.layer, gram=self.sums[chosen].sum(axis=0) / samples, samples=samples)
