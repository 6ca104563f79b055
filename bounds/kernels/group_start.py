"""Heuristic starts for pruning in units: greedy elimination inside the groups, and exchanges until none helps.

The tableau is that of `subset_start`: pivoting a set S of columns changes the error by `v_Sᵀ (T_SS)⁻¹ v_S`.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..gram import Array
from .subset_start import IMPROVES, exchange, load, removal_error

Indices = NDArray[np.int64]
Mask = NDArray[np.int8]


@njit(cache=True)
def change(t: Array, n: int, start: Indices, u: int, w: int, small: Array) -> float:
    """The change of error when the columns of unit u, and then of unit w (if ≥ 0), are exchanged.

    The first unit must be in and the second out: then elimination without pivoting meets positive, then negative
    pivots.
    """
    count = 0
    for unit in (u, w):
        if unit >= 0:
            for i in range(start[unit], start[unit + 1]):
                small[count, -1] = i
                count += 1
    for p in range(count):
        i = int(small[p, -1])
        for q in range(count):
            small[p, q] = t[i, int(small[q, -1])]
        small[p, count] = t[i, n]
    total = 0.0
    for p in range(count):
        pivot = small[p, p]
        total += small[p, count] * small[p, count] / pivot
        for i in range(p + 1, count):
            f = small[i, p] / pivot
            for j in range(p + 1, count + 1):
                small[i, j] -= f * small[p, j]
    return total


@njit(cache=True)
def flip(t: Array, n: int, start: Indices, unit: int, mask: Mask, row: Array) -> None:
    for i in range(start[unit], start[unit + 1]):
        exchange(t, n, i, row)
        mask[i] = 1 - mask[i]


@njit(cache=True)
def group_starts(
    inverse: Array, targets: Array, start: Indices, group: Indices, remove: Indices, droppable: Mask, kept: Mask,
    error: Array,
) -> None:  # fmt: skip
    """Greedy elimination with exchanges for each row, stored where it beats `error` (rows,).

    Parameters
    ----------
    start (units + 1,) : first column of each unit; group (units,) of each unit; remove (groups,) units to remove
    droppable (rows, units) : 0 where greedy elimination must not touch a unit
    kept (rows, columns), error (rows,) : out
    """
    rows, n = targets.shape
    units = group.size
    width = 1
    for u in range(units):
        width = max(width, start[u + 1] - start[u])
    t, scratch, row = np.zeros_like(inverse), np.zeros_like(inverse), np.zeros(inverse.shape[1])
    small = np.zeros((2 * width, 2 * width + 2))
    mask, left = np.zeros(n, np.int8), np.zeros(remove.size, np.int64)
    for r in range(rows):
        load(t, inverse, targets[r], mask)
        left[:] = remove
        while True:
            best, choice = np.inf, -1
            for u in range(units):
                if mask[start[u]] == 1 and left[group[u]] > 0 and droppable[r, u] == 1:
                    cost = change(t, n, start, u, -1, small)
                    if cost < best:
                        best, choice = cost, u
            if choice < 0:
                break
            left[group[choice]] -= 1
            flip(t, n, start, choice, mask, row)
        here = removal_error(inverse, targets[r], mask, scratch, row)
        for _ in range(10 * units):
            best, out, back = -IMPROVES * here, -1, -1
            for u in range(units):
                if mask[start[u]] == 1:
                    for w in range(units):
                        if mask[start[w]] == 0 and group[w] == group[u]:
                            gain = change(t, n, start, u, w, small)
                            if gain < best:
                                best, out, back = gain, u, w
            if out < 0:
                break
            here += best
            flip(t, n, start, out, mask, row)
            flip(t, n, start, back, mask, row)
        e = removal_error(inverse, targets[r], mask, t, row)
        if e < error[r]:
            error[r] = e
            kept[r] = mask
