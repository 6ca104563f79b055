"""Enumeration of boxed integers on a triangular factor, one row after the other, eight nodes at a time.

For the node that has fixed the coordinates k, k+1, … of a row,

    E(x) = f₀ + Σ_{j≥k} [ r_j² (x_j − c_j)² + g_j (x_j − b_j) ] + Q_k(x_{<k} − c_{<k}) + Σ_{i<k} g_i (x_i − b_i)

with `c` the centres conditional on the fixed coordinates; the last two terms are at least
`Σ_{i<k} min_q D_i (q − c_i)² + g_i (q − b_i)` for the diagonal `D` below the leading block `Q_k`.
Children are taken outwards from their vertex (Schnorr and Euchner 1994), two at a time, for eight nodes of a level
together (`enumeration_lanes.expand`). What is still to be done lies in a pool with its bounds, so that a search can
stop anywhere and say what it has proven.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ..gram import Array
from .box import babai, descend, recentre, times
from .enumeration_lanes import BOUND, COST, DOWN, LANES, PATH, UP, expand
from .enumeration_prepare import Indices

ROW, LEVEL, DIVING = range(3)
FINISHED, NODE_LIMIT, PAUSED = 1, 2, 3
LOW, HIGH, CENTRE, PULL, ANCHOR, PEAK, ORIGIN, POINT = range(8)
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
    pool: Array,
    entries: Indices,
    words: int,
    width: int,
    row: Array,
    work: Array,
    integers: Indices,
    small: Array,
) -> tuple[float, float]:
    """Recentre a row, find its starting point and make the root the only entry.

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
    root = k * (n + PATH + words) * width
    bound = constant
    for i in range(n):
        pool[root + i * width] = c[i]
        q = min(max(np.floor(c[i] + 0.5 - g[i] * vertex[n * m + i]), lo[i]), hi[i])
        bound += tails[n * m + i] * (c[i] - q) ** 2 + g[i] * (q - b[i])
    for i in range(n):
        entries[i] = 0
    entries[k] = 1
    root += n * width
    pool[root + COST * width] = constant
    pool[root + BOUND * width] = bound
    pool[root + DOWN * width] = min(max(np.floor(c[k] - peak[k] + 0.5), lo[k]), hi[k])
    pool[root + UP * width] = pool[root + DOWN * width] + 1.0
    for i in range(words):
        pool[root + (PATH + i) * width] = 0.0
    return value, left


