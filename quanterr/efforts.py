"""How much work a problem too wide for exact search gets, from both sides."""

from __future__ import annotations

from dataclasses import dataclass

from bounds import (
    BatchSearch,
    Bound,
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

#: A smallest eigenvalue (at unit diagonal) so many times below the next one is worth branching on its direction.
ISOLATED = 20.0
#: At 768 columns of MiniLM a tuned diagonal comes to 2.1 dB in 6 s and 0.02 s a row, blocks to 3.0 dB in 17 s and 0.7.
WIDEST_BLOCKS = 512


@dataclass(frozen=True)
class ByShape:
    """What size and eigenvalues allow: blocks, intervals where one direction is almost free and all others are not.

    Beyond `WIDEST_BLOCKS` columns a diagonal tuned to the rows is better than blocks of free weights.
    """

    blocks: Blocks
    intervals: IntervalSplit | None = None
    beyond: DiagonalSplit | None = None

    def lower_bound(self, problem: LeastSquares) -> Bound:
        """See `bounds.lower_bound`."""
        return lower_bound(problem, self._chosen(problem))

    def settled(self, problem: LeastSquares) -> Relaxation:
        """The one chosen, with the `D` that is tuned to these rows."""
        return self._chosen(problem).settled(problem)

    def _chosen(self, problem: LeastSquares) -> Blocks | DiagonalSplit | IntervalSplit:
        eigenvalues = problem.gram.eigenvalues
        isolated = len(eigenvalues) > 1 and 0 < ISOLATED * eigenvalues[0] < eigenvalues[1]
        if isolated and self.intervals is not None:
            return self.intervals
        return self.shared(problem.columns)

    def shared(self, columns: int) -> Blocks | DiagonalSplit:
        """What bounds so many columns where no direction is special."""
        return self.blocks if self.beyond is None or columns <= WIDEST_BLOCKS else self.beyond


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
        blocks = isinstance(contestant.feasible(contestant.group or 1), IntegerBox | Sparse)
        return self.search[method], self.relaxation[method] if blocks else DiagonalSplit(rounds=60)


#: The first pass, on everything: 2 ms a row, method and size at 384 columns. It decides most comparisons.
QUICK = Effort(
    dict.fromkeys(Method, BatchSearch()),
    dict.fromkeys(Method, DiagonalSplit(rounds=30)),
)
#: One `D` of small or wide exact blocks (or a tuned diagonal) for all rows: about 0.1 s a row of 384 columns.
NORMAL = Effort(
    {Method.QUANTIZATION: LocalSearch(rounds=1, beam=512), Method.PRUNING: LocalSearch(rounds=2)},
    {
        Method.QUANTIZATION: ByShape(Blocks(width=32, rounds=30)),
        Method.PRUNING: ByShape(Blocks(width=8, rounds=12), beyond=DiagonalSplit(rounds=60, tune=6)),
    },
)
#: A `D` for each row, and intervals on a near-null direction: seconds a row.
THOROUGH = Effort(
    {Method.QUANTIZATION: LocalSearch(rounds=10), Method.PRUNING: LocalSearch(rounds=10)},
    {
        Method.QUANTIZATION: ByShape(Blocks(32, 30, row_rounds=24), IntervalSplit(width=32, rounds=30)),
        Method.PRUNING: ByShape(Blocks(10, 12, row_rounds=50), IntervalSplit(rounds=12, row_rounds=40, loss=0.002)),
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
