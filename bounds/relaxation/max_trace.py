"""The diagonal of largest trace below a Gram matrix: one `D` that serves every row and every feasible set."""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack

from ..errors import ProblemError
from ..gram import UNIT_ROUNDOFF, Array
from .inverse import definite_inverse
from .low_rank import low_rank_diagonal

GAP = 1e-6
SHRINK = 1e-9
STEPS = 60
STEP = 0.95
#: More columns than that go to `low_rank`: 4 s instead of 36 at 1,536, for half a per cent of the trace.
WIDE = 384
#: Where it comes to less of its own dual value, the matrix is too near a singular one for it.
ENOUGH = 0.9


def max_trace_diagonal(gram: Array) -> Array:
    """Maximise `trace D` over diagonal `D ≥ 0` with `gram − D ⪰ 0`.

    To one part in a million up to 384 columns: primal-dual interior point for `max wᵀd`, `S − diag(d) ⪰ 0`, `d ≥ 0`
    and its dual `min ⟨S, X⟩`, `Xᵢᵢ ≥ wᵢ`, where `S` is the matrix scaled to unit diagonal and `w` its old diagonal
    (Helmberg, Rendl, Vanderbei and Wolkowicz, *An interior-point method for semidefinite programming*, SIAM J.
    Optim. 6, 1996). Wider matrices: to about half a per cent, by `low_rank`, unless it ends far from its dual.

    Parameters
    ----------
    gram : (columns, columns), positive definite apart from columns that are entirely zero

    Returns
    -------
    (columns,) the diagonal, in the unit of `gram`; zero on zero columns. It is shrunk (by at least 1e-9
    of itself) until a shifted Cholesky factorisation proves `gram − D` positive definite on the other
    columns.

    Raises
    ------
    ProblemError
        If `gram` itself cannot be proven positive definite on its non-zero columns.
    """
    diagonal = np.asarray(gram.diagonal(), dtype=np.float64)
    live = np.flatnonzero(diagonal > 0)
    result = np.zeros(diagonal.size)
    if live.size == 0:
        return result
    scale = diagonal[live]
    root = np.sqrt(scale)
    scaled = np.asarray(gram)[np.ix_(live, live)]
    scaled /= root
    scaled /= root[:, None]
    if not _definite(scaled, np.zeros(live.size)):
        raise ProblemError("a diagonal below the Gram matrix needs full rank: merge or drop dependent columns")
    d = _largest(scaled, scale / scale.mean(), wide=live.size > WIDE)
    shrink = SHRINK
    while not _definite(scaled, d * (1 - shrink)):
        shrink *= 4
        if shrink >= 1:
            raise ProblemError("the Gram matrix is too ill-conditioned to subtract any diagonal from it")
    result[live] = d * (1 - shrink) * scale
    return result


def _largest(scaled: Array, weight: Array, wide: bool) -> Array:
    if wide:
        d, most = low_rank_diagonal(scaled, weight, lambda trial: _definite(scaled, trial))
        if weight @ d >= ENOUGH * most:
            return d
    return _interior_point(scaled, weight)


def _definite(matrix: Array, diagonal: Array) -> bool:
    """True only if `matrix − D` is positive definite in exact arithmetic; no entry of its diagonal exceeds one.

    The shift exceeds the backward error of the factorisation (Rump, *Verification of positive
    definiteness*, BIT 46, 2006) and of the scaling that led here.
    """
    n = matrix.shape[0]
    shift = 2 * n * (n + 8) * UNIT_ROUNDOFF
    rest = np.array(matrix, order="F")
    rest[np.diag_indices(n)] -= diagonal + shift
    return int(lapack.dpotrf(rest, lower=1, clean=0, overwrite_a=1)[1]) == 0


def _reach(matrix: Array, direction: Array) -> float:
    """A step below one for which `matrix + step · direction` stays positive definite, with a margin."""
    step = 1.0
    while step > 1e-8 and lapack.dpotrf(matrix + step / STEP * direction, lower=1)[1] != 0:
        step *= 0.8
    return step


def _interior_point(scaled: Array, weight: Array) -> Array:
    """Primal and dual together; both stay feasible, so that the last `d` is valid whenever the loop ends."""
    n = weight.size
    if (found := definite_inverse(scaled)) is None:
        raise ProblemError("a diagonal below the Gram matrix needs full rank: merge or drop dependent columns")
    inverse, _ = found
    # the largest multiple of 1 / inverse diagonal below S, halved: right by column where a null direction is near
    share = np.sqrt(inverse.diagonal())
    d: Array = 0.5 / (np.linalg.eigvalsh(inverse / share / share[:, None])[-1] * share**2)
    x: Array = np.asarray(np.linalg.inv(scaled - np.diag(d)), dtype=np.float64)
    x *= 2 * float(np.max(weight / x.diagonal()))
    slack = x.diagonal() - weight
    for _iteration in range(STEPS):
        z: Array = scaled - np.diag(d)
        gap = float(np.sum(x * z) + slack @ d)
        if gap <= GAP * float(weight @ d) or (found := definite_inverse(z)) is None:
            break
        inverse, _ = found
        factor, info = lapack.dpotrf(x * inverse + np.diag(slack / d), lower=1)
        if info != 0:
            break
        mu = 0.0
        for _ in range(2):
            delta: Array = lapack.dpotrs(factor, weight + mu / d - mu * inverse.diagonal(), lower=1)[0]
            product = (x * delta) @ inverse
            dx = mu * inverse - x + (product + product.T) / 2
            ds = mu / d - slack - slack / d * delta
            dual = min(_reach(z, np.diag(-np.asarray(delta))), STEP / max(STEP, float((-delta / d).max())))
            primal = min(_reach(x, dx), STEP / max(STEP, float((-ds / slack).max())))
            # how far this step gets decides how much the next one is centred (Mehrotra 1992)
            left = float(np.sum((x + primal * dx) * (z - np.diag(dual * delta))))
            left += float((slack + primal * ds) @ (d + dual * delta))
            mu = gap / (2 * n) * max(1e-3, left / gap) ** 2
        d = np.asarray(d + dual * delta)
        x += primal * dx
        slack = slack + primal * ds
    return d
