"""Depth-first branch and bound for the best subset, one tree per (row, keep).

A node is a set of free columns, the rest being kept or removed for good. Its state is the principal
block `M` on the free columns of the pivoted inverse of the Gram matrix, the weights `v` there, the
number `k` of columns still to remove, and the error so far. Removing the set R of free columns costs
`v_Rᵀ (M_RR)⁻¹ v_R`, so keeping a column strikes a row of `M`, and removing column b is one pivot:
`M ← M − M_b M_bᵀ / M_bb`, `v ← v − M_b v_b / M_bb`, at the cost `v_b² / M_bb`.

Bound: for a diagonal `D` with `C = D⁻¹ − M ⪰ 0` and any vector `g`, with `y = v − C g`,

    cost  ≥  Σ (k smallest dᵢ yᵢ²) − gᵀ C g.

It is the one inequality behind all bounds of this package, and with `g = (M + diag(z / ((1−z) d)))⁻¹ v`
and Σ z = the number to keep it is the perspective relaxation (Günlük & Linderoth 2010) at `z`; the
best `z` is a fixed point of `z ∝ z · (d y²)^p` capped at 1. A diagonal safe at a node is safe below
it, since both kinds of branch only shrink `M`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..gram import UNIT_ROUNDOFF, Array
from .lanes import LANES, any_positive, put, ramp, spread, where_less, window
from .linear_algebra import back_substitute, borrow, cholesky, inverse_from_factor, stride, subtract_1

EVALUATIONS, AGAIN = 6, 2  # of the bound at a node: at first, and after every change to it
BARRIER = 0.05  # weight of the log determinant in the objective of the diagonal, per unit of mean d
TILT = 0.35  # how far that objective leans from the trace towards the bound
MARGIN = 1e-10  # D is accepted where (1 − MARGIN) D⁻¹ − M has a Cholesky factor
LEAST, MOST = 1e-6, 1.0 - 1e-9  # range of z
LEAF = 3  # finish by enumeration with this many columns to keep
EARLY = 12  # … before any bound below so many free columns, else only where the bound fails
LEAF_RATIO = 8.0  # … unless the energy exceeds the gap so often (cancellation)
ROOT_ROUNDS, ROOT_TILT = 12, 0.9  # for the bound of a search cut short
NONE: int = np.int64(-1)  # type: ignore[assignment]  # a literal −1 would compile `accept` once more for each call
HUGE = 1e300


NODE = np.dtype(
    [
        ("size", "i8"),  # free columns
        ("remove", "i8"),  # how many of them to remove
        ("stage", "i8"),  # 0 untouched, 1 branched, 2 one child made, 3 both made
        ("branch", "i8"),  # position of the branching column
        ("cost", "f8"),  # error so far
        ("bound", "f8"),  # proven for everything open at this level
    ]
)
STATE = np.dtype(
    [
        ("error", "f8"),  # of the incumbent
        ("factor", "f8"),  # 1 − gap_tol
        ("level", "i8"),  # the current node; below the root's where the tree is exhausted
        ("nodes", "i8"),  # so far
        ("row", "i8"),  # of the problem
    ]
)
#: What `decide` leaves to be done with a node: nothing, prepare it again, tighten its diagonal, or branch.
FINISHED, SETTLED, TIGHTEN, BRANCH = range(4)


class Tree(NamedTuple):
    """Stacks of nodes, one level a depth, and scratch space: few arrays, for each costs time at every call.

    Several problems lie behind each other, `columns + 2` levels each.
    """

    matrix: Array  # (levels, columns, stride) upper triangles of M
    v: Array  # (levels, stride) weights of the free columns
    d: Array  # (levels, stride)
    z: Array  # (levels, stride)
    column: NDArray[np.int64]  # (levels, columns) original index of each free column
    kept: NDArray[np.int8]  # (levels, columns) 1 where an original column is kept for good
    node: NDArray[np.void]  # (levels,) of NODE
    state: NDArray[np.void]  # (problems,) of STATE
    best: NDArray[np.int8]  # (problems, columns) the incumbent: 1 where kept
    square: Array  # (3, columns, stride) scratch
    line: Array  # (5, stride) scratch: g, d y², a vector, v²/M, reciprocal pivots
    whole: NDArray[np.int64]  # (2, columns) scratch: what to do with each free column, positions


def tree(columns: int, problems: int = 1) -> Tree:
    """Space for the search on that many columns: about 8 · columns³ bytes a problem."""
    levels, row = problems * (columns + 2), stride(columns)
    return Tree(
        matrix=np.zeros((levels, columns, row)),
        v=np.zeros((levels, row)),
        d=np.zeros((levels, row)),
        z=np.zeros((levels, row)),
        column=np.zeros((levels, columns), dtype=np.int64),
        kept=np.zeros((levels, columns), dtype=np.int8),
        node=np.zeros(levels, dtype=NODE),
        state=np.zeros(problems, dtype=STATE),
        best=np.zeros((problems, columns), dtype=np.int8),
        square=np.zeros((3, columns, row)),
        line=np.zeros((5, row)),
        whole=np.zeros((2, columns), dtype=np.int64),
    )


@njit(cache=True)
def borrowed(t: Tree) -> Tree:
    """The same arrays, not counted: for the time of a call."""
    return Tree(
        borrow(t.matrix), borrow(t.v), borrow(t.d), borrow(t.z), borrow(t.column), borrow(t.kept), borrow(t.node),
        borrow(t.state), borrow(t.best), borrow(t.square), borrow(t.line), borrow(t.whole),
    )  # fmt: skip


@njit(cache=True)
def soften(z: Array, y2: Array, m: int, total: float) -> None:
    """`z ← min(1, z · y2^(7/8) / t)` with t such that Σ z = total; y2 is the `d y²` at z."""
    weight = 0.0
    for j in range(m):
        z[j] *= y2[j] / np.sqrt(np.sqrt(np.sqrt(y2[j] + 1e-300)))
        weight += z[j]
    t = weight / total
    capped = 0
    for _ in range(m):
        above, rest = 0, 0.0
        for j in range(m):
            if z[j] >= t:
                above += 1
            else:
                rest += z[j]
        if above == capped or total <= above:
            break
        capped = above
        t = rest / (total - above)
    scale = 1.0 / t if t > 0.0 else 0.0
    for j in range(m):
        z[j] = min(max(z[j] * scale, LEAST), MOST)


@njit(cache=True)
def smallest(y: Array, m: int, k: int) -> tuple[float, float, float]:
    """Sum of the k smallest of y[:m], the k-th and the (k+1)-th smallest."""
    total, count, low, high = 0.0, 0, -1.0, HUGE
    for i in range(m):
        x = y[i]
        rank = 0
        for j in range(m):
            rank += 1 if y[j] < x else 0
        if rank < k:
            total += x
            count += 1
            low = max(low, x)
        else:
            high = min(high, x)
    if count > k:
        total -= (count - k) * low
        high = low
    return total, low, high


@njit(cache=True)
def perspective(
    matrix: Array, v: Array, d: Array, z: Array, m: int, k: int,
    a: Array, g: Array, y2: Array, e: Array, reciprocal: Array,
) -> tuple[float, float, float, float]:  # fmt: skip
    """The bound at z, safe against its own rounding; the k-th and (k+1)-th `d y²`; and `gᵀv`.

    With the computed g as the vector of the inequality, the true y differs from g / (d (1−z)) by the
    residual r of the solve, |r| ≤ 2 (m + 4) u diag^½ (diag^½)ᵀ |g| with diag ≤ 1 / (d (1−z)) (Higham,
    theorem 10.4). In terms of Q = Σ (1−z) d y² this moves gᵀCg by at most 2 (m+4) m u Q, and the sum of
    the selected d y² by 4 (m+4) u √(m Q) Σ √(d y² / (1−z)); the plain sums err by m u of their terms.
    `gᵀv` is an upper bound of what any z can reach.
    """
    for i in range(m):
        for j in range(i + 1, m):
            a[i, j] = matrix[i, j]
        e[i] = z[i] / (1.0 - z[i]) / d[i]
        a[i, i] = matrix[i, i] + e[i]
        a[i, m] = v[i]
    cholesky(a, m, m + 1, reciprocal)
    value = 0.0
    for i in range(m):
        g[i] = a[i, m]
        value += g[i] * g[i]
    back_substitute(a, m, reciprocal, g)
    inner, soft = 0.0, 0.0
    for i in range(m):
        y = g[i] / (d[i] * (1.0 - z[i]))
        y2[i] = d[i] * y * y
        inner += g[i] * v[i]
        soft += (1.0 - z[i]) * y2[i]
    total, low, high = smallest(y2, m, k)
    spread = 0.0
    for i in range(m):
        if y2[i] <= low:
            spread += y2[i] / (1.0 - z[i])
    unit = (m + 4) * UNIT_ROUNDOFF
    slack = unit * (2.0 * m * soft + 4.0 * np.sqrt(m * soft * k * spread) + 2.0 * (total + soft + abs(inner)))
    return total - soft + inner - slack, low, high, value


@njit(cache=True)
def tighten(
    matrix: Array, d: Array, z: Array, m: int, barrier: float, tilt: float,
    a: Array, b: Array, c: Array, g: Array, y2: Array, e: Array, reciprocal: Array,
) -> bool:  # fmt: skip
    """One damped Newton step on `Σ a d + μ log det(M⁻¹ − D) + μ/10 Σ log d`; False where d is left as it was.

    The objective `a` mixes the trace with the derivative of the bound with respect to d at z, which is
    (z / (1−z)) (g/d)². The step is accepted only if the new D proves safe by Cholesky.
    """
    for i in range(m):
        for j in range(i + 1, m):
            a[i, j] = -matrix[i, j]
        a[i, i] = 1.0 / d[i] - matrix[i, i]
    if not cholesky(a, m, m, reciprocal):
        return False
    inverse_from_factor(a, m, reciprocal, b, c)
    trace, along = 0.0, 0.0
    for i in range(m):
        trace += d[i]
        e[i] = z[i] * (1.0 - z[i]) * y2[i] / d[i]
        along += e[i] * d[i]
    mu = barrier * trace / m
    lean = tilt * trace / along if along > 0.0 else 0.0
    for i in range(m):
        g[i] = 1.0 / d[i]
    for i in range(m):
        r = g[i]
        for j in range(i + 1, m):
            x = c[i, j] * r * g[j]
            a[i, j] = mu * x * x
        x = c[i, i] * r * r - r
        a[i, i] = mu * x * x + 0.1 * mu * r * r
        e[i] = lean * e[i] + (1.0 - tilt) - mu * x + 0.1 * mu * r
        a[i, m] = e[i]
    if not cholesky(a, m, m + 1, reciprocal):
        return False
    decrement = 0.0
    for i in range(m):
        g[i] = a[i, m]
        decrement += g[i] * g[i]
    back_substitute(a, m, reciprocal, g)
    step = 1.0 / (1.0 + np.sqrt(decrement / mu))
    for i in range(m):
        if g[i] < 0.0:
            step = min(step, -0.8 * d[i] / g[i])
    for i in range(m):
        e[i] = d[i]
        d[i] += step * g[i]
    if safe(matrix, d, m, a, reciprocal):
        return True
    for i in range(m):
        d[i] = e[i]
    return False


@njit(cache=True)
def safe(matrix: Array, d: Array, m: int, a: Array, reciprocal: Array) -> bool:
    """Whether `D⁻¹ ≻ M`, with a margin far above the backward error of the factorisation."""
    for i in range(m):
        for j in range(i + 1, m):
            a[i, j] = -matrix[i, j]
        a[i, i] = (1.0 - MARGIN) / d[i] - matrix[i, i]
    return bool(cholesky(a, m, m, reciprocal))


@njit(cache=True)
def gather(source: Array, target: Array, index: NDArray[np.int64], m: int) -> None:
    """Upper triangle of the block `index[:m]` (increasing); source and target may be the same."""
    for i in range(m):
        p = index[i]
        for j in range(i, m):
            target[i, j] = source[p, index[j]]


@njit(cache=True)
def compress(t: Tree, level: int, to: int, index: NDArray[np.int64], m: int) -> None:
    """Copy what is known of the free columns at the m positions `index` (increasing) to level `to`, but for M."""
    for i in range(m):
        j = index[i]
        t.v[to, i] = t.v[level, j]
        t.d[to, i] = t.d[level, j]
        t.z[to, i] = t.z[level, j]
        t.column[to, i] = t.column[level, j]
    t.node[to].size = m


@njit(cache=True)
def pivot(matrix: Array, v: Array, m: int, line: Array, p: float, weight: float) -> float:
    """Remove a column, `line` its row of the matrix, p its diagonal and `weight` its v; returns the cost."""
    row = matrix.shape[1]
    share = weight / p
    for i in range(m):
        f = line[i] / p
        v[i] -= line[i] * share
        for c in range(i // 4 * 4, m, 4):
            subtract_1(matrix, i * row + c, line, c, f)
    return weight * share


@njit(cache=True)
def settle(t: Tree, level: int) -> None:
    """Keep (1 in `whole[0]`) and remove (2) columns of a node for good, in place."""
    node, matrix, v = t.node[level], t.matrix[level], t.v[level]
    act, index, line, m = t.whole[0], t.whole[1], t.line[2], t.node[level].size
    for b in range(m):
        if act[b] == 2:
            for i in range(b):
                line[i] = matrix[i, b]
            for i in range(b, m):
                line[i] = matrix[b, i]
            node.cost += pivot(matrix, v, m, line, line[b], v[b])
            node.remove -= 1
    q = 0
    for i in range(m):
        if act[i] == 0:
            index[q] = i
            q += 1
        elif act[i] == 1:
            t.kept[level, t.column[level, i]] = 1
    gather(matrix, matrix, index, q)
    compress(t, level, level, index, q)


@njit(cache=True)
def descend(t: Tree, level: int) -> None:
    """Make the next child of a branched node at the level below: first the side that z favours."""
    node, child, matrix = t.node[level], t.node[level + 1], t.matrix[level]
    index, line, b = t.whole[1], t.line[2], node.branch
    q = 0
    for i in range(node.size):
        if i != b:
            index[q] = i
            line[q] = matrix[min(i, b), max(i, b)]
            q += 1
    strike(matrix, t.matrix[level + 1], b, node.size)
    compress(t, level, level + 1, index, q)
    t.kept[level + 1] = t.kept[level]
    child.remove = node.remove
    child.cost = node.cost
    child.bound = node.bound
    child.stage = 0
    if (t.z[level, b] < 0.5) == (node.stage == 1):
        child.cost += pivot(t.matrix[level + 1], t.v[level + 1], q, line, matrix[b, b], t.v[level, b])
        child.remove -= 1
    else:
        t.kept[level + 1, t.column[level, b]] = 1


@njit(cache=True)
def accept(t: Tree, level: int, cost: float, keep_named: bool, i: int, j: int, h: int) -> None:
    """New incumbent: the kept columns of the level, and of its free ones those named, or all but those."""
    at = level // (t.best.shape[1] + 2)
    t.state[at].error = cost
    t.best[at] = t.kept[level]
    for q in range(t.node[level].size):
        named = q in (i, j, h)
        if named == keep_named:
            t.best[at, t.column[level, q]] = 1


@njit(cache=True)
def gains(g: Array, q: Array, w: Array, h: int, i: int, m: int, rest: float) -> bool:
    """Whether some j > i beside h and i gains more than `rest`; q and w are r and 1 after h."""
    row, u, f, size = g.shape[1], spread(w[i]), spread(g[h, i]), spread(float(m))
    goal, twice, square, hit = spread(rest), spread(2.0 * q[i]), spread(q[i] * q[i]), spread(0.0)
    for j in range(i + 1, m, LANES):
        p, x, y = window(g, i * row + j) - f * window(g, h * row + j), window(q, j), window(w, j)
        least = goal * (u * y - p * p)
        gain = where_less(spread(float(j)) + ramp(), size, square * y + x * x * u - twice * x * p, least)
        hit = where_less(least, gain, spread(1.0), hit)
    return any_positive(hit)


@njit(cache=True)
def strike(source: Array, target: Array, b: int, m: int) -> None:
    """Upper triangle without row and column b; what `put` writes beyond a row's end is overwritten or not used."""
    row = source.shape[1]
    for i in range(m):
        if i == b:
            continue
        at, to = i * row, (i - (i > b)) * row
        for j in range(i, b, LANES):
            put(target, to + j, window(source, at + j))
        for j in range(max(i, b + 1), m, LANES):
            put(target, to + j - 1, window(source, at + j))


