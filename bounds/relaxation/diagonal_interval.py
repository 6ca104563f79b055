"""A diagonal `D` below a lifted Gram matrix, and intervals of one linear form, all rows together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..block_certificate import BlockDiagonal
from ..errors import MethodError, ProblemError
from ..feasible import Sparse
from ..gram import Array
from ..interval_certificate import IntervalCertificate, checked, row_values
from ..problem import LeastSquares
from ..result import Bound
from .block_sparse import crude_error
from .diagonal import NARROW, OWN_SWEEPS, WARM, DiagonalSplit, improve
from .diagonal_ascent import best_diagonal
from .lifted import Lifted
from .placing import Near, Rows, place
from .softened import ascend, slopes

#: Entries of the arrays that hold a batch of rows, at the most intervals that they get in one round.
BATCH = 1 << 20
#: A row's own `D` is for so many of its lowest peaks, up to that much above the lowest, weighed by their height.
AROUND, NEARBY, SOFT = 5, 0.1, 0.03


@dataclass(frozen=True)
class DiagonalIntervals:
    """The inequality of `interval_certificate` with a diagonal `D`: `DiagonalSplit` for one near-null direction.

    The direction is the eigenvector of the smallest eigenvalue of the Gram matrix scaled to unit diagonal, as for
    `IntervalSplit`, whose blocks come about a decibel nearer in fifty times the time. For free real weights: integers
    take hundreds of intervals a row.

    Parameters
    ----------
    rounds : int
        Steps on `y`, as in `DiagonalSplit`, where nothing is known.
    more : int
        Steps on `y` for each further interval, next to those that are known.
    tune, row_rounds : int
        See `DiagonalSplit`; this `D` is below the lifted Gram matrix. One of a row's own (`Sparse` only) is tuned
        around the intervals of least bound: 0.3 to 0.8 dB, 2 where more directions are nearly flat, for 0.1 s a row
        of 384 columns.
    split : BlockDiagonal, optional
        A `D` of blocks of one column, below the lifted Gram matrix, to be used as it is.
    lift : float
        `τ`, as a share of the unit diagonal: what the smallest eigenvalue becomes. More lift frees `D` more, and needs
        shorter intervals.
    loss : float
        Share of the bound that the width of an interval may cost.
    intervals : int
        A row with so many gets no more; where they do not suffice for a positive bound, it is zero.
    """

    rounds: int = 40
    more: int = 12
    tune: int = 4
    row_rounds: int = 0
    split: BlockDiagonal | None = None
    lift: float = 0.07
    loss: float = 0.02
    intervals: int = 64

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.more < 1 or self.tune < 0 or self.row_rounds < 0 or self.intervals < 2:
            raise ProblemError(f"{self}: use rounds ≥ 1, more ≥ 1, tune ≥ 0, row_rounds ≥ 0 and intervals ≥ 2")
        if not (self.lift > 0 and 0 < self.loss < 1):
            raise ProblemError(f"lift = {self.lift} must be positive and loss = {self.loss} a share in (0, 1)")

    def settled(self, problem: LeastSquares) -> DiagonalIntervals:
        """The same with the `D` found for these rows, whichever rows are bounded."""
        if self.split is not None:
            return self
        lifted = Lifted.of(problem.gram, self.lift)
        everything = LeastSquares(lifted.gram, problem.target, problem.feasible)
        diagonal = DiagonalSplit(self.rounds, tune=self.tune).settled(everything).diagonal
        live = problem.gram.live
        split = BlockDiagonal(tuple(live[:, None]), tuple(diagonal[live][:, None, None]))
        return replace(self, split=lifted.provable(problem.gram, split))

    def lower_bound(self, problem: LeastSquares) -> Bound:
        """See `bounds.lower_bound`.

        Raises
        ------
        MethodError
            A `split` whose blocks are wider than one column.
        ProblemError
            For a singular Gram matrix, by column.
        """
        split = self.settled(problem).split
        lifted = Lifted.of(problem.gram, self.lift)
        assert split is not None
        if split.widest > 1:
            raise MethodError("the D of DiagonalIntervals has blocks of one column: use IntervalSplit for wider ones")
        split = lifted.provable(problem.gram, split)
        shared = self._bounded(problem, lifted, split)
        feasible = problem.feasible
        if not self.row_rounds or not (isinstance(feasible, Sparse) and 0 < feasible.keep < problem.gram.live.size):
            return shared
        rows = (lifted.of_row(shared, row) for row in range(problem.rows))
        return lifted.stacked([self._own(problem.restrict(row), lifted, one) for row, one in enumerate(rows)])

    def _bounded(self, problem: LeastSquares, lifted: Lifted, split: BlockDiagonal) -> Bound:
        """The bounds of all rows with one `D`."""
        none = lifted.nothing(split)
        edges, centres, y = (list(arrays) * problem.rows for arrays in (none.edges, none.centres, none.y))
        target = np.where(problem.gram.dead, 0.0, problem.target)  # weights of dead inputs have no error
        away = np.flatnonzero(problem.error(problem.feasible.nearest(target)) > 0)
        step = max(1, BATCH // (4 * problem.columns))
        diagonal = split.diagonal(problem.columns)
        assert diagonal is not None
        for rows in (away[first : first + step] for first in range(0, away.size, step)):
            part = LeastSquares(lifted.gram, target[rows], problem.feasible)
            cells = _Cells(lifted, part, diagonal, self.rounds, self.more)
            placed = place(cells.peaks, crude_error(part), self.lift, lifted.tail, self.loss, self.intervals)
            for row, found in zip(rows.tolist(), placed, strict=True):
                if found is not None:
                    edges[row], centres[row] = found.edges, found.centres
                    y[row] = np.stack(found.found) + found.centres[:, None] * lifted.shift
        claim = checked(problem, lifted.claim(split, edges, centres, y))
        value = row_values(problem, claim)
        if (weak := np.flatnonzero(~(value > 0))).size:
            for row in weak.tolist():
                edges[row], centres[row], y[row] = none.edges[0], none.centres[0], none.y[0]
            value[weak], claim = 0.0, lifted.claim(split, edges, centres, y)
        return Bound(value, claim)

    def _own(self, problem: LeastSquares, lifted: Lifted, shared: Bound) -> Bound:
        """The bound of one row with a `D` of its own, tuned around the lowest peaks, where that is better."""
        claim, feasible, live = shared.certificate, problem.feasible, problem.gram.live
        assert isinstance(claim, IntervalCertificate)
        assert isinstance(feasible, Sparse)
        centres = claim.centres[0]
        if not centres.size:
            return shared
        gram, diagonal = lifted.gram.array[np.ix_(live, live)], np.concatenate([d[0] for d in claim.matrices])
        target = (problem.target + centres[:, None] * lifted.shift)[:, live]
        y = (claim.y[0] - centres[:, None] * lifted.shift)[:, live]
        gained = lifted.gained(centres)
        peak = slopes(gram, diagonal, target, feasible.keep, y)[0] + gained
        low = np.argsort(peak)[:AROUND]
        low = low[peak[low] <= (1 + NEARBY) * peak[low[0]]]
        target, y, gained = target[low], y[low], gained[low]

        def judge(trial: Array) -> tuple[float, Array]:
            nonlocal y
            y = ascend(gram, trial, target, feasible.keep, y, OWN_SWEEPS, WARM)
            value, slope = slopes(gram, trial, target, feasible.keep, y)
            value = value + gained
            least = float(value.min())
            share = np.exp((least - value) / (SOFT * max(abs(least), np.finfo(np.float64).tiny)))
            return least, share @ slope / share.sum()

        found = best_diagonal(gram, diagonal, judge, self.row_rounds)
        split = lifted.provable(problem.gram, BlockDiagonal(claim.blocks, tuple(found[:, None, None])))
        bound = self._bounded(problem, lifted, split)
        return bound if bound.value[0] > shared.value[0] else shared


class _Cells:
    """Rows of one lifted problem: at a centre `c` it is that problem with the target moved by `c·shift`."""

    def __init__(self, lifted: Lifted, problem: LeastSquares, diagonal: Array, rounds: int, more: int) -> None:
        self.lifted, self.problem, self.diagonal, self.rounds, self.more = lifted, problem, diagonal, rounds, more

    def peaks(self, rows: Rows, centres: Array, near: Sequence[Near[Array] | None]) -> tuple[Array, list[Array]]:
        """What is proven at each centre (estimates), and the `y` of each moved problem."""
        target = self.problem.target[rows] + centres[:, None] * self.lifted.shift
        moved = LeastSquares(self.problem.gram, target, self.problem.feasible)
        cold = near[0] is None
        start = np.zeros_like(target) if cold else np.stack([_between(one) for one in near if one is not None])
        y = self._rise(moved, start, self.rounds if cold else self.more, cold)
        g = y @ moved.gram.array - self.diagonal * y
        least, _ = moved.feasible.separable_minimum(self.diagonal, g, target)
        value = least - np.einsum("ri,ri->r", y, g)
        return value + self.lifted.gained(centres), list(y)

    def _rise(self, moved: LeastSquares, start: Array, rounds: int, cold: bool) -> Array:
        live, feasible = moved.gram.live, moved.feasible
        if not cold and isinstance(feasible, Sparse) and live.size > NARROW and 0 < feasible.keep < live.size:
            y, part = np.zeros_like(start), moved.gram.array[np.ix_(live, live)]
            target, diagonal = moved.target[:, live], self.diagonal[live]
            y[:, live] = ascend(part, diagonal, target, feasible.keep, start[:, live], rounds, WARM)
            return y
        return improve(moved, self.diagonal, start, rounds)


def _between(near: Near[Array]) -> Array:
    """Along the line through two neighbours, not far beyond them."""
    share = min(max(near.share, -1.0), 2.0)
    return (1 - share) * near.left + share * near.right
