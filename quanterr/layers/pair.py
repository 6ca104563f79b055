"""A dense layer and its twin in a network whose earlier layers are compressed already."""

from __future__ import annotations

from dataclasses import dataclass

from bounds.gram import Array

from .layer import Layer


@dataclass(frozen=True, eq=False)
class LayerPair:
    """What sequential compression needs of a layer; x are the dense network's inputs, y the compressed one's.

    Attributes
    ----------
    dense : Layer
        The dense weight and `Σ x xᵀ / samples`.
    compressed : Layer
        The same weight and `Σ y yᵀ / samples`: the metric in which the compressed layer errs.
    cross : as the Gram matrix: (columns, columns), or (groups, columns, columns)
        `Σ y xᵀ / samples`, rows count y.
    """

    dense: Layer
    compressed: Layer
    cross: Array

    @property
    def name(self) -> str:
        return self.dense.name