@njit(cache=True)
def finish_few(t: Tree, level: int, gap: float) -> bool:
    """Enumerate which one, two or three free columns to keep; False if cancellation would spoil the answer.

    Keeping S instead of nothing gains r_Sᵀ G_SS⁻¹ r_S, with `G = M⁻¹` and `r = G v`, from the energy vᵀGv.
    """
    m, keep = t.node[level].size, t.node[level].size - t.node[level].remove
    matrix, v, a, b, g = t.matrix[level], t.v[level], t.square[0], t.square[1], t.square[2]
    r, q, scale, w, reciprocal = t.line[0], t.line[1], t.line[2], t.line[3], t.line[4]
    for i in range(m):
        for j in range(i, m):
            a[i, j] = matrix[i, j]
        a[i, m] = v[i]
    if not cholesky(a, m, m + 1, reciprocal):
        return False
    energy = 0.0
    for i in range(m):
        r[i] = a[i, m]
        energy += r[i] * r[i]
    if energy > LEAF_RATIO * gap:
        return False
    back_substitute(a, m, reciprocal, r)
    inverse_from_factor(a, m, reciprocal, b, g)
    for i in range(m):
        scale[i] = 1.0 / np.sqrt(g[i, i])
        r[i] *= scale[i]
    for i in range(m):
        for j in range(i + 1, m):
            g[i, j] *= scale[i] * scale[j]
    need = energy - gap
    b0 = b1 = b2 = NONE
    if keep == 1:
        for i in range(m):
            if r[i] * r[i] > need:
                need, b0 = r[i] * r[i], i
    elif keep == 2:
        for i in range(m - 1):
            s = r[i]
            hit = 0
            for j in range(i + 1, m):
                p = g[i, j]
                hit |= s * s + r[j] * r[j] - 2.0 * s * r[j] * p > need * (1.0 - p * p)
            if hit:
                for j in range(i + 1, m):
                    p = g[i, j]
                    gain = (s * s + r[j] * r[j] - 2.0 * s * r[j] * p) / (1.0 - p * p)
                    if gain > need:
                        need, b0, b1 = gain, i, j
    else:
        for h in range(m - 2):
            for j in range(h + 1, m):
                q[j] = r[j] - g[h, j] * r[h]
                w[j] = 1.0 - g[h, j] * g[h, j]
            rest = need - r[h] * r[h]
            for i in range(h + 1, m - 1):
                s, u, f = q[i], w[i], g[h, i]
                if gains(g, q, w, h, i, m, rest):
                    for j in range(i + 1, m):
                        p = g[i, j] - f * g[h, j]
                        gain = (s * s * w[j] + q[j] * q[j] * u - 2.0 * s * q[j] * p) / (u * w[j] - p * p)
                        if gain > rest:
                            rest, b0, b1, b2 = gain, h, i, j
            if b0 == h:
                need = rest + r[h] * r[h]
    if b0 >= 0:
        accept(t, level, t.node[level].cost + energy - need, True, b0, b1, b2)
    return True


