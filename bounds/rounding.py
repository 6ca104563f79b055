"""What float64 can prove about a matrix, and the constants of every rounding allowance."""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack

from .gram import UNIT_ROUNDOFF, Array

SHRINK = (0.0, 1e-12, 1e-11, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1.0)
UNDERFLOW = 2.0**-1060


def gamma(operations: int) -> float:
    """`γ_k = k u / (1 − k u)` (Higham, *Accuracy and Stability of Numerical Algorithms*, §3.1)."""
    return operations * UNIT_ROUNDOFF / (1 - operations * UNIT_ROUNDOFF)


def proves_semidefinite(matrix: Array, touched: int = 1) -> bool:
    """True only if a matrix known to a relative `2⁻⁵³` in `touched` entries of each row is `⪰ 0` in exact arithmetic.

    A Cholesky factorisation of `A` that completes in floats is exact for `A + Δ` with
    `|Δᵢⱼ| ≤ γ √(aᵢᵢ aⱼⱼ)` (Higham, theorem 10.3; Rump, *Verification of positive definiteness*, BIT 46,
    2006). So `A + columns·γ·diag(A) ⪰ 0`, and lowering each diagonal entry by that share of itself before
    factorising proves the claim, whatever the scales of the columns. It also gives `|aᵢⱼ| ≤ (1 + γ) √(aᵢᵢ aⱼⱼ)`, so
    that `touched` rounded entries a row cost at most `2·touched` roundings of the diagonal more. Powers of two balance
    the columns first, without rounding, to keep clear of underflow.
    """
    n = matrix.shape[0]
    pivots = matrix.diagonal()
    if n == 0:
        return True
    if not pivots.min() > 0:
        return False
    scale = np.ldexp(1.0, -(np.frexp(pivots)[1] // 2))
    with np.errstate(all="ignore"):
        balanced = matrix * scale * scale[:, None]
        share = n * gamma(n + 10) * 1.001 + (6 + 2 * touched) * UNIT_ROUNDOFF
        balanced[np.diag_indices(n)] = pivots * scale * scale * (1 - share)
        factor, info = lapack.dpotrf(balanced.T, lower=1, clean=0, overwrite_a=1)
        return bool(info == 0 and np.isfinite(factor.diagonal()).all())
