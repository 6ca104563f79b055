"""Fermi–Dirac shares that sum to a budget, row by row: Newton's method for the level, inside a shrinking bracket."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ..gram import Array

STEEPEST = 60.0
STEPS = 100
#: Where a share is 0 or 1 but for a rounding.
CERTAIN = 36.0
#: How near the sum of a row comes to its budget, in columns.
NEAR = 1e-4


@njit(cache=True)
def fill_shares(gain: Array, budget: Array, heat: Array, level: Array, share: Array) -> None:
    """`share = 1 / (1 + exp((level − gain) / heat))` with the `level` of each row such that the row sums to `budget`.

    Parameters
    ----------
    gain, share : (rows, columns); `share` is written
    budget, heat : (rows,) budget between 0 and columns, heat positive
    level : (rows,) in, a first guess (NaN for none); out, what was found
    """
    rows, n = gain.shape
    for r in range(rows):
        lowest, highest = gain[r, 0], gain[r, 0]
        for j in range(n):
            lowest, highest = min(lowest, gain[r, j]), max(highest, gain[r, j])
        lowest, highest = lowest - STEEPEST * heat[r], highest + STEEPEST * heat[r]
        middle = level[r]
        if not lowest < middle < highest:
            middle = 0.5 * (lowest + highest)
        for _ in range(STEPS):
            total, slope = 0.0, 0.0
            for j in range(n):
                x = (middle - gain[r, j]) / heat[r]
                p = 0.0 if x > CERTAIN else 1.0
                if abs(x) <= CERTAIN:
                    p = 1.0 / (1.0 + math.exp(x))
                share[r, j] = p
                total += p
                slope += p * (1.0 - p)
            if abs(total - budget[r]) <= NEAR:
                break
            if total > budget[r]:
                lowest = middle
            else:
                highest = middle
            following = middle + heat[r] * (total - budget[r]) / max(slope, np.finfo(np.float64).tiny)
            if not lowest < following < highest:
                following = 0.5 * (lowest + highest)
            if following == middle:
                break
            middle = following
        level[r] = middle
