"""Real chunks of real layers that every benchmark shares."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

import quanterr
from quanterr.models.efficientnet import efficientnet_lite0
from quanterr.models.minilm import minilm_l6
from quanterr.scaling import SCALES

Array = NDArray[np.float64]

EFFICIENTNET = ("_blocks.2._expand_conv", "_blocks.9._expand_conv", "_conv_head", "_blocks.15._project_conv")
MINILM = (
    "encoder.layer.2.attention.output.dense",
    "encoder.layer.0.attention.self.query",
    "encoder.layer.4.output.dense",
)


@dataclass(frozen=True, eq=False)
class Instance:
    """The first columns of a layer: `gram` (columns, columns), `weight` (rows, columns), scales of the whole tensor."""

    layer: str
    gram: Array
    weight: Array
    scales: dict[int, float]

    def codes_target(self, bits: int) -> Array:
        """Weights in code units."""
        return self.weight / self.scales[bits]


@cache
def layers() -> tuple[quanterr.Layer, ...]:
    """Four layers of EfficientNet-lite0 and three of MiniLM-L6, on real inputs."""
    captured = []
    for preset, names in ((efficientnet_lite0, EFFICIENTNET), (minilm_l6, MINILM)):
        model, batches, _ = preset()
        captured += quanterr.layers.capture(model, batches, list(names))
    return tuple(captured)


def instances(columns: int = 36) -> list[Instance]:
    """The first `columns` columns of every layer (all of them where there are fewer)."""
    found = []
    for layer in layers():
        piece = next(layer.chunks(columns)).pieces[0]
        scales = {b: float(SCALES["mse"](layer.weight, b)) for b in range(2, 9)}
        found.append(Instance(layer.name, piece.gram, piece.weight, scales))
    return found
