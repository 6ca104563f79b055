"""A block-diagonal `D` below a lifted Gram matrix, and intervals of one linear form: for near-null directions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from ..block_certificate import BlockDiagonal
from ..errors import CertificateError, MethodError, ProblemError
from ..feasible import IntegerBox, Sparse
from ..gram import Array, Gram
from ..interval_certificate import IntervalCertificate, cell_values, checked, proves_lifted, tail_value
from ..problem import LeastSquares
from ..result import Bound
from ..rounding import SHRINK
from . import block_integers, block_sparse
from .block_sparse import reweighted, solve_row
from .soft_minimum import SoftMinimum

COLD = (0.03, 0.01, 0.004)
LARGEST_GROWTH = 60
COARSE = 6.0


@dataclass(frozen=True)
class IntervalSplit:
    """The inequality of `interval_certificate`: `BlockSplit` for a layer with one near-null direction.

    The direction is the eigenvector of the smallest eigenvalue of the Gram matrix scaled to unit diagonal. Where that
    eigenvalue is not far below the others, `BlockSplit` is as good and many times as fast.

    Parameters
    ----------
    width, rounds, row_rounds, seconds, split : see `BlockSplit`; this `D` is below the lifted Gram matrix, and one of
        a row's own is tuned around the interval where the shared one leaves the least bound
    lift : float
        `τ`, as a share of the unit diagonal: what the smallest eigenvalue becomes. More lift frees `D` more, and needs
        shorter intervals.
    loss : float
        Share of the bound that the width of an interval may cost.
    intervals : int
        Most intervals a row; where they do not suffice for a positive bound, it is zero.
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
        split = lifted.provable(self._tuned(lifted, problem) if self.split is None else self.split)
        parts = [self._row(lifted, problem.restrict(row), split) for row in range(problem.rows)]
        values = np.array([value for value, _ in parts])
        claims = [claim for _, claim in parts]
        matrices = tuple(np.stack(stack) for stack in zip(*(claim.matrices for claim in claims), strict=True))
        return Bound(
            values,
            IntervalCertificate(
                lifted.direction,
                lifted.lift,
                lifted.tail,
                split.blocks,
                matrices if self.row_rounds else split.matrices,
                tuple(claim.edges[0] for claim in claims),
                tuple(claim.y[0] for claim in claims),
            ),
        )

    def _lifted(self, problem: LeastSquares) -> Lifted:
        if not isinstance(problem.feasible, Sparse | IntegerBox):
            kind = type(problem.feasible).__name__
            raise MethodError(f"IntervalSplit is for Sparse and IntegerBox, not {kind}; use DiagonalSplit")
        problem.gram.require_definite("IntervalSplit")
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
        targets = problem.target + cells.around_lowest(best[1])[:, None] * lifted.shift
        around = LeastSquares(lifted.gram, targets, problem.feasible)
        if isinstance(problem.feasible, IntegerBox):
            own = block_integers.ascend(around, split, self.row_rounds, self.seconds)
        else:
            own, _ = reweighted(around, split, self.row_rounds, self.seconds)
        return max(
            best,
            _Cells(lifted, problem, lifted.provable(own)).refine(self.loss, self.intervals),
            key=lambda one: one[0],
        )


@dataclass(frozen=True, eq=False)
class Lifted:
    """`gram + lift·vvᵀ` (rounded: it only proposes) and what belongs to it."""

    base: Gram
    gram: Gram
    direction: Array
    lift: float
    tail: float
    shift: Array

    @staticmethod
    def of(gram: Gram, lift: float) -> Lifted:
        """The direction is that of the smallest eigenvalue at unit diagonal; `shift = τ (gram + τvvᵀ)⁻¹ v`."""
        live = gram.live
        root = np.sqrt(gram.array.diagonal()[live])
        vectors = np.linalg.eigh(gram.array[np.ix_(live, live)] / root / root[:, None])[1]
        direction = np.zeros(gram.columns)
        direction[live] = root * vectors[:, 0]
        flat = np.linalg.solve(gram.array[np.ix_(live, live)], direction[live])
        curvature = 1 / float(direction[live] @ flat)
        shift = np.zeros(gram.columns)
        shift[live] = lift * flat / (1 + lift / curvature)
        for share in (1e-9, 1e-6, 1e-3, 0.1, 0.5, 0.9, 1.0):
            tail = (1 - share) * curvature
            if proves_lifted(gram, direction, -tail, None):
                matrix = gram.array + lift * np.outer(direction, direction)
                return Lifted(gram, Gram(matrix), direction, lift, tail, shift)
        raise CertificateError("the Gram matrix is not provably positive semidefinite in float64: merge columns")

    def provable(self, split: BlockDiagonal) -> BlockDiagonal:
        """The mildest shrinking of `D` whose `gram + lift·vvᵀ − D ⪰ 0` float64 proves."""
        for share in SHRINK[:-1]:
            trial = split.shrunk(share) if share else split
            if proves_lifted(self.base, self.direction, self.lift, trial):
                return trial
        raise CertificateError("gram + lift·vvᵀ − D is not provably positive semidefinite in float64: raise the lift")

    def claim(self, split: BlockDiagonal, edges: Array, y: Array) -> IntervalCertificate:
        """The certificate of one row."""
        return IntervalCertificate(self.direction, self.lift, self.tail, split.blocks, split.matrices, (edges,), (y,))

    def nothing(self, split: BlockDiagonal) -> IntervalCertificate:
        """The certificate of zero: no interval, the tail alone."""
        return self.claim(split, np.zeros(1), np.zeros((0, self.direction.size)))


