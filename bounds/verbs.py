"""The two verbs that dispatch on a method: `lower_bound` and `solve` (`verify` lives beside the certificate)."""

from __future__ import annotations

from typing import Protocol

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
    """A proven lower bound of every row by the given relaxation."""
    return method.lower_bound(problem)


def solve(problem: LeastSquares, method: Search, start: Array | None = None) -> Solution:
    """The best point of every row and a proven lower bound; `start` (rows, columns) must be feasible."""
    return method.solve(problem, start)
