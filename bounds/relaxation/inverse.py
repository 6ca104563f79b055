"""Inverses of positive definite matrices by their Cholesky factors. Nothing here is trusted."""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack

from ..gram import Array


def definite_inverse(matrix: Array) -> tuple[Array, float] | None:
    """Inverse and log determinant of a positive definite matrix, or None."""
    factor, info = lapack.dpotrf(matrix, lower=1, clean=1)
    if info != 0:
        return None
    volume = 2 * float(np.log(factor.diagonal()).sum())
    inverse, _ = lapack.dpotri(factor, lower=1)
    return np.asarray(inverse + np.tril(inverse, -1).T), volume
