"""Exact search by name: the feasible set chooses the tree."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import MethodError, ProblemError
from ..feasible import BlockSparse, Codebook, IntegerBox, NofM, Sparse, SparseIntegerBox
from ..gram import Array
from ..problem import LeastSquares
from ..result import Solution
from . import best_subset, codes, dependent, enumeration, faint, group_subset, pruned_codes

#: The search of each feasible set.
TREES = {
    IntegerBox: enumeration.solve,
    Codebook: codes.solve,
    SparseIntegerBox: pruned_codes.solve,
    Sparse: best_subset.solve,
    NofM: group_subset.solve,
    BlockSparse: group_subset.solve,
}


@dataclass(frozen=True)
class BranchAndBound:
    """Depth-first search that ends in proof: `lower ≤ optimum ≤ upper` whatever stops it.

    Parameters
    ----------
    max_nodes : int
        Search nodes a row before it is left open with a valid lower bound.
    time_limit : float
        Seconds for the whole call, all rows together.
    gap_tol : float
        Relative gap at which a node is closed; 1e-9 of the optimum is never searched for.
    """

    max_nodes: int = 50_000_000
    time_limit: float = math.inf
    gap_tol: float = 1e-9

    def __post_init__(self) -> None:
        if self.max_nodes < 1:
            raise ProblemError(f"max_nodes = {self.max_nodes} leaves nothing to search: use at least 1")
        if not self.time_limit > 0:
            raise ProblemError(f"time_limit = {self.time_limit} s leaves no time: use a positive number or math.inf")
        if not 0 <= self.gap_tol < 1:
            raise ProblemError(f"gap_tol = {self.gap_tol} is not a relative gap in [0, 1)")

    def solve(self, problem: LeastSquares, start: Array | None = None) -> Solution:
        """Search every row; see `bounds.solve`.

        Raises
        ------
        MethodError
            For a feasible set without an exact search; `Exhaustive` treats small ones.
        """
        tree = TREES.get(type(problem.feasible))
        if tree is None:
            raise MethodError(
                f"BranchAndBound has no tree for {type(problem.feasible).__name__}; "
                "use Exhaustive for small problems or DiagonalSplit for a bound"
            )
        if faint.faint(problem.gram).size and dependent.values_of(problem.feasible) is not None:
            return faint.solve(problem, lambda rest: self.solve(rest, start))
        if problem.gram.singular:
            return dependent.solve(
                problem, start, tree, max_nodes=self.max_nodes, time_limit=self.time_limit, gap_tol=self.gap_tol
            )
        return tree(problem, start, max_nodes=self.max_nodes, time_limit=self.time_limit, gap_tol=self.gap_tol)
