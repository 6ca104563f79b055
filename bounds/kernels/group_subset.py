"""Depth-first branch and bound for pruning in units, so many of each group: N:M, blocks, or both.

A unit is a run of columns kept or removed together, a group a set of units of which a given number is to be
removed. Nodes, pivots and the bound are those of `best_subset`; with `y = v − C g` the bound reads

    cost  ≥  Σ_groups (k smallest of Σ_{i in unit} dᵢ yᵢ²) − gᵀ C g.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..gram import UNIT_ROUNDOFF, Array
from .best_subset import BARRIER, LEAST, MOST, TILT, pivot, tighten
from .linear_algebra import back_substitute, cholesky, stride

EVALUATIONS, AGAIN = 8, 2  # of the bound at a node: at first, and after every change to it
ROOT_ROUNDS, ROOT_TILT = 12, 0.9  # for the bound of a search cut short
HUGE = 1e300
OPEN, KEEP, REMOVE = 0, 1, 2

Indices = NDArray[np.int64]
Mask = NDArray[np.int8]
NODE = np.dtype([("size", "i8"), ("stage", "i8"), ("branch", "i8"), ("cost", "f8"), ("bound", "f8")])
STATE = np.dtype([("error", "f8"), ("factor", "f8"), ("level", "i8"), ("nodes", "i8")])


class Tree(NamedTuple):
    """The stack of nodes, one level a depth, and scratch space."""

    matrix: Array  # (levels, columns, stride) upper triangles of M
    v: Array  # (levels, stride) weights of the free columns
    d: Array  # (levels, stride)
    z: Array  # (levels, stride), equal inside a unit
    column: Indices  # (levels, columns) original index of each free column
    remove: Indices  # (levels, groups) units still to remove
    kept: Mask  # (levels, columns) 1 where an original column is kept for good
    node: NDArray[np.void]  # (levels,) of NODE
    state: NDArray[np.void]  # (1,) of STATE
    best: Mask  # (columns,) the incumbent
    unit: Indices  # (columns,) of each original column
    group: Indices  # (units,) of each unit
    square: Array  # (3, columns, stride) scratch
    line: Array  # (4, stride) scratch: g, d y², a vector, reciprocal pivots
    share: Array  # (3, units + 1) scratch by free unit: cost alone, Σ d y², z
    whole: (
        Indices  # (5, columns + 1) scratch: action of each free unit, its first position, its unit; positions; counts
    )


def tree(unit: Indices, group: Indices) -> Tree:
    """Space for the search; `unit` (columns,) ascending, `group` (units,)."""
    columns, units = unit.size, group.size
    levels, row, groups = units + 2, stride(columns), int(group.max()) + 1
    return Tree(
        matrix=np.zeros((levels, columns, row)),
        v=np.zeros((levels, row)),
        d=np.zeros((levels, row)),
        z=np.zeros((levels, row)),
        column=np.zeros((levels, columns), dtype=np.int64),
        remove=np.zeros((levels, groups), dtype=np.int64),
        kept=np.zeros((levels, columns), dtype=np.int8),
        node=np.zeros(levels, dtype=NODE),
        state=np.zeros(1, dtype=STATE),
        best=np.zeros(columns, dtype=np.int8),
        unit=unit,
        group=group,
        square=np.zeros((3, columns, row)),
        line=np.zeros((4, row)),
        share=np.zeros((3, units + 1)),
        whole=np.zeros((5, max(columns, groups) + 1), dtype=np.int64),
    )


@njit(cache=True)
def free_units(t: Tree, level: int) -> int:
    """Lists the free units of a node (first position, name) and returns their number."""
    first, name, count, m = t.whole[1], t.whole[2], 0, t.node[level].size
    for i in range(m):
        u = t.unit[t.column[level, i]]
        if i == 0 or u != name[count - 1]:
            first[count], name[count] = i, u
            count += 1
    first[count] = m
    return count


@njit(cache=True)
def soften(t: Tree, level: int, count: int) -> None:
    """In each group `z ← min(1, z · y2^(7/8) / t)` with t such that Σ z = the number of units to keep."""
    first, name, y2, z = t.whole[1], t.whole[2], t.share[1], t.share[2]
    for group in range(t.remove.shape[1]):
        total, weight, free = -t.remove[level, group], 0.0, 0
        for q in range(count):
            if t.group[name[q]] == group:
                z[q] = t.z[level, first[q]] * y2[q] / np.sqrt(np.sqrt(np.sqrt(y2[q] + 1e-300)))
                weight += z[q]
                free += 1
        total += free
        if free == 0:
            continue
        limit = weight / max(total, 1)
        capped = 0
        for _ in range(free):
            above, rest = 0, 0.0
            for q in range(count):
                if t.group[name[q]] == group:
                    if z[q] >= limit:
                        above += 1
                    else:
                        rest += z[q]
            if above == capped or total <= above:
                break
            capped = above
            limit = rest / (total - above)
        scale = 1.0 / limit if limit > 0.0 else 0.0
        for q in range(count):
            if t.group[name[q]] == group:
                value = min(max(z[q] * scale, LEAST), MOST)
                for i in range(first[q], first[q + 1]):
                    t.z[level, i] = value


@njit(cache=True)
def perspective(t: Tree, level: int, count: int) -> tuple[float, float]:
    """The bound at the node's z, safe against its own rounding, and `gᵀv`, which no z can exceed.

    The allowance is that of `best_subset.perspective`, with every column in the place of the selected ones.
    """
    m = t.node[level].size
    matrix, v, d, z = t.matrix[level], t.v[level], t.d[level], t.z[level]
    a, g, y2, reciprocal = t.square[0], t.line[0], t.line[1], t.line[3]
    for i in range(m):
        for j in range(i + 1, m):
            a[i, j] = matrix[i, j]
        a[i, i] = matrix[i, i] + z[i] / (1.0 - z[i]) / d[i]
        a[i, m] = v[i]
    cholesky(a, m, m + 1, reciprocal)
    value = 0.0
    for i in range(m):
        g[i] = a[i, m]
        value += g[i] * g[i]
    back_substitute(a, m, reciprocal, g)
    inner, soft, spread, everything = 0.0, 0.0, 0.0, 0.0
    for i in range(m):
        y = g[i] / (d[i] * (1.0 - z[i]))
        y2[i] = d[i] * y * y
        inner += g[i] * v[i]
        soft += (1.0 - z[i]) * y2[i]
        spread += y2[i] / (1.0 - z[i])
        everything += y2[i]
    first, each = t.whole[1], t.share[1]
    for q in range(count):
        each[q] = 0.0
        for i in range(first[q], first[q + 1]):
            each[q] += y2[i]
    total = 0.0
    for q in range(count):
        if rank(t, level, count, q) < t.remove[level, t.group[t.whole[2, q]]]:
            total += each[q]
    unit = (m + 4) * UNIT_ROUNDOFF
    slack = unit * (2.0 * m * soft + 4.0 * np.sqrt(m * soft * m * spread) + 2.0 * (everything + soft + abs(inner)))
    return total - soft + inner - slack, value


@njit(cache=True)
def rank(t: Tree, level: int, count: int, q: int) -> int:
    """How many units of its group are cheaper than unit q by Σ d y², ties by position."""
    name, each, place = t.whole[2], t.share[1], 0
    for p in range(count):
        if t.group[name[p]] == t.group[name[q]] and (each[p] < each[q] or (each[p] == each[q] and p < q)):
            place += 1
    return place


@njit(cache=True)
def fix_by_bound(t: Tree, level: int, count: int, bound: float, gap: float) -> int:
    """Mark the units that must be kept or removed because the other choice lifts the bound to the gap."""
    act, name, each, low, high = t.whole[0], t.whole[2], t.share[1], t.square[1, 0], t.square[1, 1]
    groups = t.remove.shape[1]
    for g in range(groups):
        low[g], high[g] = 0.0, HUGE
    for q in range(count):
        g = t.group[name[q]]
        place, k = rank(t, level, count, q), t.remove[level, g]
        if place == k - 1:
            low[g] = each[q]
        elif place == k:
            high[g] = each[q]
    fixed = 0
    for q in range(count):
        g = t.group[name[q]]
        if rank(t, level, count, q) < t.remove[level, g]:
            if bound - each[q] + high[g] >= gap:
                act[q] = REMOVE
                fixed += 1
        elif bound + each[q] - low[g] >= gap:
            act[q] = KEEP
            fixed += 1
    return fixed


@njit(cache=True)
def compress(t: Tree, level: int, to: int, index: Indices, m: int) -> None:
    """Copy the free columns at the m positions `index` (increasing) of `level` to `to` (may be the same)."""
    source, target = t.matrix[level], t.matrix[to]
    for i in range(m):
        p = index[i]
        for j in range(i, m):
            target[i, j] = source[p, index[j]]
        t.v[to, i] = t.v[level, p]
        t.d[to, i] = t.d[level, p]
        t.z[to, i] = t.z[level, p]
        t.column[to, i] = t.column[level, p]
    t.node[to].size = m


@njit(cache=True)
def settle(t: Tree, level: int, count: int) -> None:
    """Keep and remove the marked units of a node for good, in place."""
    act, first, name, index = t.whole[0], t.whole[1], t.whole[2], t.whole[3]
    matrix, v, line, m = t.matrix[level], t.v[level], t.line[2], t.node[level].size
    q = 0
    for u in range(count):
        for b in range(first[u], first[u + 1]):
            if act[u] == REMOVE:
                for i in range(b):
                    line[i] = matrix[i, b]
                for i in range(b, m):
                    line[i] = matrix[b, i]
                t.node[level].cost += pivot(matrix, v, m, line, line[b], v[b])
            elif act[u] == KEEP:
                t.kept[level, t.column[level, b]] = 1
            else:
                index[q] = b
                q += 1
        if act[u] == REMOVE:
            t.remove[level, t.group[name[u]]] -= 1
    compress(t, level, level, index, q)


@njit(cache=True)
def descend(t: Tree, level: int) -> None:
    """Make the next child of a branched node at the level below: first the side that z favours."""
    m, index, act = t.node[level].size, t.whole[3], t.whole[0]
    for i in range(m):
        index[i] = i
    compress(t, level, level + 1, index, m)
    t.kept[level + 1] = t.kept[level]
    t.remove[level + 1] = t.remove[level]
    child, node = t.node[level + 1], t.node[level]
    child.cost, child.bound, child.stage = node.cost, node.bound, 0
    count = free_units(t, level)
    for q in range(count):
        act[q] = OPEN
    low = t.z[level, t.whole[1, node.branch]] < 0.5
    act[node.branch] = REMOVE if low == (node.stage == 1) else KEEP
    settle(t, level + 1, count)


@njit(cache=True)
def alone(t: Tree, level: int, count: int) -> None:
    """The cost of removing each unit and nothing else: no removal of more can cost less."""
    first, cheap, a = t.whole[1], t.share[0], t.square[1]
    matrix, v = t.matrix[level], t.v[level]
    for q in range(count):
        s, width = first[q], first[q + 1] - first[q]
        cheap[q] = 0.0
        for p in range(width):
            for j in range(p, width):
                a[p, j] = matrix[s + p, s + j]
            a[p, width] = v[s + p]
        for p in range(width):
            cheap[q] += a[p, width] * a[p, width] / a[p, p]
            for i in range(p + 1, width):
                f = a[p, i] / a[p, p]
                for j in range(i, width + 1):
                    a[i, j] -= f * a[p, j]


@njit(cache=True)
def accept(t: Tree, level: int, cost: float, without: int) -> None:
    """New incumbent: everything kept or free at the level, without one free unit (−1: with all of them)."""
    t.state[0].error = cost
    t.best[:] = t.kept[level]
    for i in range(t.node[level].size):
        if not (without >= 0 and t.whole[1, without] <= i < t.whole[1, without + 1]):
            t.best[t.column[level, i]] = 1


@njit(cache=True)
def reduce(t: Tree, level: int) -> bool:
    """Bound the node, fix what its bound decides, finish it if that is easy; True if it must be branched."""
    act, name, cheap, free = t.whole[0], t.whole[2], t.share[0], t.whole[4]
    groups = t.remove.shape[1]
    evaluations, improved = EVALUATIONS, False
    while True:
        count = free_units(t, level)
        cost = t.node[level].cost
        gap = t.state[0].error * t.state[0].factor - cost
        if not gap > 0.0:
            return False
        alone(t, level, count)
        k, fixed, least = 0, 0, -1
        for g in range(groups):
            k += t.remove[level, g]
            free[g] = 0
        if k == 0:
            accept(t, level, cost, -1)
            return False
        for q in range(count):
            act[q] = OPEN
            g = t.group[name[q]]
            if t.remove[level, g] == 0 or cheap[q] >= gap:
                act[q] = KEEP
                fixed += 1
            else:
                free[g] += 1
                if least < 0 or cheap[q] < cheap[least]:
                    least = q
        for g in range(groups):
            if free[g] < t.remove[level, g]:
                return False
        if k == 1:
            if cheap[least] < gap:
                accept(t, level, cost + cheap[least], least)
            return False
        for q in range(count):
            g = t.group[name[q]]
            if act[q] == OPEN and free[g] == t.remove[level, g]:
                act[q] = REMOVE
                fixed += 1
        if fixed == 0:
            bound, reach = -HUGE, 0.0
            for step in range(evaluations):
                if step > 0:
                    soften(t, level, count)
                bound, reach = perspective(t, level, count)
                if bound >= gap:
                    return False
                if reach < gap:
                    break
            evaluations = AGAIN
            t.node[level].bound = max(t.node[level].bound, cost + bound)
            fixed = fix_by_bound(t, level, count, bound, gap)
            if fixed == 0:
                if not improved and t.node[level].size >= 8 and count >= 4:
                    improved = True
                    if sharpen(t, level, TILT):
                        soften(t, level, count)
                        continue
                choice, score = 0, -1.0
                for q in range(count):
                    z = t.z[level, t.whole[1, q]]
                    s = cheap[q] * np.sqrt(z * (1.0 - z))
                    if s > score:
                        choice, score = q, s
                t.node[level].branch = choice
                return True
        settle(t, level, count)


@njit(cache=True)
def sharpen(t: Tree, level: int, tilt: float) -> bool:
    """One Newton step on the node's diagonal; see `best_subset.tighten`."""
    return tighten(
        t.matrix[level], t.d[level], t.z[level], t.node[level].size, BARRIER, tilt, t.square[0], t.square[1],
        t.square[2], t.line[0], t.line[1], t.line[2], t.line[3],
    )  # fmt: skip


