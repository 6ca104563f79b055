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
MOMENTUM, MOST_MOMENTUM = 0.5, 0.99  # at first; grows while the objective falls, and shrinks when it rises
CLOSE = 5e-3
REFINEMENTS = 3
SEED = 0

Single = NDArray[np.float32]


def low_rank_diagonal(matrix: Array, weight: Array, definite: Callable[[Array], bool]) -> tuple[Array, float]:
    """Maximise `Σ weightᵢ dᵢ` over `d ≥ 0` with `matrix − diag(d) ⪰ 0`, to about half a per cent.

    The dual `min ⟨S, X⟩`, `Xᵢᵢ ≥ wᵢ`, has a solution of rank at most `√(2 columns)` (Pataki 1998), so `X = V Vᵀ` with
    as many columns loses nothing (Burer and Monteiro, *A nonlinear programming algorithm for solving semidefinite
    programs via low-rank factorization*, Math. Program. 95, 2003). Its rows are minimised one by one in closed form
    (Wang, Chang and Kolter, *The mixing method*, arXiv:1706.00476), here in bands, so that a sweep is one product of
    `S` and `V`, with a momentum that starts anew, from the best factor, whenever the objective rises.
    The multipliers of the rows are `d`, scaled down until `definite`. Sweeps are in float32: twice as fast, and
    nothing is claimed from them. At 1,536 columns a tenth of the time of the interior point of `max_trace`.

    Parameters
    ----------
    matrix : (columns, columns), positive definite, unit diagonal
    weight : (columns,), positive
    definite : whether `matrix − diag(d)` is proven positive definite, for a `d` (columns,)

    Returns
    -------
    (columns,) a `d` that is `definite`, or zero, and the value of the dual factor: no `d` reaches much more than that
    """
    n = weight.size
    s, root = matrix.astype(np.float32), np.sqrt(weight).astype(np.float32)
    factor = np.random.default_rng(SEED).normal(size=(n, math.isqrt(2 * n) + 2)).astype(np.float32)
    factor *= (root / _lengths(factor))[:, None]
    before, best, last, age, momentum = factor, factor, math.inf, 0, MOMENTUM
    d = np.zeros(n, dtype=np.float32)
    for sweep in range(1, MOST + 1):
        age += 1
        ahead = factor + np.float32(momentum if age > 1 else 0.0) * (factor - before)
        ahead *= np.maximum(1.0, root / _lengths(ahead))[:, None]
        before, factor = factor, ahead
        _sweep(s, root, factor, d)
        if sweep % LOOK == 0:
            with np.errstate(all="ignore"):
                dual = float(np.einsum("ij,ij->", s @ factor, factor))
            if dual < last:
                last, best, momentum = dual, factor.copy(), min(MOST_MOMENTUM, 1 - 0.9 * (1 - momentum))
            else:
                factor, before, age, momentum = best.copy(), best, 0, max(0.0, 1 - 1.5 * (1 - momentum))
            if sweep % REVIEW == 0:
                reached = float(weight @ d)
                wanted = (1 - CLOSE) * last
                if wanted < reached and definite(wanted / reached * d.astype(np.float64)):
                    break
    _sweep(s, root, best, d)
    return _largest_share(d.astype(np.float64), definite), last


def _sweep(s: Single, root: Single, factor: Single, d: Single) -> None:
    for first in range(0, len(s), BAND):
        band = s[first : first + BAND]
        with np.errstate(all="ignore"):
            descend_rows(band, band @ factor, root, factor, d, first)


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
