"""At most so many non-zero weights a row: unstructured pruning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ProblemError
from ..gram import Array
from .base import Feasible


@dataclass(frozen=True)
class Sparse(Feasible):
    """All real rows with at most `keep` non-zeros; `keep` counts columns, 0 ≤ keep ≤ columns."""

    keep: int

    def __post_init__(self) -> None:
        if self.keep != int(self.keep) or self.keep < 0:
            raise ProblemError(f"keep = {self.keep!r} is not a count of columns (0, 1, 2, …)")
        object.__setattr__(self, "keep", int(self.keep))

    def check(self, columns: int) -> None:
        if self.keep > columns:
            raise ProblemError(f"keep = {self.keep} exceeds the {columns} columns: use at most {columns}")

    def contains(self, x: Array) -> NDArray[np.bool_]:
        return np.asarray(np.count_nonzero(x, axis=-1) <= self.keep)

    def nearest(self, target: Array) -> Array:
        pruned = np.argsort(np.abs(target), axis=-1, kind="stable")[..., : target.shape[-1] - self.keep]
        x = np.array(target, dtype=np.float64)
        np.put_along_axis(x, pruned, 0.0, axis=-1)
        return x

    def separable_minimum(self, d: Any, g: Any, target: Any) -> tuple[Any, Any]:
        """Kept columns cost `−g²/d`, pruning one adds `d·(target − g/d)²`: prune the cheapest.

        A kept column with `d < 0`, or `d = 0` and `g ≠ 0`, has no minimum: the value of its row is −∞.
        """
        if self.keep == 0:
            return (target * (d * target - 2 * g)).sum(axis=-1), 0 * target
        flat = d <= 0
        step = -g / np.where(flat, 1, d)
        kept = np.where(flat, 0, g * step)
        extra = np.where(flat, target * (d * target - 2 * g), d * (target + step) * (target + step))
        order = np.argsort(extra, axis=-1, kind="stable")
        pruned = order[..., : np.shape(extra)[-1] - self.keep]
        x = np.where(flat, target, target + step)
        np.put_along_axis(x, pruned, 0, axis=-1)
        bottomless = np.asarray(flat & ((d < 0) | (g != 0)), dtype=bool).any(axis=-1)
        value = kept.sum(axis=-1) + np.take_along_axis(extra, pruned, axis=-1).sum(axis=-1)
        return np.where(bottomless, -np.inf, value) if bottomless.any() else value, x

    def separable_minima(self, d: Array, g: Array, target: Array) -> Array:
        """The values of `separable_minimum` for `keep` = 0, 1, …, columns, (rows, columns + 1), in float64."""
        flat = d <= 0
        step = -g / np.where(flat, 1, d)
        kept = np.where(flat, 0, g * step)
        extra = np.where(flat, target * (d * target - 2 * g), d * (target + step) * (target + step))
        value = np.empty((len(extra), extra.shape[1] + 1))
        value[:, -1] = kept.sum(axis=-1)
        value[:, :-1] = (value[:, -1:] + np.sort(extra, axis=-1).cumsum(axis=-1))[:, ::-1]
        value[(flat & ((d < 0) | (g != 0))).any(axis=-1)] = -np.inf
        return value

    def reach(self, d: Array, g: Array, target: Array) -> Array:
        """Kept columns move by `g/d`, pruned ones by the target; nothing limits a kept column without curvature."""
        if self.keep == 0:
            return np.abs(target) + 0.0 * g
        limited = np.where(d > 0, np.abs(g) / np.where(d > 0, d, 1.0), np.where((d == 0) & (g == 0), 0.0, np.inf))
        return np.asarray(np.maximum(np.abs(target), limited))
