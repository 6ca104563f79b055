"""Shares between 0 and 1 that sum to a budget, row by row: Newton's method for the level, in a shrinking bracket."""

from __future__ import annotations

import numpy as np
from numba import njit

from ..gram import Array

#: A share rises from 0 to 1 over so many temperatures, in the middle as steeply as a Fermi–Dirac function.
RAMP = 6.0
STEPS = 100
#: How near the sum of a row comes to its budget, in columns.
NEAR = 1e-6


@njit(cache=True, fastmath={"reassoc", "contract"})
def fill_shares(gain: Array, budget: Array, heat: Array, level: Array, share: Array) -> None:
    """`share = u²(3 − 2u)`, `u = ½ + (gain − level)/(6 heat)` cut to [0, 1], each row with the sum `budget`.

    Nearly a Fermi–Dirac function, but without an exponential, so that its loop runs in vector registers; the bounds
    are the same to 0.01 dB.

    Parameters
    ----------
    gain, share : (rows, columns); `share` is written
    budget, heat : (rows,) budget between 0 and columns, heat positive
    level : (rows,) in, a first guess (NaN for none); out, what was found
    """
    rows, n = gain.shape
    for r in range(rows):
        reach = 0.5 * RAMP * heat[r]
        lowest, highest = gain[r, 0], gain[r, 0]
        for j in range(n):
            lowest, highest = min(lowest, gain[r, j]), max(highest, gain[r, j])
        lowest, highest = lowest - reach, highest + reach
        middle = level[r]
        if not lowest < middle < highest:
            middle = 0.5 * (lowest + highest)
        steep = 0.5 / reach
        for _ in range(STEPS):
            total, slope = 0.0, 0.0
            for j in range(n):
                u = min(max(0.5 + (gain[r, j] - middle) * steep, 0.0), 1.0)
                share[r, j] = u * u * (3.0 - 2.0 * u)
                total += share[r, j]
                slope += u * (1.0 - u)
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
