"""The best point of a union of closed intervals, coordinate by coordinate; a level is an interval of length zero."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from ..gram import Array


def exactly(values: Array, like: Any) -> Any:
    """`values` in the arithmetic of `like`: themselves, or fractions for an object array."""
    if np.asarray(like).dtype != object:
        return values
    return np.array([Fraction(float(value)) for value in values], dtype=object)


def best_in_intervals(lows: Array, highs: Array, d: Any, g: Any, target: Any) -> tuple[Any, Any]:
    """Minimise `d u² + 2 g u`, `u = x − target`, over `x` in the disjoint ascending intervals.

    The best is next to the vertex `u = −g/d` where `d > 0`, and an end of the hull otherwise. Steps are formed
    as `end − target`, so that each value carries a relative error, however large the target.

    Returns
    -------
    value, x : of the shape of `g`
    """
    lows, highs = exactly(lows, g), exactly(highs, g)
    move = -g / np.where(d == 0, 1, d)
    at = np.searchsorted(lows, target + move, side="right").reshape(np.shape(move))
    last = len(lows) - 1
    value: Any = None
    for index, clip in ((np.clip(at - 1, 0, last), True), (np.clip(at, 0, last), True), (0, False), (last, False)):
        low, high = lows[index], highs[index]
        if clip:
            point = np.minimum(np.maximum(target + move, low), high)
            step = np.minimum(np.maximum(move, low - target), high - target)
        else:
            point = (low if index == 0 else high) + 0 * target
            step = point - target
        trial = step * (d * step + 2 * g)
        if value is None:
            value, x = trial, point
        else:
            better = np.asarray(trial < value, dtype=bool)
            value, x = np.where(better, trial, value), np.where(better, point, x)
    return value, x


def nearest_in_intervals(lows: Array, highs: Array, target: Array) -> Array:
    """The nearest point; the lower one of a tie."""
    at = np.searchsorted(lows, target, side="right")
    below = np.maximum(at - 1, 0)
    above = np.minimum(at, len(lows) - 1)
    under, over = np.clip(target, lows[below], highs[below]), np.clip(target, lows[above], highs[above])
    return np.asarray(np.where(np.abs(over - target) < np.abs(target - under), over, under))


def reach_in_intervals(lows: Array, highs: Array, d: Array, g: Array, target: Array) -> Array:
    """See `Feasible.reach`: the nearest point to a vertex that lies at most `|g|/d` from the target.

    A vertex that rounding moves across a level costs `d` times the square of the move: the share 2⁻²⁴ of the
    magnitudes makes the caller's allowance cover that.
    """
    farthest = np.maximum(np.abs(target - lows[0]), np.abs(highs[-1] - target))
    gap = np.abs(nearest_in_intervals(lows, highs, target) - target)
    near = 2 * np.abs(g) / np.where(d > 0, d, 1.0) + gap
    rounding = 2.0**-24 * (np.abs(target) + max(abs(lows[0]), abs(highs[-1]))) * (g != 0)
    return np.asarray(np.where(d > 0, np.maximum(np.minimum(near, farthest), rounding), farthest))
