"""Box-constrained least squares for one row: the multipliers that recentre it, and a starting point.

Everything here works in the search order of `enumeration_prepare`, on arrays that the caller allocates.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ..gram import Array
from .enumeration_prepare import Indices, solve_definite

BLOCK_STEPS = 12


@njit(cache=True)
def active_set(
    inverse: Array,
    t: Array,
    low: float,
    high: float,
    c: Array,
    mu: Array,
    side: Indices,
    index: Indices,
    small: Array,
    rhs: Array,
) -> None:
    """Block principal pivoting for `min (v − t)ᵀ G (v − t)`, `low ≤ v ≤ high` (Júdice and Pires 1994).

    All coordinates that violate a condition change sides together; if that goes on for too long, only the last
    of them does (Murty's rule), which cannot cycle. On return `side` is −1, 0 or 1 for low, free, high, `mu` half
    the gradient on the active coordinates, and `c = t + G⁻¹ mu`. Stopping early only weakens what follows.
    """
    n = t.size
    for i in range(n):
        side[i] = -1 if t[i] < low else (1 if t[i] > high else 0)
    for step in range(BLOCK_STEPS + 8 * n):
        count = 0
        for i in range(n):
            mu[i] = 0.0
            c[i] = t[i]
            if side[i] != 0:
                index[count] = i
                rhs[count] = (low if side[i] < 0 else high) - t[i]
                count += 1
        for p in range(count):
            for q in range(p, count):
                small[p, q] = inverse[index[p], index[q]]
        if not solve_definite(small, rhs, count):
            break
        for p in range(count):
            a = index[p]
            m = rhs[p]
            mu[a] = m
            for i in range(n):
                c[i] += m * inverse[a, i]
        last = -1
        side_of_last = 0
        for i in range(n):
            new = side[i]
            if new != 0:
                new = 0 if new * mu[i] >= 0.0 else new
            elif c[i] < low:
                new = -1
            elif c[i] > high:
                new = 1
            if new != side[i]:
                last = i
                side_of_last = new
                if step < BLOCK_STEPS:
                    side[i] = new
        if last < 0:
            break
        side[last] = side_of_last


@njit(cache=True)
def times(matrix: Array, x: Array, out: Array) -> None:
    """out = matrix @ x for a symmetric matrix, as a sum of rows (vectorises without reordering any sum)."""
    n = x.size
    for i in range(n):
        out[i] = 0.0
    for j in range(n):
        f = x[j]
        for i in range(n):
            out[i] += f * matrix[j, i]


@njit(cache=True)
def recentre(
    gram: Array,
    inverse: Array,
    t: Array,
    low: float,
    high: float,
    c: Array,
    g: Array,
    b: Array,
    work: Array,
    side: Indices,
    index: Indices,
    small: Array,
) -> tuple[float, float]:
    """Rewrite `E(x) = f₀ + (x − c)ᵀ G (x − c) + Σ gᵢ (xᵢ − bᵢ)` with every `gᵢ (xᵢ − bᵢ) ≥ 0` on the box.

    It holds for any multipliers `g` of valid sign, with `c = t + G⁻¹ g / 2`; the best are those of the box QP.
    Returns `f₀` and the squared length of `2 G (c − t) − g` in units of the diagonal: the part of the
    identity that rounding left unsatisfied.
    """
    n = t.size
    outside = False
    for i in range(n):
        c[i] = t[i]
        g[i] = 0.0
        b[i] = 0.0
        if t[i] < low or t[i] > high:
            outside = True
    if not outside:
        return 0.0, 0.0
    mu, residual, step = work[0], work[1], work[2]
    active_set(inverse, t, low, high, c, mu, side, index, small, work[3])
    for i in range(n):
        if side[i] * mu[i] < 0.0:
            b[i] = low if side[i] < 0 else high
        else:
            mu[i] = 0.0
    times(inverse, mu, step)
    for _ in range(2):
        for i in range(n):
            c[i] = t[i] + step[i]
        for i in range(n):
            step[i] = c[i] - t[i]
        times(gram, step, residual)
        for i in range(n):
            residual[i] -= mu[i]
        times(inverse, residual, work[3])
        for i in range(n):
            step[i] -= work[3][i]
    for i in range(n):
        c[i] = t[i] + step[i]
        step[i] = c[i] - t[i]
    times(gram, step, residual)
    constant = 0.0
    left = 0.0
    for i in range(n):
        constant += step[i] * residual[i]
        g[i] = 2.0 * mu[i]
        if g[i] != 0.0:
            constant += g[i] * (b[i] - c[i])
        r = 2.0 * residual[i] - g[i]
        left += r * r / gram[i, i]
    if not constant >= 0.0:  # worse than no multipliers at all
        for i in range(n):
            c[i] = t[i]
            g[i] = 0.0
        return 0.0, 0.0
    return constant, left


@njit(cache=True)
def babai(coupling: Array, width: int, pull: Array, c: Array, low: Array, high: Array, centre: Array, z: Array) -> None:
    """Conditional rounding from the last coordinate down, box and multipliers included (`pull = g / 2r²`)."""
    n = z.size
    for i in range(n):
        centre[i] = c[i]
    for k in range(n - 1, -1, -1):
        z[k] = min(max(np.floor(centre[k] - pull[k] + 0.5), low[k]), high[k])
        e = z[k] - centre[k]
        for i in range(k):
            centre[i] -= coupling[k * width + i] * e


@njit(cache=True)
def descend(gram: Array, c: Array, g: Array, low: Array, high: Array, z: Array, gradient: Array) -> None:
    """Steepest single-coordinate moves to a local minimum of the recentred error.

    Moving pairs as well was measured to cost more than the nodes it saves. `gradient` is scratch (half of it).
    """
    n = z.size
    for i in range(n):
        gradient[i] = 0.5 * g[i]
    for j in range(n):
        d = z[j] - c[j]
        for i in range(n):
            gradient[i] += d * gram[j, i]
    while True:
        best = -1e-12
        chosen = -1
        move = 0.0
        for i in range(n):
            d = np.floor(0.5 - gradient[i] / gram[i, i])
            d = min(max(d, low[i] - z[i]), high[i] - z[i])
            gain = d * (2.0 * gradient[i] + d * gram[i, i])
            if gain < best:
                best, chosen, move = gain, i, d
        if chosen < 0:
            return
        z[chosen] += move
        for i in range(n):
            gradient[i] += move * gram[chosen, i]
