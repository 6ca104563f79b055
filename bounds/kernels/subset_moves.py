"""Exchanges of columns on a compact tableau: only the rows of the columns inside.

For a symmetric positive definite `Q`, a vector `b` and a set A of columns *inside*, `f(A) = b_Aᵀ Q_AA⁻¹ b_A`. Pruning
is `E = wᵀGw − f` with the kept columns inside, `Q = G` and `b = G w`; or `E = f` with the removed columns inside,
`Q = G⁻¹` and `b = w`. The smaller of the two sets is the cheaper: an exchange costs O(columns · |A|).

Row k of the tableau T belongs to `inside[k]`: `(Q_AA)⁻¹` on the columns inside, `(Q_AA)⁻¹ Q_A·` on those outside;
`x = (Q_AA)⁻¹ b_A`. Outside, `gap_j = b_j − Q_jA x` and `left_j = Q_jj − Q_jA (Q_AA)⁻¹ Q_Aj`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ..gram import Array
from .enumeration_prepare import Indices

IMPROVES = 1e-10  # an exchange must lower the error by this fraction
HUGE = 1e140


@njit(cache=True)
def exchange(
    q: Array, t: Array, x: Array, gap: Array, left: Array, inside: Indices, slot: Indices, k: int, j: int, line: Array
) -> None:
    """The column in slot k leaves, column j takes its slot. `slot` is the slot of each column, −1 outside."""
    a, n = t.shape
    i = inside[k]
    pivot, row = t[k, i], t[k]
    weight = x[k] / pivot
    for c in range(n):
        if slot[c] < 0:
            gap[c] += row[c] * weight
            left[c] += row[c] * row[c] / pivot
    gap[i], left[i] = weight, 1.0 / pivot
    slot[i] = -1
    for c in range(n):
        line[c] = q[j, c]
    for m in range(a):
        if m != k:
            f = t[m, i] / pivot
            other = t[m]
            e = q[j, inside[m]]
            for c in range(n):
                other[c] -= f * row[c]
                line[c] -= e * other[c]
            other[i] = -f
            line[i] += e * f
            x[m] -= f * x[k]
    # on the columns outside, `line` is now row j of the Schur complement
    pivot = line[j]
    weight = gap[j] / pivot
    for c in range(n):
        row[c] = line[c] / pivot
    for m in range(a):
        if m != k:
            row[inside[m]] = -t[m, j] / pivot
    for c in range(n):
        if slot[c] < 0:
            gap[c] -= line[c] * weight
            left[c] -= line[c] * row[c]
    for m in range(a):
        if m != k:
            f = t[m, j]
            other = t[m]
            for c in range(n):
                other[c] -= f * row[c]
            other[j] = -f / pivot
            x[m] -= f * weight
    row[j] = 1.0 / pivot
    x[k] = weight
    inside[k] = j
    slot[j] = k


@njit(cache=True, fastmath={"nnan", "nsz"})  # so that the minimum vectorises: no sum is reordered
def best_exchange(
    t: Array, x: Array, gap: Array, left: Array, inside: Indices, slot: Indices, size: int, sign: float,
    stay: Indices, away: Indices, now: int, open_gap: Array, open_left: Array,
) -> tuple[float, int, int]:  # fmt: skip
    """The exchange that changes `sign · f` most: its change, slot and column.

    Columns change places within their group of `size` consecutive columns. Slots with `stay > now` and columns
    with `away > now` take no part.
    """
    a, n = t.shape
    for j in range(n):
        barred = slot[j] >= 0 or away[j] > now
        open_gap[j] = (HUGE if sign > 0 else 0.0) if barred else gap[j]
        open_left[j] = (1.0 if sign > 0 else HUGE) if barred else left[j]
    best, leaves, enters = np.inf, -1, -1
    for k in range(a):
        if stay[k] > now:
            continue
        row = t[k]
        pivot = row[inside[k]]
        weight, share = x[k] / pivot, 1.0 / pivot
        base = -sign * x[k] * weight
        first = inside[k] // size * size
        least = np.inf
        for j in range(first, first + size):
            g = open_gap[j] + row[j] * weight
            least = min(least, sign * g * g / (open_left[j] + row[j] * row[j] * share))
        if base + least < best:
            choice, slack = -1, np.inf
            for j in range(first, first + size):
                if slot[j] < 0 and away[j] <= now:
                    g = open_gap[j] + row[j] * weight
                    value = sign * g * g / (open_left[j] + row[j] * row[j] * share)
                    if value < slack:
                        choice, slack = j, value
            if choice >= 0 and base + slack < best:
                best, leaves, enters = base + slack, k, choice
    return best, leaves, enters


@njit(cache=True)
def descend(
    q: Array, t: Array, x: Array, gap: Array, left: Array, inside: Indices, slot: Indices, size: int, sign: float,
    error: float, most: int, line: Array, other: Array, free: Indices,
) -> tuple[float, int]:  # fmt: skip
    """The best exchange, again and again, until none helps; the new error and the exchanges made."""
    made = 0
    while made < most:
        change, k, j = best_exchange(t, x, gap, left, inside, slot, size, sign, free, free, 0, line, other)
        if not change < -IMPROVES * error:
            break
        exchange(q, t, x, gap, left, inside, slot, k, j, line)
        error += change
        made += 1
    return error, made


@njit(cache=True)
def tabu(
    q: Array, t: Array, x: Array, gap: Array, left: Array, inside: Indices, slot: Indices, size: int, sign: float,
    error: float, best: float, tenure: Indices, stay: Indices, away: Indices, now: int, line: Array, other: Array,
    best_inside: Indices,
) -> tuple[float, float]:  # fmt: skip
    """The best exchange that undoes no recent one, once for each row of `tenure`; the last and the least error.

    `tenure` (exchanges, 2): for how many exchanges the column that enters must stay and the one that leaves be away.
    The least error's set goes to `best_inside`.
    """
    for step in range(tenure.shape[0]):
        change, k, j = best_exchange(t, x, gap, left, inside, slot, size, sign, stay, away, now + step, line, other)
        if k < 0:
            continue  # all are barred for now
        i = inside[k]
        exchange(q, t, x, gap, left, inside, slot, k, j, line)
        error += change
        stay[k] = now + step + 1 + tenure[step, 0]
        away[i] = now + step + 1 + tenure[step, 1]
        if error < best * (1.0 - IMPROVES):
            best = error
            best_inside[:] = inside
    return error, best
