"""How much work a problem too wide for exact search gets, from both sides."""

from __future__ import annotations

from dataclasses import dataclass

from bounds import BlockSplit as Blocks
from bounds import Bound, DiagonalSplit, IntervalSplit, LeastSquares, LocalSearch, lower_bound
from bounds.verbs import Relaxation, Search

from .contestants import Method
from .errors import QuanterrError

#: A smallest eigenvalue (at unit diagonal) so many times below the next one is worth branching on its direction.
ISOLATED = 20.0
#: At 768 columns of MiniLM a tuned diagonal comes to 2.1 dB in 6 s and 0.02 s a row, blocks to 3.0 dB in 17 s and 0.7.
WIDEST_BLOCKS = 512


@dataclass(frozen=True)
class NearNull:
    """`IntervalSplit` where one direction is almost free and all others are not, else `BlockSplit`."""

    blocks: Blocks
    intervals: IntervalSplit

    def lower_bound(self, problem: LeastSquares) -> Bound:
        """See `bounds.lower_bound`."""
        eigenvalues = problem.gram.eigenvalues
        isolated = len(eigenvalues) > 1 and 0 < ISOLATED * eigenvalues[0] < eigenvalues[1]
        return lower_bound(problem, self.intervals if isolated else self.blocks)


@dataclass(frozen=True)
class ByWidth:
    """Blocks while they are the better relaxation, a diagonal tuned to the rows beyond."""

    narrow: Blocks
    wide: DiagonalSplit

    def lower_bound(self, problem: LeastSquares) -> Bound:
        """See `bounds.lower_bound`."""
        return lower_bound(problem, self.narrow if problem.columns <= WIDEST_BLOCKS else self.wide)


@dataclass(frozen=True)
class Effort:
    """What finds points and what bounds them from below, for each method. Counts of rounds: reproducible."""

    search: dict[Method, Search]
    relaxation: dict[Method, Relaxation]


#: The first pass, on everything: it decides most comparisons.
QUICK = Effort(
    {Method.QUANTIZATION: LocalSearch(rounds=0, beam=256, leaves=1), Method.PRUNING: LocalSearch(rounds=0)},
    {Method.QUANTIZATION: DiagonalSplit(rounds=60), Method.PRUNING: DiagonalSplit(rounds=60)},
)
#: One `D` of small or wide exact blocks (or a tuned diagonal) for all rows: about 0.1 s a row of 384 columns.
NORMAL = Effort(
    {Method.QUANTIZATION: LocalSearch(rounds=2, beam=512, leaves=2), Method.PRUNING: LocalSearch(rounds=2)},
    {
        Method.QUANTIZATION: Blocks(width=32, rounds=30),
        Method.PRUNING: ByWidth(Blocks(width=8, rounds=12), DiagonalSplit(rounds=60, tune=6)),
    },
)
#: A `D` for each row, and intervals on a near-null direction: seconds a row.
THOROUGH = Effort(
    {Method.QUANTIZATION: LocalSearch(rounds=10), Method.PRUNING: LocalSearch(rounds=10)},
    {
        Method.QUANTIZATION: NearNull(Blocks(32, 60, row_rounds=12), IntervalSplit(width=32, rounds=30)),
        Method.PRUNING: NearNull(Blocks(8, 12, row_rounds=20), IntervalSplit(rounds=12, row_rounds=12)),
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
