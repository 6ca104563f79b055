"""Primal-dual interior point for the max-cut semidefinite programme, one small problem a row."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..gram import Array
from .dense import cholesky, inverse_factored, solve_factored

BACK, BACK_LATE = 0.95, 0.98
SIGMAS = (0.03, 0.1, 0.2, 0.4)
INFEASIBLE = 1e-6
SMALL = 1e-3


@njit(cache=True)
def centring(shortest: float) -> float:
    """The next σ from the last step: Mehrotra's rule without the factorisations that a trial step would cost."""
    if shortest > 0.9:
        return SIGMAS[0]
    if shortest > 0.7:
        return SIGMAS[1]
    return SIGMAS[2] if shortest > 0.4 else SIGMAS[3]


@njit(cache=True, fastmath={"reassoc", "contract", "arcp", "nsz"})
def boundary(base: Array, step: Array, scaled_diagonal: bool, length: float, work: Array, m: int) -> float:
    """A `length` at which `base + length·step` is positive definite, by backtracking.

    `step` is a symmetric matrix, or holds in row 0 the diagonal of a diagonal one.
    """
    for _ in range(60):
        for i in range(m):
            if scaled_diagonal:
                for j in range(i + 1):
                    work[i, j] = base[i, j]
                work[i, i] += length * step[0, i]
            else:
                for j in range(i + 1):
                    work[i, j] = base[i, j] + length * step[i, j]
        if cholesky(work, m):
            return length
        length *= 0.8
    return 0.0


