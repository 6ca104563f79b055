"""Error-versus-keep curves of small blocks over all their subsets, and the exact allocation of a budget over blocks.

For a block `D ≻ 0` and a vector `q` the cost of keeping the subset `S` is `−F(S)`, `F(S) = q_Sᵀ D_SS⁻¹ q_S`. With the
Cholesky factor `L` of `D_SS` and `L z = q_S`, `F = ‖z‖²`: adding a last element to `S` adds one row to `L` and one
entry to `z`, so that all `2^m` subsets cost one dot product each once the rows of the factors are tabulated.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ..gram import Array


@njit(cache=True)
def factor_rows(d: Array, table: Array) -> bool:
    """Last rows of the Cholesky factors of all principal blocks of `d` (m, m) into `table` (2^m, m + 1).

    Row `S` (bits of `S` = its elements) holds the entries left of the pivot of its highest element, zero outside `S`,
    and in column m the reciprocal of that pivot. False where a pivot is not positive.
    """
    m = d.shape[0]
    table[0, :] = 0.0
    for j in range(m):
        for rest in range(1 << j):
            row = table[(1 << j) + rest]
            pivot = d[j, j]
            for k in range(j):
                row[k] = 0.0
                if (rest >> k) & 1:
                    above = table[rest & ((2 << k) - 1)]
                    s = d[j, k]
                    for i in range(k):
                        s -= row[i] * above[i]
                    row[k] = s * above[m]
                    pivot -= row[k] * row[k]
            if not pivot > 0.0:
                return False
            for k in range(j, m):
                row[k] = 0.0
            row[m] = 1.0 / math.sqrt(pivot)
    return True


@njit(cache=True)
def subset_values(table: Array, q: Array, z: Array, value: Array) -> None:
    """`F(S)` of all subsets into `value` (2^m,), and the solutions of `L z = q_S` into `z` (2^m, m)."""
    m = q.shape[0]
    value[0] = 0.0
    z[0, :] = 0.0
    for j in range(m):
        top = 1 << j
        for rest in range(top):
            row = table[top + rest]
            known = z[rest]
            s = q[j]
            for k in range(j):
                s -= row[k] * known[k]
            s *= row[m]
            mine = z[top + rest]
            for k in range(j):
                mine[k] = known[k]
            mine[j] = s
            for k in range(j + 1, m):
                mine[k] = 0.0
            value[top + rest] = value[rest] + s * s


@njit(cache=True)
def largest_by_size(value: Array, m: int, count: Array, curve: Array) -> None:
    """`curve[j]` = largest `value` of the subsets of `j` elements; `count` (2^m,) holds their sizes."""
    curve[:] = 0.0
    for subset in range(1 << m):
        size = count[subset]
        if value[subset] > curve[size]:
            curve[size] = value[subset]


@njit(cache=True)
def curves(table: Array, m: int, count: Array, q: Array, curve: Array) -> None:
    """The curve of one block for each row: q (rows, m) → curve (rows, m + 1)."""
    z = np.empty((1 << m, m))
    value = np.empty(1 << m)
    for row in range(q.shape[0]):
        subset_values(table, q[row], z, value)
        largest_by_size(value, m, count, curve[row])


@njit(cache=True)
def allocate_all(curve: Array, sizes: Array, best: Array) -> None:
    """`best[k]` = largest `Σ curve[b, j_b]` with `Σ j_b = k`, for every `k`; see `allocate`."""
    total = best.shape[0] - 1
    best[:] = -np.inf
    best[0] = 0.0
    filled = 0
    for b in range(curve.shape[0]):
        filled = min(filled + sizes[b], total)
        for k in range(filled, -1, -1):
            top = -np.inf
            for j in range(min(sizes[b], k) + 1):
                trial = best[k - j] + curve[b, j]
                if trial > top:
                    top = trial
            best[k] = top


@njit(cache=True)
def allocate(curve: Array, sizes: Array, keep: int) -> float:
    """Largest `Σ curve[b, j_b]` with `Σ j_b ≤ keep`; `curve` (blocks, widest + 1), `sizes` (blocks,) their widths.

    The order of the additions is that of the blocks, whatever the winner: the sum has `blocks − 1` roundings.
    """
    best = np.empty(keep + 1)
    allocate_all(curve, sizes, best)
    return float(best.max())