@njit(cache=True)
def finish_all(t: Tree, level: int, gap: float) -> None:
    """Remove every free column: vᵀ M⁻¹ v."""
    m, a = t.node[level].size, t.square[0]
    for i in range(m):
        for j in range(i, m):
            a[i, j] = t.matrix[level, i, j]
        a[i, m] = t.v[level, i]
    cholesky(a, m, m + 1, t.line[4])
    loss = 0.0
    for i in range(m):
        loss += a[i, m] * a[i, m]
    if loss < gap:
        accept(t, level, t.node[level].cost + loss, True, NONE, NONE, NONE)


@njit(cache=True)
def finish_two(t: Tree, level: int, gap: float) -> None:
    """Enumerate which two free columns to remove."""
    m = t.node[level].size
    matrix, v = t.matrix[level], t.v[level]
    diagonal = t.line[2]
    for i in range(m):
        diagonal[i] = matrix[i, i]
    b0 = b1 = NONE
    for i in range(m - 1):
        s, u = v[i], diagonal[i]
        hit = 0
        for j in range(i + 1, m):
            p = matrix[i, j]
            hit |= s * s * diagonal[j] + v[j] * v[j] * u - 2.0 * s * v[j] * p < gap * (u * diagonal[j] - p * p)
        if hit:
            for j in range(i + 1, m):
                p = matrix[i, j]
                loss = (s * s * diagonal[j] + v[j] * v[j] * u - 2.0 * s * v[j] * p) / (u * diagonal[j] - p * p)
                if loss < gap:
                    gap, b0, b1 = loss, i, j
    if b0 >= 0:
        accept(t, level, t.node[level].cost + gap, False, b0, b1, NONE)


