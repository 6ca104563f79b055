"""A block-diagonal `D`, tuned for the bound of a whole layer, and the best `y` of each row for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from ..block_certificate import BlockDiagonal, certify_split, provable_split
from ..errors import MethodError, ProblemError
from ..feasible import IntegerBox, Sparse
from ..gram import Array
from ..problem import LeastSquares
from ..result import Bound
from . import block_integers, block_sparse


class Tuner(Protocol):
    """What a set brings along: both only propose, `certify_split` proves."""

    def tune(self, problem: LeastSquares, width: int, rounds: int, seconds: float | None) -> BlockDiagonal:
        """A `D` for these rows and others like them."""

    def improve(self, problem: LeastSquares, split: BlockDiagonal, rounds: int) -> tuple[BlockDiagonal, Array]:
        """A good `y` (rows, columns) for a proven shared `D`; after `rounds > 0`, with a `D` of each row's own."""


@dataclass(frozen=True)
class BlockSplit:
    """The inequality of `block_certificate`: what a diagonal relaxes, small blocks treat exactly.

    For whole layers of hundreds to thousands of columns, `Sparse` and `IntegerBox`. The Gram matrix must have full
    rank on its live columns.

    Parameters
    ----------
    width : int
        Columns a block. The minima of a block are enumerations: 2^width subsets for `Sparse` (8 is good), a tree search
        for `IntegerBox` (32 is good; 48 takes ten times as long).
    rounds : int
        Of the ascent of the shared `D` on a sample of the rows: re-weightings for `Sparse`, searches of all blocks
        with a few quasi-Newton steps after each for `IntegerBox`.
    row_rounds : int
        The same for a `D` of each row's own, from the shared one: the tightest bound here, at ten to seventy times the
        time a row. 12 rounds for pruning give about 1 dB, 24 for integers about 0.5 dB. Each row's `gram − D ⪰ 0` is
        then proven apart. The better the `D`, the more nodes have its blocks, so that `verify` takes longer, too.
    seconds : float, optional
        Processor time after which `tune` starts no further round.
    split : BlockDiagonal, optional
        A tuned `D` to reuse: tune once for a layer and size on a sample of the rows, then bound the rest in batches.
    """

    width: int = 8
    rounds: int = 12
    row_rounds: int = 0
    seconds: float | None = None
    split: BlockDiagonal | None = None

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ProblemError(f"width = {self.width} columns a block: use 1 or more")
        for name, value in (("rounds", self.rounds), ("row_rounds", self.row_rounds)):
            if value < 0:
                raise ProblemError(f"{name} = {value} is negative: use 0 or more")
        if self.seconds is not None and not self.seconds > 0:
            raise ProblemError(f"seconds = {self.seconds} is no budget: use a positive number, or None")

    def tune(self, problem: LeastSquares) -> BlockDiagonal:
        """A `D` tuned for the mean bound of the rows of `problem`, a sample of the layer's."""
        return _tuner(problem).tune(problem, self.width, self.rounds, self.seconds)

    def settled(self, problem: LeastSquares) -> BlockSplit:
        """The same with the `D` that `tune` finds for these rows, whichever rows are bounded."""
        return self if self.split is not None else replace(self, split=self.tune(problem))

    def lower_bound(self, problem: LeastSquares) -> Bound:
        """See `bounds.lower_bound`.

        Raises
        ------
        MethodError
            For sets without block minima.
        ProblemError
            For a singular Gram matrix, by column.
        """
        tuner = _tuner(problem)
        split = self.tune(problem) if self.split is None else provable_split(problem.gram, self.split)
        return certify_split(problem, *tuner.improve(problem, split, self.row_rounds))


def _tuner(problem: LeastSquares) -> Tuner:
    if isinstance(problem.feasible, Sparse):
        return block_sparse
    if isinstance(problem.feasible, IntegerBox):
        return block_integers
    raise MethodError(
        f"BlockSplit is for Sparse and IntegerBox, not {type(problem.feasible).__name__}; use DiagonalSplit"
    )