@njit(cache=True, fastmath={"reassoc", "contract", "arcp", "nsz"})
def interior_point(
    gram: Array,
    tau: Array,
    start: Array,
    tol: float,
    max_steps: int,
    multipliers: Array,
    gaps: Array,
    steps: NDArray[np.int64],
) -> None:
    """Solve `max Σλ, C − diag(λ) ⪰ 0, λ₁… ≥ 0` for each row of `tau`.

    `C = ¼ [r, I]ᵀ gram [r, I]`, `r = 1 − 2τ`; its primal is `min ⟨C, Y⟩, Y₀₀ = 1, Yᵢᵢ ≥ 1`. The HKM direction
    (Helmberg, Rendl, Vanderbei and Wolkowicz, *An interior-point method for semidefinite programming*, 1996)
    with Mehrotra's second-order correction. A row stops at a gap of `tol` times the larger of its bound
    and a thousandth of `C₀₀`, the error of the cell's corner seen from its middle.

    Parameters
    ----------
    gram (n, n), tau (rows, n), start (n,) with `gram − diag(start)` positive definite and `start > 0`
    multipliers (rows, n) : out, λ₁…λₙ of the last iterate, strictly feasible: `D = 4 λ`
    gaps (rows,) : out, duality gap over the bound
    steps (rows,) : out, iterations
    """
    rows, n = tau.shape
    m = n + 1
    c = np.zeros((m, m))
    z = np.zeros((m, m))
    factor = np.zeros((m, m))
    work = np.zeros((m, m))
    inverse = np.zeros((m, m))
    schur = np.zeros((m, m))
    scaled = np.zeros((m, m))
    product = np.zeros((m, m))
    primal = np.zeros((m, m))
    move = np.zeros((m, m))
    lam = np.zeros(m)
    slack = np.zeros(m)
    d_lam = np.zeros(m)
    d_slack = np.zeros(m)
    first = np.zeros(m)
    down = np.zeros((1, m))
    image = np.zeros(n)
    for i in range(n):
        for j in range(n):
            c[i + 1, j + 1] = 0.25 * gram[i, j]
    for row in range(rows):
        corner = 0.0
        for i in range(n):
            s = 0.0
            for j in range(n):
                s += gram[i, j] * (1.0 - 2.0 * tau[row, j])
            c[0, i + 1] = 0.25 * s
            c[i + 1, 0] = 0.25 * s
            image[i] = 0.25 * s
            corner += 0.25 * s * (1.0 - 2.0 * tau[row, i])
        c[0, 0] = corner
        # start: the given diagonal, and the λ₀ that leaves a little room in the Schur complement
        total = 0.0
        for i in range(n):
            lam[i + 1] = 0.25 * start[i]
            total += lam[i + 1]
            for j in range(i + 1):
                factor[i, j] = c[i + 1, j + 1]
            factor[i, i] -= lam[i + 1]
        cholesky(factor, n)
        solve_factored(factor, image, n)
        lam[0] = 0.95 * corner - 0.02 * total
        for i in range(n):
            lam[0] -= c[0, i + 1] * image[i]
        for i in range(m):
            for j in range(m):
                primal[i, j] = 0.0
                z[i, j] = c[i, j]
            primal[i, i] = 1.5
            z[i, i] -= lam[i]
            slack[i] = 0.5
        primal[0, 0] = 1.0
        count = 0
        back = BACK
        next_sigma = SIGMAS[1]
        gap = np.inf
        while count < max_steps:
            count += 1
            for i in range(m):
                for j in range(i + 1):
                    factor[i, j] = z[i, j]
            if not cholesky(factor, m):
                break
            inverse_factored(factor, work, inverse, m)
            for i in range(m):
                for j in range(i):
                    inverse[j, i] = inverse[i, j]
            product_sum = 0.0
            value = lam[0]
            away = abs(primal[0, 0] - 1.0)
            for i in range(m):
                for j in range(m):
                    product_sum += z[i, j] * primal[i, j]
            for i in range(1, m):
                product_sum += slack[i] * lam[i]
                value += lam[i]
                away = max(away, abs(primal[i, i] - slack[i] - 1.0))
            gap = product_sum / max(value, 1e-300)
            if product_sum <= tol * max(value, SMALL * corner) and away < INFEASIBLE:
                break
            mu = product_sum / (m + n)
            for i in range(m):
                for j in range(i + 1):
                    schur[i, j] = inverse[i, j] * primal[i, j]
                if i > 0:
                    schur[i, i] += slack[i] / lam[i]
                schur[i, i] *= 1.0 + 1e-14
            if not cholesky(schur, m):
                break
            sigma = 0.0
            done = False
            for phase in range(2):
                centre = sigma * mu
                for i in range(m):
                    d_lam[i] = 1.0 - centre * inverse[i, i]
                    if i > 0:
                        d_lam[i] += centre / lam[i]
                if phase == 1:
                    for i in range(m):
                        s = 0.0
                        for k in range(m):
                            s += inverse[i, k] * first[k] * move[i, k]
                        d_lam[i] -= s
                        if i > 0:
                            d_lam[i] -= first[i] * d_slack[i] / lam[i]
                solve_factored(schur, d_lam, m)
                for i in range(m):
                    for j in range(m):
                        scaled[i, j] = d_lam[i] * primal[i, j]
                    if phase == 1:
                        for j in range(m):
                            scaled[i, j] += first[i] * move[i, j]
                np.dot(inverse, scaled, product)
                for i in range(m):
                    for j in range(i + 1):
                        s = 0.5 * (product[i, j] + product[j, i]) + centre * inverse[i, j] - primal[i, j]
                        move[i, j] = s
                        move[j, i] = s
                dual_length = 1.0 / back
                primal_length = 1.0 / back
                for i in range(1, m):
                    s = centre / lam[i] - slack[i] - slack[i] / lam[i] * d_lam[i]
                    if phase == 1:
                        s -= first[i] * d_slack[i] / lam[i]
                    d_slack[i] = s
                    if d_lam[i] < 0.0:
                        dual_length = min(dual_length, -lam[i] / d_lam[i])
                    if s < 0.0:
                        primal_length = min(primal_length, -slack[i] / s)
                for i in range(m):
                    down[0, i] = -d_lam[i]
                if phase == 0:
                    first[:] = d_lam
                    sigma = next_sigma
                else:
                    dual_length = min(1.0, back * boundary(z, down, True, dual_length, work, m))
                    primal_length = min(1.0, back * boundary(primal, move, False, primal_length, work, m))
                    shortest = min(dual_length, primal_length)
                    next_sigma = centring(shortest)
                    back = BACK_LATE if shortest > 0.9 else BACK
                    done = max(dual_length, primal_length) < 1e-8
                    for i in range(m):
                        lam[i] += dual_length * d_lam[i]
                        z[i, i] -= dual_length * d_lam[i]
                        slack[i] += primal_length * d_slack[i]
                        for j in range(m):
                            primal[i, j] += primal_length * move[i, j]
            if done:
                break
        for i in range(n):
            multipliers[row, i] = lam[i + 1]
        gaps[row] = gap
        steps[row] = count
