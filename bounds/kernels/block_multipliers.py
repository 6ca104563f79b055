"""The best `y` of a block-diagonal `D` over an integer box: column generation with exact block minima.

For fixed `D` the largest bound over `y` is the least value of the convex program dual to it,

    Σ_B Σ_k p_Bk u_Bkᵀ D_B u_Bk + ȳᵀ M ȳ,        ȳ_B = Σ_k p_Bk u_Bk,

over weights `p_B ≥ 0` of sum one on the integer points `x = u + target` of each block, and `y = ȳ` there. `judge` finds
the least point of every block at the present `ȳ`, which gives a bound and a column each; `mix` improves the weights on
the columns known so far by pairwise steps (Guélat and Marcotte 1986), block after block.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ..gram import Array
from .enumeration import DIVING, LEVEL, begin_row, search_row
from .enumeration_lanes import BOUND, LANES, PATH
from .enumeration_prepare import Indices

WIDTH = 3 * LANES
STEPS = 16
PATIENCE = 3
AGAIN = 16


@njit(cache=True)
def search_block(
    shape: Any,
    arrays: Any,
    index: int,
    centre: Array,
    low: float,
    high: float,
    given: Array,
    given_error: float,
    gap: float,
    max_nodes: int,
    work: Any,
    x: Array,
) -> tuple[float, float, float, int]:
    """Least `(x − c)ᵀ D_B (x − c)` over the box, all in search order.

    Returns a lower bound, the error of `x`, what rounding left of the recentring and the nodes. `gap` is absolute: a
    node is left when its bound comes within `gap` of the best point.
    """
    starts, padded, squares, tables = shape
    gram, inverse, coupling, cost, tails, vertex = arrays
    m = starts[index + 1] - starts[index]
    p = padded[index]
    square = slice(squares[index], squares[index] + m * m)
    table = slice(tables[index], tables[index] + (m + 1) * p)
    r2 = cost[starts[index] : starts[index + 1]]
    pool, entries, state, row, scratch, integers, small = work
    bits = 1
    while 2.0**bits <= high - low:
        bits += 1
    digits = 52 // bits
    words = (m + digits - 1) // digits
    state[LEVEL], state[DIVING] = m - 1, 1
    lanes = row[: 8 * p]
    lanes[:] = 0.0
    lanes = lanes.reshape(8, p)
    best, left = begin_row(
        gram[square].reshape(m, m),
        inverse[square].reshape(m, m),
        coupling[table],
        r2,
        tails[table],
        vertex[table],
        centre[:m],
        low,
        high,
        given[:m],
        given_error,
        x[:m],
        pool,
        entries[:m],
        words,
        WIDTH,
        lanes,
        scratch[: 4 * m].reshape(4, m),
        integers,
        small,
    )
    share = min(gap / best, 0.5) if best > 0.0 else 0.0
    best, nodes = search_row(
        coupling[table],
        r2,
        tails[table],
        vertex[table],
        1.0 - share,
        max_nodes,
        best,
        0,
        x[:m],
        pool,
        entries[:m],
        words,
        digits,
        bits,
        WIDTH,
        lanes,
        state,
    )
    lower = best * (1.0 - share)
    for k in range(m):
        for place in range(entries[k]):
            lower = min(lower, pool[(k * (m + PATH + words) + m + BOUND) * WIDTH + place])
    return lower, best, left, nodes


@njit(cache=True)
def workspace(widest: int, lanes: int) -> Any:
    """What `search_block` writes; one allocation a call."""
    return (
        np.zeros(widest * (2 * widest + PATH) * WIDTH),
        np.zeros(widest, np.int64),
        np.zeros(3, np.int64),
        np.zeros(8 * lanes),
        np.zeros(4 * widest),
        np.zeros((2, widest), np.int64),
        np.zeros((widest, widest)),
    )


@njit(cache=True)
def block_minima(
    shape: Any,
    arrays: Any,
    centre: Array,
    low: float,
    high: float,
    max_nodes: int,
    lower: Array,
    error: Array,
    residual: Array,
    points: Array,
) -> None:
    """`search_block` on every row of the first block; `centre`, `points` (rows, width) in search order."""
    rows, m = centre.shape
    work = workspace(m, shape[1][0])
    for r in range(rows):
        lower[r], error[r], residual[r], _ = search_block(
            shape, arrays, 0, centre[r], low, high, centre[r], np.inf, 0.0, max_nodes, work, points[r]
        )


@njit(cache=True)
def judge(
    shape: Any,
    arrays: Any,
    columns: Indices,
    order: Indices,
    target: Array,
    low: float,
    high: float,
    gap: float,
    max_nodes: int,
    y: Array,
    g: Array,
    pool: Array,
    curved: Array,
    weight: Array,
    count: Indices,
    work: Any,
    values: Array,
    centre: Array,
    given: Array,
    x: Array,
) -> tuple[float, float, int, bool]:
    """The bound at `y` with `g = My`, how far the weights are from optimal there, how many columns are new.

    Last whether a search was cut short, so that the weights may never seem optimal.
    """
    starts = shape[0]
    inverse, squares = arrays[1], shape[2]
    bound = 0.0
    excess = 0.0
    fresh = 0
    cut = False
    for i in range(y.size):
        bound -= y[i] * g[i]
    for b in range(starts.size - 1):
        s = starts[b]
        m = starts[b + 1] - s
        known = -1
        for k in range(count[b]):
            v = curved[b, k]
            for i in range(m):
                v += 2.0 * g[columns[s + i]] * pool[b, k, i]
            values[k] = v
            if known < 0 or v < values[known]:
                known = k
        constant = 0.0
        for i in range(m):
            step = 0.0
            for j in range(m):
                step += inverse[squares[b] + i * m + j] * g[columns[s + order[s + j]]]
            column = columns[s + order[s + i]]
            centre[i] = target[column] - step
            constant -= step * g[column]
            given[i] = np.rint(pool[b, known, order[s + i]] + target[column])
        lower, error, _, _ = search_block(
            shape, arrays, b, centre, low, high, given, values[known] - constant, gap, max_nodes, work, x
        )
        bound += lower + constant
        cut |= error - lower > 2.0 * gap
        for k in range(count[b]):
            excess += weight[b, k] * values[k]
        excess -= lower + constant
        value = error + constant
        if value >= values[known] - 1e-13 * abs(constant):
            continue
        new = count[b]
        if new < pool.shape[1]:
            count[b] += 1
        else:
            new = -1
            for k in range(count[b]):
                if weight[b, k] == 0.0 and (new < 0 or values[k] > values[new]):
                    new = k
            if new < 0:
                continue
        fresh += 1
        weight[b, new] = 0.0
        for i in range(m):
            column = columns[s + order[s + i]]
            u = x[i] - target[column]
            pool[b, new, order[s + i]] = u
            value -= 2.0 * g[column] * u
        curved[b, new] = value
    return bound, excess, fresh, cut


@njit(cache=True)
def mix(
    rest: Array,
    starts: Indices,
    columns: Indices,
    steps: int,
    tol: float,
    y: Array,
    g: Array,
    pool: Array,
    curved: Array,
    weight: Array,
    count: Indices,
    values: Array,
    image: Array,
    change: Array,
) -> None:
    """One sweep of pairwise steps: in each block weight moves from the worst column in use to the best."""
    for b in range(starts.size - 1):
        s = starts[b]
        m = starts[b + 1] - s
        for k in range(count[b]):
            v = curved[b, k]
            for i in range(m):
                v += 2.0 * g[columns[s + i]] * pool[b, k, i]
            values[k] = v
        change[:m] = 0.0
        for _ in range(steps):
            to = 0
            away = -1
            for k in range(count[b]):
                if values[k] < values[to]:
                    to = k
                if weight[b, k] > 0.0 and (away < 0 or values[k] > values[away]):
                    away = k
            if values[away] - values[to] <= tol:
                break
            curvature = 0.0
            for i in range(m):
                line = columns[s + i]
                total = 0.0
                for j in range(m):
                    total += rest[line, columns[s + j]] * (pool[b, to, j] - pool[b, away, j])
                image[i] = total
                curvature += total * (pool[b, to, i] - pool[b, away, i])
            length = weight[b, away]
            if curvature * length > 0.5 * (values[away] - values[to]):
                length = 0.5 * (values[away] - values[to]) / curvature
                weight[b, away] -= length
            else:
                weight[b, away] = 0.0
            weight[b, to] += length
            for i in range(m):
                change[i] += length * (pool[b, to, i] - pool[b, away, i])
                image[i] *= 2.0 * length
            for k in range(count[b]):
                v = 0.0
                for i in range(m):
                    v += image[i] * pool[b, k, i]
                values[k] += v
        for i in range(m):
            f = change[i]
            if f != 0.0:
                column = columns[s + i]
                y[column] += f
                for j in range(y.size):
                    g[j] += f * rest[column, j]


@njit(cache=True)
def improve_row(
    rest: Array,
    shape: Any,
    arrays: Any,
    columns: Indices,
    order: Indices,
    target: Array,
    low: float,
    high: float,
    tol: float,
    gap: float,
    max_nodes: int,
    passes: int,
    sweeps: int,
    pool: Array,
    curved: Array,
    weight: Array,
    count: Indices,
    y: Array,
) -> tuple[float, float]:
    """Column generation for one row, until the bound is within `tol` of the best that this `D` can give.

    A search that `max_nodes` cuts short still bounds its block, by less; where one is cut and none finds a new column
    for `PATIENCE` passes, the row ends. Blocks that depend on each other strongly (narrow ones beside a near-null
    direction) mix slowly: without a new column the sweeps are `AGAIN` times as many.

    Parameters
    ----------
    rest (n, n) : M
    passes : times that all block minima are searched
    sweeps : sweeps of `mix` between them
    gap : what the minimum of a block may be short of, absolute
    pool (blocks, capacity, widest), curved, weight (blocks, capacity), count : columns, `uᵀDu`, `p`, used; in and out.
        At least one column a block must be there, and the weights of a block must have sum one.
    y (n,) : out, the best

    Returns
    -------
    the bound of `y` (without any allowance), and the value of the convex program at the last weights
    """
    starts = shape[0]
    widest = pool.shape[2]
    work = workspace(widest, shape[1].max())
    values = np.zeros(pool.shape[1])
    centre, given, x, image, change = np.zeros((5, widest))
    now = np.zeros(y.size)
    g = np.zeros(y.size)
    best = -np.inf
    value = np.inf
    stale = 0
    for step in range(passes):
        now[:] = 0.0
        for b in range(starts.size - 1):
            for k in range(count[b]):
                if weight[b, k] > 0.0:
                    for i in range(starts[b + 1] - starts[b]):
                        now[columns[starts[b] + i]] += weight[b, k] * pool[b, k, i]
        g[:] = 0.0
        for i in range(y.size):
            for j in range(y.size):
                g[j] += now[i] * rest[i, j]
        bound, excess, fresh, cut = judge(
            shape, arrays, columns, order, target, low, high, gap, max_nodes, now, g,
            pool, curved, weight, count, work, values, centre, given, x,
        )  # fmt: skip
        value = bound + excess
        if bound > best:
            best = bound
            y[:] = now
        stale = stale + 1 if cut and fresh == 0 else 0
        if value - best <= tol or stale == PATIENCE or step == passes - 1:
            break
        for _ in range(sweeps if fresh > 0 else AGAIN * sweeps):
            mix(
                rest, starts, columns, STEPS, 0.2 * tol / (starts.size - 1), now, g,
                pool, curved, weight, count, values, image, change,
            )  # fmt: skip
    return best, value
