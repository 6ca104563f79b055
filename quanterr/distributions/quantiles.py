"""Inverse distribution functions, by a safeguarded Newton iteration on the exact masses."""

from __future__ import annotations

import math

from .compiled import compiled
from .kernels import Array, density, moment

LOWER, UPPER, INSIDE, OUTSIDE = range(4)
ITERATIONS = 200


@compiled
def mass(table: Array, side: int, x: float) -> float:
    """Probability below `x`, above `x`, within ±x or outside ±x, each without cancellation."""
    if side == LOWER:
        return moment(table, 0.0, 0.0, 0, -math.inf, x)
    if side == UPPER:
        return moment(table, 0.0, 0.0, 0, x, math.inf)
    if side == INSIDE:
        return moment(table, 0.0, 0.0, 0, -x, x)
    return moment(table, 0.0, 0.0, 0, -math.inf, -x) + moment(table, 0.0, 0.0, 0, x, math.inf)


@compiled
def solve(table: Array, side: int, target: float, low: float, high: float, start: float) -> float:
    """The `x` in [low, high] with `mass(side, x) = target`; `start` sets the length of the first step.

    Newton runs on log mass against log x for magnitudes (both ends of the range are power laws there) and
    against x otherwise, inside a bracket that every evaluation shrinks.
    """
    rising = side in (LOWER, INSIDE)
    magnitude = side in (INSIDE, OUTSIDE)
    x = min(max(start, low), high)
    if math.isinf(x):
        x = 0.0
    for _ in range(ITERATIONS):
        value = mass(table, side, x)
        if value == target:
            return x
        if (value < target) == rising:
            low = x
        else:
            high = x
        slope = density(table, x)
        if magnitude:
            slope += density(table, -x)
        following = math.nan
        if value > 0.0 and slope > 0.0:
            move = math.log(target / value) * value / slope
            if not rising:
                move = -move
            if magnitude:
                following = x * math.exp(min(max(move / x, -40.0), 40.0)) if x > 0.0 else math.nan
            else:
                following = x + move
        if not low < following < high:
            if abs(following - x) <= 4e-16 * abs(x):
                return x
            if math.isinf(high):
                following = max(2.0 * x, abs(start), 1e-300)
            elif math.isinf(low):
                following = min(2.0 * x, -abs(start), -1e-300)
            elif magnitude and low > 0.0 and high > 4.0 * low:
                following = math.sqrt(low) * math.sqrt(high)
            else:
                following = low + 0.5 * (high - low)
            if not low < following < high:
                return x
        if abs(following - x) <= 2e-16 * abs(x):
            return following
        x = following
    return x
