"""A block-diagonal `D` below a lifted Gram matrix, and intervals of one linear form: for near-null directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..block_certificate import BlockDiagonal
from ..errors import MethodError, ProblemError
from ..feasible import IntegerBox, Sparse
from ..gram import Array, Gram
from ..interval_certificate import IntervalCertificate, cell_values, checked, row_values
from ..problem import LeastSquares
from ..result import Bound
from . import block_integers, block_sparse
from .block_sparse import reweighted, solve_row
from .lifted import Lifted
from .placing import NOTHING, Near, Rows, place
from .soft_minimum import SoftMinimum

COLD = (0.03, 0.01, 0.004)
COARSE = 6.0
#: How far from zero, as the share of the bound that a parabola loses over half the distance.
SPREAD = 0.14
#: `y` at a centre, and a start for centres nearby.
_Found = tuple[Array, Any]


@dataclass(frozen=True)
class IntervalSplit:
    """The inequality of `interval_certificate`: `BlockSplit` for a layer with one near-null direction.

    The direction is the eigenvector of the smallest eigenvalue of the Gram matrix scaled to unit diagonal. Where that
    eigenvalue is not far below the others, `BlockSplit` is as good and many times as fast.

    Parameters
    ----------
    width, rounds, row_rounds, seconds, split : see `BlockSplit`; this `D` is below the lifted Gram matrix, and one of
        a row's own is tuned around zero, where the bound is least
    lift : float
        `τ`, as a share of the unit diagonal: what the smallest eigenvalue becomes. More lift frees `D` more, and needs
        shorter intervals.
    loss : float
        Share of the bound that the width of an interval may cost.
    intervals : int
        A row with so many gets no more; where they do not suffice for a positive bound, it is zero.
    """

    width: int = 8
    rounds: int = 12
    row_rounds: int = 0
    seconds: float | None = None
    split: BlockDiagonal | None = None
    lift: float = 0.1
    loss: float = 0.005
    intervals: int = 64

    def __post_init__(self) -> None:
        if self.width < 1 or self.rounds < 0 or self.row_rounds < 0 or self.intervals < 2:
            raise ProblemError(f"{self}: use width ≥ 1, rounds ≥ 0, row_rounds ≥ 0 and intervals ≥ 2")
        if not (self.lift > 0 and 0 < self.loss < 1):
            raise ProblemError(f"lift = {self.lift} must be positive and loss = {self.loss} a share in (0, 1)")

    def tune(self, problem: LeastSquares) -> BlockDiagonal:
        """A `D` below the lifted Gram matrix, tuned on the rows of `problem`, a sample of the layer's."""
        return self._tuned(self._lifted(problem), problem)

    def settled(self, problem: LeastSquares) -> IntervalSplit:
        """The same with the `D` that `tune` finds for these rows, whichever rows are bounded."""
        return self if self.split is not None else replace(self, split=self.tune(problem))

    def lower_bound(self, problem: LeastSquares) -> Bound:
        """See `bounds.lower_bound`.

        Raises
        ------
        MethodError
            For sets other than `Sparse` and `IntegerBox`.
        ProblemError
            For a singular Gram matrix, by column.
        """
        lifted = self._lifted(problem)
        split = self._tuned(lifted, problem) if self.split is None else self.split
        split = lifted.provable(problem.gram, split)
        parts = [self._row(lifted, problem.restrict(row), split) for row in range(problem.rows)]
        values = np.array([value for value, _ in parts])
        claims = [claim for _, claim in parts]
        matrices = tuple(np.stack(stack) for stack in zip(*(claim.matrices for claim in claims), strict=True))
        edges, centres, y = zip(*((claim.edges[0], claim.centres[0], claim.y[0]) for claim in claims), strict=True)
        used = BlockDiagonal(split.blocks, matrices if self.row_rounds else split.matrices)
        return Bound(values, lifted.claim(used, edges, centres, y))

    def _lifted(self, problem: LeastSquares) -> Lifted:
        if not isinstance(problem.feasible, Sparse | IntegerBox):
            kind = type(problem.feasible).__name__
            raise MethodError(f"IntervalSplit is for Sparse and IntegerBox, not {kind}; use DiagonalSplit")
        return Lifted.of(problem.gram, self.lift)

    def _tuned(self, lifted: Lifted, problem: LeastSquares) -> BlockDiagonal:
        everything = LeastSquares(lifted.gram, problem.target, problem.feasible)
        tune = block_integers.tune if isinstance(problem.feasible, IntegerBox) else block_sparse.tune
        return tune(everything, self.width, self.rounds, self.seconds)

    def _row(self, lifted: Lifted, problem: LeastSquares, split: BlockDiagonal) -> tuple[float, IntervalCertificate]:
        """Value and certificate of one row."""
        if not problem.error(problem.feasible.nearest(problem.target))[0] > 0:
            return 0.0, lifted.nothing(split)
        cells = _Cells(lifted, problem, split)
        if not self.row_rounds:
            return cells.refine(self.loss, self.intervals)
        best = cells.refine(COARSE * self.loss, self.intervals)
        targets = problem.target + cells.middle_centres[:, None] * lifted.shift
        around = LeastSquares(lifted.gram, targets, problem.feasible)
        if isinstance(problem.feasible, IntegerBox):
            own = block_integers.ascend(around, split, self.row_rounds, self.seconds)
        else:
            own, _ = reweighted(around, split, self.row_rounds, self.seconds)
        return max(
            best,
            _Cells(lifted, problem, lifted.provable(problem.gram, own)).refine(self.loss, self.intervals),
            key=lambda one: one[0],
        )


