"""The best split of a budget over rows: lower envelopes, and a min-plus product over the entries that can matter.

`curve` (rows, columns + 1) holds the least error of each row for 0, 1, … kept weights. With a price λ ≥ 0 on every
weight, `a_r(k) = curve[r, k] + λ k` and `m_r = min_k a_r(k)`, an allocation `k` of exactly K weights costs

    Σ curve[r, k_r]  =  (Σ m_r − λ K)  +  Σ c_r(k_r),        c_r(k) = a_r(k) − m_r ≥ 0.

So the best allocation minimises Σ c, and whatever has one `c_r(k) > τ` cannot be part of one with Σ c ≤ τ.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..gram import Array

Indices = NDArray[np.int64]


@njit(cache=True)
def envelope_slopes(curve: Array, slope: Array) -> None:
    """By how much the lower convex envelope of each row falls at every step, (rows, columns), non-increasing."""
    rows, size = curve.shape
    corner = np.empty(size, dtype=np.int64)
    for r in range(rows):
        line = curve[r]
        count = 0
        for k in range(size):
            while count > 1:
                a, b = corner[count - 2], corner[count - 1]
                if (line[a] - line[b]) * (k - b) > (line[b] - line[k]) * (b - a):
                    break
                count -= 1
            corner[count] = k
            count += 1
        for i in range(count - 1):
            a, b = corner[i], corner[i + 1]
            for k in range(a, b):
                slope[r, k] = (line[a] - line[b]) / (b - a)


@njit(cache=True)
def reduced(curve: Array, price: float, least: Array, place: Indices) -> None:
    """`m_r` and the first k where it is taken."""
    rows, size = curve.shape
    for r in range(rows):
        best, at = np.inf, 0
        for k in range(size):
            a = curve[r, k] + price * k
            if a < best:
                best, at = a, k
        least[r], place[r] = best, at


@njit(cache=True)
def options(curve: Array, price: float, least: Array, most: float, start: Indices, keep: Indices, cost: Array) -> int:
    """List `(k, c_r(k))` for all `c_r(k) ≤ most`, row after row from `start[r]`; how many there are.

    Nothing is written to `keep` and `cost` beyond their length: call with empty ones to count.
    """
    rows, size = curve.shape
    count = 0
    for r in range(rows):
        start[r] = count
        for k in range(size):
            c = curve[r, k] + price * k - least[r]
            if c <= most:
                if count < keep.size:
                    keep[count], cost[count] = k, c
                count += 1
    start[rows] = count
    return count


@njit(cache=True)
def spans(start: Indices, keep: Indices, total: int, low: Indices, high: Indices) -> float:
    """Which sums of the first r rows can still end in `total`, [low[r], high[r]]; the additions of `combine`."""
    rows = start.size - 1
    rest_low, rest_high = 0, 0
    for r in range(rows):
        rest_low += keep[start[r]]
        rest_high += keep[start[r + 1] - 1]
    low[0] = high[0] = 0
    work = 0.0
    for r in range(rows):
        first, last = keep[start[r]], keep[start[r + 1] - 1]
        rest_low -= first
        rest_high -= last
        low[r + 1] = max(low[r] + first, total - rest_high)
        high[r + 1] = min(high[r] + last, total - rest_low)
        work += float(max(high[r + 1] - low[r + 1] + 1, 0)) * (start[r + 1] - start[r])
    return work


@njit(cache=True)
def combine(
    start: Indices, keep: Indices, cost: Array, low: Indices, high: Indices, most: float, before: Array, after: Array,
    place: Indices, choice: NDArray[np.int32], chosen: Indices,
) -> float:  # fmt: skip
    """The least Σ c of one option a row whose `keep` sum to `low[rows]`, and those options; inf if none is ≤ most.

    `before`, `after` hold the widest span; `choice[place[r]:]` that of row r, the number of the option taken.
    """
    rows = start.size - 1
    before[0] = 0.0
    for r in range(rows):
        width = high[r + 1] - low[r + 1] + 1
        if width <= 0:
            return np.inf
        after[:width] = np.inf
        taken = choice[place[r] : place[r] + width]
        for o in range(start[r], start[r + 1]):
            shift = low[r] + keep[o] - low[r + 1]
            c = cost[o]
            for s in range(max(0, -shift), min(high[r] - low[r] + 1, width - shift)):
                value = before[s] + c
                if value < after[s + shift]:
                    after[s + shift] = value
                    taken[s + shift] = o - start[r]
        for s in range(width):
            before[s] = after[s] if after[s] <= most else np.inf
    best = before[0]
    if best == np.inf:
        return np.inf
    total = low[rows]
    for r in range(rows - 1, -1, -1):
        o = start[r] + choice[place[r] + total - low[r + 1]]
        chosen[r] = keep[o]
        total -= keep[o]
    return best
