"""Coordinate descent for the best `y` of a given diagonal over unions of intervals: codebooks, any scale."""

from __future__ import annotations

import numpy as np
from numba import njit

from ..gram import Array


@njit(cache=True)
def interval_of(lows: Array, v: float) -> int:
    """The last interval that starts at or below `v` (0 if none does)."""
    low, high = 0, lows.size
    while low < high:
        middle = (low + high) // 2
        if lows[middle] <= v:
            low = middle + 1
        else:
            high = middle
    return max(low - 1, 0)


@njit(cache=True)
def envelope(d: float, v: float, t: float, lows: Array, highs: Array) -> float:
    """Convex envelope of `d (x − t)²` on the intervals, at a real `v` in their hull: chords over the gaps."""
    first, last = lows[0], highs[-1]
    if d >= 0.0:
        j = interval_of(lows, v)
        if v <= highs[j]:
            return d * (v - t) * (v - t)
        first, last = highs[j], lows[j + 1]
    return d * (first - t) * (first - t) + d * (first + last - 2.0 * t) * (v - first)


@njit(cache=True)
def least(d: float, r: float, t: float, lows: Array, highs: Array) -> float:
    """`min d u² + 2 r u`, `u = x − t`, over `x` in the intervals."""
    a, b = lows[0] - t, highs[-1] - t
    value = min(a * (d * a + 2.0 * r), b * (d * b + 2.0 * r))
    if d > 0.0:
        vertex = t - r / d
        j = interval_of(lows, vertex)
        u = min(max(vertex, lows[j]), highs[j]) - t
        value = min(value, u * (d * u + 2.0 * r))
        if j + 1 < lows.size:
            u = lows[j + 1] - t
            value = min(value, u * (d * u + 2.0 * r))
    return value


@njit(cache=True)
def best_coordinate(d: float, m: float, r: float, v: float, t: float, lows: Array, highs: Array) -> float:
    """The minimiser of `envelope(x) + m (x − v)² + 2 r (x − v)`, `m > 0`, over the hull."""
    if d < 0.0:
        x = v - (r + 0.5 * d * (lows[0] + highs[-1] - 2.0 * t)) / m
        return min(max(x, lows[0]), highs[-1])
    first, last = 0, lows.size - 1
    while first < last:  # the first interval behind which the function rises
        j = (first + last) // 2
        chord = 0.5 * d * (highs[j] + lows[j + 1] - 2.0 * t)
        if chord + m * (highs[j] - v) + r >= 0.0:
            last = j
        else:
            first = j + 1
    j = first
    if j > 0 and d * (lows[j] - t) + m * (lows[j] - v) + r >= 0.0:
        x = v - (r + 0.5 * d * (highs[j - 1] + lows[j] - 2.0 * t)) / m
        return min(max(x, highs[j - 1]), lows[j])
    x = (d * t + m * v - r) / (d + m)
    return min(max(x, lows[j]), highs[j])


@njit(cache=True)
def descend_intervals(
    gram: Array, diagonal: Array, target: Array, lows: Array, highs: Array, rounds: int, tol: float, y: Array
) -> None:
    """As `diagonal.descend`, for entries in the disjoint ascending intervals; improves `y` (rows, n)."""
    rows, n = target.shape
    u, r = np.zeros(n), np.zeros(n)
    for row in range(rows):
        d = diagonal[min(row, diagonal.shape[0] - 1)]
        t = target[row]
        u[:] = y[row]
        inside, best = False, -np.inf
        for sweep in range(rounds + 1):
            upper, bound = 0.0, 0.0
            for i in range(n):
                s = 0.0
                for j in range(n):
                    s += gram[i, j] * u[j]
                r[i] = s - d[i] * u[i]
            for i in range(n):
                if inside:
                    v = min(max(u[i] + t[i], lows[0]), highs[-1])
                    upper += envelope(d[i], v, t[i], lows, highs) + u[i] * r[i]
                bound += least(d[i], r[i], t[i], lows, highs) - u[i] * r[i]
            if bound > best:
                best = bound
                y[row] = u
            if sweep == rounds or (inside and upper - bound <= tol * abs(upper)):
                break
            for i in range(n):
                m = gram[i, i] - d[i]
                v = u[i] + t[i]
                x = min(max(v, lows[0]), highs[-1])
                if m > 0.0:
                    x = best_coordinate(d[i], m, r[i], v, t[i], lows, highs)
                move = x - v
                if move != 0.0:
                    u[i] += move
                    for j in range(n):
                        r[j] += gram[i, j] * move
                    r[i] -= d[i] * move
            inside = True
