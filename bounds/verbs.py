"""The two verbs that dispatch on a method: `lower_bound` and `solve` (`verify` lives beside the certificate)."""

from __future__ import annotations

from typing import Protocol

from .errors import MethodError
from .gram import Array
from .problem import LeastSquares
from .result import Bound, Solution


class Relaxation(Protocol):
    """A frozen value that knows how to find a good certificate."""

    def lower_bound(self, problem: LeastSquares) -> Bound: ...


class Search(Protocol):
    """A frozen value that knows how to find a good point and prove it."""

    def solve(self, problem: LeastSquares, start: Array | None) -> Solution: ...


def lower_bound(problem: LeastSquares, method: Relaxation) -> Bound:
    """A proven lower bound of every row by the given relaxation.

    Parameters
    ----------
    problem : LeastSquares
    method : relaxation
        A frozen value such as `Spectral()`, `DiagonalSplit()` or `SemidefiniteDual()`.

    Returns
    -------
    Bound
        `value` (rows,) in the unit of `LeastSquares.error`, and the certificate that proves it.

    Raises
    ------
    MethodError
        No relaxation, or a feasible set that it cannot treat; the message names one that can.
    ProblemError
        A singular Gram matrix whose bound would be −∞, by column.
    """
    if isinstance(method, type) or not hasattr(method, "lower_bound"):
        raise MethodError(f"{method!r} is no relaxation: use a value such as DiagonalSplit()")
    return method.lower_bound(problem)


def solve(problem: LeastSquares, method: Search, start: Array | None = None) -> Solution:
    """The best point of every row and a proven lower bound.

    Parameters
    ----------
    problem : LeastSquares
    method : search
        A frozen value such as `BranchAndBound()` or `Exhaustive()`.
    start : (rows, columns), optional
        Feasible points to begin with; by default the search finds its own.

    Returns
    -------
    Solution
        `x`, and `lower ≤ optimum ≤ upper` for each row, whatever ended the search.

    Raises
    ------
    MethodError
        No search, or a feasible set that it cannot treat; the message names one that can.
    ProblemError
        A Gram matrix that the search cannot use (named by column), or a start outside the set.
    """
    if isinstance(method, type) or not hasattr(method, "solve"):
        raise MethodError(f"{method!r} is no search: use a value such as BranchAndBound()")
    return method.solve(problem, start)
