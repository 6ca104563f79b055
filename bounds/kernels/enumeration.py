"""Depth-first enumeration of boxed integers on a triangular factor, one row after the other, resumable at any node.

For the node that has fixed the coordinates k, k+1, … of a row,

    E(x) = f₀ + Σ_{j≥k} [ r_j² (x_j − c_j)² + g_j (x_j − b_j) ] + Q_k(x_{<k} − c_{<k}) + Σ_{i<k} g_i (x_i − b_i)

with `c` the centres conditional on the fixed coordinates; the last two terms are at least
`Σ_{i<k} min_q D_i (q − c_i)² + g_i (q − b_i)` for the diagonal `D` below the leading block `Q_k`.
Children are taken outwards from their vertex (Schnorr and Euchner 1994), two at a time. What is still to be done
lies on a stack with its bounds, so that a search can stop anywhere and say what it has proven.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ..gram import Array
from .box import babai, descend, recentre, times
from .enumeration_lanes import LANES, two_tails
from .enumeration_prepare import Indices

ROW, DEPTH = 0, 1
FINISHED, NODE_LIMIT, PAUSED = 1, 2, 3
LOW, HIGH, CENTRE, PULL, ANCHOR, PEAK, ORIGIN, POINT = range(8)
VALUE, COST, BOUND = range(3)
ROW_COST = 100


@njit(cache=True)
def begin_row(
    gram: Array,
    inverse: Array,
    coupling: Array,
    r2: Array,
    tails: Array,
    vertex: Array,
    target: Array,
    low: float,
    high: float,
    given: Array,
    given_error: float,
    x: Array,
    centres: Array,
    slot: Indices,
    cost: Array,
    below: Array,
    above: Array,
    row: Array,
    work: Array,
    integers: Indices,
    small: Array,
    stack: Array,
) -> tuple[float, float]:
    """Recentre a row, find its starting point and put the root on the stack.

    Returns the error of the starting point and what rounding left of the recentring (see `recentre`).
    The origin moves to the integers nearest to the centre, which is exact and keeps every later error relative.
    """
    n = target.size
    m = row.shape[1]
    lo, hi, c, g, b = row[LOW], row[HIGH], row[CENTRE], row[PULL], row[ANCHOR]
    peak, origin, z = row[PEAK], row[ORIGIN], row[POINT]
    constant, left = recentre(
        gram, inverse, target, low, high, c[:n], g[:n], b[:n], work, integers[0], integers[1], small
    )
    for i in range(n):
        origin[i] = np.floor(c[i] + 0.5)
        c[i] -= origin[i]
        lo[i] = low - origin[i]
        hi[i] = high - origin[i]
        b[i] = b[i] - origin[i] if g[i] != 0.0 else 0.0
        peak[i] = 0.5 * g[i] / r2[i]
    babai(coupling, m, peak, c, lo, hi, work[0], z[:n])
    descend(gram, c, g, lo, hi, z[:n], work[0])
    for i in range(n):
        work[0][i] = z[i] - c[i]
    times(gram, work[0], work[1])
    value = constant
    for i in range(n):
        value += work[0][i] * work[1][i] + g[i] * (z[i] - b[i])
        x[i] = z[i] + origin[i]
    if given_error < value:
        value = given_error
        for i in range(n):
            x[i] = given[i]
    k = n - 1
    first = 2 * k * m
    for i in range(n):
        centres[first + i] = c[i]
    bound, _ = two_tails(
        coupling, tails, vertex, g, b, lo, hi, centres, n * m, first, first, first + m, 0.0, 0.0, m // LANES
    )
    slot[k] = 0
    cost[n] = constant
    below[k] = min(max(np.floor(c[k] - peak[k] + 0.5), lo[k]), hi[k])
    above[k] = below[k] + 1.0
    stack[VALUE, 0] = np.nan
    stack[BOUND, 0] = constant + bound
    integers[2, 0] = k
    return value, left


@njit(cache=True)
def search_row(
    coupling: Array,
    r2: Array,
    tails: Array,
    vertex: Array,
    goal_factor: float,
    stop: int,
    best: float,
    count: int,
    x: Array,
    centres: Array,
    slot: Indices,
    cost: Array,
    below: Array,
    above: Array,
    row: Array,
    level: Indices,
    stack: Array,
    depth: int,
) -> tuple[int, float, int]:
    """Search what lies on the stack until it is empty or `stop` nodes are counted.

    An entry is a child already evaluated (its value is a number) or the children of a node not yet evaluated
    (NaN). Returns the depth of the stack, the error of the best point (stored in `x`) and the node count.
    """
    n = r2.size
    m = row.shape[1]
    lo, hi, g, b = row[LOW], row[HIGH], row[PULL], row[ANCHOR]
    pull, origin, z = row[PEAK], row[ORIGIN], row[POINT]
    goal = best * goal_factor
    while depth > 0:
        depth -= 1
        bound = stack[BOUND, depth]
        if bound >= goal:
            continue
        k = level[depth]
        if not np.isnan(stack[VALUE, depth]):
            z[k] = stack[VALUE, depth]
            cost[k] = stack[COST, depth]
            k -= 1
            slot[k] = 1
            below[k] = min(max(np.floor(centres[(2 * k + 1) * m + k] - pull[k] + 0.5), lo[k]), hi[k])
            above[k] = below[k] + 1.0
        while True:
            if count >= stop:
                level[depth] = k
                stack[VALUE, depth] = np.nan
                stack[BOUND, depth] = bound
                return depth + 1, best, count
            base, curvature, slope, anchor = cost[k + 1], r2[k], g[k], b[k]
            source = (2 * k + slot[k]) * m
            centre = centres[source + k]
            peak = centre - pull[k]
            down, up, bottom, top = below[k], above[k], lo[k], hi[k]
            if down >= bottom and (up > top or peak - down <= up - peak):
                first = down
                down -= 1.0
            else:
                first = up
                up += 1.0
            e = first - centre
            spent = base + curvature * e * e + slope * (first - anchor)
            if spent >= goal:
                break
            count += 1
            if k == 0:
                z[0] = first
                best = spent
                goal = best * goal_factor
                for i in range(n):
                    x[i] = z[i] + origin[i]
                break
            twin, f, spent_twin = first, e, np.inf
            more = np.inf
            if down >= bottom or up <= top:
                if down >= bottom and (up > top or peak - down <= up - peak):
                    twin = down
                    down -= 1.0
                else:
                    twin = up
                    up += 1.0
                f = twin - centre
                spent_twin = base + curvature * f * f + slope * (twin - anchor)
                if spent_twin < goal:
                    count += 1
                    if down >= bottom:
                        d = down - centre
                        more = base + curvature * d * d + slope * (down - anchor)
                    if up <= top:
                        d = up - centre
                        more = min(more, base + curvature * d * d + slope * (up - anchor))
                    if more < goal:
                        below[k], above[k] = down, up
                        level[depth] = k
                        stack[VALUE, depth] = np.nan
                        stack[BOUND, depth] = max(more, bound)
                        depth += 1
            child = 2 * (k - 1) * m
            tail, twin_tail = two_tails(
                coupling,
                tails,
                vertex,
                g,
                b,
                lo,
                hi,
                centres,
                k * m,
                source,
                child,
                child + m,
                e,
                f,
                (k + LANES - 1) // LANES,
            )
            tail += spent
            twin_tail += spent_twin
            if tail < goal:
                if twin_tail < goal:
                    level[depth] = k
                    stack[VALUE, depth] = twin
                    stack[COST, depth] = spent_twin
                    stack[BOUND, depth] = twin_tail
                    depth += 1
                z[k] = first
                cost[k] = spent
                bound = tail
                k -= 1
                slot[k] = 0
            elif twin_tail < goal:
                z[k] = twin
                cost[k] = spent_twin
                bound = twin_tail
                child += m
                k -= 1
                slot[k] = 1
            else:
                break
            below[k] = min(max(np.floor(centres[child + k] - pull[k] + 0.5), lo[k]), hi[k])
            above[k] = below[k] + 1.0
    return 0, best, count


@njit(cache=True)
def enumerate_rows(
    gram: Array,
    inverse: Array,
    coupling: Array,
    r2: Array,
    tails: Array,
    vertex: Array,
    target: Array,
    low: float,
    high: float,
    given: Array,
    given_error: Array,
    max_nodes: int,
    slice_nodes: int,
    gap_tol: float,
    best_x: Array,
    best_error: Array,
    lower: Array,
    residual: Array,
    start_error: Array,
    nodes: Indices,
    ended: Indices,
    state: Indices,
    centres: Array,
    slot: Indices,
    cost: Array,
    below: Array,
    above: Array,
    row: Array,
    work: Array,
    integers: Indices,
    small: Array,
    stack: Array,
) -> bool:
    """Search rows until all are done (True) or `slice_nodes` more nodes were visited (False: call again).

    A row counts as `ROW_COST` nodes towards the slice. Arrays of width `m`, the number of columns rounded up to
    whole vectors, hold zeros beyond the columns.
    """
    left = slice_nodes
    level = integers[2]
    while state[ROW] < target.shape[0]:
        r = state[ROW]
        if ended[r] != PAUSED:
            start_error[r], residual[r] = begin_row(
                gram,
                inverse,
                coupling,
                r2,
                tails,
                vertex,
                target[r],
                low,
                high,
                given[r % given.shape[0]],
                given_error[r],
                best_x[r],
                centres,
                slot,
                cost,
                below,
                above,
                row,
                work,
                integers,
                small,
                stack,
            )
            best_error[r] = start_error[r]
            nodes[r] = 0
            state[DEPTH] = 1
        before = nodes[r]
        depth, best_error[r], nodes[r] = search_row(
            coupling,
            r2,
            tails,
            vertex,
            1.0 - gap_tol,
            min(max_nodes, before + max(left, 0)),
            best_error[r],
            before,
            best_x[r],
            centres,
            slot,
            cost,
            below,
            above,
            row,
            level,
            stack,
            state[DEPTH],
        )
        left -= nodes[r] - before + ROW_COST
        state[DEPTH] = depth
        lower[r] = best_error[r] * (1.0 - gap_tol)
        for entry in range(depth):
            lower[r] = min(lower[r], stack[BOUND, entry])
        ended[r] = FINISHED if depth == 0 else NODE_LIMIT if nodes[r] >= max_nodes else PAUSED
        if ended[r] == PAUSED:
            return False
        state[ROW] += 1
    return True
