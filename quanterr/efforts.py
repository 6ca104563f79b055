"""How much work a problem too wide for exact search gets, from both sides."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bounds import (
    BatchSearch,
    Bound,
    DiagonalIntervals,
    DiagonalSplit,
    IntegerBox,
    IntervalSplit,
    LeastSquares,
    LocalSearch,
    Sparse,
    lower_bound,
)
from bounds import BlockSplit as Blocks
from bounds.verbs import Relaxation, Search

from .contestants import Contestant, Method
from .errors import QuanterrError

#: A smallest eigenvalue (at unit diagonal) so many times below the next one is worth branching on its direction. On
#: MiniLM's inputs behind layer norms a diagonal and intervals leave 5 dB where a diagonal alone leaves 17 to 57, from a
#: ratio of 5 on; up to 1.8 they are as good. Blocks have a use for intervals from about 10 on.
ISOLATED, ISOLATED_FOR_BLOCKS = 4.0, 10.0
#: Beyond so many columns a diagonal of each row's own takes half a second a row and more, blocks of its own a minute.
WIDEST_OWN = 512
#: Rows on which intervals are tried, evenly spaced.
SAMPLE = 4


@dataclass(frozen=True)
class ByShape:
    """What size and eigenvalues allow: intervals where one direction is almost free and all others are not.

    Elsewhere the `usual`, or what there is `beyond` `WIDEST_OWN` columns.
    """

    usual: Blocks | DiagonalSplit
    intervals: IntervalSplit | DiagonalIntervals | None = None
    beyond: DiagonalSplit | None = None

    def lower_bound(self, problem: LeastSquares) -> Bound:
        """See `bounds.lower_bound`.

        What is not settled beforehand is one of many sets of independent columns: wide ones, where tuning takes seconds
        for each, get a diagonal as it is.
        """
        if problem.columns > WIDEST_OWN and isinstance(wide := self.shared(problem.columns), DiagonalSplit):
            return lower_bound(problem, replace(wide, tune=0, row_rounds=0))
        return lower_bound(problem, self.settled(problem))

    def settled(self, problem: LeastSquares) -> Relaxation:
        """The one chosen, with the `D` that is tuned to these rows.

        Intervals that prove nothing of some row, for there are other flat directions, give way to what is usual.
        """
        usual = self.shared(problem.columns)
        if self.intervals is None or not self._isolated(problem):
            return usual.settled(problem)
        few = np.unique(np.linspace(0, problem.rows - 1, min(SAMPLE, problem.rows)).astype(np.intp))
        sample = LeastSquares(problem.gram, problem.target[few], problem.feasible)
        chosen = self.intervals.settled(problem)
        nearest = sample.error(sample.feasible.nearest(sample.target))
        proven = lower_bound(sample, chosen).value
        return chosen if (proven[nearest > 0] > 0).all() else usual.settled(problem)

    def _isolated(self, problem: LeastSquares) -> bool:
        if isinstance(self.intervals, DiagonalIntervals) and problem.columns > WIDEST_OWN:
            return False  # not measured: tuning alone takes ten seconds a unit and size at 1,152 columns
        eigenvalues = problem.gram.eigenvalues
        ratio = ISOLATED if isinstance(self.intervals, DiagonalIntervals) else ISOLATED_FOR_BLOCKS
        return len(eigenvalues) > 1 and 0 < ratio * eigenvalues[0] < eigenvalues[1] and not problem.gram.singular

    def shared(self, columns: int) -> Blocks | DiagonalSplit:
        """What bounds so many columns where no direction is special."""
        return self.usual if self.beyond is None or columns <= WIDEST_OWN else self.beyond


@dataclass(frozen=True)
class Effort:
    """What finds points and what bounds them from below, for each method. Counts of rounds: reproducible."""

    search: dict[Method, Search]
    relaxation: dict[Method, Relaxation]

    def of(self, contestant: Contestant) -> tuple[Search, Relaxation]:
        """Search and relaxation for a contestant; only integer codes and free sparse rows have minima of blocks.

        Raises
        ------
        QuanterrError
            A set for which there is no local search.
        """
        if (contestant.scaled and contestant.keep != 1) or contestant.block > 1:
            raise QuanterrError(
                f"{contestant.name}: no local search knows this set, which problems wider than exact search takes "
                "need: pass chunk=36 (--chunk 36), or leave it out"
            )
        method = Method.QUANTIZATION if contestant.scaled else Method.PRUNING
        if isinstance(contestant.feasible(contestant.group or 1), IntegerBox | Sparse):
            return self.search[method], self.relaxation[method]
        return self.search[method], DiagonalSplit(rounds=60) if contestant.scaled else GROUPS


#: Free weights of which each group keeps so many.
GROUPS = ByShape(DiagonalSplit(rounds=60), DiagonalIntervals(rounds=60))
#: The first pass, on everything: 2 ms a row, method and size at 384 columns, and 4 more for intervals of free weights.
#: It decides most comparisons.
QUICK = Effort(
    dict.fromkeys(Method, BatchSearch()),
    {
        Method.QUANTIZATION: DiagonalSplit(rounds=30),
        Method.PRUNING: ByShape(DiagonalSplit(rounds=60, tune=3), DiagonalIntervals(rounds=60)),
    },
)
#: Codes: one `D` of wide exact blocks for all rows, 0.2 s a row of 384 columns. Pruning: a diagonal for each row, 0.05
#: to 0.15 s, 0.3 dB nearer on average than one `D` of exact blocks in the same time.
NORMAL = Effort(
    {Method.QUANTIZATION: LocalSearch(rounds=1, beam=512), Method.PRUNING: LocalSearch(rounds=2)},
    {
        Method.QUANTIZATION: ByShape(Blocks(width=32, rounds=30)),
        Method.PRUNING: ByShape(
            DiagonalSplit(rounds=60, tune=3, row_rounds=3),
            DiagonalIntervals(rounds=60, row_rounds=3, loss=0.01),
            beyond=DiagonalSplit(rounds=60, tune=6),
        ),
    },
)
#: A `D` for each row, and intervals on a near-null direction: seconds a row.
THOROUGH = Effort(
    {Method.QUANTIZATION: LocalSearch(rounds=10), Method.PRUNING: LocalSearch(rounds=10)},
    {
        Method.QUANTIZATION: ByShape(Blocks(32, 30, row_rounds=24), IntervalSplit(width=32, rounds=30)),
        Method.PRUNING: ByShape(
            Blocks(10, 12, row_rounds=50),
            IntervalSplit(rounds=12, row_rounds=40, loss=0.002),
            beyond=DiagonalSplit(rounds=60, tune=6, row_rounds=3),
        ),
    },
)
EFFORTS = {"quick": QUICK, "normal": NORMAL, "thorough": THOROUGH}


def effort(name: str) -> Effort:
    """The effort of that name.

    Raises
    ------
    QuanterrError
        An unknown name.
    """
    if name not in EFFORTS:
        raise QuanterrError(f"effort = {name!r}: choose one of {', '.join(EFFORTS)}")
    return EFFORTS[name]
