"""Lower bounds on the error over an interval of scales: what makes a global optimum provable.

Let `E(δ)` be the total error, `A = E[W²]`. For a fixed assignment of weights to levels the error is
`A − 2Bδ + Cδ²`; `E` is the least of these over all assignments.

Chord bound (any distribution, any grid). `(E(δ) − A)/δ` is a minimum of functions affine in δ, hence concave: on
[δ₁, δ₂] it lies above its chord, and `E` above the parabola through both ends whose curvature is the chord's slope.

Smooth bound (densities on integer grids). Between the outermost codes the squared rounding error is `δ²/12` plus a
function of mean zero in every cell. Integrating by parts once and twice against the density f,
`|rounding − δ²/12 · P(inside)| ≤ δ³ · √3/108 · jumps(f) + δ⁴ · TV(f′)/192`, where both antiderivatives (Bernoulli
polynomials of order 3 and 4, the latter shifted to vanish at the codes) are zero at the ends of the range. A truncation
limit inside the range is a jump of f; that f′ ends there as well is within the variation that `bend` counts. With the
clipping error convex in δ, hence above its tangents, and P increasing, this bounds the error on an interval.
The chord bound is tight at few bits, the smooth bound at many.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..distributions.cells import clipping, product, rounding, slope
from ..distributions.compiled import compiled
from ..distributions.kernels import (
    COEFFICIENT,
    CONSTANT,
    GAUSSIAN,
    GENERALIZED,
    HIGH,
    KIND,
    LOCATION,
    LOGISTIC,
    LOW,
    SCALE,
    SHAPE,
    STUDENT,
    Array,
    decline,
    moment,
    profile,
)

JUMP_FACTOR = math.sqrt(3.0) / 108.0
BEND_FACTOR = 1.0 / 192.0


def chord_bound(power: Array, ends: Array, errors: Array) -> Array:
    """Lower bound of `E` on each interval. `power` (n,), `ends` and `errors` (n, 2)."""
    width = ends[:, 1] - ends[:, 0]
    chord = (errors - power[:, None]) / ends
    curvature = (chord[:, 1] - chord[:, 0]) / width
    rise = (errors[:, 1] - errors[:, 0]) / width
    # The parabola is E₁ + rise·x − curvature·x·(width − x).
    with np.errstate(divide="ignore", invalid="ignore"):
        vertex = np.where(curvature > 0.0, 0.5 * (width - rise / curvature), 0.0)
    x = np.clip(vertex, 0.0, width)
    inside = errors[:, 0] + rise * x - curvature * x * (width - x)
    return np.asarray(np.minimum(inside, errors.min(axis=1)))


def smooth_bound(ends: Array, clipped: Array, clip_slopes: Array, inside: Array, jumps: Array, bends: Array) -> Array:
    """Lower bound of `E` on each interval; arrays (n, 2), but `jumps` and `bends` (n,) at the upper end."""
    parabola = inside[:, :1] / 12.0
    with np.errstate(divide="ignore", invalid="ignore"):
        vertex = np.where(parabola > 0.0, -0.5 * clip_slopes / parabola, ends[:, 1:])
    at = np.clip(vertex, ends[:, :1], ends[:, 1:])
    tangents = parabola * at**2 + clipped + clip_slopes * (at - ends)
    upper = ends[:, 1]
    return np.asarray(tangents.max(axis=1) - JUMP_FACTOR * jumps * upper**3 - BEND_FACTOR * bends * upper**4)


def bend(table: Array) -> float:
    """An upper bound on the total variation of the density's derivative, jumps of the density left out."""
    total = 0.0
    for row in table:
        kind, shape = int(row[KIND]), float(row[SHAPE])
        if kind == CONSTANT:
            continue
        if kind == GENERALIZED and shape < 1.0:
            continue  # `jump` counts it
        # |profile′| rises to one maximum and falls again on either side.
        if kind == GAUSSIAN:
            steepest = 1.0
        elif kind == LOGISTIC:
            steepest = math.log(2.0 + math.sqrt(3.0))
        elif kind == GENERALIZED:
            steepest = ((shape - 1.0) / shape) ** (1.0 / shape)
        elif kind == STUDENT:
            steepest = math.sqrt(shape / (shape + 2.0))
        else:
            steepest = 0.0
        slope_there = decline(kind, shape, steepest) * profile(kind, shape, steepest) if steepest > 0.0 else 1.0
        total += 4.0 * row[COEFFICIENT] / row[SCALE] * slope_there
    return total


