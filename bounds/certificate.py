"""The inequality behind every bound, and (with `block_certificate` and `rounding`) where rounding is reasoned about.

Let `D` be diagonal with `M = gram − D ⪰ 0`. For every real `y` and every feasible `x`, with `u = x − target`,

    E(x)  ≥  −yᵀMy + Σᵢ [ Dᵢ uᵢ² + 2 (My)ᵢ uᵢ ]         because (u − y)ᵀ M (u − y) ≥ 0,

and the right side is minimised exactly by the feasible set. All claims are about the stored doubles, taken
as the exact rational numbers they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import mul

import numpy as np

from . import block_certificate, interval_certificate
from .block_certificate import BlockCertificate
from .errors import CertificateError, ProblemError
from .feasible.sparse import Sparse
from .gram import UNIT_ROUNDOFF, Array, Gram
from .interval_certificate import IntervalCertificate
from .problem import LeastSquares
from .rational import align, dyadic, why_not_semidefinite
from .result import Bound
from .rounding import SHRINK, UNDERFLOW, gamma, proves_semidefinite

TILT = tuple(10.0**-k for k in range(14, 4, -1))


@dataclass(frozen=True, eq=False)
class Certificate:
    """All that is needed to check a bound: `M = gram − diag(diagonal) ⪰ 0` and one `y` a row.

    Attributes
    ----------
    diagonal : (columns,) shared by all rows, or (rows, columns)
        `D`, in the unit of the Gram matrix.
    y : (rows, columns)
        The step `x − target` at which the inequality is tight, in the unit of the target.
    """

    diagonal: Array
    y: Array


def certify(problem: LeastSquares, diagonal: Array, y: Array) -> Bound:
    """The safe bound of a proposed `(D, y)`, and the certificate actually proven.

    Where `gram − D ⪰ 0` cannot be proven in float64 the positive part of `D` is shrunk by 1e-12 … 1e-2 of
    itself, and dropped at last. A Gram matrix that cannot itself be proven semidefinite (rounding of a
    singular one) gets a slightly negative `D`: the bound is then honest about the stored doubles and may
    lie a rounding error below zero. A row whose value is not positive falls back to `y = 0`.

    Parameters
    ----------
    diagonal : (columns,) or (rows, columns)
    y : (rows, columns)

    Raises
    ------
    CertificateError
        Wrong shapes or values that are not finite.
    ProblemError
        A singular Gram matrix whose bound would be −∞ (unbounded feasible sets), by column.
    """
    certificate = _checked(problem, Certificate(diagonal, y))
    diagonal, y = certificate.diagonal, certificate.y
    if diagonal.ndim == 1:
        diagonal = provable(problem.gram, diagonal)
    else:
        diagonal = np.stack([provable(problem.gram, row) for row in diagonal])
    value = _evaluate(problem, diagonal, y)
    weak = ~(value > 0)
    if weak.any():
        y = np.where(weak[:, None], 0.0, y)
        # D ≥ 0 and y = 0 make every term of the inequality non-negative: no allowance is needed for zero
        floor = np.where((diagonal >= 0).all(axis=-1), 0.0, -np.inf)
        value = np.where(weak, np.maximum(_evaluate(problem, diagonal, y), floor), value)
    if not np.isfinite(value).all():
        row = int(np.flatnonzero(~np.isfinite(value))[0])
        problem.gram.require_definite(f"a lower bound over {problem.feasible}")
        raise CertificateError(
            f"row {row} has no finite bound over {problem.feasible}: the Gram matrix cannot be proven "
            "positive semidefinite in float64; merge dependent columns or scale the weights"
        )
    return Bound(value, Certificate(diagonal, y))


def safe_value(
    problem: LeastSquares,
    certificate: Certificate | BlockCertificate | IntervalCertificate,
    blur: Array | None = None,
) -> Array:
    """The bound of each row in float64, less a proven allowance for every rounding on the way, (rows,).

    Never above `verify` of the same certificate. Costs one Cholesky factor for each distinct `D` and one
    matrix product for all rows.

    Parameters
    ----------
    blur : (rows, columns), optional
        The bound holds for every target within `blur` of the problem's: targets that are rounded quotients.

    Raises
    ------
    CertificateError
        Wrong shapes, or a `D` whose `gram − D ⪰ 0` float64 cannot prove (`certify` shrinks it).
    """
    if isinstance(certificate, BlockCertificate):
        return block_certificate.safe_value(problem, certificate, blur)
    if isinstance(certificate, IntervalCertificate):
        return interval_certificate.safe_value(problem, certificate, blur)
    certificate = _checked(problem, certificate)
    for row, diagonal in enumerate(np.atleast_2d(certificate.diagonal)):
        if not _proves_psd(problem.gram, diagonal):
            raise CertificateError(
                f"row {row}: gram − D is not provably positive semidefinite in float64; "
                "shrink D (certify does), or use verify"
            )
    value = _evaluate(problem, certificate.diagonal, certificate.y, blur)
    zero = (certificate.diagonal >= 0).all(axis=-1) & (certificate.y == 0).all(axis=-1)
    return np.where(zero, np.maximum(value, 0.0), value)


def safe_curve(problem: LeastSquares, certificate: Certificate | BlockCertificate) -> Array:
    """What one `(D, y)` proves for every number of kept columns, (rows, columns + 1), non-increasing and not negative.

    The inequality does not know the feasible set, so that a `y` found for one size bounds all others, the better the
    nearer they are. As safe as `safe_value`; the set of `problem`, which must be `Sparse`, may have any size.

    Raises
    ------
    CertificateError
        As `safe_value`; for another set, or a `D` with negative entries.
    """
    if not isinstance(problem.feasible, Sparse):
        raise CertificateError(f"a curve over the sizes of a support is for Sparse, not {problem.feasible}")
    safe_value(problem, certificate)  # refuses what is not proven
    some = LeastSquares(problem.gram, problem.target, Sparse(min(1, problem.columns)))
    if isinstance(certificate, BlockCertificate):
        value = block_certificate.evaluate_curve(some, certificate)
    else:
        certificate = _checked(problem, certificate)
        if not (certificate.diagonal >= 0).all():
            raise CertificateError("D has negative entries, so that float64 does not know that errors are positive")
        g, inner, allowance = _terms(some, certificate.diagonal, certificate.y, None)
        with np.errstate(all="ignore"):
            least = problem.feasible.separable_minima(certificate.diagonal, g, problem.target)
            value = least - inner[:, None]
            value -= 1.01 * allowance[:, None] + 4 * UNIT_ROUNDOFF * np.abs(value)
    if not np.isfinite(value).all():
        row = int(np.argwhere(~np.isfinite(value))[0][0])
        raise CertificateError(f"row {row} has no finite curve: D is not provably positive definite; raise its floor")
    value = np.maximum(value, 0.0)  # gram = M + D, both proven semidefinite: no error is negative
    return np.asarray(np.maximum.accumulate(value[:, ::-1], axis=1)[:, ::-1])


def _checked(problem: LeastSquares, certificate: Certificate) -> Certificate:
    shape = problem.target.shape
    diagonal = np.asarray(certificate.diagonal, dtype=np.float64)
    y = np.asarray(certificate.y, dtype=np.float64)
    if diagonal.shape not in (shape, shape[1:]) or y.shape != shape:
        raise CertificateError(
            f"a certificate for targets {shape} has D {shape[1:]} or {shape} and y {shape}, "
            f"got {diagonal.shape} and {y.shape}"
        )
    for name, array in (("D", diagonal), ("y", y)):
        if not np.isfinite(array).all():
            raise CertificateError(f"{name} is not finite in row {int(np.argwhere(~np.isfinite(array))[0][0])}")
    return Certificate(diagonal, y)


def provable(gram: Gram, diagonal: Array) -> Array:
    """The mildest shrinking of `D`, (columns,), whose `gram − D ⪰ 0` float64 proves (see `certify`)."""
    diagonal = np.where(gram.dead, np.minimum(diagonal, 0.0), diagonal)
    if _proves_psd(gram, diagonal):
        return diagonal
    scale = gram.array.diagonal()
    zero = np.zeros_like(scale)
    tilt = next(t for t in (0.0, *TILT) if _proves_psd(gram, zero - t * scale))
    for shrink in SHRINK:
        trial = np.where(diagonal > 0, diagonal * (1 - shrink), diagonal) - tilt * scale
        if _proves_psd(gram, trial):
            return trial
    return zero - tilt * scale


def _proves_psd(gram: Gram, diagonal: Array) -> bool:
    """True only if `gram − D ⪰ 0` in exact arithmetic."""
    live = gram.live
    if np.any(diagonal[gram.dead] > 0):
        return False
    matrix = gram.array[np.ix_(live, live)]
    matrix[np.diag_indices(live.size)] -= diagonal[live]
    return proves_semidefinite(matrix)


def _evaluate(problem: LeastSquares, diagonal: Array, y: Array, blur: Array | None = None) -> Array:
    """The right side of the inequality less its rounding, (rows,); −∞ where nothing can be said.

    With `ĝ` the computed and `g` the exact `My`, the exact value is at least the one at `ĝ` less
    `Σ |ĝ − g| (2 reach + |y|)`; the rest of the allowance is for the sums themselves. A target moved by at most
    `blur` changes each term by at most `blur (|D| (2 |u| + blur) + 2 |g|)`, with `|u| ≤ reach + 2 blur` at the
    minimiser of the moved one (`Feasible.reach`).
    """
    with np.errstate(all="ignore"):
        g, inner, allowance = _terms(problem, diagonal, y, blur)
        least, _ = problem.feasible.separable_minimum(diagonal, g, problem.target)
        value = least - inner
        value = value - 1.01 * allowance - 4 * UNIT_ROUNDOFF * np.abs(value)
    return np.where(np.isfinite(value), value, -np.inf)


def _terms(problem: LeastSquares, diagonal: Array, y: Array, blur: Array | None) -> tuple[Array, Array, Array]:
    """`My`, `yᵀMy` and the allowance of `_evaluate`, which holds for every size of a `Sparse` set if for one."""
    n = problem.columns
    gram = problem.gram.array
    with np.errstate(all="ignore"):
        shift = diagonal * y
        g = y @ gram - shift
        moved = (y != 0).any(axis=-1, keepdims=True) & ~problem.gram.dead
        slack = gamma(n + 4) * (np.abs(y) @ np.abs(gram) + np.abs(shift)) + UNDERFLOW * moved
        reach = problem.feasible.reach(diagonal, np.abs(g) + slack, problem.target)
        size = np.abs(y)
        allowance = slack * (2 * reach + size)
        allowance += 4 * gamma(n + 16) * reach * (np.abs(diagonal) * reach + 2 * np.abs(g))
        allowance += gamma(n + 4) * size * np.abs(g)
        allowance += UNDERFLOW * (1 + reach + size) * (1 + np.abs(diagonal))
        if blur is not None:
            allowance += blur * (np.abs(diagonal) * (2 * reach + 5 * blur) + 2 * (np.abs(g) + slack))
        return g, np.einsum("ri,ri->r", y, g), allowance.sum(axis=-1)


def verify(
    problem: LeastSquares,
    certificate: Certificate | BlockCertificate | IntervalCertificate,
    rows: Sequence[int] | None = None,
) -> list[Fraction]:
    """The exact bound of each row, in rational arithmetic that trusts no solver and no rounding.

    Python integers and fractions only: a shared `D` is proven once (O(columns³)), a `D` per row for each row.

    Parameters
    ----------
    rows : indices of the rows to check, all by default

    Returns
    -------
    list of Fraction, one for each row asked for: no feasible `x` has a smaller `E(x)`

    Raises
    ------
    CertificateError
        Names the row, and the reason: wrong shapes, `gram − D` indefinite, or no finite minimum.
    ProblemError
        There is no such row.
    """
    for row in () if rows is None else rows:
        if not 0 <= row < problem.rows:
            raise ProblemError(f"there is no row {row}: the problem has {problem.rows}, counted from 0")
    if isinstance(certificate, BlockCertificate):
        return block_certificate.verify(problem, certificate, rows)
    if isinstance(certificate, IntervalCertificate):
        return interval_certificate.verify(problem, certificate, rows)
    if not isinstance(certificate, Certificate):
        raise CertificateError(f"{certificate!r} is no certificate: pass `Bound.certificate`")
    certificate = _checked(problem, certificate)
    shared = certificate.diagonal.ndim == 1
    gram, gram_shift = dyadic(problem.gram.array.tolist())
    matrix: list[list[int]] = []
    values = []
    for count, row in enumerate(range(problem.rows) if rows is None else rows):
        diagonal = (certificate.diagonal if shared else certificate.diagonal[row]).tolist()
        if count == 0 or not shared:
            d, d_shift = dyadic([diagonal])
            shift = max(gram_shift, d_shift)
            matrix = align(gram, shift - gram_shift)
            for i, entry in enumerate(align(d, shift - d_shift)[0]):
                matrix[i][i] -= entry
            if reason := why_not_semidefinite(matrix):
                raise CertificateError(f"row {row}: gram − D is not positive semidefinite: {reason}; shrink D")
        (y,), y_shift = dyadic([certificate.y[row].tolist()])
        g = [Fraction(sum(map(mul, line, y)), 1 << (shift + y_shift)) for line in matrix]
        least, _ = problem.feasible.separable_minimum(
            np.array([Fraction(v) for v in diagonal], dtype=object),
            np.array([g], dtype=object),
            np.array([[Fraction(v) for v in problem.target[row].tolist()]], dtype=object),
        )
        if least[0] == -np.inf:
            raise CertificateError(f"row {row}: no finite minimum over {problem.feasible}; every D must be positive")
        values.append(Fraction(least[0]) - sum(map(mul, g, y)) / (1 << y_shift))
    return values