@njit(cache=True)
def finish(
    pool: Array,
    entries: Indices,
    digits: int,
    bits: int,
    width: int,
    r2: Array,
    row: Array,
    best: float,
    goal_factor: float,
    x: Array,
) -> tuple[float, int]:
    """Fix the last coordinate of all entries of level 0. Returns the best error and the nodes visited."""
    n = r2.size
    lo, hi, g, b, origin = row[LOW], row[HIGH], row[PULL], row[ANCHOR], row[ORIGIN]
    nodes = 0
    for place in range(entries[0]):
        centre = pool[place]
        value = min(max(np.floor(centre - row[PEAK, 0] + 0.5), lo[0]), hi[0])
        e = value - centre
        error = pool[(n + COST) * width + place] + r2[0] * e * e + g[0] * (value - b[0])
        if error < best * goal_factor:
            nodes += 1
            best = error
            x[0] = value + origin[0]
            for i in range(1, n):
                word = np.int64(pool[(n + PATH + i // digits) * width + place])
                x[i] = float((word >> (bits * (i % digits))) & ((1 << bits) - 1)) + lo[i] + origin[i]
    entries[0] = 0
    return best, nodes


@njit(cache=True)
def lift_best(pool: Array, entries: int, base: int, rows: int, n: int, width: int) -> None:
    """Bring the entries of least bound of the level that begins at `base` to its last vector, the next to be taken."""
    bounds = base + (n + BOUND) * width
    split = entries - LANES
    while split > 0:
        best, worst = 0, split
        for place in range(split):
            if pool[bounds + place] < pool[bounds + best]:
                best = place
        for place in range(split, entries):
            if pool[bounds + place] > pool[bounds + worst]:
                worst = place
        if pool[bounds + best] >= pool[bounds + worst]:
            return
        for i in range(base, base + rows * width, width):
            pool[i + best], pool[i + worst] = pool[i + worst], pool[i + best]


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
    pool: Array,
    entries: Indices,
    words: int,
    digits: int,
    bits: int,
    width: int,
    row: Array,
    state: Indices,
) -> tuple[float, int]:
    """Search what lies in the pool until it is empty or at least `stop` nodes are counted.

    First a dive, level by level with the best entries of each, as many as fit, for a good point early. Then the
    deepest level with a full vector of entries; where none is full, the highest, whose children fill the others. So
    the pool never overflows, and nearly all vectors are full.
    Returns the error of the best point (stored in `x`) and the node count.
    """
    n = r2.size
    m = row.shape[1]
    rows = n + PATH + words
    lo, hi, g, b, pull = row[LOW], row[HIGH], row[PULL], row[ANCHOR], row[PEAK]
    pulled = 0
    for i in range(n):
        if g[i] != 0.0:
            pulled = 1
    highest = n - 1
    k, diving = state[LEVEL], state[DIVING] == 1
    while count < stop:
        while highest >= 0 and entries[highest] == 0:
            highest -= 1
        if highest < 0:
            break
        if not diving or entries[k] == 0:
            while k < highest and entries[k] < LANES:
                k += 1
            if entries[k] < LANES:
                k = highest
        if k > 0:
            if diving:
                lift_best(pool, entries[k], k * rows * width, rows, n, width)
            entries[k], entries[k - 1], nodes = expand(
                pool, coupling, tails, vertex, r2, g, b, lo, hi, pull, n, m, words, digits, bits,
                width, k, entries[k], entries[k - 1], pulled, best * goal_factor,
            )  # fmt: skip
            count += nodes
            if not diving or entries[k] == 0 or entries[k - 1] > width - 2 * LANES or k == 1:
                k -= 1
        if entries[0] > 0:
            best, nodes = finish(pool, entries, digits, bits, width, r2, row, best, goal_factor, x)
            count += nodes
            diving = False
    state[LEVEL], state[DIVING] = k, diving
    return best, count


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
    pool: Array,
    entries: Indices,
    digits: int,
    bits: int,
    width: int,
    row: Array,
    work: Array,
    integers: Indices,
    small: Array,
) -> bool:
    """Search rows until all are done (True) or `slice_nodes` more nodes were visited (False: call again).

    A row counts as `ROW_COST` nodes towards the slice. Arrays of width `m`, the number of columns rounded up to
    whole vectors, hold zeros beyond the columns.
    """
    n = r2.size
    words = (n + digits - 1) // digits
    left = slice_nodes
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
                pool,
                entries,
                words,
                width,
                row,
                work,
                integers,
                small,
            )
            best_error[r] = start_error[r]
            nodes[r] = 0
            state[LEVEL], state[DIVING] = n - 1, 1
        before = nodes[r]
        best_error[r], nodes[r] = search_row(
            coupling,
            r2,
            tails,
            vertex,
            1.0 - gap_tol,
            min(max_nodes, before + max(left, 0)),
            best_error[r],
            before,
            best_x[r],
            pool,
            entries,
            words,
            digits,
            bits,
            width,
            row,
            state,
        )
        left -= nodes[r] - before + ROW_COST
        lower[r] = best_error[r] * (1.0 - gap_tol)
        open_entries = 0
        for k in range(n):
            open_entries += entries[k]
            for place in range(entries[k]):
                lower[r] = min(lower[r], pool[(k * (n + PATH + words) + n + BOUND) * width + place])
        ended[r] = FINISHED if open_entries == 0 else NODE_LIMIT if nodes[r] >= max_nodes else PAUSED
        if ended[r] == PAUSED:
            return False
        state[ROW] += 1
    return True
