"""The semidefinite dual of integer least squares: one diagonal for each row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from ..certificate import certify
from ..errors import MethodError, ProblemError
from ..feasible import IntegerBox
from ..gram import Array
from ..kernels.semidefinite import interior_point
from ..problem import LeastSquares
from ..result import Bound
from ..rounding import SHRINK
from .diagonal import definite_lift, improve

FAR = 2**31
MAX_STEPS = 60
START = 0.8


@dataclass(frozen=True)
class SemidefiniteDual:
    """Park and Boyd's dual bound for integers, with the box used afterwards.

    *A semidefinite programming method for integer convex quadratic minimization*, Optim. Lett. 2018, §3;
    eqs. (5)–(6) of *Pruning vs Quantization: Which is Better?* (2023) print it with `P`, `q` on two scales and
    without the shift of the origin to `floor(target)`, which is applied here. The dual variables `λ` become
    the certificate `D = λ`, `y = M⁻¹ (λ ∘ (target − floor(target) − ½))`, so the solver need not be trusted.

    Parameters
    ----------
    solver : "native" or "cvxpy"
        A compiled interior point over all rows, or the reference (cvxpy with Clarabel, `pip install
        quanterr[sdp]`): the same bound to 1e-6, hundreds of times as slow.
    box : bool
        False gives the paper's value, over all integers. True evaluates the same `(D, y)` over the box
        instead, which is never less.
    improve : int
        Sweeps that improve `y` over the box; 0 keeps the dual's own.
    tol : float
        Duality gap at which the native solver stops, relative to the bound (or, for targets next to integers, to
        a thousandth of the error of half a step everywhere). The bound is safe whatever the gap.
    """

    solver: Literal["native", "cvxpy"] = "native"
    box: bool = True
    improve: int = 100
    tol: float = 2e-7

    def __post_init__(self) -> None:
        if self.solver not in ("native", "cvxpy"):
            raise ProblemError(f"solver = {self.solver!r}: use 'native' or 'cvxpy'")
        if self.improve < 0:
            raise ProblemError(f"improve = {self.improve} is negative: use 0 or more sweeps")
        if not 0 < self.tol < 1:
            raise ProblemError(f"tol = {self.tol} is not a relative gap in (0, 1)")

    def lower_bound(self, problem: LeastSquares) -> Bound:
        """See `bounds.lower_bound`.

        Raises
        ------
        MethodError
            For sets that are not integers, and without cvxpy when asked for it.
        """
        if not isinstance(problem.feasible, IntegerBox):
            raise MethodError(
                f"SemidefiniteDual is for IntegerBox, not {type(problem.feasible).__name__}; use DiagonalSplit"
            )
        if not self.box:
            if np.abs(problem.target).max() >= FAR - 1:
                raise MethodError(f"box=False needs targets below {FAR - 1}; rescale the weights")
            problem = LeastSquares(problem.gram, problem.target, IntegerBox(-FAR, FAR))
        diagonal, y = self._dual(problem)
        if self.box:
            y = improve(problem, diagonal, y, self.improve)
        return certify(problem, diagonal, y)

    def _dual(self, problem: LeastSquares) -> tuple[Array, Array]:
        """`λ` and `y`, (rows, columns), zero on dead columns."""
        gram = problem.gram
        diagonal = np.zeros_like(problem.target)
        y = np.zeros_like(problem.target)
        live = gram.live
        if live.size == 0:
            return diagonal, y
        matrix = gram.array[np.ix_(live, live)]
        lift = definite_lift(gram) * matrix.diagonal()
        exponent = int(np.frexp(matrix.diagonal().mean())[1])
        scaled = np.ldexp(matrix + np.diag(lift), -exponent)
        target = problem.target[:, live]
        tau = np.ascontiguousarray(target - np.floor(target))
        if self.solver == "native":
            start = START * (gram.smallest_eigenvalue + definite_lift(gram)) * scaled.diagonal()
            multipliers = _native(scaled, tau, start, self.tol)
        else:
            multipliers = _reference(scaled, tau)
        for row in range(problem.rows):
            positive, y[row, live] = _settle(scaled, multipliers[row], tau[row], exact=self.solver == "native")
            diagonal[row, live] = np.ldexp(positive, exponent) - lift
        return diagonal, y


def _settle(gram: Array, multiplier: Array, tau: Array, exact: bool) -> tuple[Array, Array]:
    """`λ` with `gram − λ` positive definite, and its `y`.

    The value is concave in `λ` and zero at zero, so that shrinking a feasible `λ` by a share costs at most that
    share. A solver that is not strictly feasible (`exact` false) is shrunk by what is best.
    """
    best, found = -np.inf, (np.zeros_like(multiplier), np.zeros_like(tau))
    for shrink in SHRINK:
        positive = (1 - shrink) * multiplier
        slope = positive * (tau - 0.5)
        try:
            factor = cho_factor(gram - np.diag(positive), lower=True)
        except np.linalg.LinAlgError:
            continue
        y = cho_solve(factor, slope)
        value = float((positive * tau * (1 - tau)).sum() - slope @ y)
        if value > best:
            best, found = value, (positive, y)
        if exact:
            break
    return found


def _native(gram: Array, tau: Array, start: Array, tol: float) -> Array:
    multipliers = np.zeros_like(tau)
    gaps = np.zeros(len(tau))
    steps = np.zeros(len(tau), dtype=np.int64)
    interior_point(gram, tau, start, tol, MAX_STEPS, multipliers, gaps, steps)
    return 4.0 * multipliers


def _reference(gram: Array, tau: Array) -> Array:
    """The programme as the paper states it (with its errata), one row after the other."""
    try:
        import cvxpy
    except ImportError as error:
        raise MethodError("solver='cvxpy' needs cvxpy: pip install quanterr[sdp], or use solver='native'") from error
    n = len(gram)
    multiplier = cvxpy.Variable(n, nonneg=True)
    gamma = cvxpy.Variable((1, 1))
    q = cvxpy.Parameter((n, 1))
    column = q + cvxpy.reshape(multiplier, (n, 1), order="C") / 2
    block = cvxpy.bmat([[gram - cvxpy.diag(multiplier), column], [column.T, gamma]])
    programme = cvxpy.Problem(cvxpy.Minimize(gamma[0, 0]), [block >> 0])
    found = np.zeros_like(tau)
    for row, fraction in enumerate(tau):
        q.value = -(gram @ fraction)[:, None]
        programme.solve(solver=cvxpy.CLARABEL)
        if multiplier.value is None:
            raise MethodError(f"row {row}: Clarabel ended with {programme.status}; use solver='native'")
        found[row] = np.maximum(multiplier.value, 0.0)
    return found
