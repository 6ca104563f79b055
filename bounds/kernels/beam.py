"""K-best search on a triangular factor: the best `width` partial points of every depth (Anderson & Mohan 1984).

In search order, with `G = L Lᵀ` and `ratio[j, k] = L[j, k] / L[k, k]`,

    E(x) = Σ_k L[k, k]² (x_k − c_k)² + Σ_k g_k x_k,     c_k = t_k − Σ_{j>k} ratio[j, k] (x_j − t_j).

The last column is chosen first. A call treats one band of columns: what the columns chosen before the band
contribute to its centres comes in, so that the caller can add it by one matrix product a band.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..gram import Array

CHILDREN = 3


@njit(cache=True)
def nearest_level(levels: Array, x: float) -> int:
    """Index of the level nearest to x, the lower one of two; `levels` increase."""
    at = np.searchsorted(levels, x)
    if at == levels.size or (at > 0 and x - levels[at - 1] <= levels[at] - x):
        at -= 1
    return int(at)


@njit(cache=True)
def beam_band(
    levels: Array,
    cost: Array,
    ratio: Array,
    slope: Array,
    target: Array,
    centre: Array,
    spent: Array,
    count: int,
    code: NDArray[np.int32],
    parent: NDArray[np.int32],
    first: NDArray[np.int32],
    step: Array,
) -> int:
    """Choose the columns of a band, the last first, for all partial points at once.

    Parameters
    ----------
    cost, slope, target : (band,) `L[k, k]²`, `g`, `t`
    ratio : (band, band)
    centre : (width, band) of the points that enter, overwritten; `spent` (width,) their cost, `count` how many they are
    code, parent : (band, width) written: the level chosen, and which point of the column before it extends
    first : (width,) written: which entering point each leaving one extends
    step : (width, band) written: `x − t`

    Returns
    -------
    How many points leave; `spent` is theirs.
    """
    width, band = centre.shape
    value = np.empty(CHILDREN * width)
    choice = np.empty(CHILDREN * width, np.int32)
    source = np.empty(CHILDREN * width, np.int32)
    here, there = centre, np.empty_like(centre)
    for k in range(band - 1, -1, -1):
        made = 0
        for b in range(count):
            c = here[b, k]
            peak = c - 0.5 * slope[k] / cost[k]
            at = nearest_level(levels, peak)
            below, above = at - 1, at + 1
            for child in range(CHILDREN):
                if child > 0:
                    down = below >= 0 and (above >= levels.size or peak - levels[below] <= levels[above] - peak)
                    if down:
                        at = below
                        below -= 1
                    elif above < levels.size:
                        at = above
                        above += 1
                    else:
                        break
                e = levels[at] - c
                value[made] = spent[b] + cost[k] * e * e + slope[k] * levels[at]
                choice[made] = at
                source[made] = b
                made += 1
        limit = np.inf
        if made > width:
            limit = np.partition(value[:made], width - 1)[width - 1]
        count = 0
        for tie in range(2):
            for q in range(made):
                if count < width and (value[q] < limit if tie == 0 else value[q] == limit):
                    b = source[q]
                    code[k, count] = choice[q]
                    parent[k, count] = b
                    spent[count] = value[q]
                    move = levels[choice[q]] - target[k]
                    for j in range(k):
                        there[count, j] = here[b, j] - ratio[k, j] * move
                    count += 1
        here, there = there, here
    for b in range(count):
        at = b
        for k in range(band):
            step[b, k] = levels[code[k, at]] - target[k]
            at = parent[k, at]
        first[b] = at
    return count


@njit(cache=True)
def trace_back(code: NDArray[np.int32], parent: NDArray[np.int32], last: int, point: NDArray[np.int64]) -> None:
    """The codes of one leaf, (columns,), from the choices of all columns, (columns, width)."""
    for k in range(code.shape[0]):
        point[k] = code[k, last]
        last = parent[k, last]