class _Cells:
    """The intervals of one row for one `D`, refined where the bound is least.

    On an interval with centre `c` the inequality is that of the lifted problem with the target moved by `c·shift`.
    """

    def __init__(self, lifted: Lifted, problem: LeastSquares, split: BlockDiagonal) -> None:
        self.lifted, self.problem, self.split = lifted, problem, split
        self.solver: _SoftRow | block_integers.MovedRow
        if isinstance(problem.feasible, IntegerBox):
            self.solver = block_integers.MovedRow(LeastSquares(lifted.gram, problem.target, problem.feasible), split)
        else:
            self.solver = _SoftRow(lifted.gram, problem, split)
        scale = float(block_sparse.crude_error(problem)[0])
        self.middle = max(self.solver.value, 1e-3 * scale)

    def around_lowest(self, claim: IntervalCertificate) -> Array:
        """Centres next to that of the interval of least bound: where a `D` of the row's own has to be good."""
        half = np.sqrt(0.08 * self.middle / self.lifted.lift)
        edges, centre = claim.edges[0], 0.0
        if edges.size > 1:
            lowest = int(np.argmin(cell_values(self.problem, claim, 0)))
            centre = 0.5 * float(edges[lowest] + edges[lowest + 1])
        return np.asarray(centre + np.array([-2.0, 0.0, 2.0]) * half)

    def solve(self, low: float, high: float, start: Any) -> tuple[float, Array, Any]:
        """Value of an interval, its `y`, and the start for its parts."""
        shift = 0.5 * (low + high) * self.lifted.shift
        local, start = self.solver.solve(shift, start, self.middle)
        y = shift + local
        claim = self.lifted.claim(self.split, np.array([low, high]), y[None])
        return float(cell_values(self.problem, claim, 0)[0]), y, start

    def refine(self, loss: float, limit: int) -> tuple[float, IntervalCertificate]:
        """Intervals that double in length away from zero, then halving the worst until its width costs little."""
        length = np.sqrt(0.3 * self.middle / self.lifted.lift)
        reach = np.sqrt(2 * self.middle / max(self.lifted.tail, 1e-300))
        growth = [length]
        while sum(growth) < reach and len(growth) < LARGEST_GROWTH:
            growth.append(2 * growth[-1])
        ends = np.cumsum(growth)
        edges = np.concatenate([-ends[::-1], [0.0], ends])
        cells = []
        for low, high in pairwise(edges):
            cells.append((*self.solve(low, high, self.solver.start), low, high))
        while len(cells) < limit:
            worst = min(range(len(cells)), key=lambda index: cells[index][0])
            value, _, local, low, high = cells[worst]
            if self.lifted.lift * (high - low) ** 2 / 4 <= loss * max(value, 1e-3 * self.middle):
                break
            centre = 0.5 * (low + high)
            cells[worst : worst + 1] = [
                (*self.solve(low, centre, local), low, centre),
                (*self.solve(centre, high, local), centre, high),
            ]
        final = np.array([cell[3] for cell in cells] + [cells[-1][4]])
        claim = checked(self.problem, self.lifted.claim(self.split, final, np.stack([cell[1] for cell in cells])))
        value = min(float(cell_values(self.problem, claim, 0).min()), tail_value(claim, 0))
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