@njit(cache=True)
def gap_of(t: Tree, level: int) -> float:
    """What a node may still cost without being worse than the incumbent."""
    state = t.state[level // (t.best.shape[1] + 2)]
    return float(state.error * state.factor - t.node[level].cost)


@njit(cache=True)
def prepare(t: Tree, level: int) -> bool:
    """Finish the node, or fix what the cost of removing single columns decides; True if it needs a bound."""
    cheap, act = t.line[3], t.whole[0]
    while True:
        m, k = t.node[level].size, t.node[level].remove
        matrix, v, cost = t.matrix[level], t.v[level], t.node[level].cost
        gap = gap_of(t, level)
        if not gap > 0.0:
            return False
        if k == 0:
            accept(t, level, cost, False, NONE, NONE, NONE)
            return False
        if m <= k:
            if m == k:
                finish_all(t, level, gap)
            return False
        least, fixed = 0, 0
        for j in range(m):
            cheap[j] = v[j] * v[j] / matrix[j, j]
            if cheap[j] < cheap[least]:
                least = j
            act[j] = 0
            if cheap[j] >= gap:
                act[j] = 1
                fixed += 1
        if m - fixed < k:
            return False
        if k == 1:
            accept(t, level, cost + cheap[least], False, least, NONE, NONE)
            return False
        if fixed == 0:
            if k == 2:
                finish_two(t, level, gap)
                return False
            return not (m - k <= LEAF and m < EARLY and finish_few(t, level, gap))
        settle(t, level)


@njit(cache=True)
def decide(t: Tree, level: int, bound: float, low: float, high: float, y2: Array, improved: bool) -> int:
    """Fix what a bound below the gap decides, or finish a small node; what is left to do.

    `low` and `high` are the k-th and (k+1)-th of `y2` = `d y²`; exchanging a column across them changes the bound.
    """
    m, k, gap, act = t.node[level].size, t.node[level].remove, gap_of(t, level), t.whole[0]
    t.node[level].bound = max(t.node[level].bound, t.node[level].cost + bound)
    removed, fixed = 0, 0
    for j in range(m):
        act[j] = 0
        if y2[j] <= low:
            if bound - y2[j] + high >= gap and removed < k:
                act[j] = 2
                removed += 1
                fixed += 1
        elif bound + y2[j] - low >= gap:
            act[j] = 1
            fixed += 1
    if fixed > 0:
        settle(t, level)
        return SETTLED
    if m - k <= LEAF and m >= EARLY and finish_few(t, level, gap):
        return FINISHED
    return TIGHTEN if not improved and m >= 8 and k >= 3 and m - k >= 3 else BRANCH


@njit(cache=True)
def choose(t: Tree, level: int) -> None:
    """The column to branch on: dear to remove, and z undecided."""
    node, matrix, v, z = t.node[level], t.matrix[level], t.v[level], t.z[level]
    choice, score = 0, -1.0
    for j in range(node.size):
        s = v[j] * v[j] / matrix[j, j] * np.sqrt(z[j] * (1.0 - z[j]))
        if s > score:
            choice, score = j, s
    node.branch = choice


@njit(cache=True)
def reduce(t: Tree, level: int) -> bool:
    """Bound the node, fix what its bound decides, finish it if that is easy; True if it is to be branched."""
    a, b, c = t.square[0], t.square[1], t.square[2]
    g, y2, e, reciprocal = t.line[0], t.line[1], t.line[2], t.line[4]
    z, d = t.z[level], t.d[level]
    evaluations, improved = EVALUATIONS, False
    while prepare(t, level):
        m, k = t.node[level].size, t.node[level].remove
        matrix, v, gap = t.matrix[level], t.v[level], gap_of(t, level)
        bound, low, high, reach = -HUGE, 0.0, 0.0, 0.0
        for q in range(evaluations):
            if q > 0:
                soften(z, y2, m, float(m - k))
            bound, low, high, reach = perspective(matrix, v, d, z, m, k, a, g, y2, e, reciprocal)
            if bound >= gap:
                return False
            if reach < gap:
                break
        evaluations = AGAIN
        what = decide(t, level, bound, low, high, y2, improved)
        if what == TIGHTEN:
            improved = True
            if tighten(matrix, d, z, m, BARRIER, TILT, a, b, c, g, y2, e, reciprocal):
                soften(z, y2, m, float(m - k))
                continue
            what = BRANCH
        if what == BRANCH:
            choose(t, level)
            return True
        if what == FINISHED:
            return False
    return False


@njit(cache=True)
def plant(
    t: Tree, at: int, row: int, inverse: Array, v: Array, d: Array, start: NDArray[np.int8], error: float, factor: float
) -> None:
    """Put the root of one (row, keep) on stack `at`, with the incumbent of a heuristic."""
    n = v.size
    root = at * (n + 2)
    keep = 0
    for i in range(n):
        keep += start[i]
    for i in range(n):
        for j in range(i, n):
            t.matrix[root, i, j] = inverse[i, j]
        t.v[root, i] = v[i]
        t.d[root, i] = d[i]
        t.z[root, i] = keep / n
        t.column[root, i] = i
        t.kept[root, i] = 0
        t.best[at, i] = start[i]
    node, state = t.node[root], t.state[at]
    node.size = n
    node.remove = n - keep
    node.cost = 0.0
    node.bound = 0.0
    node.stage = 0
    state.error = error
    state.factor = factor
    state.level = root
    state.nodes = 0
    state.row = row


@njit(cache=True)
def walk(t: Tree, at: int, max_nodes: int) -> bool:
    """Go to the next untouched node of stack `at` and count it; False where the tree or its budget is exhausted."""
    root, state = at * (t.best.shape[1] + 2), t.state[at]
    while state.level >= root:
        node = t.node[state.level]
        if node.stage == 0:
            if state.nodes >= max_nodes:
                return False
            state.nodes += 1
            node.stage = 1
            return True
        if node.stage > 2 or node.bound >= state.error * state.factor:
            state.level -= 1
            continue
        descend(t, state.level)
        node.stage += 1
        state.level += 1
    return False


@njit(cache=True)
def harvest(
    t: Tree, at: int, kept: NDArray[np.int8], error: Array, lower: Array, complete: NDArray[np.int8],
    nodes: NDArray[np.int64],
) -> None:  # fmt: skip
    """Store what stack `at` has found: `lower` is the smallest bound of what is still open, or the incumbent's."""
    root, state = at * (t.best.shape[1] + 2), t.state[at]
    row = state.row
    least = state.error * state.factor
    for level in range(root, state.level + 1):
        if t.node[level].stage <= 2:
            least = min(least, t.node[level].bound)
    kept[row] = t.best[at]
    error[row] = state.error
    lower[row] = least
    complete[row] = state.level < root
    nodes[row] = state.nodes


@njit(cache=True)
def advance(
    t: Tree, inverse: Array, targets: Array, diagonal: Array, kept: NDArray[np.int8], error: Array, lower: Array,
    complete: NDArray[np.int8], nodes: NDArray[np.int64], at: NDArray[np.int64], max_nodes: int, factor: float,
    budget: int,
) -> None:  # fmt: skip
    """Search row after row from `at[0]` until `budget` nodes are spent; call again to go on where it stopped.

    `kept` (rows, columns) and `error` (rows,) hold a start and receive the best point, `lower` what is
    proven, `complete` whether the tree was exhausted. `at` is (row, whether its tree is on the stack);
    `diagonal` is safe for `inverse`.
    """
    t = borrowed(t)
    while at[0] < targets.shape[0]:
        row = at[0]
        if at[1] == 0:
            plant(t, 0, row, inverse, targets[row], diagonal, kept[row], error[row], factor)
            at[1] = 1
        while walk(t, 0, max_nodes):
            if not reduce(t, t.state[0].level):
                t.state[0].level -= 1
            budget -= 1
            if budget <= 0:
                return
        harvest(t, 0, kept, error, lower, complete, nodes)
        at[0] += 1
        at[1] = 0


@njit(cache=True)
def root_bound(t: Tree, inverse: Array, v: Array, diagonal: Array, keep: int) -> float:
    """The best bound of the whole problem, by alternating z and D to near convergence: for a search cut short."""
    m = v.size
    z, d = t.z[0], t.d[0]
    for i in range(m):
        z[i], d[i] = keep / m, diagonal[i]
    best = 0.0
    a, b, c = t.square[0], t.square[1], t.square[2]
    g, y2, e, reciprocal = t.line[0], t.line[1], t.line[2], t.line[4]
    for _ in range(ROOT_ROUNDS):
        for _ in range(ROOT_ROUNDS):
            best = max(best, perspective(inverse, v, d, z, m, m - keep, a, g, y2, e, reciprocal)[0])
            soften(z, y2, m, float(keep))
        if not tighten(inverse, d, z, m, BARRIER, ROOT_TILT, a, b, c, g, y2, e, reciprocal):
            break
    return best
