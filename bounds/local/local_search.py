"""Local search by name: the feasible set chooses the moves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..errors import MethodError, ProblemError
from ..feasible import Codebook, IntegerBox, NofM, Sparse
from ..gram import Array
from ..problem import LeastSquares
from ..result import Solution, Status, solution
from . import levels, subsets, wide_subsets

#: More columns are pruned by `wide_subsets`: a tenth of the time at 1,536, and better points.
WIDE = 512


@dataclass(frozen=True)
class LocalSearch:
    """A good point of every row, hundreds or thousands of columns: the achieved side of a whole layer.

    `IntegerBox` and `Codebook`: K-best beams in several column orders, pair descent, merging, annealing
    (`local.levels`).
    `Sparse` and `NofM`: greedy both ways, exchanges, tabu search (`local.subsets`); beyond 512 columns splitting by
    a penalty, then exchanges among the columns in doubt (`local.wide_subsets`). Nothing is proven: `lower` is
    zero, and the status is `UNPROVEN` unless the error itself is zero.

    Parameters
    ----------
    rounds : int or None
        Rounds a row after the first descent: beams of another column order, or 200 exchanges. The same rounds
        and seed give the same points, whichever rows are treated together. None: as long as the time lasts.
    seconds : float
        Wall-clock budget a row, on average. Where it ends a search, the result is not reproducible.
        Round 0 always runs.
    beam : int
        Width of the beam; the sweeps of an annealing are in proportion to it.
    leaves : int
        Points of a beam from which pair descent starts.
    seed : int
        Of the column orders, of the annealing and of the tabu tenures.
    """

    rounds: int | None = 10
    seconds: float = math.inf
    beam: int = 768
    leaves: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rounds is None and self.seconds == math.inf:
            raise ProblemError("rounds = None and seconds = inf would never end: limit one of them")
        if self.rounds is not None and (self.rounds != int(self.rounds) or self.rounds < 0):
            raise ProblemError(f"rounds = {self.rounds!r} is not a count: use 0 or more, or None with `seconds`")
        if not self.seconds > 0:
            raise ProblemError(f"seconds = {self.seconds} leaves no time: use a positive number or math.inf")
        if self.beam != int(self.beam) or not 1 <= self.beam <= 2**15:
            raise ProblemError(f"beam = {self.beam!r} is not a width between 1 and {2**15}")
        if self.leaves != int(self.leaves) or self.leaves < 1:
            raise ProblemError(f"leaves = {self.leaves!r} is not a count: use 1 or more")
        if self.seed != int(self.seed) or not 0 <= self.seed < 2**32:
            raise ProblemError(f"seed = {self.seed!r} is not an integer in [0, 2³²)")

    def solve(self, problem: LeastSquares, start: Array | None = None) -> Solution:
        """Search every row; see `bounds.solve`. No row ends worse than its `start`, (rows, columns).

        `stats` holds start_error (rows,), the error of the start, or of the feasible point nearest to the target.

        Raises
        ------
        MethodError
            For another feasible set, or a box of more than 2¹⁶ integers.
        ProblemError
            A start that does not fit, or an error that overflows float64.
        """
        first = problem.feasible.nearest(problem.target) if start is None else problem.members(start, "the start")
        with np.errstate(over="ignore", invalid="ignore"):
            start_upper = problem.upper(first)
        if not np.isfinite(start_upper).all():
            row = int(np.flatnonzero(~np.isfinite(start_upper))[0])
            raise ProblemError(f"the error of row {row} overflows float64: pass the target in code units, or scale it")
        given = None if start is None else first
        seconds = self.seconds * problem.rows
        if isinstance(problem.feasible, Sparse | NofM):
            search = wide_subsets.search if problem.columns > WIDE else subsets.search
            x = search(problem, given, self.rounds, seconds, self.seed)
        elif isinstance(problem.feasible, IntegerBox | Codebook):
            x = levels.search(problem, given, self.rounds, seconds, self.beam, self.leaves, self.seed)
        else:
            raise MethodError(
                f"LocalSearch has no moves for {type(problem.feasible).__name__}; use BranchAndBound with a time_limit"
            )
        better = problem.upper(x) < start_upper
        x = np.where(better[:, None], x, first)
        stopped = np.full(problem.rows, Status.UNPROVEN, dtype=object)
        stats = {"start_error": problem.error(first)}
        return solution(x, problem.upper(x), np.zeros(problem.rows), stopped, stats)