class _Cells:
    """The intervals of one row for one `D`.

    At a centre `c` the inequality is that of the lifted problem with the target moved by `c·shift`.
    """

    def __init__(self, lifted: Lifted, problem: LeastSquares, split: BlockDiagonal) -> None:
        self.lifted, self.problem, self.split = lifted, problem, split
        self.solver: _SoftRow | block_integers.MovedRow
        if isinstance(problem.feasible, IntegerBox):
            self.solver = block_integers.MovedRow(LeastSquares(lifted.gram, problem.target, problem.feasible), split)
        else:
            self.solver = _SoftRow(lifted.gram, problem, split)
        self.error = block_sparse.crude_error(problem)
        self.middle = max(self.solver.value, NOTHING * float(self.error[0]))

    @property
    def middle_centres(self) -> Array:
        """Centres around zero, where the bound is least and a `D` of the row's own has to be good."""
        return np.asarray(np.array([-2.0, 0.0, 2.0]) * np.sqrt(SPREAD * self.middle / self.lifted.lift))

    def peaks(self, _rows: Rows, centres: Array, near: Sequence[Near[_Found] | None]) -> tuple[Array, list[_Found]]:
        """What is proven at each centre, its `y`, and the start for centres nearby."""
        values, found = np.empty(len(centres)), []
        for index, (centre, known) in enumerate(zip(centres.tolist(), near, strict=True)):
            start: Any = self.solver.start
            if known is not None:
                start = (known.left if known.share < 0.5 else known.right)[1]
            shift = centre * self.lifted.shift
            local, start = self.solver.solve(shift, start, self.middle)
            point = self.lifted.claim(self.split, [np.full(2, centre)], [np.array([centre])], [shift[None] + local])
            values[index] = cell_values(self.problem, point, [0])[0]
            found.append((shift + local, start))
        return values, found

    def refine(self, loss: float, limit: int) -> tuple[float, IntervalCertificate]:
        """Value and certificate of the row."""
        (placed,) = place(self.peaks, self.error, self.lifted.lift, self.lifted.tail, loss, limit)
        if placed is None:
            return 0.0, self.lifted.nothing(self.split)
        y = np.stack([y for y, _ in placed.found])
        claim = checked(self.problem, self.lifted.claim(self.split, [placed.edges], [placed.centres], [y]))
        value = float(row_values(self.problem, claim)[0])
        return (value, claim) if value > 0 else (0.0, self.lifted.nothing(self.split))


class _SoftRow:
    """One row with free real weights: `y` for targets moved along the intervals."""

    def __init__(self, gram: Gram, problem: LeastSquares, split: BlockDiagonal) -> None:
        self.soft = SoftMinimum(gram.array, split, block_sparse.keep_of(problem))
        self.target = problem.target[0]
        scale = float(block_sparse.crude_error(problem)[0])
        self.start, self.value, _ = solve_row(self.soft, self.target[self.soft.order], None, scale)

    def solve(self, move: Array, start: Array, value: float) -> tuple[Array, Array]:
        """`y` of the row with its target moved, and a start for moves nearby."""
        target = (self.target + move)[self.soft.order]
        for share in COLD:
            start, _ = self.soft.rise(target, start, share * value / len(self.soft.sizes), 8, 5e-4)
        y = np.zeros_like(move)
        y[self.soft.order] = start
        return y, start
