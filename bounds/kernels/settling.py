"""One column at a time: codes and supports that no single change improves, for many rows."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..gram import Array


@njit(cache=True)
def settle(gram: Array, levels: Array, target: Array, code: NDArray[np.int64], sweeps: int) -> None:
    """Move single entries to a better level until none helps, at most so many sweeps; `code` (rows, columns) changes.

    `E` changes by `s (s gᵢᵢ + 2 qᵢ)` with the step s and `q = gram (x − target)`; the best level is the one next to
    `xᵢ − qᵢ/gᵢᵢ`.
    """
    rows, n = target.shape
    q = np.zeros(n)
    for r in range(rows):
        q[:] = 0.0
        for j in range(n):
            step = levels[code[r, j]] - target[r, j]
            for i in range(n):
                q[i] += step * gram[j, i]
        for _ in range(sweeps):
            moved = False
            for j in range(n):
                g = gram[j, j]
                now = levels[code[r, j]]
                best = nearest(levels, now - q[j] / g)
                step = levels[best] - now
                if step != 0.0 and step * (step * g + 2.0 * q[j]) < -1e-12 * g * step * step:
                    code[r, j] = best
                    moved = True
                    for i in range(n):
                        q[i] += step * gram[j, i]
            if not moved:
                break


@njit(cache=True)
def nearest(levels: Array, value: float) -> int:
    """Index of the level next to a value; `levels` increase."""
    low, high = 0, levels.size - 1
    while high - low > 1:
        middle = (low + high) // 2
        if levels[middle] <= value:
            low = middle
        else:
            high = middle
    return high if levels[high] - value < value - levels[low] else low
