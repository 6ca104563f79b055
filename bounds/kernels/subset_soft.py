"""The softened minimum over supports, block by block, with its first two derivatives.

At temperature `ε` the least value `min_S −F(S) + λ|S|` of a block becomes `−ε log Σ_S exp((F(S) − λ|S|)/ε)`, and the
minimiser a probability on the supports. Nothing here is trusted: it proposes `y`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..gram import Array
from .subset_curves import factor_rows

Indices = NDArray[np.int64]
NEGLIGIBLE = 1e-6
HALVINGS = 50


@njit(cache=True)
def prepare(matrices: Array, sizes: Indices, table: Array) -> bool:
    """Factor tables of all blocks: matrices (blocks, m, m), padded → table (blocks, 2^m, m + 1)."""
    for b in range(sizes.shape[0]):
        m = sizes[b]
        own = np.empty((1 << m, m + 1))
        if not factor_rows(matrices[b, :m, :m].copy(), own):
            return False
        table[b, : 1 << m, :m] = own[:, :m]
        table[b, : 1 << m, table.shape[2] - 1] = own[:, m]
    return True


@njit(cache=True)
def soft_values(
    table: Array, sizes: Indices, count: Indices, q: Array, eps: float, keep: float, value: Array, mass: Array, z: Array
) -> tuple[float, float]:
    """`λ ≥ 0` at which the expected number kept is at most `keep`, and `−λ keep − ε Σ_B log Σ_S exp(…)`.

    value (blocks, 2^m) receives `F`; mass (blocks, m + 1) the logarithm of `Σ exp(F/ε)` by size. z (2^m, m): work.
    """
    blocks = sizes.shape[0]
    highest = 0.0
    for b in range(blocks):
        m = sizes[b]
        subset_values_padded(table[b], m, q[b], z, value[b])
        for j in range(m + 1):
            mass[b, j] = 0.0
        peak = np.zeros(m + 1)
        for s in range(1 << m):
            peak[count[s]] = max(peak[count[s]], value[b, s])
        for s in range(1 << m):
            mass[b, count[s]] += math.exp((value[b, s] - peak[count[s]]) / eps)
        for j in range(m + 1):
            mass[b, j] = math.log(mass[b, j]) + peak[j] / eps
            if j:
                highest = max(highest, (mass[b, j] - mass[b, 0]) * eps / j)
    low, high = 0.0, 0.0
    if expected(mass, sizes, 0.0) > keep:
        high = 2.0 * highest + 50.0 * eps
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            if expected(mass, sizes, middle / eps) > keep:
                low = middle
            else:
                high = middle
            if high - low <= 1e-10 * high:
                break
    total = -high * keep
    for b in range(blocks):
        top = -1e300
        for j in range(sizes[b] + 1):
            top = max(top, mass[b, j] - j * high / eps)
        weight = 0.0
        for j in range(sizes[b] + 1):
            weight += math.exp(mass[b, j] - j * high / eps - top)
        total -= eps * (top + math.log(weight))
    return total, high


@njit(cache=True)
def expected(mass: Array, sizes: Indices, price: float) -> float:
    """Expected number kept when each costs `price` (in temperatures)."""
    total = 0.0
    for b in range(sizes.shape[0]):
        top = -1e300
        for j in range(sizes[b] + 1):
            top = max(top, mass[b, j] - j * price)
        s = 0.0
        t = 0.0
        for j in range(sizes[b] + 1):
            p = math.exp(mass[b, j] - j * price - top)
            s += p
            t += j * p
        total += t / s
    return total


@njit(cache=True)
def subset_values_padded(table: Array, m: int, q: Array, z: Array, value: Array) -> None:
    """`subset_curves.subset_values` on a padded table, whose last column holds the reciprocal pivots."""
    last = table.shape[1] - 1
    value[0] = 0.0
    for j in range(m):
        top = 1 << j
        for rest in range(top):
            row = table[top + rest]
            s = q[j]
            for k in range(j):
                s -= row[k] * z[rest, k]
            s *= row[last]
            for k in range(j):
                z[top + rest, k] = z[rest, k]
            z[top + rest, j] = s
            value[top + rest] = value[rest] + s * s


@njit(cache=True)
def soft_moments(
    table: Array,
    sizes: Indices,
    count: Indices,
    q: Array,
    eps: float,
    price: float,
    value: Array,
    mean: Array,
    inverse: Array,
    spread: Array,
    cross: Array,
) -> float:
    """Moments of the soft minimiser: `E[x]`, `E[D_SS⁻¹]`, `Cov[x]`, `Cov[|S|, x]` of each block; returns `Var Σ|S|`.

    mean, cross (blocks, m); inverse, spread (blocks, m, m).
    """
    widest = mean.shape[1]
    last = widest
    z = np.empty(widest)
    x = np.empty(widest)
    members = np.empty(widest, dtype=np.int64)
    half = np.empty((widest, widest))
    variance = 0.0
    for b in range(sizes.shape[0]):
        m = sizes[b]
        full = 1 << m
        mean[b] = 0.0
        inverse[b] = 0.0
        spread[b] = 0.0
        cross[b] = 0.0
        top = -1e300
        for s in range(full):
            top = max(top, value[b, s] - price * count[s])
        total = 0.0
        for s in range(full):
            total += math.exp((value[b, s] - price * count[s] - top) / eps)
        kept = 0.0
        squares = 0.0
        for s in range(full):
            p = math.exp((value[b, s] - price * count[s] - top) / eps) / total
            if p < NEGLIGIBLE:
                continue
            size = 0
            for j in range(m):
                if (s >> j) & 1:
                    members[size] = j
                    size += 1
            kept += p * size
            squares += p * size * size
            # rows of the factor of S, its inverse `half`, and z
            for a in range(size):
                j = members[a]
                row = table[b, s & ((2 << j) - 1)]
                v = q[b, j]
                for c in range(a):
                    v -= row[members[c]] * z[c]
                z[a] = v * row[last]
                for c in range(a):
                    w = 0.0
                    for e in range(c, a):
                        w -= row[members[e]] * half[e, c]
                    half[a, c] = w * row[last]
                half[a, a] = row[last]
            for a in range(size):
                v = 0.0
                for c in range(a, size):
                    v -= half[c, a] * z[c]
                x[a] = v
            for a in range(size):
                i = members[a]
                mean[b, i] += p * x[a]
                cross[b, i] += p * size * x[a]
                for c in range(a + 1):
                    j = members[c]
                    spread[b, i, j] += p * x[a] * x[c]
                    w = 0.0
                    for e in range(a, size):
                        w += half[e, a] * half[e, c]
                    inverse[b, i, j] += p * w
        variance += squares - kept * kept
        for i in range(m):
            cross[b, i] -= kept * mean[b, i]
            for j in range(i + 1):
                spread[b, i, j] -= mean[b, i] * mean[b, j]
                spread[b, j, i] = spread[b, i, j]
                inverse[b, j, i] = inverse[b, i, j]
    return variance
