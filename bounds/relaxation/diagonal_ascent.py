"""The best diagonal `D` for one row or many: a few Newton steps on the bound and a barrier."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import lapack

from ..gram import Array
from .inverse import definite_inverse

#: The first `D` may touch the edge of what is below the Gram matrix: steps begin a little inside.
INSIDE = 0.95
#: The barrier falls from the one share of `Σ wᵢDᵢ` to the other; the part of it that keeps `D` positive.
FIRST, LAST, POSITIVE = 0.3, 0.05, 0.05
RIDGE = 0.01
SHORTER, SHORTEST = 0.7, 1e-4

Judge = Callable[[Array], tuple[float, Array]]


def best_diagonal(gram: Array, diagonal: Array, judge: Judge, rounds: int) -> Array:
    """A `D`, (columns,), with a better bound than the one given; that one where none is found.

    The bound is concave in `D`, and its derivative with respect to `Dᵢ` is the variance `wᵢ` of the entry `uᵢ` that the
    softened minimiser mixes. A round takes a Newton step on `Σ wᵢDᵢ + μ log det(gram − D) + 0.05 μ Σ log Dᵢ` (Boyd and
    Vandenberghe, *Convex Optimization*, §11.2), `w` being averaged with those of the rounds before: one inverse and two
    or three Cholesky factors, 20 ms at 384 columns. Three rounds are within 0.1 dB of ten.

    Parameters
    ----------
    gram, diagonal : (columns, columns), (columns,) positive, `gram − D ⪰ 0`
    judge : callable
        The bound for a `D`, with its best `y`, and its derivative (columns,), which is not negative.
    """
    best, found = judge(diagonal)[0], diagonal
    scale = gram.diagonal()
    root = np.sqrt(scale)
    unit = gram / root / root[:, None]
    d, weight = INSIDE * diagonal / scale, None
    places = np.diag_indices(scale.size)
    for index in range(rounds):
        value, slope = judge(d * scale)
        if value > best:
            best, found = value, d * scale
        slope = slope * scale
        slope = slope + RIDGE * slope.mean()
        weight = slope if weight is None else (weight + slope) / 2
        barrier = FIRST * (LAST / FIRST) ** (index / max(rounds - 1, 1)) * float(weight @ d) / scale.size
        rest = unit.copy()
        rest[places] -= d
        if not barrier > 0 or (known := definite_inverse(rest)) is None:
            break
        inverse, _ = known
        gradient = weight / barrier - inverse.diagonal() + POSITIVE / d
        inverse *= inverse
        inverse[places] += POSITIVE / d**2
        factor, failed = lapack.dpotrf(inverse, lower=1)
        if failed:
            break
        step = lapack.dpotrs(factor, gradient, lower=1)[0]
        length = min(1.0, INSIDE / max(float((-step / d).max()), INSIDE))
        while length > SHORTEST:
            rest[places] = unit[places] - (d + length * step)
            if lapack.dpotrf(rest, lower=1)[1] == 0:
                break
            length *= SHORTER
        d = d + INSIDE * length * step
    return d * scale if judge(d * scale)[0] > best else found
