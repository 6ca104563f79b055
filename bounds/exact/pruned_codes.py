"""Codes of which only some are not zero, between two easier problems: fewer limits give lower errors.

`SparseIntegerBox` lies inside `Sparse` (its codes replaced by any real numbers) and inside `IntegerBox` (all of them
kept), so that the optima of those two are lower bounds: the first is close for fine codes, the second for few zeros.
The search of `codes` starts from the support of the first and adds its own bound; it decides coarse codes.
"""

from __future__ import annotations

import math
import time

import numpy as np

from ..errors import MethodError
from ..feasible import Sparse, SparseIntegerBox
from ..gram import Array
from ..problem import LeastSquares
from ..result import Solution, solution
from . import best_subset, codes, enumeration


def solve(problem: LeastSquares, start: Array | None, *, max_nodes: int, time_limit: float, gap_tol: float) -> Solution:
    """The nearest point of a `SparseIntegerBox`; arguments, errors and `stats` as `codes.solve`."""
    feasible = problem.feasible
    if not isinstance(feasible, SparseIntegerBox):
        raise MethodError(f"this search treats SparseIntegerBox, not {type(feasible).__name__}")
    deadline = time.monotonic() + time_limit
    sparse = LeastSquares(problem.gram, problem.target, Sparse(feasible.keep))
    boxed = LeastSquares(problem.gram, problem.target, feasible.box)
    free = best_subset.solve(sparse, None, max_nodes=max_nodes, time_limit=time_limit, gap_tol=gap_tol)
    whole = enumeration.solve(boxed, None, max_nodes=max_nodes, time_limit=_left(deadline), gap_tol=gap_tol)
    first = feasible.nearest(free.x)
    if start is not None:
        given = problem.members(start, "the start")
        first = np.where((problem.upper(given) < problem.upper(first))[:, None], given, first)
    found = codes.solve(problem, first, max_nodes=max_nodes, time_limit=_left(deadline), gap_tol=gap_tol)
    lower = np.maximum(np.maximum(free.lower, whole.lower), found.lower)
    return solution(found.x, found.upper, lower, found.status, found.stats, gap_tol)


def _left(deadline: float) -> float:
    return math.inf if deadline == math.inf else max(deadline - time.monotonic(), 1e-3)
