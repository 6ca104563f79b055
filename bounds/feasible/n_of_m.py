"""At most `n` non-zero weights in each consecutive group of `m`: 2:4, 4:8 and the like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ProblemError
from ..gram import Array
from .base import Feasible
from .real import drop_cheapest, keep_or_prune, pruned_value, real_reach


@dataclass(frozen=True)
class NofM(Feasible):
    """All real rows with at most `n` non-zeros in columns 0 … m−1, in m … 2m−1, and so on."""

    n: int
    m: int

    def __post_init__(self) -> None:
        if self.n != int(self.n) or self.m != int(self.m) or not 0 <= self.n <= self.m or self.m < 1:
            raise ProblemError(f"n = {self.n!r} of m = {self.m!r}: use counts of columns with 0 ≤ n ≤ m and m ≥ 1")
        object.__setattr__(self, "n", int(self.n))
        object.__setattr__(self, "m", int(self.m))

    def check(self, columns: int) -> None:
        if columns % self.m:
            raise ProblemError(f"{columns} columns do not divide into groups of {self.m}: pad or cut the chunk")

    def _grouped(self, array: Any) -> Any:
        shape = np.shape(array)
        return np.reshape(array, (*shape[:-1], shape[-1] // self.m, self.m))

    def contains(self, x: Array) -> NDArray[np.bool_]:
        return np.asarray((np.count_nonzero(self._grouped(x), axis=-1) <= self.n).all(axis=-1))

    def nearest(self, target: Array) -> Array:
        x = np.array(target, dtype=np.float64)
        pruned = np.argsort(np.abs(self._grouped(x)), axis=-1, kind="stable")[..., : self.m - self.n]
        np.put_along_axis(self._grouped(x), pruned, 0.0, axis=-1)
        return x

    def separable_minimum(self, d: Any, g: Any, target: Any) -> tuple[Any, Any]:
        """In each group the cheapest `m − n` columns are pruned; −∞ as for `Sparse`."""
        if self.n == 0:
            return pruned_value(d, g, target), 0 * target
        x, kept, extra, bottomless = keep_or_prune(d, g, target)
        cost, pruned = drop_cheapest(self._grouped(extra), self.m - self.n)
        np.put_along_axis(self._grouped(x), pruned, 0, axis=-1)
        value = kept.sum(axis=-1) + cost.sum(axis=-1)
        bad = bottomless.any(axis=-1)
        return np.where(bad, -np.inf, value) if bad.any() else value, x

    def reach(self, d: Array, g: Array, target: Array) -> Array:
        return real_reach(d, g, target) if self.n else np.abs(target) + 0.0 * g