@compiled
def jump(table: Array, low: float, high: float, scale: float) -> float:
    """Sum of the density's jumps strictly inside (low, high), and what a cusp is worth as a jump.

    A generalised Gaussian with shape < 1 has a cusp where its derivative is unbounded. Between the codes one to
    two steps away on either side of it the variation of the density counts, beyond them that of the derivative.
    The bound must grow with the scale (it is used for a whole interval): where the refined one does not, the
    whole variation counts.
    """
    total = 0.0
    for j in range(table.shape[0]):
        row = table[j]
        kind, shape = int(row[KIND]), row[SHAPE]
        if kind == GENERALIZED and shape < 1.0:
            x = scale / row[SCALE]
            cusp = 1.0
            if shape * x**shape < 3.0 + shape:
                bend_beyond = BEND_FACTOR / JUMP_FACTOR * x * decline(kind, shape, x) * profile(kind, shape, x)
                cusp = min(1.0, 1.0 - profile(kind, shape, 2.0 * x) + bend_beyond)
            total += 2.0 * row[COEFFICIENT] * cusp
        for limit in (row[LOW], row[HIGH]):
            if low < limit < high:
                x = abs(limit - row[LOCATION]) / row[SCALE]
                total += row[COEFFICIENT] * profile(kind, row[SHAPE], x)
    return total


@compiled
def parts(
    tables: Array,
    table_starts: NDArray[np.int64],
    levels: Array,
    level_starts: NDArray[np.int64],
    scales: Array,
    out: Array,
) -> None:
    """Columns of `out` (n, 5): error, clipping error, its slope, mass and `jump` inside the range."""
    for i in range(scales.size):
        table = tables[table_starts[i, 0] : table_starts[i, 1]]
        grid = levels[level_starts[i, 0] : level_starts[i, 1]]
        scale = scales[i]
        out[i, 1] = clipping(table, grid, scale)
        out[i, 0] = rounding(table, grid, scale) + out[i, 1]
        bottom, bottom_low = product(scale, grid[0])
        top, top_low = product(scale, grid[-1])
        below = moment(table, bottom, bottom_low, 1, -math.inf, 0.0)
        above = moment(table, top, top_low, 1, 0.0, math.inf)
        out[i, 2] = -2.0 * (grid[0] * below + grid[-1] * above)
        out[i, 3] = moment(table, 0.0, 0.0, 0, bottom, top)
        out[i, 4] = jump(table, bottom, top, scale)


@compiled
def outer(
    tables: Array,
    table_starts: NDArray[np.int64],
    levels: Array,
    level_starts: NDArray[np.int64],
    scales: Array,
    out: Array,
) -> None:
    """Columns of `out` (n, 2): clipping error, falling in the scale; power in the cell of zero, rising in it."""
    for i in range(scales.size):
        table = tables[table_starts[i, 0] : table_starts[i, 1]]
        grid = levels[level_starts[i, 0] : level_starts[i, 1]]
        out[i, 0] = clipping(table, grid, scales[i])
        zero = np.searchsorted(grid, 0.0)
        start, stop = -math.inf, math.inf
        if zero > 0:
            start = 0.5 * scales[i] * grid[zero - 1]
        if zero < grid.size - 1:
            stop = 0.5 * scales[i] * grid[zero + 1]
        out[i, 1] = moment(table, 0.0, 0.0, 2, start, stop)


@compiled
def slopes(
    tables: Array,
    table_starts: NDArray[np.int64],
    levels: Array,
    level_starts: NDArray[np.int64],
    scales: Array,
    out: Array,
) -> None:
    """Derivative of the total error by the scale, (n, 1)."""
    for i in range(scales.size):
        table = tables[table_starts[i, 0] : table_starts[i, 1]]
        out[i, 0] = slope(table, levels[level_starts[i, 0] : level_starts[i, 1]], scales[i])
