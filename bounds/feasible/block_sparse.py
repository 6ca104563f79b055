"""At most so many non-zero blocks of consecutive columns."""

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
class BlockSparse(Feasible):
    """All real rows with at most `keep` non-zero blocks; block b is columns b·size … (b+1)·size − 1."""

    keep: int
    size: int

    def __post_init__(self) -> None:
        if self.keep != int(self.keep) or self.keep < 0:
            raise ProblemError(f"keep = {self.keep!r} is not a count of blocks (0, 1, 2, …)")
        if self.size != int(self.size) or self.size < 1:
            raise ProblemError(f"size = {self.size!r} is not a count of columns (1, 2, …)")
        object.__setattr__(self, "keep", int(self.keep))
        object.__setattr__(self, "size", int(self.size))

    def check(self, columns: int) -> None:
        if columns % self.size:
            raise ProblemError(f"{columns} columns do not divide into blocks of {self.size}: pad or cut the chunk")
        if self.keep * self.size > columns:
            blocks = columns // self.size
            raise ProblemError(f"keep = {self.keep} exceeds the {blocks} blocks of {self.size}: use at most {blocks}")

    def _blocks(self, array: Any) -> Any:
        shape = np.shape(array)
        return np.reshape(array, (*shape[:-1], shape[-1] // self.size, self.size))

    def contains(self, x: Array) -> NDArray[np.bool_]:
        used = (np.asarray(self._blocks(x)) != 0).any(axis=-1)
        return np.asarray(np.count_nonzero(used, axis=-1) <= self.keep)

    def nearest(self, target: Array) -> Array:
        x = np.array(target, dtype=np.float64)
        blocks = self._blocks(x)
        drop = blocks.shape[-2] - self.keep
        pruned = drop_cheapest((blocks**2).sum(axis=-1), drop)[1]
        np.put_along_axis(blocks, pruned[..., None], 0.0, axis=-2)
        return x

    def separable_minimum(self, d: Any, g: Any, target: Any) -> tuple[Any, Any]:
        """Pruning a block adds the sum over its columns; −∞ as for `Sparse`."""
        if self.keep == 0:
            return pruned_value(d, g, target), 0 * target
        x, kept, extra, bottomless = keep_or_prune(d, g, target)
        each = self._blocks(extra).sum(axis=-1)
        cost, pruned = drop_cheapest(each, np.shape(each)[-1] - self.keep)
        np.put_along_axis(self._blocks(x), pruned[..., None], 0, axis=-2)
        value = kept.sum(axis=-1) + cost
        bad = bottomless.any(axis=-1)
        return np.where(bad, -np.inf, value) if bad.any() else value, x

    def reach(self, d: Array, g: Array, target: Array) -> Array:
        return real_reach(d, g, target) if self.keep else np.abs(target) + 0.0 * g
