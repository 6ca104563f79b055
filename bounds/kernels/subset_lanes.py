"""The best-subset search with eight trees side by side: their bounds and diagonals are computed in lanes.

Each lane walks the tree of its own (row, keep) as `advance` of `best_subset.py` does; nodes are made and finished one
by one. What takes most of the time there, the factorisations behind `perspective` and `tighten`, is done here for all
lanes that wait for it: `evaluate` and `sharpen` are those two functions in lanes, with the same safeguards. No lane
depends on what the others hold, so that neither the order of rows nor their number changes any bit of a row.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..gram import UNIT_ROUNDOFF, Array
from .best_subset import (
    AGAIN,
    BARRIER,
    BRANCH,
    EVALUATIONS,
    HUGE,
    LEAST,
    MARGIN,
    MOST,
    SETTLED,
    TIGHTEN,
    TILT,
    Tree,
    borrowed,
    choose,
    decide,
    gap_of,
    harvest,
    plant,
    prepare,
    walk,
)  # fmt: skip
from .lanes import LANES, Lanes, aligned, any_positive, load, root, spread, store, where_less
from .linear_algebra import borrow

#: What a lane waits for: its next node, a bound, a diagonal, or nothing since no row is left.
NODE, BOUND, DIAGONAL, NOTHING = range(4)
PATIENCE = 5  # lanes that wait for a diagonal before it is computed, if others can go on
#: Single numbers of a lane, in `Space.number`.
SIZE, REMOVE, SOFTEN, VALUE, LOW, HIGH, REACH, SHARPEN, SAFE = range(9)


class Space(NamedTuple):
    """The current node of every lane, and scratch space; flat arrays of lanes, squares with `columns + 1` in a row."""

    matrix: Array  # (columns, columns + 1) upper triangles of M
    v: Array  # (columns,)
    d: Array
    z: Array
    y2: Array  # d y² at z
    number: Array
    a: Array  # scratch squares
    b: Array
    c: Array
    g: Array  # scratch (columns + 1,)
    e: Array
    reciprocal: Array
    waits: NDArray[np.int64]  # (LANES,)
    left: NDArray[np.int64]  # (LANES,) evaluations left at the node
    improved: NDArray[np.int64]  # (LANES,) 1 where the diagonal was tuned at the node


def space(columns: int) -> Space:
    """Space for nodes of so many columns, with room for what `factor` and `invert` write beyond them."""
    square = [aligned((columns + 4) * (columns + 5)) for _ in range(4)]
    line = [aligned(columns + 5) for _ in range(7)]
    waits, left, improved = np.zeros((3, LANES), dtype=np.int64)
    return Space(
        square[0], line[0], line[1], line[2], line[3], aligned(SAFE + 1), square[1], square[2], square[3],
        line[4], line[5], line[6], waits, left, improved,
    )  # fmt: skip


@njit(cache=True)
def factor(a: Array, m: int, width: int, row: int, reciprocal: Array) -> Lanes:
    """`cholesky` of `linear_algebra.py` in lanes: right-hand sides in columns m …; zero in lanes not definite."""
    zero, one = spread(0.0), spread(1.0)
    definite = one
    j = 0
    while j < m:
        end = min(j + 4, m)
        for p in range(j, end):
            top = p * row
            pivot = load(a, top + p)
            definite = where_less(zero, pivot, definite, zero)
            r = where_less(zero, pivot, one / root(pivot), zero)
            store(reciprocal, p, r)
            for c in range(p, width):
                store(a, top + c, load(a, top + c) * r)
            for i in range(p + 1, end):
                f, at = load(a, top + i), i * row
                for c in range(i, width):
                    store(a, at + c, load(a, at + c) - f * load(a, top + c))
        p0, p1, p2, p3 = j * row, (j + 1) * row, (j + 2) * row, (j + 3) * row
        for i in range(end, m, 2):  # two rows at a time; what this writes below the diagonal is not read
            f0, f1, f2, f3, at = load(a, p0 + i), load(a, p1 + i), load(a, p2 + i), load(a, p3 + i), i * row
            h = min(i + 1, m - 1)
            h0, h1, h2, h3, below = load(a, p0 + h), load(a, p1 + h), load(a, p2 + h), load(a, p3 + h), (i + 1) * row
            for c in range(i, width):
                x0, x1, x2, x3 = load(a, p0 + c), load(a, p1 + c), load(a, p2 + c), load(a, p3 + c)
                store(a, at + c, load(a, at + c) - ((f0 * x0 + f1 * x1) + (f2 * x2 + f3 * x3)))
                store(a, below + c, load(a, below + c) - ((h0 * x0 + h1 * x1) + (h2 * x2 + h3 * x3)))
        j = end
    return definite


@njit(cache=True)
def substitute(a: Array, m: int, row: int, reciprocal: Array, x: Array) -> None:
    """`x ← U⁻¹ x` for the factor in `a`, taking x from its column m."""
    for i in range(m):
        store(x, i, load(a, i * row + m))
    for i in range(m - 1, -1, -1):
        f = load(x, i) * load(reciprocal, i)
        store(x, i, f)
        for p in range(i):
            store(x, p, load(x, p) - f * load(a, p * row + i))


@njit(cache=True)
def invert(u: Array, m: int, row: int, reciprocal: Array, b: Array, inverse: Array) -> None:
    """Upper triangle of `(UᵀU)⁻¹` into `inverse`; `b` receives `U⁻ᵀ`, its columns filled up with zeros by fours."""
    zero = spread(0.0)
    for i in range(m):
        at, r = i * row, load(reciprocal, i)
        for c in range(0, i, 4):
            s0, s1, s2, s3 = zero, zero, zero, zero
            for k in range(c, i):
                f, p = load(u, k * row + i), k * row + c
                s0, s1 = s0 - f * load(b, p), s1 - f * load(b, p + 1)
                s2, s3 = s2 - f * load(b, p + 2), s3 - f * load(b, p + 3)
            store(b, at + c, s0 * r)
            store(b, at + c + 1, s1 * r)
            store(b, at + c + 2, s2 * r)
            store(b, at + c + 3, s3 * r)
        store(b, at + i, r)
        for c in range(i + 1, (i + 4) // 4 * 4):
            store(b, at + c, zero)
    for i in range(m):
        at = i * row
        for c in range(i // 4 * 4, m, 4):
            s0, s1, s2, s3 = zero, zero, zero, zero
            for k in range(c, m):
                f, p = load(b, k * row + i), k * row + c
                s0, s1 = s0 + f * load(b, p), s1 + f * load(b, p + 1)
                s2, s3 = s2 + f * load(b, p + 2), s3 + f * load(b, p + 3)
            store(inverse, at + c, s0)
            store(inverse, at + c + 1, s1)
            store(inverse, at + c + 2, s2)
            store(inverse, at + c + 3, s3)


@njit(cache=True)
def soften(s: Space, m: int) -> None:
    """`soften` of `best_subset.py` in the lanes that ask for it."""
    zero, one, tiny = spread(0.0), spread(1.0), spread(1e-300)
    size = load(s.number, SOFTEN) * load(s.number, SIZE)
    total = load(s.number, SIZE) - load(s.number, REMOVE)
    weight = zero
    for i in range(m):
        y2, z = load(s.y2, i), load(s.z, i)
        z = where_less(spread(float(i)), size, z * (y2 / root(root(root(y2 + tiny)))), zero)
        store(s.e, i, z)
        weight = weight + z
    t = weight / total
    capped = zero
    for _ in range(m):
        above, rest = zero, zero
        for i in range(m):
            z = load(s.e, i)
            above = above + where_less(z, t, zero, one)
            rest = rest + where_less(z, t, z, zero)
        above = where_less(zero, size, above, capped)
        again = where_less(capped, above, where_less(above, total, one, zero), zero)
        t = where_less(zero, again, rest / (total - above), t)
        capped = above
        if not any_positive(again):
            break
    scale = where_less(zero, t, one / t, zero)
    low, high = spread(LEAST), spread(MOST)
    for i in range(m):
        z = load(s.e, i) * scale
        z = where_less(z, low, low, z)
        z = where_less(high, z, high, z)
        store(s.z, i, where_less(spread(float(i)), size, z, load(s.z, i)))


@njit(cache=True)
def evaluate(s: Space, m: int, row: int) -> None:
    """`perspective` of `best_subset.py` for the lanes with a positive `SIZE`, after `soften` where it is due."""
    soften(s, m)
    zero, one, two, four, huge = spread(0.0), spread(1.0), spread(2.0), spread(4.0), spread(HUGE)
    size, k = load(s.number, SIZE), load(s.number, REMOVE)
    for i in range(m):
        here = spread(float(i))
        for j in range(i + 1, m):
            store(s.a, i * row + j, where_less(spread(float(j)), size, load(s.matrix, i * row + j), zero))
        z = load(s.z, i)
        diagonal = load(s.matrix, i * row + i) + z / (one - z) / load(s.d, i)
        store(s.a, i * row + i, where_less(here, size, diagonal, one))
        store(s.a, i * row + m, where_less(here, size, load(s.v, i), zero))
    factor(s.a, m, m + 1, row, s.reciprocal)
    value = zero
    for i in range(m):
        x = load(s.a, i * row + m)
        value = value + x * x
    substitute(s.a, m, row, s.reciprocal, s.g)
    inner, soft = zero, zero
    for i in range(m):
        here, g, hard, d = spread(float(i)), load(s.g, i), one - load(s.z, i), load(s.d, i)
        y = g / (d * hard)
        y2 = d * y * y
        inner = inner + where_less(here, size, g * load(s.v, i), zero)
        soft = soft + where_less(here, size, hard * y2, zero)
        store(s.e, i, where_less(here, size, y2, huge))
        store(s.y2, i, where_less(here, size, y2, load(s.y2, i)))
    total, count, low, high = zero, zero, spread(-1.0), huge
    for i in range(m):
        x, rank = load(s.e, i), zero
        for j in range(m):
            rank = rank + where_less(load(s.e, j), x, one, zero)
        total = total + where_less(rank, k, x, zero)
        count = count + where_less(rank, k, one, zero)
        low = where_less(rank, k, where_less(low, x, x, low), low)
        high = where_less(rank, k, high, where_less(x, high, x, high))
    tied = where_less(k, count, one, zero)
    total = where_less(zero, tied, total - (count - k) * low, total)
    high = where_less(zero, tied, low, high)
    spare = zero
    for i in range(m):
        x = load(s.e, i)
        spare = spare + where_less(low, x, zero, x / (one - load(s.z, i)))
    unit = (size + four) * spread(UNIT_ROUNDOFF)
    size_inner = where_less(inner, zero, zero - inner, inner)
    slack = unit * (two * size * soft + four * root(size * soft * k * spare) + two * (total + soft + size_inner))
    store(s.number, VALUE, total - soft + inner - slack)
    store(s.number, LOW, low)
    store(s.number, HIGH, high)
    store(s.number, REACH, value)


@njit(cache=True)
def sharpen(s: Space, m: int, row: int) -> None:
    """`tighten` of `best_subset.py` for the lanes with a positive `SHARPEN`; `SAFE` is 1 where it succeeded."""
    zero, one, tilt, tenth = spread(0.0), spread(1.0), spread(TILT), spread(0.1)
    size = load(s.number, SHARPEN)
    for i in range(m):
        for j in range(i + 1, m):
            store(s.a, i * row + j, where_less(spread(float(j)), size, zero - load(s.matrix, i * row + j), zero))
        diagonal = one / load(s.d, i) - load(s.matrix, i * row + i)
        store(s.a, i * row + i, where_less(spread(float(i)), size, diagonal, one))
    good = factor(s.a, m, m, row, s.reciprocal)
    invert(s.a, m, row, s.reciprocal, s.b, s.c)
    trace, along = zero, zero
    for i in range(m):
        here, d, z = spread(float(i)), load(s.d, i), load(s.z, i)
        e = z * (one - z) * load(s.y2, i) / d
        trace = trace + where_less(here, size, d, zero)
        along = along + where_less(here, size, e * d, zero)
        store(s.e, i, e)
        store(s.g, i, where_less(here, size, one / d, one))
    mu = spread(BARRIER) * trace / size
    lean = where_less(zero, along, tilt * trace / along, zero)
    for i in range(m):
        r = load(s.g, i)
        for j in range(i + 1, m):
            x = load(s.c, i * row + j) * r * load(s.g, j)
            store(s.a, i * row + j, where_less(spread(float(j)), size, mu * x * x, zero))
        x = load(s.c, i * row + i) * r * r - r
        here = spread(float(i))
        store(s.a, i * row + i, where_less(here, size, mu * x * x + tenth * mu * r * r, one))
        e = lean * load(s.e, i) + (one - tilt) - mu * x + tenth * mu * r
        store(s.a, i * row + m, where_less(here, size, e, zero))
    good = good * factor(s.a, m, m + 1, row, s.reciprocal)
    decrement = zero
    for i in range(m):
        x = load(s.a, i * row + m)
        decrement = decrement + x * x
    substitute(s.a, m, row, s.reciprocal, s.g)
    step = one / (one + root(decrement / mu))
    for i in range(m):
        g = load(s.g, i)
        far = spread(-0.8) * load(s.d, i) / g
        step = where_less(g, zero, where_less(far, step, far, step), step)
    for i in range(m):
        for j in range(i + 1, m):
            store(s.a, i * row + j, where_less(spread(float(j)), size, zero - load(s.matrix, i * row + j), zero))
        d = load(s.d, i) + step * load(s.g, i)
        store(s.e, i, d)
        diagonal = spread(1.0 - MARGIN) / d - load(s.matrix, i * row + i)
        store(s.a, i * row + i, where_less(spread(float(i)), size, diagonal, one))
    good = good * factor(s.a, m, m, row, s.reciprocal)
    safe = where_less(zero, size, good, zero)
    store(s.number, SAFE, safe)
    for i in range(m):
        new = where_less(zero, safe, load(s.e, i), load(s.d, i))
        store(s.d, i, where_less(spread(float(i)), size, new, load(s.d, i)))


@njit(cache=True)
def enter(t: Tree, s: Space, lane: int, level: int, evaluations: int) -> None:
    """Copy a node to its lane, which then waits for a bound."""
    m, matrix, row = t.node[level].size, t.matrix[level], t.best.shape[1] + 1
    for i in range(m):
        for j in range(i, m):
            s.matrix[(i * row + j) * LANES + lane] = matrix[i, j]
        s.v[i * LANES + lane] = t.v[level, i]
        s.d[i * LANES + lane] = t.d[level, i]
        s.z[i * LANES + lane] = t.z[level, i]
    s.number[SIZE * LANES + lane] = m
    s.number[REMOVE * LANES + lane] = t.node[level].remove
    s.number[SOFTEN * LANES + lane] = 0.0
    s.waits[lane] = BOUND
    s.left[lane] = evaluations


@njit(cache=True)
def leave(t: Tree, s: Space, lane: int) -> None:
    """The node of a lane is done with: go on with what is open."""
    t.state[lane].level -= 1
    s.waits[lane] = NODE
    s.number[SIZE * LANES + lane] = 0.0


@njit(cache=True)
def branch(t: Tree, s: Space, lane: int) -> None:
    """The node of a lane gets children."""
    choose(t, t.state[lane].level)
    s.waits[lane] = NODE
    s.number[SIZE * LANES + lane] = 0.0


@njit(cache=True)
def judge(t: Tree, s: Space, lane: int) -> None:
    """What follows from the bound of a lane."""
    level = t.state[lane].level
    gap, bound = gap_of(t, level), s.number[VALUE * LANES + lane]
    if bound >= gap:
        leave(t, s, lane)
        return
    s.left[lane] -= 1
    if s.left[lane] > 0 and s.number[REACH * LANES + lane] >= gap:
        s.number[SOFTEN * LANES + lane] = 1.0
        return
    z, d, y2 = t.z[level], t.d[level], t.line[1]
    for i in range(t.node[level].size):
        z[i], d[i], y2[i] = s.z[i * LANES + lane], s.d[i * LANES + lane], s.y2[i * LANES + lane]
    low, high = s.number[LOW * LANES + lane], s.number[HIGH * LANES + lane]
    what = decide(t, level, bound, low, high, y2, s.improved[lane] == 1)
    if what == SETTLED and prepare(t, level):
        enter(t, s, lane, level, AGAIN)
    elif what == TIGHTEN:
        s.waits[lane] = DIAGONAL
        s.number[SHARPEN * LANES + lane] = s.number[SIZE * LANES + lane]
        s.number[SIZE * LANES + lane] = 0.0
    elif what == BRANCH:
        branch(t, s, lane)
    else:
        leave(t, s, lane)


@njit(cache=True)
def resume(t: Tree, s: Space, lane: int) -> None:
    """After an attempt at the diagonal: bound the node again with the better one, or branch."""
    s.improved[lane] = 1
    s.number[SIZE * LANES + lane] = s.number[SHARPEN * LANES + lane]
    s.number[SHARPEN * LANES + lane] = 0.0
    if s.number[SAFE * LANES + lane] > 0.0:
        s.waits[lane] = BOUND
        s.left[lane] = AGAIN
        s.number[SOFTEN * LANES + lane] = 1.0
    else:
        branch(t, s, lane)


@njit(cache=True)
def widest(s: Space, name: int) -> int:
    """The most columns of a lane that waits."""
    return int(s.number[name * LANES : (name + 1) * LANES].max())


@njit(cache=True)
def advance_lanes(
    t: Tree, s: Space, inverse: Array, targets: Array, diagonal: Array, kept: NDArray[np.int8], error: Array,
    lower: Array, complete: NDArray[np.int8], nodes: NDArray[np.int64], at: NDArray[np.int64], max_nodes: int,
    factor: float, budget: int,
) -> None:  # fmt: skip
    """As `advance` of `best_subset.py`, with a tree for `LANES` problems; `at` is (next row, whether it has begun)."""
    rows, row = targets.shape[0], targets.shape[1] + 1
    t = borrowed(t)
    s = Space(
        borrow(s.matrix), borrow(s.v), borrow(s.d), borrow(s.z), borrow(s.y2), borrow(s.number), borrow(s.a),
        borrow(s.b), borrow(s.c), borrow(s.g), borrow(s.e), borrow(s.reciprocal), borrow(s.waits), borrow(s.left),
        borrow(s.improved),
    )  # fmt: skip
    if at[1] == 0:
        at[1] = 1
        s.waits[:] = NOTHING
        s.number[:] = 0.0
    while True:
        bounds, diagonals = 0, 0
        for lane in range(LANES):
            while s.waits[lane] in (NODE, NOTHING):
                if s.waits[lane] == NODE:
                    if walk(t, lane, max_nodes):
                        budget -= 1
                        level = t.state[lane].level
                        if prepare(t, level):
                            s.improved[lane] = 0
                            enter(t, s, lane, level, EVALUATIONS)
                        else:
                            leave(t, s, lane)
                        continue
                    harvest(t, lane, kept, error, lower, complete, nodes)
                    s.waits[lane] = NOTHING
                if at[0] == rows:
                    break
                r = at[0]
                plant(t, lane, r, inverse, targets[r], diagonal, kept[r], error[r], factor)
                s.waits[lane] = NODE
                at[0] += 1
            bounds += s.waits[lane] == BOUND
            diagonals += s.waits[lane] == DIAGONAL
        if bounds + diagonals == 0 or budget <= 0:
            return
        if diagonals >= PATIENCE or bounds == 0:
            sharpen(s, widest(s, SHARPEN), row)
            for lane in range(LANES):
                if s.waits[lane] == DIAGONAL:
                    resume(t, s, lane)
        else:
            evaluate(s, widest(s, SIZE), row)
            for lane in range(LANES):
                if s.waits[lane] == BOUND:
                    judge(t, s, lane)
