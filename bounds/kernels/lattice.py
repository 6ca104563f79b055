"""Lattice reduction on a Gram matrix, and enumeration in the reduced basis for one row.

Arrays and scalars only; driver: `bounds/exact/reduced_lattice.py`.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..gram import Array

Integers = NDArray[np.int64]


@njit(cache=True)
def reduce_basis(gram: Array, delta: float, basis: Integers, inverse: Integers) -> bool:
    """LLL on the lattice ℤⁿ in the metric `gram`: columns of `basis` (n, n), unimodular; `inverse` is its inverse.

    Lenstra, Lenstra and Lovász (1982) with size reduction repeated until it changes nothing, as in Nguyen and
    Stehlé (2005). Rounding can only make the basis less reduced: `basis` is exact whatever happens here.
    Returns False when entries outgrow what float64 and int64 hold safely.
    """
    n = gram.shape[0]
    g = gram.copy()
    r = np.zeros((n, n))
    mu = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            basis[i, j] = 1 if i == j else 0
            inverse[i, j] = 1 if i == j else 0
    k = 0
    steps = 0
    while k < n:
        steps += 1
        if steps > 400 * n * n:
            return True
        changed = True
        while changed:
            changed = False
            for j in range(k + 1):
                s = g[k, j]
                for i in range(j):
                    s -= mu[j, i] * r[k, i]
                r[k, j] = s
                mu[k, j] = s / r[j, j] if j < k else 1.0
            for j in range(k - 1, -1, -1):
                q = np.rint(mu[k, j])
                if abs(mu[k, j]) > 0.501 and q != 0.0:
                    if abs(q) > 1e6:
                        return False
                    changed = True
                    for i in range(j + 1):
                        mu[k, i] -= q * mu[j, i]
                    for i in range(n):
                        g[i, k] -= q * g[i, j]
                    for i in range(n):
                        g[k, i] -= q * g[j, i]
                    step = np.int64(q)
                    for i in range(n):
                        basis[i, k] -= step * basis[i, j]
                        inverse[j, i] += step * inverse[k, i]
                        if abs(basis[i, k]) > 1 << 24 or abs(inverse[j, i]) > 1 << 24:
                            return False
        if k == 0 or r[k, k] + mu[k, k - 1] * r[k, k - 1] >= delta * r[k - 1, k - 1]:
            k += 1
        else:
            for i in range(n):
                g[i, k], g[i, k - 1] = g[i, k - 1], g[i, k]
            for i in range(n):
                g[k, i], g[k - 1, i] = g[k - 1, i], g[k, i]
            for i in range(n):
                basis[i, k], basis[i, k - 1] = basis[i, k - 1], basis[i, k]
                inverse[k, i], inverse[k - 1, i] = inverse[k - 1, i], inverse[k, i]
            k -= 1
    return True


@njit(cache=True)
def nearest_in_box(
    factor: Array,
    basis: Array,
    centre: Array,
    origin: Array,
    low: float,
    high: float,
    best: float,
    factor_of_best: float,
    max_nodes: int,
    point: Array,
) -> tuple[float, bool, int]:
    """Depth-first search over `x = origin + basis z` for the least `‖factor (z − centre)‖²` inside the box.

    `factor` is upper triangular. Coordinates of `z` take their values in the order of their distance from the
    conditional centre (Schnorr and Euchner 1994); a node is left when its cost reaches
    `factor_of_best · best`. The box is checked at the leaves only, so the cost of a leaf outside it is never lost:
    the search is complete when it returns True. `point` receives the best `x` if one better than `best` is found.
    """
    n = centre.size
    z = np.zeros(n)
    step = np.zeros(n)
    cost = np.zeros(n + 1)
    where = np.zeros(n)
    k = n - 1
    where[k] = centre[k]
    z[k] = np.floor(where[k] + 0.5)
    step[k] = 1.0 if where[k] >= z[k] else -1.0
    nodes = 0
    while True:
        nodes += 1
        if nodes > max_nodes:
            return best, False, nodes
        e = factor[k, k] * (z[k] - where[k])
        total = cost[k + 1] + e * e
        if total < factor_of_best * best:
            if k > 0:
                cost[k] = total
                k -= 1
                s = 0.0
                for j in range(k + 1, n):
                    s += factor[k, j] * (z[j] - centre[j])
                where[k] = centre[k] - s / factor[k, k]
                z[k] = np.floor(where[k] + 0.5)
                step[k] = 1.0 if where[k] >= z[k] else -1.0
                continue
            inside = True
            for i in range(n):
                s = origin[i]
                for j in range(n):
                    s += basis[i, j] * z[j]
                if s < low or s > high:
                    inside = False
                    break
            if inside:
                best = total
                for i in range(n):
                    s = origin[i]
                    for j in range(n):
                        s += basis[i, j] * z[j]
                    point[i] = s
        else:
            k += 1
            if k == n:
                return best, True, nodes
        # zig-zag: +1, −2, +3, … away from the centre
        z[k] += step[k]
        step[k] = -step[k] - 1.0 if step[k] > 0.0 else 1.0 - step[k]
