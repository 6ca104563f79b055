"""Integer codes of which only so many are not zero: quantised and pruned together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ProblemError
from ..gram import Array
from .base import Feasible
from .integer_box import IntegerBox


@dataclass(frozen=True)
class SparseIntegerBox(Feasible):
    """All rows of integers with `low ≤ x ≤ high` and at most `keep` non-zeros; the box holds zero."""

    low: int
    high: int
    keep: int

    def __post_init__(self) -> None:
        box = IntegerBox(self.low, self.high)
        object.__setattr__(self, "low", box.low)
        object.__setattr__(self, "high", box.high)
        if not self.low <= 0 <= self.high:
            raise ProblemError(f"codes {self.low} … {self.high} have no zero to prune to: include 0 in the box")
        if self.keep != int(self.keep) or self.keep < 0:
            raise ProblemError(f"keep = {self.keep!r} is not a count of columns (0, 1, 2, …)")
        object.__setattr__(self, "keep", int(self.keep))

    @property
    def box(self) -> IntegerBox:
        """The codes without the limit on their number."""
        return IntegerBox(self.low, self.high)

    def check(self, columns: int) -> None:
        if self.keep > columns:
            raise ProblemError(f"keep = {self.keep} exceeds the {columns} columns: use at most {columns}")

    def contains(self, x: Array) -> NDArray[np.bool_]:
        return np.asarray(self.box.contains(x) & (np.count_nonzero(x, axis=-1) <= self.keep))

    def nearest(self, target: Array) -> Array:
        rows = np.asarray(target, dtype=np.float64)
        x = self.box.nearest(rows)
        gain = rows**2 - (x - rows) ** 2
        pruned = np.argsort(gain, axis=-1, kind="stable")[..., : rows.shape[-1] - self.keep]
        np.put_along_axis(x, pruned, 0.0, axis=-1)
        return x

    def separable_minimum(self, d: Any, g: Any, target: Any) -> tuple[Any, Any]:
        """The best code of each column against zero: the `keep` largest gains are taken."""
        columns = np.shape(g)[-1]
        best = self.box.separable_minimum(d, g, target)[1]
        cost = (best - target) * (d * (best - target) + 2 * g)
        zero = target * (d * target - 2 * g)
        pruned = np.argsort(zero - cost, axis=-1, kind="stable")[..., : columns - self.keep]
        np.put_along_axis(best, pruned, 0, axis=-1)
        np.put_along_axis(cost, pruned, np.take_along_axis(zero, pruned, axis=-1), axis=-1)
        return cost.sum(axis=-1), best

    def reach(self, d: Array, g: Array, target: Array) -> Array:
        """A code of the box as for `IntegerBox`, or zero."""
        return np.maximum(np.abs(target), self.box.reach(d, g, target))
