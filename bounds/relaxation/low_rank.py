"""The diagonal of largest weighted trace below a wide matrix, from a low-rank factor of the dual."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..gram import Array
from ..kernels.low_rank import descend_rows

BAND = 64
LOOK, REVIEW = 4, 100  # sweeps between two looks at the objective, and at what the diagonal is worth
MOST = 800
CLOSE = 5e-3
REFINEMENTS = 3
SEED = 0

Single = NDArray[np.float32]


def low_rank_diagonal(matrix: Array, weight: Array, definite: Callable[[Array], bool]) -> Array:
    """Maximise `Σ weightᵢ dᵢ` over `d ≥ 0` with `matrix − diag(d) ⪰ 0`, to about half a per cent.

    The dual `min ⟨S, X⟩`, `Xᵢᵢ ≥ wᵢ`, has a solution of rank at most `√(2 columns)` (Pataki 1998), so `X = V Vᵀ` with
    as many columns loses nothing (Burer and Monteiro, *A nonlinear programming algorithm for solving semidefinite
    programs via low-rank factorization*, Math. Program. 95, 2003). Its rows are minimised one by one in closed form
    (Wang, Chang and Kolter, *The mixing method*, arXiv:1706.00476), here in bands, so that a sweep is one product of
    `S` and `V`, with Nesterov's momentum, which starts anew whenever the objective rises (O'Donoghue and Candès 2015).
    The multipliers of the rows are `d`, scaled down until `definite`. Sweeps are in float32: twice as fast, and
    nothing is claimed from them. At 1,536 columns a tenth of the time of the interior point of `max_trace`.

    Parameters
    ----------
    matrix : (columns, columns), positive definite, unit diagonal
    weight : (columns,), positive
    definite : whether `matrix − diag(d)` is proven positive definite, for a `d` (columns,)

    Returns
    -------
    (columns,) a `d` that is `definite`, or zero
    """
    n = weight.size
    s, root = matrix.astype(np.float32), np.sqrt(weight).astype(np.float32)
    factor = np.random.default_rng(SEED).normal(size=(n, math.isqrt(2 * n) + 2)).astype(np.float32)
    factor *= (root / _lengths(factor))[:, None]
    before, last, age = factor, math.inf, 0
    d = np.zeros(n, dtype=np.float32)
    for sweep in range(1, MOST + 1):
        age += 1
        ahead = factor + np.float32((age - 1) / (age + 2)) * (factor - before)
        ahead *= np.maximum(1.0, root / _lengths(ahead))[:, None]
        before, factor = factor, ahead
        for first in range(0, n, BAND):
            band = s[first : first + BAND]
            descend_rows(band, band @ factor, root, factor, d, first)
        if sweep % LOOK == 0:
            dual = float(np.einsum("ij,ij->", s @ factor, factor))
            if dual > last:
                before, age = factor, 0
            last = dual
            if sweep % REVIEW == 0:
                reached = float(weight @ d)
                wanted = (1 - CLOSE) * dual
                if wanted < reached and definite(wanted / reached * d.astype(np.float64)):
                    break
    return _largest_share(d.astype(np.float64), definite)


def _lengths(rows: Single) -> Single:
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", rows, rows)))


def _largest_share(d: Array, definite: Callable[[Array], bool]) -> Array:
    """`(1 − lost) d` with the least `lost`, to a tenth of it."""
    below, lost = 0.0, 1e-5
    while not definite((1 - lost) * d):
        below, lost = lost, 3 * lost
        if lost >= 1:
            return np.zeros_like(d)
    for _ in range(REFINEMENTS if below else 0):
        middle = (below + lost) / 2
        if definite((1 - middle) * d):
            lost = middle
        else:
            below = middle
    return (1 - lost) * d
