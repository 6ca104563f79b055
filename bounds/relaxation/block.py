"""A block-diagonal `D`, tuned for the bound of a whole layer, and the best `y` of each row for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..block_certificate import BlockDiagonal, certify_split
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

    def improve(self, problem: LeastSquares, split: BlockDiagonal) -> Array:
        """A good `y` (rows, columns) for a proven `D`."""


@dataclass(frozen=True)
class BlockSplit:
    """The inequality of `block_certificate`: what a diagonal relaxes, small blocks treat exactly.

    For whole layers of hundreds to thousands of columns, `Sparse` (and `IntegerBox`). The Gram matrix must have full
    rank on its live columns.

    Parameters
    ----------
    width : int
        Columns a block. The minima of a block are enumerations: 2^width subsets for `Sparse`.
    rounds : int
        Re-weightings of `D`; each solves the rows once or a few times.
    seconds : float, optional
        Processor time after which `tune` starts no further round.
    split : BlockDiagonal, optional
        A tuned `D` to reuse: tune once for a layer and size on a sample of the rows, then bound the rest in batches.
    """

    width: int = 8
    rounds: int = 12
    seconds: float | None = None
    split: BlockDiagonal | None = None

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ProblemError(f"width = {self.width} columns a block: use 1 or more")
        if self.rounds < 0:
            raise ProblemError(f"rounds = {self.rounds} is negative: use 0 or more")
        if self.seconds is not None and not self.seconds > 0:
            raise ProblemError(f"seconds = {self.seconds} is no budget: use a positive number, or None")

    def tune(self, problem: LeastSquares) -> BlockDiagonal:
        """A `D` tuned for the mean bound of the rows of `problem`, a sample of the layer's."""
        return _tuner(problem).tune(problem, self.width, self.rounds, self.seconds)

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
        split = self.tune(problem) if self.split is None else self.split
        return certify_split(problem, split, tuner.improve)


def _tuner(problem: LeastSquares) -> Tuner:
    if isinstance(problem.feasible, Sparse):
        return block_sparse
    if isinstance(problem.feasible, IntegerBox):
        return block_integers
    raise MethodError(f"BlockSplit is for Sparse and IntegerBox, not {type(problem.feasible).__name__}; use DiagonalSplit")