@njit(cache=True)
def plant(t: Tree, inverse: Array, v: Array, d: Array, remove: Indices) -> None:
    """Put the root of a row on the stack."""
    n = v.size
    for i in range(n):
        for j in range(i, n):
            t.matrix[0, i, j] = inverse[i, j]
        t.v[0, i] = v[i]
        t.d[0, i] = d[i]
        t.column[0, i] = i
        t.kept[0, i] = 0
    t.remove[0] = remove
    node = t.node[0]
    node.size, node.cost, node.bound, node.stage = n, 0.0, 0.0, 0
    count = free_units(t, 0)
    for q in range(count):
        g, free = t.group[t.whole[2, q]], 0
        for p in range(count):
            free += 1 if t.group[t.whole[2, p]] == g else 0
        for i in range(t.whole[1, q], t.whole[1, q + 1]):
            t.z[0, i] = min(max(1.0 - remove[g] / free, LEAST), MOST)


@njit(cache=True)
def advance(
    t: Tree, inverse: Array, targets: Array, diagonal: Array, remove: Indices, kept: Mask, error: Array, lower: Array,
    complete: Mask, nodes: Indices, at: Indices, max_nodes: int, factor: float, budget: int,
) -> None:  # fmt: skip
    """Search row after row from `at[0]` until `budget` nodes are spent; call again to go on where it stopped.

    As `best_subset.advance`; `remove` (groups,) are the units to remove.
    """
    while at[0] < targets.shape[0]:
        row = at[0]
        state = t.state[0]
        if at[1] == 0:
            plant(t, inverse, targets[row], diagonal, remove)
            t.best[:] = kept[row]
            state.error, state.factor, state.level, state.nodes = error[row], factor, 0, 0
            at[1] = 1
        level = state.level
        while level >= 0:
            node = t.node[level]
            if node.stage == 0:
                if state.nodes >= max_nodes:
                    break
                if budget <= 0:
                    state.level = level
                    return
                budget -= 1
                state.nodes += 1
                node.stage = 1
                if not reduce(t, level):
                    level -= 1
                    continue
            if node.stage > 2 or node.bound >= state.error * state.factor:
                level -= 1
                continue
            descend(t, level)
            node.stage += 1
            level += 1
        least = float(state.error * state.factor)
        for q in range(level + 1):
            if t.node[q].stage <= 2:
                least = min(least, t.node[q].bound)
        kept[row] = t.best
        error[row], lower[row], complete[row], nodes[row] = state.error, least, level < 0, state.nodes
        at[0] += 1
        at[1] = 0


@njit(cache=True)
def root_bound(t: Tree, inverse: Array, v: Array, diagonal: Array, remove: Indices) -> float:
    """The best bound of the whole problem, by alternating z and D to near convergence: for a search cut short."""
    plant(t, inverse, v, diagonal, remove)
    count, best = free_units(t, 0), 0.0
    for _ in range(ROOT_ROUNDS):
        for _ in range(ROOT_ROUNDS):
            best = max(best, perspective(t, 0, count)[0])
            soften(t, 0, count)
        if not sharpen(t, 0, ROOT_TILT):
            break
    return best
