"""Small dense factorisations for kernels that propose certificates.

`fastmath` reorders sums so that they vectorise; nothing is claimed from these floats: every proposal is
proven afterwards by `certificate`.
"""

from __future__ import annotations

import math

from numba import njit

from ..gram import Array


@njit(cache=True, fastmath={"reassoc", "contract", "arcp", "nsz"})
def cholesky(a: Array, n: int) -> bool:
    """Lower factor in place of the lower triangle of `a`; False at a pivot that is not positive (or NaN)."""
    for j in range(n):
        pivot = a[j, j]
        for k in range(j):
            pivot -= a[j, k] * a[j, k]
        if not pivot > 0.0:
            return False
        pivot = math.sqrt(pivot)
        a[j, j] = pivot
        inverse = 1.0 / pivot
        for i in range(j + 1, n):
            s = a[i, j]
            for k in range(j):
                s -= a[i, k] * a[j, k]
            a[i, j] = s * inverse
    return True


@njit(cache=True, fastmath={"reassoc", "contract", "arcp", "nsz"})
def solve_factored(factor: Array, b: Array, n: int) -> None:
    """`b ← (L Lᵀ)⁻¹ b` in place."""
    for i in range(n):
        s = b[i]
        for k in range(i):
            s -= factor[i, k] * b[k]
        b[i] = s / factor[i, i]
    for i in range(n - 1, -1, -1):
        b[i] /= factor[i, i]
        value = b[i]
        for k in range(i):
            b[k] -= factor[i, k] * value


@njit(cache=True, fastmath={"reassoc", "contract", "arcp", "nsz"})
def inverse_factored(factor: Array, work: Array, inverse: Array, n: int) -> None:
    """Lower triangle of `(L Lᵀ)⁻¹` into `inverse`; `work` receives `L⁻¹`."""
    for i in range(n):
        for j in range(i):
            work[i, j] = 0.0
        for k in range(i):
            value = -factor[i, k]
            for j in range(k + 1):
                work[i, j] += value * work[k, j]
        scale = 1.0 / factor[i, i]
        for j in range(i):
            work[i, j] *= scale
        work[i, i] = scale
    for i in range(n):
        for j in range(i + 1):
            inverse[i, j] = 0.0
    for k in range(n):
        for i in range(k + 1):
            value = work[k, i]
            for j in range(i + 1):
                inverse[i, j] += value * work[k, j]
