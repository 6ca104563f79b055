"""Many (distribution, grid) pairs evaluated at many scales in one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..distributions import Continuous, Distribution
from ..distributions.kernels import Array
from ..grids import Grid, IntegerGrid
from . import scale_bounds

Index = NDArray[np.intp]


class Problems:
    """Stacked tables and levels; methods take problem numbers and scales, both (n,).

    Attributes
    ----------
    power : (problems,) `E[W²]`
    smooth : (problems,) True where the smooth bound applies
    """

    def __init__(self, dists: list[Distribution], grids: list[Grid]) -> None:
        self.dists, self.grids = dists, grids
        self.power = np.array([d.power() for d in dists])
        for dist, grid, power in zip(dists, grids, self.power, strict=True):
            if not 0.0 < power < np.inf:
                raise ValueError(f"{dist!r} has E[W²] = {power}, so no best scale: truncate it, or drop zero tensors")
            if not grid.levels[0] <= 0.0 <= grid.levels[-1] or not grid.levels.any():
                raise ValueError(f"{grid!r} has no level on either side of zero: give the scale yourself")
        self.dense = np.array([isinstance(d, Continuous) for d in dists])
        self.tables, self.table_at = _stack([_table(d) for d in dists])
        flat, self.level_at = _stack([g.levels[:, None] for g in grids])
        self.levels = np.ascontiguousarray(flat[:, 0])
        self.bends = np.array([scale_bounds.bend(_table(d)) if isinstance(d, Continuous) else np.inf for d in dists])
        self.smooth = self.dense & np.array([isinstance(g, IntegerGrid) for g in grids])

    def parts(self, which: Index, scales: Array) -> Array:
        """(n, 5): see `scale_bounds.parts`; only the error is meant for problems without the smooth bound."""

        def values(d: Distribution, levels: Array, s: float) -> list[float]:
            return [d.rounding(levels, s) + d.clipping(levels, s)]

        return self._run(scale_bounds.parts, 5, which, scales, values)

    def outer(self, which: Index, scales: Array) -> Array:
        """(n, 2): see `scale_bounds.outer`."""

        def values(d: Distribution, levels: Array, s: float) -> list[float]:
            zero = int(np.searchsorted(levels, 0.0))
            start = 0.5 * s * levels[zero - 1] if zero > 0 else -np.inf
            stop = 0.5 * s * levels[zero + 1] if zero < levels.size - 1 else np.inf
            return [d.clipping(levels, s), float(d.moment(2, start, stop))]

        return self._run(scale_bounds.outer, 2, which, scales, values)

    def slopes(self, which: Index, scales: Array) -> Array:
        """(n,) derivative of the error by the scale."""
        return self._run(scale_bounds.slopes, 1, which, scales, lambda d, levels, s: [d.slope(levels, s)])[:, 0]

    def _run(
        self,
        kernel: Callable[..., None],
        columns: int,
        which: Index,
        scales: Array,
        otherwise: Callable[[Distribution, Array, float], list[float]],
    ) -> Array:
        """Densities by one call of the kernel, `Empirical` one by one."""
        out = np.zeros((which.size, columns))
        dense = np.flatnonzero(self.dense[which])
        rows = which[dense]
        part = np.empty((dense.size, columns))
        steps = np.ascontiguousarray(scales[dense])
        kernel(self.tables, self.table_at[rows], self.levels, self.level_at[rows], steps, part)
        out[dense] = part
        for i in np.flatnonzero(~self.dense[which]):
            values = otherwise(self.dists[which[i]], self.grids[which[i]].levels, float(scales[i]))
            out[i, : len(values)] = values
        return out


def _table(dist: Distribution) -> Array:
    return dist.table if isinstance(dist, Continuous) else np.zeros((0, 7))


def _stack(arrays: list[Any]) -> tuple[Array, NDArray[np.int64]]:
    """All rows below each other, each distinct array once, and (arrays, 2) the rows of each."""
    where: dict[int, tuple[int, int]] = {}
    kept, rows = [], 0
    for array in arrays:
        key = array.__array_interface__["data"][0] if array.size else 0
        if key not in where:
            where[key] = (rows, rows + len(array))
            kept.append(array)
            rows += len(array)
    at = [where[a.__array_interface__["data"][0] if a.size else 0] for a in arrays]
    return np.ascontiguousarray(np.concatenate(kept)), np.array(at, dtype=np.int64)
