"""Integer codes in an interval: uniform quantisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ProblemError
from ..gram import Array
from .base import Feasible


@dataclass(frozen=True)
class IntegerBox(Feasible):
    """All rows of integers with `low ≤ x ≤ high` (both included)."""

    low: int
    high: int

    def __post_init__(self) -> None:
        for name, value in (("low", self.low), ("high", self.high)):
            if value != int(value) or abs(value) > 2**31:
                raise ProblemError(f"{name} = {value!r} is not an integer of at most 31 bits")
            object.__setattr__(self, name, int(value))
        if self.low > self.high:
            raise ProblemError(f"low = {self.low} exceeds high = {self.high}: the set is empty")

    def check(self, columns: int) -> None:
        """Every number of columns has members."""

    def contains(self, x: Array) -> NDArray[np.bool_]:
        return np.asarray(((x == np.rint(x)) & (x >= self.low) & (x <= self.high)).all(axis=-1))

    def nearest(self, target: Array) -> Array:
        return np.clip(np.floor(np.asarray(target) + 0.5), self.low, self.high)

    def separable_minimum(self, d: Any, g: Any, target: Any) -> tuple[Any, Any]:
        curvature = np.where(d == 0, 1, d)
        vertex = np.floor(target - g / curvature)
        shape = np.shape(vertex)
        candidates = [
            np.minimum(np.maximum(vertex, self.low), self.high),
            np.minimum(np.maximum(vertex + 1, self.low), self.high),
            np.full(shape, self.low, dtype=vertex.dtype),
            np.full(shape, self.high, dtype=vertex.dtype),
        ]
        x = candidates[0]
        value = (x - target) * (d * (x - target) + 2 * g)
        for other in candidates[1:]:
            trial = (other - target) * (d * (other - target) + 2 * g)
            better = trial < value
            value = np.where(better, trial, value)
            x = np.where(better, other, x)
        return value.sum(axis=-1), x

    def reach(self, d: Array, g: Array, target: Array) -> Array:
        """The box; and for `d > 0` the vertex `−g/d` and half a step, or the way from the target into the box.

        Beyond 2⁵⁰ a target minus its vertex may round to the wrong integer: nothing is promised unless `g = 0`.
        """
        farthest = np.maximum(np.abs(target - self.low), np.abs(self.high - target))
        outside = np.maximum(np.maximum(self.low - target, target - self.high), 0.0)
        vertex = np.maximum(np.abs(g) / np.where(d > 0, d, 1.0) + 0.5, outside)
        within = np.where(d > 0, np.minimum(farthest, vertex), farthest)
        return np.where((np.abs(target) > 2.0**50) & (g != 0) & (d > 0), np.inf, within)
