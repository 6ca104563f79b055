"""What the enumeration computes once for a Gram: order, conditional centres, a diagonal for each leading block."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..gram import UNIT_ROUNDOFF, Array

Indices = NDArray[np.int64]
GAP = 3e-2
DENSE = 32
SHRINK = 1e-9


@njit(cache=True)
def sorted_order(gram: Array) -> Indices:
    """Sorted QR (Wübben et al. 2001): each next column has the smallest part orthogonal to those before it.

    The search fixes the last column first, so the coordinates of large cost are decided at the top.
    """
    n = gram.shape[0]
    schur = gram.copy()
    order = np.empty(n, np.int64)
    used = np.zeros(n, np.bool_)
    for step in range(n):
        best = -1
        for j in range(n):
            if not used[j] and (best < 0 or schur[j, j] < schur[best, best]):
                best = j
        order[step] = best
        used[best] = True
        pivot = schur[best, best]
        for i in range(n):
            if not used[i]:
                f = schur[i, best] / pivot
                for j in range(n):
                    schur[i, j] -= f * schur[best, j]
    return order


@njit(cache=True)
def conditional_centres(gram: Array, factor: Array, coupling: Array, cost: Array) -> None:
    """`coupling[k, :k] = G_k⁻¹ G[:k, k]` and `cost[k] = r_k²` from the Cholesky factor, row by row."""
    n = gram.shape[0]
    for k in range(n):
        cost[k] = factor[k, k] * factor[k, k]
        for i in range(k):
            coupling[k, i] = factor[k, i]
        for i in range(k - 1, -1, -1):
            x = coupling[k, i] / factor[i, i]
            coupling[k, i] = x
            for j in range(i):
                coupling[k, j] -= x * factor[i, j]


@njit(cache=True)
def invert(matrix: Array, n: int) -> bool:
    """Invert a symmetric matrix in place by sweeping; False (contents lost) unless every pivot is positive."""
    for p in range(n):
        pivot = matrix[p, p]
        if not pivot > 0.0:
            return False
        scale = 1.0 / pivot
        for i in range(n):
            if i != p:
                f = matrix[i, p] * scale
                matrix[i, p] = 0.0
                for j in range(n):
                    matrix[i, j] -= f * matrix[p, j]
                matrix[i, p] = -f
        for j in range(n):
            matrix[p, j] *= scale
        matrix[p, p] = scale
    return True


@njit(cache=True)
def solve_definite(matrix: Array, x: Array, n: int) -> bool:
    """Solve in place by right-looking elimination; False unless every pivot is positive."""
    for p in range(n):
        pivot = matrix[p, p]
        if not pivot > 0.0:
            return False
        for i in range(p + 1, n):
            f = matrix[p, i] / pivot
            x[i] -= f * x[p]
            for j in range(i, n):
                matrix[i, j] -= f * matrix[p, j]
    for p in range(n - 1, -1, -1):
        s = x[p]
        for j in range(p + 1, n):
            s -= matrix[p, j] * x[j]
        x[p] = s / matrix[p, p]
    return True


@njit(cache=True)
def load_difference(scaled: Array, d: Array, n: int, out: Array) -> None:
    for i in range(n):
        for j in range(n):
            out[i, j] = scaled[i, j]
        out[i, i] -= d[i]


@njit(cache=True)
def centre_diagonal(
    scaled: Array,
    weight: Array,
    d: Array,
    n: int,
    mu: float,
    inverse: Array,
    trial: Array,
    newton: Array,
    step: Array,
    other: Array,
) -> None:
    """Barrier Newton for the largest trace on the leading n × n block, from an interior `d`.

    `inverse` holds the inverse of the block less `d`, before and after. Within `GAP` of the largest trace a diagonal
    prunes as well as the best one: the search took as many nodes with a gap of 0.1 as with 0.001, the step a tenth
    of the time.
    """
    for _ in range(60):
        for i in range(n):
            step[i] = (weight[i] / mu - inverse[i, i]) * d[i] + 1.0
            for j in range(n):
                newton[i, j] = inverse[i, j] * inverse[i, j] * d[j] * d[i]
            newton[i, i] += 1.0
            other[i] = step[i]
        if not solve_definite(newton, step, n):
            return
        decrement = 0.0
        length = 1.0
        for i in range(n):
            decrement += other[i] * step[i]
            if step[i] < 0.0:
                length = min(length, -0.95 / step[i])
        moved = False
        for _ in range(40):
            for i in range(n):
                other[i] = d[i] * (1.0 + length * step[i])
            load_difference(scaled, other, n, trial)
            if invert(trial, n):
                moved = True
                break
            length *= 0.6
        if not moved:
            return
        for i in range(n):
            d[i] = other[i]
        for i in range(n):
            for j in range(n):
                inverse[i, j] = trial[i, j]
        if decrement < 1.0:
            trace = 0.0
            for i in range(n):
                trace += weight[i] * d[i]
            if 2.0 * n * mu <= GAP * trace:
                return
            mu *= 0.1


@njit(cache=True)
def drop_last(inverse: Array, n: int) -> None:
    """The inverse of a matrix without its row and column n, from the inverse of the (n + 1) × (n + 1) matrix."""
    for i in range(n):
        f = inverse[i, n] / inverse[n, n]
        for j in range(n):
            inverse[i, j] -= f * inverse[n, j]


@njit(cache=True)
def proven_definite(scaled: Array, d: Array, n: int, work: Array) -> bool:
    """True only if `scaled − diag(d)` is positive definite in exact arithmetic (shift as in `relaxation.max_trace`)."""
    load_difference(scaled, d, n, work)
    shift = 2.0 * n * (n + 8.0) * UNIT_ROUNDOFF
    for i in range(n):
        work[i, i] -= shift
    for p in range(n):
        pivot = work[p, p]
        if not pivot > 0.0:
            return False
        for i in range(p + 1, n):
            f = work[p, i] / pivot
            for j in range(i, n):
                work[i, j] -= f * work[p, j]
    return True


@njit(cache=True)
def leading_diagonals(scaled: Array, weight: Array, smallest: float, tails: Array) -> None:
    """`tails[k, :k]`: almost the largest-trace diagonal below the leading k × k block, for k = columns … 1.

    Each block starts from the diagonal of the next larger one, which is feasible for it, and so needs few steps.
    Of the blocks wider than `DENSE` only every second, third, … is treated; the others keep the diagonal of the next
    larger one (at 64 columns 0 to 5 % more nodes, for half of the time here).
    `scaled` has unit diagonal and smallest eigenvalue `smallest`; `weight` is the diagonal taken out of it.
    """
    n = weight.size
    inverse = np.empty((n, n))
    trial = np.empty((n, n))
    newton = np.empty((n, n))
    step = np.empty(n)
    other = np.empty(n)
    d = np.full(n, 0.5 * smallest)
    known = False
    treated = n
    for k in range(n, 0, -1):
        if known:
            drop_last(inverse, k)
        if k < n and (treated - k) * DENSE < k:
            for i in range(k):
                tails[k, i] = tails[k + 1, i]
            continue
        treated = k
        trace = 0.0
        for i in range(k):
            trace += weight[i] * d[i]
        mu = trace / k if k == n else 10.0 * GAP * trace / (2.0 * k)
        if not known:
            load_difference(scaled, d, k, inverse)
            known = invert(inverse, k)
        if known:
            centre_diagonal(scaled, weight, d, k, mu, inverse, trial, newton, step, other)
        else:
            for i in range(k):
                d[i] *= 0.5
        shrink = SHRINK
        proven = False
        while not proven:
            for i in range(k):
                other[i] = d[i] * (1.0 - shrink)
            proven = shrink == 1.0 or proven_definite(scaled, other, k, trial)
            shrink = min(4.0 * shrink, 1.0)
        for i in range(k):
            tails[k, i] = other[i] * weight[i]
