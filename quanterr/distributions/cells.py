"""Errors of a distribution on `scale · levels`, cell by cell (eqs. (9)–(15) of *Pruning vs Quantization*)."""

from __future__ import annotations

import math

from .compiled import compiled
from .kernels import Array, moment

SPLITTER = 134217729.0


@compiled
def product(a: float, b: float) -> tuple[float, float]:
    """`a · b` as an unevaluated sum of two doubles (Dekker 1971).

    A truncation limit just above the largest level leaves a clipped interval that is a difference of nearly
    equal numbers; it is exact only if the level is.
    """
    high = a * b
    if not 1e-140 < abs(high) < 1e140 or not 1e-140 < abs(a) < 1e140:
        return high, 0.0
    spread = SPLITTER * a
    a_high = spread - (spread - a)
    a_low = a - a_high
    spread = SPLITTER * b
    b_high = spread - (spread - b)
    b_low = b - b_high
    return high, ((a_high * b_high - high) + a_high * b_low + a_low * b_high) + a_low * b_low


@compiled
def rounding(table: Array, levels: Array, scale: float) -> float:
    """`∫ (w − Q(w))² p(w) dw` between the outermost levels; the cells are summed with compensation.

    Errata: eqs. (12) and (14) sum to |q|; there are |q| − 1 intervals, here joined to one cell a level.
    """
    last = levels.size - 1
    total = 0.0
    lost = 0.0
    for j in range(levels.size):
        high, low = product(scale, levels[j])
        start = 0.0 if j == 0 else -0.5 * scale * (levels[j] - levels[j - 1])
        stop = 0.0 if j == last else 0.5 * scale * (levels[j + 1] - levels[j])
        term = moment(table, high, low, 2, start, stop) - lost
        following = total + term
        lost = (following - total) - term
        total = following
    return total


@compiled
def clipping(table: Array, levels: Array, scale: float) -> float:
    """`∫ (w − q)² p(w) dw` outside the outermost levels."""
    high, low = product(scale, levels[0])
    below = moment(table, high, low, 2, -math.inf, 0.0)
    high, low = product(scale, levels[-1])
    return below + moment(table, high, low, 2, 0.0, math.inf)


@compiled
def slope(table: Array, levels: Array, scale: float) -> float:
    """Derivative of the total error by the scale, `−2 Σ levelᵢ ∫ (w − qᵢ) p dw` over the cells.

    The thresholds move too, but at a threshold both neighbours cost the same, so their motion does not count.
    """
    last = levels.size - 1
    total = 0.0
    for j in range(levels.size):
        high, low = product(scale, levels[j])
        start = -math.inf if j == 0 else -0.5 * scale * (levels[j] - levels[j - 1])
        stop = math.inf if j == last else 0.5 * scale * (levels[j + 1] - levels[j])
        total -= 2.0 * levels[j] * moment(table, high, low, 1, start, stop)
    return total


@compiled
def probabilities(table: Array, levels: Array, scale: float, out: Array) -> None:
    """Probability of each code."""
    last = levels.size - 1
    for j in range(levels.size):
        high, low = product(scale, levels[j])
        start = -math.inf if j == 0 else -0.5 * scale * (levels[j] - levels[j - 1])
        stop = math.inf if j == last else 0.5 * scale * (levels[j + 1] - levels[j])
        out[j] = moment(table, high, low, 0, start, stop)
