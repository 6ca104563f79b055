"""Depth-first enumeration of rows of levels, with or without a limit on their non-zeros; resumable at any node.

For the node that has fixed the coordinates k, k+1, … of a row,

    E(x) = f₀ + Σ_{j≥k} [ r_j² (x_j − c_j)² + h_j(x_j) ] + Q_k(x_{<k} − c_{<k}) + Σ_{i<k} h_i(x_i)

with `c` the centres conditional on the fixed coordinates and `h_i(x) = g_i (x − b_i) ≥ 0` on the levels. The last
two terms are at least `Σ_{i<k} min_q D_i (q − c_i)² + h_i(q)` for the diagonal `D` below the leading block
`Q_k`; with only `room` non-zeros left, the `room` coordinates that gain most over zero are granted them.
Levels and centres are held relative to an origin of the row: the level next to each centre.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ..gram import Array
from .box import recentre
from .enumeration_prepare import Indices

FINISHED, NODE_LIMIT, PAUSED = 1, 2, 3
ROW, DEPTH = 0, 1
ROW_COST = 50
SCAN = 24  # with more levels than this, bisection beats looking at each of them


@njit(cache=True)
def recentre_rows(
    gram: Array, inverse: Array, target: Array, low: float, high: float, c: Array, g: Array, b: Array
) -> None:
    """`recentre` for each row; where no multiplier is used, `c` is the target and `g` zero."""
    n = target.shape[1]
    work, small = np.zeros((4, n)), np.zeros((n, n))
    side, index = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for row in range(target.shape[0]):
        recentre(gram, inverse, target[row], low, high, c[row], g[row], b[row], work, side, index, small)


@njit(cache=True)
def place(levels: Array, i: int, x: float) -> int:
    """How many of the ascending `levels[:, i]` are at most `x`."""
    low, high = 0, levels.shape[0]
    while low < high:
        middle = (low + high) // 2
        if levels[middle, i] <= x:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True)
def largest(values: Array, count: int, room: int) -> float:
    """Sum of the `room` largest of values[:count], all ≥ 0; the contents are reordered."""
    first, last = 0, count - 1
    while first < last:
        pivot = values[(first + last) // 2]
        i, j = first, last
        while i <= j:
            while values[i] > pivot:
                i += 1
            while values[j] < pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if room - 1 <= j:
            last = j
        elif room - 1 >= i:
            first = i
        else:
            break
    total = 0.0
    for i in range(min(room, count)):
        total += values[i]
    return total


@njit(cache=True)
def tail_bound(
    w: Array, d: Array, g: Array, levels: Array, linear: Array, zero: int, k: int, room: int, best: Array
) -> float:
    """`Σ_{i<k} min_q d_i (w_i − q)² + h_i(q)` with at most `room` of the q not zero."""
    if room <= 0:
        total = 0.0
        for i in range(k):
            e = w[i] - levels[zero, i]
            total += d[i] * e * e + linear[zero, i]
        return total
    count = levels.shape[0]
    if count <= SCAN:
        for i in range(k):
            e = w[i] - levels[0, i]
            best[i] = d[i] * e * e + linear[0, i]
        for j in range(1, count):
            for i in range(k):
                e = w[i] - levels[j, i]
                v = d[i] * e * e + linear[j, i]
                best[i] = v if v < best[i] else best[i]
    else:
        for i in range(k):
            vertex = w[i] - (0.5 * g[i] / d[i] if g[i] != 0.0 and d[i] > 0.0 else 0.0)
            j = place(levels, i, vertex)
            least = np.inf
            for q in (max(j - 1, 0), min(j, count - 1)):
                e = w[i] - levels[q, i]
                least = min(least, d[i] * e * e + linear[q, i])
            # without curvature the linear term alone decides, and it is zero at its end of the hull
            best[i] = least if d[i] > 0.0 else 0.0
    s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
    if room >= k:
        i = 0
        while i + 3 < k:
            s0 += best[i]
            s1 += best[i + 1]
            s2 += best[i + 2]
            s3 += best[i + 3]
            i += 4
        while i < k:
            s0 += best[i]
            i += 1
        return (s0 + s1) + (s2 + s3)
    for i in range(k):
        e = w[i] - levels[zero, i]
        v = d[i] * e * e + linear[zero, i]
        s0 += v
        best[i] = v - best[i]
    return s0 - largest(best, k, room)


@njit(cache=True)
def prepare_row(
    values: Array, unit: Array, c: Array, g: Array, b: Array, levels: Array, linear: Array, centre: Array
) -> None:
    """The tables of a row: levels relative to the one next to each centre, and their linear terms."""
    count = values.size
    for i in range(c.size):
        x = c[i] / unit[i]
        at = np.searchsorted(values, x)
        if at == count or (at > 0 and x - values[at - 1] < values[at] - x):
            at -= 1
        centre[i] = c[i] - unit[i] * values[at]
        for j in range(count):
            levels[j, i] = unit[i] * (values[j] - values[at])
            linear[j, i] = g[i] * (unit[i] * values[j] - b[i])


@njit(cache=True)
def open_node(
    k: int, room: int, zero: int, centre: float, pull: float, levels: Array, below: Indices, above: Indices,
    bottom: Indices,
) -> None:  # fmt: skip
    """The children of coordinate k, outwards from their vertex; only zero if no room is left."""
    count = levels.shape[0]
    if room <= 0:
        bottom[k], below[k], above[k] = zero, zero, count
    else:
        above[k] = place(levels, k, centre - pull)
        below[k] = above[k] - 1
        bottom[k] = 0


@njit(cache=True)
def next_child(
    k: int, base: float, curvature: float, centre: float, levels: Array, linear: Array, below: Indices,
    above: Indices, bottom: Indices,
) -> tuple[int, float]:  # fmt: skip
    """The cheapest child of coordinate k not yet taken and the cost with it; −1 and ∞ if there is none."""
    choice, spent = -1, np.inf
    if below[k] >= bottom[k]:
        choice = below[k]
        e = levels[choice, k] - centre
        spent = base + curvature * e * e + linear[choice, k]
    if above[k] < levels.shape[0]:
        e = levels[above[k], k] - centre
        other = base + curvature * e * e + linear[above[k], k]
        if other < spent:
            choice, spent = above[k], other
    return choice, spent


@njit(cache=True)
def search_row(
    coupling: Array, r2: Array, tails: Array, g: Array, pull: Array, levels: Array, linear: Array, zero: int,
    factor: float, stop: int, best: float, count: int, point: Indices, centres: Array, room: Indices, cost: Array,
    bound: Array, below: Indices, above: Indices, bottom: Indices, z: Indices, work: Array, k: int,
) -> tuple[int, float, int]:  # fmt: skip
    """Search from coordinate k of the stored path until all is done (k = columns) or `stop` nodes are counted.

    Returns the coordinate where it stopped, the error of the best point (`point` holds its level indices), nodes.
    """
    n = r2.size
    goal = best * factor
    while k < n:
        if count >= stop:
            return k, best, count
        choice, spent = next_child(k, cost[k + 1], r2[k], centres[k, k], levels, linear, below, above, bottom)
        if not spent < goal:
            k += 1
            continue
        if choice == below[k]:
            below[k] -= 1
        else:
            above[k] += 1
        count += 1
        z[k] = choice
        if k == 0:
            best = spent
            goal = best * factor
            for i in range(n):
                point[i] = z[i]
            continue
        e = levels[choice, k] - centres[k, k]
        for i in range(k):
            centres[k - 1, i] = centres[k, i] - coupling[k, i] * e
        left = room[k] - (1 if choice != zero else 0)
        total = spent + tail_bound(centres[k - 1], tails[k], g, levels, linear, zero, k, left, work)
        if total >= goal:
            continue
        cost[k] = spent
        k -= 1
        bound[k] = max(total, bound[k + 1])
        room[k] = left
        open_node(k, left, zero, centres[k, k], pull[k], levels, below, above, bottom)
    return n, best, count


@njit(cache=True)
def still_open(
    k: int, r2: Array, levels: Array, linear: Array, centres: Array, cost: Array, bound: Array, below: Indices,
    above: Indices, bottom: Indices,
) -> float:  # fmt: skip
    """The smallest proven bound of what the stored path has not searched."""
    least = np.inf
    for j in range(k, r2.size):
        _, spent = next_child(j, cost[j + 1], r2[j], centres[j, j], levels, linear, below, above, bottom)
        least = min(least, max(spent, bound[j]))
    return least


@njit(cache=True)
def search_rows(
    coupling: Array, r2: Array, tails: Array, values: Array, unit: Array, zero: int, keep: int, c: Array, g: Array,
    b: Array, constant: Array, points: Indices, error: Array, max_nodes: int, slice_nodes: int, factor: float,
    lower: Array, nodes: Indices, ended: Indices, state: Indices, levels: Array, linear: Array, centres: Array,
    table: Array, integers: Indices,
) -> bool:  # fmt: skip
    """Search rows until all are done (True) or `slice_nodes` more nodes were visited (False: call again).

    Parameters
    ----------
    values (levels,), unit (columns,) : column i takes unit[i] · values, a power of two each
    zero : index of the level 0 (−1 if non-zeros are not counted), keep : non-zeros allowed
    c, g, b (rows, columns), constant (rows,) : the recentred problem
    points (rows, columns), error (rows,) : in, a start; out, the best point as indices of levels, and its error
    lower (rows,), nodes (rows,), ended (rows,) : out
    state (2,) : row and coordinate; the other arrays are workspace
    """
    n = r2.size
    left = slice_nodes
    pull, work, cost, bound = table[0], table[1], table[2], table[3]
    room, below, above, bottom, z = integers[0], integers[1], integers[2], integers[3], integers[4]
    while state[ROW] < c.shape[0]:
        r = state[ROW]
        k = state[DEPTH]
        if ended[r] != PAUSED:
            prepare_row(values, unit, c[r], g[r], b[r], levels, linear, centres[n - 1])
            for i in range(n):
                pull[i] = 0.5 * g[r, i] / r2[i]
            nodes[r] = 0
            k = n - 1
            cost[n] = constant[r]
            room[k] = keep
            bound[k] = constant[r] + tail_bound(centres[k], tails[n], g[r], levels, linear, zero, n, keep, work)
            open_node(k, keep, zero, centres[k, k], pull[k], levels, below, above, bottom)
            if bound[k] >= error[r] * factor:
                k = n
        before = nodes[r]
        k, error[r], nodes[r] = search_row(
            coupling, r2, tails, g[r], pull, levels, linear, zero, factor, min(max_nodes, before + max(left, 0)),
            error[r], before, points[r], centres, room, cost, bound, below, above, bottom, z, work, k,
        )  # fmt: skip
        left -= nodes[r] - before + ROW_COST
        lower[r] = min(error[r] * factor, still_open(k, r2, levels, linear, centres, cost, bound, below, above, bottom))
        ended[r] = FINISHED if k == n else NODE_LIMIT if nodes[r] >= max_nodes else PAUSED
        state[DEPTH] = k
        if ended[r] == PAUSED:
            return False
        state[ROW] += 1
    return True


@njit(cache=True)
def round_rows(gram: Array, coupling: Array, r2: Array, values: Array, c: Array, g: Array, points: Indices) -> None:
    """Conditional rounding from the last coordinate down (Babai), on the recentred rows."""
    n = r2.size
    centre, ladder = np.zeros(n), np.zeros((values.size, 1))
    ladder[:, 0] = values
    for r in range(c.shape[0]):
        for i in range(n):
            centre[i] = c[r, i]
        for k in range(n - 1, -1, -1):
            x = centre[k] - 0.5 * g[r, k] / r2[k]
            at = place(ladder, 0, x)
            if at == values.size or (at > 0 and x - values[at - 1] < values[at] - x):
                at -= 1
            points[r, k] = at
            e = values[at] - centre[k]
            for i in range(k):
                centre[i] -= coupling[k, i] * e


@njit(cache=True)
def improve_rows(
    gram: Array, values: Array, zero: int, keep: int, target: Array, points: Indices, error: Array
) -> None:
    """Single changes and, where non-zeros are scarce, exchanges of a non-zero for a zero, the best first.

    On return `error` is that of the point, from `target` itself.
    """
    n = target.shape[1]
    q, ladder = np.zeros(n), np.zeros((values.size, 1))
    ladder[:, 0] = values
    for r in range(target.shape[0]):
        used = 0
        for i in range(n):
            q[i] = 0.0
            used += 1 if points[r, i] != zero else 0
        total = 0.0
        for i in range(n):
            for j in range(n):
                q[i] += gram[i, j] * (values[points[r, j]] - target[r, j])
            total += q[i] * (values[points[r, i]] - target[r, i])
        for _ in range(20 * n):
            best, out, move_out, into, index_in = -1e-10 * total, -1, 0.0, -1, 0
            for i in range(-1, n):  # −1: nothing leaves
                if i >= 0 and (points[r, i] == zero or used < keep):
                    continue
                leave = 0.0 if i < 0 else values[zero] - values[points[r, i]]
                change = 0.0 if i < 0 else leave * (2.0 * q[i] + leave * gram[i, i])
                for j in range(n):
                    if j == i or (points[r, j] == zero and used >= keep and i < 0):
                        continue
                    if i >= 0 and points[r, j] != zero:
                        continue
                    slope = q[j] if i < 0 else q[j] + leave * gram[i, j]
                    here = values[points[r, j]]
                    x = here - slope / gram[j, j]
                    at = place(ladder, 0, x)
                    if at == values.size or (at > 0 and x - values[at - 1] < values[at] - x):
                        at -= 1
                    d = values[at] - here
                    gain = change + d * (2.0 * slope + d * gram[j, j])
                    if gain < best:
                        best, out, move_out, into, index_in = gain, i, leave, j, at
            if into < 0:
                break
            if out >= 0:
                points[r, out] = zero
                for i in range(n):
                    q[i] += move_out * gram[out, i]
            d = values[index_in] - values[points[r, into]]
            points[r, into] = index_in
            for i in range(n):
                q[i] += d * gram[into, i]
            used = 0
            for i in range(n):
                used += 1 if points[r, i] != zero else 0
        total = 0.0
        for i in range(n):
            s = 0.0
            for j in range(n):
                s += gram[i, j] * (values[points[r, j]] - target[r, j])
            total += s * (values[points[r, i]] - target[r, i])
        error[r] = total
