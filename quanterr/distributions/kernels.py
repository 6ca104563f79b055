"""Panel quadrature of `∫ uᵏ p(c + u) du`: the one integral that every expected error is made of.

Antiderivatives cancel on fine grids (their relative error grows like (c/δ)² times the unit roundoff), so the
density is integrated as it stands: it is analytic between kinks, and a Gauss–Legendre rule is exact to
rounding on a panel that is short against the distance to its nearest singularity and over which the density
falls by a bounded factor. `reach` is the length of such a panel. Offsets `u` from the centre are the variable
of integration, so that `u²` carries no cancellation however small the cell.

A distribution is a table of components, one row each: coefficient, kind, shape, location, scale, low, high.
Its density is `Σ coefficient · profile((w − location) / scale)` for `low < w < high`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled
from .legendre import legendre_rule

Array = NDArray[np.float64]

COEFFICIENT, KIND, SHAPE, LOCATION, SCALE, LOW, HIGH = range(7)
CONSTANT, GAUSSIAN, LAPLACE, LOGISTIC, GENERALIZED, STUDENT = range(6)

NEGLIGIBLE = 1e-19
TINY = 2.0**-60
LARGE = 1e100

# A panel that is short against `reach` needs fewer points: (largest share of the reach, points), measured to 1e-15.
RULES = ((math.inf, 20), (0.35, 10), (0.16, 8), (0.06, 6), (0.02, 5), (0.004, 4))
SHARES = np.array([share for share, _ in RULES])
POINTS = np.array([points for _, points in RULES])
NODES = np.zeros((len(RULES), 20))
WEIGHTS = np.zeros((len(RULES), 20))
for _row, _count in enumerate(POINTS):
    NODES[_row, :_count], WEIGHTS[_row, :_count] = legendre_rule(int(_count))


@compiled
def profile(kind: int, shape: float, x: float) -> float:
    """Unnormalised density of the standard member of each family at `x ≥ 0` (all are even)."""
    if kind == GAUSSIAN:
        return math.exp(-0.5 * x * x)
    if kind == LAPLACE:
        return math.exp(-x)
    if kind == LOGISTIC:
        tail = math.exp(-x)
        return tail / ((1.0 + tail) * (1.0 + tail))
    if kind == GENERALIZED:
        return math.exp(-(x**shape))
    if kind == STUDENT:
        if x > LARGE:
            return math.exp(-(shape + 1.0) * (math.log(x) - 0.5 * math.log(shape)))
        if shape == 2.0:
            y = 1.0 + 0.5 * x * x
            return 1.0 / (y * math.sqrt(y))
        return math.exp(-0.5 * (shape + 1.0) * math.log1p(x * x / shape))
    return 1.0


@compiled
def decline(kind: int, shape: float, x: float) -> float:
    """`−d log(profile) / dx` at `x > 0`."""
    if kind == GAUSSIAN:
        return x
    if kind == LAPLACE:
        return 1.0
    if kind == LOGISTIC:
        return math.tanh(0.5 * x)
    if kind == GENERALIZED:
        return shape * math.pow(x, shape - 1.0)
    if kind == STUDENT:
        return (shape + 1.0) / (x + shape / x)
    return 0.0


@compiled
def reach(kind: int, shape: float, x: float) -> float:
    """Length of a panel starting at `x ≥ 0` on which twenty points are exact to rounding."""
    if kind == GAUSSIAN:
        return 12.0 / (x + math.sqrt(x * x + 12.0))
    if kind == LAPLACE:
        return 8.0
    if kind == LOGISTIC:
        return 3.0
    if kind == GENERALIZED:
        if (2.0 * x) ** shape < 0.01:
            return x
        fall = decline(kind, shape, x)
        return min(x * min(1.0, 3.0 / shape), 8.0 / fall)
    if kind == STUDENT:
        size = math.sqrt(x * x + shape) if x < LARGE else x
        fall = (shape + 1.0) * (x / size)
        return size * min(1.0, 12.0 / (fall + math.sqrt(fall * fall + 12.0 * (shape + 1.0))))
    return math.inf


@compiled
def student_tail(shape: float, start: float, offset: float, k: int) -> float:
    """`∫ (offset + z)ᵏ profile(start + z) dz` over `z > 0`, by the series in `shape / start²`.

    Each power integrates to a Beta function with positive terms, so a tail that barely converges
    (`shape` just above `k`) is as accurate as any other.
    """
    if shape <= k:
        return math.inf
    ratio = (math.sqrt(shape) / start) ** 2
    front = math.exp(-(shape + 1.0) * (math.log(start) - 0.5 * math.log(shape)))
    total = 0.0
    term = 1.0
    for j in range(200):
        power = shape + 2.0 * j
        inner = 0.0
        binomial = 1.0
        for i in range(k + 1):
            beta = 1.0 / power
            for m in range(1, i + 1):
                beta *= m / (power - m)
            inner += binomial * offset ** (k - i) * start ** (i + 1) * beta
            binomial *= (k - i) / (i + 1.0)
        total += term * inner
        term *= -ratio * (0.5 * (shape + 1.0) + j) / (j + 1.0)
        if abs(term * inner) < NEGLIGIBLE * abs(total):
            break
    return front * total


@compiled
def half_line(kind: int, shape: float, center: float, start: float, stop: float, k: int) -> float:
    """`∫ uᵏ profile(center + u) du` for `start < u < stop`, all of it at positions `center + u ≥ 0`."""
    near_zero = center + start < 0.25 * (center + stop)
    # Near the origin position is the exact variable, elsewhere the offset is.
    to_position, to_offset = (0.0, -center) if near_zero else (center, 0.0)
    y = center + start if near_zero else start
    end = center + stop if near_zero else stop
    floor = TINY * min(end, 1.0) if kind == GENERALIZED and near_zero else 0.0
    far = 2.0 * math.sqrt(shape * (shape + 1.0)) if kind == STUDENT else math.inf
    last_rule = SHARES.size - 1
    total = 0.0
    size = 0.0
    while y < end:
        x = y + to_position
        if x < floor:
            step = floor - x
            share = 0.0
        else:
            longest = reach(kind, shape, x)
            if end == math.inf and x >= far and y + to_offset >= 0.0:
                return total + student_tail(shape, x, y + to_offset, k)
            # Positions so small that the reach underflows: the profile is constant up to any `end` that leads here.
            step = min(longest, end - y) if longest > 0.0 else end - y
            share = step / longest if longest > 0.0 else 0.0
        row = 0
        while row < last_rule and share < SHARES[row + 1]:
            row += 1
        half = 0.5 * step
        middle = y + half
        part = 0.0
        for i in range(POINTS[row]):
            node = middle + half * NODES[row, i]
            u = node + to_offset
            power = 1.0
            for _ in range(k):
                power *= u
            part += WEIGHTS[row, i] * power * profile(kind, shape, node + to_position)
        total += half * part
        size += abs(half * part)
        # Written so that a step below the spacing of y ends the march instead of stalling it.
        following = y + step if step < end - y else end
        if following <= y:
            break
        y = following
        u = y + to_offset
        negligible = kind != STUDENT and u > 0.0 and abs(half * part) <= NEGLIGIBLE * size
        if negligible and u * decline(kind, shape, y + to_position) > k + 1.0:
            break
        if kind != CONSTANT and profile(kind, shape, y + to_position) == 0.0:
            break
    return total


@compiled
def component_moment(row: Array, high: float, low: float, k: int, start: float, stop: float) -> float:
    """`∫ uᵏ p(c + u) du` of one component, centre `c = high + low` given as an unevaluated sum of doubles."""
    start = max(start, (row[LOW] - high) - low)
    stop = min(stop, (row[HIGH] - high) - low)
    if not start < stop:
        return 0.0
    kind = int(row[KIND])
    scale = row[SCALE]
    center = ((high - row[LOCATION]) + low) / scale
    a, b = start / scale, stop / scale
    front: float = row[COEFFICIENT] * scale
    for _ in range(k):
        front *= scale
    if center + a >= 0.0:
        return front * half_line(kind, row[SHAPE], center, a, b, k)
    sign = -1.0 if k % 2 else 1.0
    if center + b <= 0.0:
        return front * sign * half_line(kind, row[SHAPE], -center, -b, -a, k)
    left = sign * half_line(kind, row[SHAPE], -center, center, -a, k)
    return front * (left + half_line(kind, row[SHAPE], center, -center, b, k))


@compiled
def moment(table: Array, high: float, low: float, k: int, start: float, stop: float) -> float:
    """`∫ uᵏ p(c + u) du` of all components together."""
    total = 0.0
    for j in range(table.shape[0]):
        total += component_moment(table[j], high, low, k, start, stop)
    return total


@compiled
def moments(table: Array, center: Array, k: int, start: Array, stop: Array, out: Array) -> None:
    """`moment` for flat arrays of centres and offsets."""
    for i in range(out.size):
        out[i] = moment(table, center[i], 0.0, k, start[i], stop[i])


@compiled
def density(table: Array, w: float) -> float:
    """Probability density at `w`."""
    total = 0.0
    for j in range(table.shape[0]):
        row = table[j]
        if row[LOW] <= w <= row[HIGH]:
            total += row[COEFFICIENT] * profile(int(row[KIND]), row[SHAPE], abs(w - row[LOCATION]) / row[SCALE])
    return total


@compiled
def densities(table: Array, w: Array, out: Array) -> None:
    """`density` for a flat array."""
    for i in range(out.size):
        out[i] = density(table, w[i])
