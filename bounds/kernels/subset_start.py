"""Heuristic starts for the best subset: greedy elimination, greedy selection, and swaps until none helps.

Both directions walk on one symmetric tableau, `inverse` of the Gram bordered by the weights and
pivoted on the removed columns. There, removing column j costs `v_j² / T_jj`, and so does (negatively)
restoring one; exchanging a pair costs a 2 × 2 form. Greedy elimination is ExactOBS (Frantar & Alistarh
2022, algorithm 1); the swaps are those of Beck & Eldar 2013.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..gram import Array
from .linear_algebra import cholesky, subtract_1

IMPROVES = 1e-10  # a swap must lower the error by this fraction


@njit(cache=True)
def exchange(t: Array, n: int, p: int, row: Array) -> None:
    """Symmetric pivot on column p of the tableau (n columns and the weights as column n): in → out or back."""
    stride = t.shape[1]
    pivot = t[p, p]
    was_in = pivot > 0.0
    for j in range(n + 1):
        row[j] = t[p, j]
    for i in range(n):
        f = row[i] / pivot
        for c in range(0, n + 1, 4):
            subtract_1(t, i * stride + c, row, c, f)
    sign = 1.0 if was_in else -1.0
    for j in range(n + 1):
        t[p, j] = sign * row[j] / pivot
    for i in range(n):
        t[i, p] = t[p, i]
    t[p, p] = -1.0 / pivot


@njit(cache=True)
def swaps(t: Array, n: int, kept: NDArray[np.int8], row: Array, error: float) -> float:
    """Exchange a kept for a removed column, the best pair first, until no pair helps; the new error."""
    for _ in range(10 * n):
        best, out, back = -IMPROVES * error, -1, -1
        for i in range(n):
            if kept[i] == 0:
                continue
            a, s = t[i, i], t[i, n]
            for j in range(n):
                if kept[j] == 0:
                    b, c, r = t[j, j], t[i, j], t[j, n]
                    change = (s * s * b - 2.0 * s * r * c + r * r * a) / (a * b - c * c)
                    if change < best:
                        best, out, back = change, i, j
        if out < 0:
            break
        error += best
        exchange(t, n, out, row)
        exchange(t, n, back, row)
        kept[out] = 0
        kept[back] = 1
    return error


@njit(cache=True)
def walk(t: Array, n: int, kept: NDArray[np.int8], row: Array, keep: int, error: float) -> float:
    """Remove the cheapest or restore the dearest column, one at a time, until `keep` are kept; the new error."""
    count = 0
    for i in range(n):
        count += kept[i]
    while count != keep:
        side = 1 if count > keep else 0
        best, choice = 0.0, -1
        for i in range(n):
            if kept[i] == side:
                change = t[i, n] * t[i, n] / t[i, i]
                if choice < 0 or change < best:
                    best, choice = change, i
        error += best
        exchange(t, n, choice, row)
        kept[choice] = 1 - side
        count += 1 - 2 * side
    return error


@njit(cache=True)
def removal_error(inverse: Array, v: Array, kept: NDArray[np.int8], a: Array, reciprocal: Array) -> float:
    """`v_Rᵀ (M_RR)⁻¹ v_R` for the columns R not kept, afresh by Cholesky."""
    k = 0
    for i in range(v.size):
        if kept[i] == 0:
            reciprocal[k] = i
            k += 1
    for i in range(k):
        p = int(reciprocal[i])
        for j in range(i, k):
            a[i, j] = inverse[p, int(reciprocal[j])]
        a[i, k] = v[p]
    cholesky(a, k, k + 1, reciprocal)
    error = 0.0
    for i in range(k):
        error += a[i, k] * a[i, k]
    return error


@njit(cache=True)
def copy(source: Array, target: Array, n: int) -> None:
    """A tableau: n rows, n columns and the weights."""
    for i in range(n):
        for j in range(n + 1):
            target[i, j] = source[i, j]


@njit(cache=True)
def load(t: Array, inverse: Array, v: Array, mask: NDArray[np.int8]) -> float:
    """The tableau with every column kept; its error is 0."""
    copy(inverse, t, v.size)
    for i in range(v.size):
        t[i, v.size] = v[i]
        mask[i] = 1
    return 0.0


@njit(cache=True)
def load_removed(t: Array, gram: Array, v: Array, mask: NDArray[np.int8]) -> float:
    """The tableau with every column removed: −gram, bordered by gram · v; returns the energy."""
    energy = 0.0
    for i in range(v.size):
        s = 0.0
        for j in range(v.size):
            t[i, j] = -gram[i, j]
            s += gram[i, j] * v[j]
        t[i, v.size] = s
        mask[i] = 0
        energy += s * v[i]
    return energy


@njit(cache=True)
def starts(
    inverse: Array, gram: Array, targets: Array, keeps: NDArray[np.int64], kept: NDArray[np.int8], error: Array
) -> None:
    """Both greedy paths with swaps for every row and every size; the better one is stored.

    `inverse`, `gram` (columns, stride) full and symmetric, `keeps` (sizes,) strictly increasing,
    `kept` (sizes, rows, columns) and `error` (sizes, rows) are written.
    """
    rows, n = targets.shape
    t, path, row = np.zeros_like(inverse), np.zeros_like(inverse), np.zeros(inverse.shape[1])
    mask, trial = np.zeros(n, dtype=np.int8), np.zeros(n, dtype=np.int8)
    sizes = keeps.size
    for r in range(rows):
        v = targets[r]
        for direction in range(2):
            here = load(path, inverse, v, mask) if direction == 0 else load_removed(path, gram, v, mask)
            for q in range(sizes):
                s = sizes - 1 - q if direction == 0 else q
                here = walk(path, n, mask, row, keeps[s], here)
                copy(path, t, n)
                trial[:] = mask
                swaps(t, n, trial, row, here)
                e = removal_error(inverse, v, trial, t, row)
                if direction == 0 or e < error[s, r]:
                    error[s, r] = e
                    kept[s, r] = trial


@njit(cache=True)
def improve(
    inverse: Array, targets: Array, supports: NDArray[np.int8], keep: int, kept: NDArray[np.int8], error: Array
) -> None:
    """Complete each proposed support to `keep` columns, swap, and store it where it beats `error` (rows,)."""
    rows, n = targets.shape
    t, row, mask = np.zeros_like(inverse), np.zeros(inverse.shape[1]), np.zeros(n, dtype=np.int8)
    for r in range(rows):
        here = load(t, inverse, targets[r], mask)
        for i in range(n):
            if supports[r, i] == 0:
                mask[i] = 0
                here += t[i, n] * t[i, n] / t[i, i]
                exchange(t, n, i, row)
        here = walk(t, n, mask, row, keep, here)
        swaps(t, n, mask, row, here)
        e = removal_error(inverse, targets[r], mask, t, row)
        if e < error[r]:
            error[r] = e
            kept[r] = mask
