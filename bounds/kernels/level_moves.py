"""Moves on one row of levels, all columns sharing one increasing table: descents, annealing, exact blocks.

The state of a row is its `code` (indices into `levels`) and `q = G (x − t)`, half the gradient: moving column i
by d changes E by `d (2 qᵢ + d Gᵢᵢ)`, moving j by f as well by `f (2 qⱼ + f Gⱼⱼ) + 2 d f Gᵢⱼ` more.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..gram import Array
from .enumeration_prepare import Indices

IMPROVES = 1e-11  # a move must lower the error by this fraction
FROZEN = 25.0  # a step that costs so many temperatures is not tried: one in 10¹¹
BOX_SWEEPS, BOX_MOVE = 200, 1e-5  # coordinate descent ends after so many sweeps, or when none moves more than that


@njit(cache=True)
def box_descent(gram: Array, target: Array, low: float, high: float, slope: Array) -> None:
    """Coordinate descent for `min (v − t)ᵀ G (v − t)`, `low ≤ v ≤ high`; `slope` receives its multipliers.

    `slope` is the gradient on the columns at their limit, where its sign fits, else 0.
    """
    n = target.size
    v = np.empty(n)
    q = np.zeros(n)
    for i in range(n):
        v[i] = min(max(target[i], low), high)
        d = v[i] - target[i]
        if d != 0.0:
            for j in range(n):
                q[j] += d * gram[i, j]
    for _ in range(BOX_SWEEPS):
        largest = 0.0
        for i in range(n):
            d = min(max(v[i] - q[i] / gram[i, i], low), high) - v[i]
            if d != 0.0:
                v[i] += d
                largest = max(largest, abs(d))
                for j in range(n):
                    q[j] += d * gram[i, j]
        if largest <= BOX_MOVE * (high - low):
            break
    for i in range(n):
        held = (v[i] <= low and q[i] > 0.0) or (v[i] >= high and q[i] < 0.0)
        slope[i] = 2.0 * q[i] if held else 0.0


@njit(cache=True)
def box_moves(gram: Array, low: float, high: float, first: int, v: Array, q: Array, moves: Array) -> None:
    """One sweep of `box_descent` over columns `first` …, all rows; `v` and `moves` (rows, band) are written."""
    rows, band = moves.shape
    local = np.empty(band)
    for row in range(rows):
        for a in range(band):
            local[a] = q[row, first + a]
        for a in range(band):
            i = first + a
            d = min(max(v[row, i] - local[a] / gram[i, i], low), high) - v[row, i]
            moves[row, a] = d
            if d != 0.0:
                v[row, i] += d
                for b in range(a + 1, band):
                    local[b] += d * gram[i, first + b]


@njit(cache=True)
def steps(levels: Array, code: int, i: int, slope: float, curvature: float, step: Array, change: Array) -> None:
    """The way down and up by one level from `code`, and what each changes; infinite where there is no level."""
    for side in range(2):
        to = code + 2 * side - 1
        if 0 <= to < levels.size:
            d = levels[to] - levels[code]
            step[side, i] = d
            change[side, i] = d * (2.0 * slope + d * curvature)
        else:
            step[side, i] = 0.0
            change[side, i] = np.inf


@njit(cache=True)
def move(gram: Array, levels: Array, code: Indices, q: Array, i: int, side: int) -> None:
    """One level down (side 0) or up (1) in column i."""
    d = levels[code[i] + 2 * side - 1] - levels[code[i]]
    code[i] += 2 * side - 1
    for j in range(q.size):
        q[j] += d * gram[i, j]


@njit(cache=True, fastmath={"nnan", "nsz"})  # so that the minimum vectorises: no sum is reordered
def least_share(line: Array, d: float, step: Array, change: Array) -> float:
    """What the cheapest step to make together with one by d in the column of `line` adds to the change."""
    least = np.inf
    for j in range(line.size):
        least = min(least, change[j] + 2.0 * d * line[j] * step[j])
    return least


@njit(cache=True, fastmath={"nnan", "nsz"})
def cheapest(line: Array, d: float, step: Array, change: Array, least: float) -> int:
    """The column of that step."""
    value, partner = np.inf, -1
    for j in range(line.size):
        share = change[j] + 2.0 * d * line[j] * step[j]
        if share <= least and share < value:
            value, partner = share, j
    return partner


@njit(cache=True)
def descend(gram: Array, levels: Array, code: Indices, q: Array, error: float, step: Array, change: Array) -> float:
    """Single steps and pairs of steps, column after column, until none helps; the new error.

    `step` and `change` are (2, columns) scratch.
    """
    n = q.size
    for j in range(n):
        steps(levels, code[j], j, q[j], gram[j, j], step, change)
    i, idle = 0, 0
    while idle < n:
        best, own, partner, way = -IMPROVES * error, -1, -1, 0
        alone0, alone1 = change[0, i], change[1, i]
        change[0, i], change[1, i] = np.inf, np.inf
        for side in range(2):
            alone = alone0 if side == 0 else alone1
            if alone == np.inf:
                continue
            if alone < best:
                best, own, partner = alone, side, -1
            for other in range(2):
                share = least_share(gram[i], step[side, i], step[other], change[other])
                if alone + share < best:
                    j = cheapest(gram[i], step[side, i], step[other], change[other], share)
                    best, own, partner, way = alone + share, side, j, other
        change[0, i], change[1, i] = alone0, alone1
        if own >= 0:
            move(gram, levels, code, q, i, own)
            if partner >= 0:
                move(gram, levels, code, q, partner, way)
            error += best
            for j in range(n):
                steps(levels, code[j], j, q[j], gram[j, j], step, change)
            idle = 0
        else:
            idle += 1
        i = (i + 1) % n
    return error


@njit(cache=True)
def uniform(draws: NDArray[np.uint64]) -> float:
    """A number in [0, 1) by xorshift64 (Marsaglia, *Xorshift RNGs*, 2003); `draws` (1,) is not zero."""
    x = draws[0]
    x ^= x << np.uint64(13)
    x ^= x >> np.uint64(7)
    x ^= x << np.uint64(17)
    draws[0] = x
    return float(x >> np.uint64(11)) * 2.0**-53


@njit(cache=True)
def anneal(
    gram: Array,
    levels: Array,
    code: Indices,
    q: Array,
    error: float,
    hot: float,
    cold: float,
    sweeps: int,
    draws: NDArray[np.uint64],
    best: Indices,
) -> float:
    """Metropolis sweeps of single steps while the temperature falls from `hot` to `cold` by equal factors.

    Kirkpatrick, Gelatt and Vecchi (Science 220, 1983). `code` and `q` end wherever the last sweep leaves them; `best`
    receives the codes of the sweep that ended best, if better than `error`. Returns the error of `best`.
    """
    n, least = q.size, error
    temperature = hot
    factor = (cold / hot) ** (1.0 / sweeps)
    for _ in range(sweeps):
        for i in range(n):
            side = 1 if uniform(draws) < 0.5 else 0
            to = code[i] + 2 * side - 1
            if to < 0 or to >= levels.size:
                continue
            d = levels[to] - levels[code[i]]
            change = d * (2.0 * q[i] + d * gram[i, i])
            if change <= 0.0 or (change < FROZEN * temperature and uniform(draws) < np.exp(-change / temperature)):
                move(gram, levels, code, q, i, side)
                error += change
        if error < least * (1.0 - IMPROVES):
            least = error
            for i in range(n):
                best[i] = code[i]
        temperature *= factor
    return least


@njit(cache=True)
def block_search(
    gram: Array, levels: Array, code: Indices, q: Array, block: Indices, max_nodes: int, found: Indices
) -> tuple[float, int]:
    """The best codes of a block of columns, the others fixed, by depth-first enumeration from the present point.

    Returns the change of E (negative, with the codes in `found`, or 0) and the nodes visited.
    """
    m = block.size
    order, used = np.empty(m, np.int64), np.zeros(m, np.bool_)
    schur = np.empty((m, m))
    for a in range(m):
        for b in range(m):
            schur[a, b] = gram[block[a], block[b]]
    # sorted QR: the columns of least conditional cost are eliminated first and so searched last
    low = np.empty((m, m))
    for s in range(m):
        best = -1
        for j in range(m):
            if not used[j] and (best < 0 or schur[j, j] < schur[best, best]):
                best = j
        order[s] = best
        used[best] = True
        pivot = schur[best, best]
        if not pivot > 0.0:
            return 0.0, 0
        for i in range(m):
            low[s, i] = schur[best, i] / pivot  # ratio of the row of the factor
        for i in range(m):
            if not used[i]:
                f = low[s, i]
                for j in range(m):
                    schur[i, j] -= f * schur[best, j]
    r2, ratio = np.empty(m), np.zeros((m, m))
    for s in range(m):
        r2[s] = schur[order[s], order[s]]
        for t in range(s + 1, m):
            ratio[s, t] = low[s, order[t]]
    # step u = x − present: E changes by Σ r2_s (u_s + h_s + Σ_{t>s} ratio u_t)² − Σ r2_s h_s², Lᵀ h-part solves q
    h = np.empty(m)
    for s in range(m):
        h[s] = q[block[order[s]]]
    for s in range(m):  # forward: L y = q, with L[t, s] = ratio[s, t] r2[s] (unit factor times cost)
        h[s] = h[s] / r2[s]
        for t in range(s + 1, m):
            h[t] -= ratio[s, t] * h[s] * r2[s]
    total = 0.0
    for s in range(m):
        total += r2[s] * h[s] * h[s]
    goal = total * (1.0 - 1e-9)
    nodes = 0
    improved = False
    at = np.empty(m, np.int64)
    below, above = np.empty(m, np.int64), np.empty(m, np.int64)
    u, peak, cost = np.zeros(m), np.empty(m), np.zeros(m + 1)
    partial = np.zeros((m + 1, m))  # partial[k, s]: Σ_{t≥k} ratio[s, t] u_t for s < k
    best_u = np.zeros(m, np.int64)
    present = np.empty(m, np.int64)
    for s in range(m):
        present[s] = code[block[order[s]]]
    k = m - 1
    entering = True
    while True:
        if entering:
            peak[k] = levels[present[k]] - h[k] - partial[k + 1, k]
            a = np.searchsorted(levels, peak[k])
            below[k], above[k] = a - 1, a
            entering = False
        if below[k] >= 0 and (above[k] >= levels.size or peak[k] - levels[below[k]] <= levels[above[k]] - peak[k]):
            choice = below[k]
            below[k] -= 1
        elif above[k] < levels.size:
            choice = above[k]
            above[k] += 1
        else:
            choice = -1
        spent = goal
        if choice >= 0:
            e = levels[choice] - peak[k]
            spent = cost[k + 1] + r2[k] * e * e
        if spent >= goal:
            k += 1
            if k == m:
                break
            continue
        nodes += 1
        at[k] = choice
        if k == 0:
            goal = spent * (1.0 - 1e-9)
            improved = True
            total_new = spent
            for s in range(m):
                best_u[s] = at[s]
            if m == 1:
                break
            k = 1
            continue
        if nodes >= max_nodes:
            break
        u[k] = levels[choice] - levels[present[k]]
        cost[k] = spent
        for s in range(k):
            partial[k, s] = partial[k + 1, s] + ratio[s, k] * u[k]
        k -= 1
        entering = True
    if not improved:
        return 0.0, nodes
    for s in range(m):
        found[order[s]] = best_u[s]
    return total_new - total, nodes
