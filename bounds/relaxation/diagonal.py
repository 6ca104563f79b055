"""One diagonal shared by all rows, and the best `y` of each row for it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from .. import bands
from ..certificate import Certificate, certify
from ..errors import ProblemError
from ..feasible import AnyScale, Codebook, IntegerBox, Sparse
from ..gram import UNIT_ROUNDOFF, Array, Gram
from ..kernels.diagonal import descend
from ..kernels.diagonal_intervals import descend_intervals
from ..problem import LeastSquares
from ..result import Bound
from .diagonal_ascent import best_diagonal
from .diagonal_bands import descend_bands
from .max_trace import max_trace_diagonal
from .softened import ascend, slopes

GAP = 1e-5
#: More rounds of the softened ascent than this gain less than 0.02 dB.
SOFT_ROUNDS = 60
#: Steps on `y` for each trial of a `D` for rows, and their first temperature, for `y` is nearly right.
OWN_SWEEPS, WARM = 10, 0.1
#: Rows that one `D` is tuned on.
SAMPLE = 32
#: Share of a column in the null space from which nothing can be subtracted there.
TOUCHED = 1e-3
#: Frank–Wolfe is as good and a little closer up to so many columns.
NARROW = 64


@dataclass(frozen=True)
class DiagonalSplit:
    """The inequality of `certificate` with the `D` of largest trace below the Gram matrix, `y` tuned row by row.

    Any feasible set with a separable minimum, tens to hundreds of columns.

    Parameters
    ----------
    rounds : int
        Steps on `y`: sweeps of coordinate descent for entries of their own (`IntegerBox`, `Codebook`,
        `AnyScale`), Frank–Wolfe steps for other sets. A row
        stops earlier once it is within 1e-5 of the best bound that this `D` can give. Zero keeps `y = 0`.
    floor : float
        Share of the smallest eigenvalue (at unit diagonal) that every `D` keeps, in [0, 1): sets with free
        real weights pay `(My)²/D` for a small `D`.
    tune : int
        Newton steps on one `D` for all rows of the problem (`Sparse`, more than 64 live columns): 0.5 to 1.8 dB in
        three, 0.1 s at 384 columns and 4 s at 1,536.
    row_rounds : int
        Newton steps on a `D` of each row's own (`Sparse`): 0.5 to 0.8 dB in three, 50 ms a row of 384 columns.
    """

    rounds: int = 300
    floor: float = 0.5
    tune: int = 0
    row_rounds: int = 0

    def __post_init__(self) -> None:
        for name in ("rounds", "tune", "row_rounds"):
            if getattr(self, name) < 0:
                raise ProblemError(f"{name} = {getattr(self, name)} is negative: use 0 or more")
        if not 0 <= self.floor < 1:
            raise ProblemError(f"floor = {self.floor} is not a share in [0, 1)")

    def settled(self, problem: LeastSquares) -> KnownDiagonal:
        """The same with the `D` found for these rows, whichever rows are bounded."""
        if problem.gram.singular and not _bounded(problem):
            certify(problem, np.zeros(problem.columns), np.zeros_like(problem.target))  # refuses before the work
        floor = 0.0 if _bounded(problem) else self.floor
        diagonal = shared_diagonal(problem.gram, floor)
        if self.tune:
            diagonal = tuned(problem, diagonal, self.tune)
        return KnownDiagonal(diagonal, self.rounds, self.row_rounds)

    def lower_bound(self, problem: LeastSquares) -> Bound:
        """See `bounds.lower_bound`."""
        return self.settled(problem).lower_bound(problem)


@dataclass(frozen=True, eq=False)
class KnownDiagonal:
    """`DiagonalSplit` once its `diagonal`, (columns,), is found."""

    diagonal: Array
    rounds: int
    row_rounds: int = 0

    def lower_bound(self, problem: LeastSquares) -> Bound:
        """See `bounds.lower_bound`."""
        y = improve(problem, self.diagonal, np.zeros_like(problem.target), self.rounds)
        bound = certify(problem, self.diagonal, y)
        if not self.row_rounds:
            return bound
        alone = [
            own_split(problem.restrict(row), self.diagonal, y[row : row + 1], self.row_rounds, self.rounds)
            for row in range(problem.rows)
        ]
        own = certify(problem, np.stack([d for d, _ in alone]), np.concatenate([step for _, step in alone]))
        mine, shared = own.certificate, bound.certificate
        assert isinstance(mine, Certificate)
        assert isinstance(shared, Certificate)
        better = (own.value > bound.value)[:, None]
        chosen = Certificate(np.where(better, mine.diagonal, shared.diagonal), np.where(better, mine.y, shared.y))
        return Bound(np.maximum(own.value, bound.value), chosen)


def own_split(problem: LeastSquares, diagonal: Array, y: Array, row_rounds: int, rounds: int) -> tuple[Array, Array]:
    """`D` (columns,) and `y` (1, columns) of the only row, hardly ever worse than those given."""
    gram, live, feasible = problem.gram, problem.gram.live, problem.feasible
    if gram.singular or not isinstance(feasible, Sparse) or not 0 < feasible.keep < live.size:
        return diagonal, y
    if not diagonal[live].min() > 0 or np.count_nonzero(problem.target[0, live]) <= feasible.keep:
        return diagonal, y
    part = LeastSquares(gram if live.size == gram.columns else gram.restrict(live), problem.target[:, live], feasible)
    place = y[:, live]

    def judge(trial: Array) -> tuple[float, Array]:
        nonlocal place
        place = improve(part, trial, place, OWN_SWEEPS)
        values, slope = slopes(part.gram.array, trial, part.target, feasible.keep, place)
        return float(values[0]), slope[0]

    found, best = diagonal.copy(), y.copy()
    found[live] = best_diagonal(part.gram.array, diagonal[live], judge, row_rounds)
    best[:, live] = improve(part, found[live], place, rounds)
    return found, best


def tuned(problem: LeastSquares, diagonal: Array, rounds: int) -> Array:
    """A diagonal with the best sum of bounds for the rows of a wide `Sparse` problem; as it is for others.

    The sample is 32 rows, evenly spaced. A quarter kept stands for an eighth and more, which costs 0.05 dB, so that one
    `D` serves them all; kept as long as the Gram matrix lives.
    """
    gram, feasible, live = problem.gram, problem.feasible, problem.gram.live
    if not isinstance(feasible, Sparse) or not live.size > NARROW or not 0 < feasible.keep < live.size:
        return diagonal
    if gram.smallest_eigenvalue <= 0 or diagonal[live].min() <= 0:
        return diagonal
    keep = live.size // 4 if 8 * feasible.keep >= live.size else feasible.keep
    target = problem.target[:, live]
    target = target[np.count_nonzero(target, axis=1) > keep]
    target = target[np.unique(np.linspace(0, len(target) - 1, min(SAMPLE, len(target))).astype(np.intp))]
    if not len(target):
        return diagonal
    kept = _tuned.setdefault(gram, {})
    key = hashlib.sha256(repr((keep, rounds, target.shape)).encode() + target.tobytes() + diagonal.tobytes()).digest()
    if key not in kept:
        part = gram.array[np.ix_(live, live)]
        y = ascend(part, diagonal[live], target, keep, np.zeros_like(target), SOFT_ROUNDS)

        def judge(trial: Array) -> tuple[float, Array]:
            nonlocal y
            y = ascend(part, trial, target, keep, y, OWN_SWEEPS, WARM)
            values, slope = slopes(part, trial, target, keep, y)
            return float(values.sum()), slope.sum(axis=0)

        result = diagonal.copy()
        result[live] = best_diagonal(part, diagonal[live], judge, rounds)
        result.setflags(write=False)
        kept[key] = result
    return kept[key]


def _least(gram: Gram, floor: float) -> Array:
    """What every diagonal keeps, (columns,)."""
    return (floor * max(gram.smallest_eigenvalue, 0.0) - definite_lift(gram)) * gram.array.diagonal()


def _bounded(problem: LeastSquares) -> bool:
    """Whether the entries of the set are limited: then a column without curvature costs nothing worth a floor."""
    flat = np.zeros(problem.columns)
    return bool(np.isfinite(problem.feasible.reach(flat, np.ones_like(problem.target), problem.target)).all())


_known: WeakKeyDictionary[Gram, dict[float, Array]] = WeakKeyDictionary()
_tuned: WeakKeyDictionary[Gram, dict[bytes, Array]] = WeakKeyDictionary()


def shared_diagonal(gram: Gram, floor: float = 0.0) -> Array:
    """The diagonal of largest trace, (columns,), with `floor` (see `DiagonalSplit`); legal for singular matrices.

    A singular matrix is lifted by a few roundings of its diagonal first, which are subtracted from `D` again. Where its
    null space touches every column there is no positive `D`, and zero is returned at once.
    Computed at its first use and kept as long as the Gram lives: 5 s at 1,536 columns.
    """
    kept = _known.setdefault(gram, {})
    if floor not in kept and gram.singular and gram.null_share[gram.live].min(initial=1.0) > TOUCHED:
        kept[floor] = np.zeros(gram.columns)
    elif floor not in kept:
        rest, least = gram.array.copy(), _least(gram, floor)
        rest[np.diag_indices_from(rest)] -= least
        kept[floor] = np.asarray(max_trace_diagonal(rest) + least)
        kept[floor].setflags(write=False)
    return kept[floor]


def definite_lift(gram: Gram) -> float:
    """Share of its diagonal to add to a Gram matrix so that float64 can prove it definite; 0 for most."""
    enough = 4 * gram.columns * (gram.columns + 16) * UNIT_ROUNDOFF
    return max(0.0, 2 * enough - gram.smallest_eigenvalue) if gram.smallest_eigenvalue < enough else 0.0


def improve(problem: LeastSquares, diagonal: Array, y: Array, rounds: int) -> Array:
    """A `y` (rows, columns) whose bound with the same `D` is at least that of the one given."""
    if rounds == 0:
        return y
    if isinstance(problem.feasible, IntegerBox):
        box = float(problem.feasible.low), float(problem.feasible.high)
        if problem.columns > bands.NARROW and diagonal.ndim == 1:
            return descend_bands(problem.gram.array, diagonal, problem.target, *box, rounds, GAP, y)
        y = np.array(y, dtype=np.float64)
        used = np.zeros(problem.rows, dtype=np.int64)
        descend(problem.gram.array, np.atleast_2d(diagonal), problem.target, *box, rounds, GAP, y, used)
        return y
    if isinstance(problem.feasible, Codebook | AnyScale):
        y = np.array(y, dtype=np.float64)
        lows, highs = problem.feasible.intervals
        descend_intervals(problem.gram.array, np.atleast_2d(diagonal), problem.target, lows, highs, rounds, GAP, y)
        return y
    live = problem.gram.live
    if isinstance(problem.feasible, Sparse) and live.size > NARROW and diagonal.ndim == 1 and diagonal[live].min() > 0:
        keep = problem.feasible.keep
        if 0 < keep < live.size:
            y, part = np.array(y, dtype=np.float64), problem.gram.array[np.ix_(live, live)]
            y[:, live] = ascend(
                part, diagonal[live], problem.target[:, live], keep, y[:, live], min(rounds, SOFT_ROUNDS)
            )
            return y
    return _frank_wolfe(problem, diagonal, y, rounds)


def _frank_wolfe(problem: LeastSquares, diagonal: Array, y: Array, rounds: int) -> Array:
    """Frank–Wolfe on the dual of the best bound, all rows together: one matrix product a step.

    The best bound over `y` equals the least `E_p[Σ Dᵢ uᵢ²] + ȳᵀ M ȳ`, `ȳ = E_p[u]`, over probabilities `p` on
    the feasible set, `u = x − target`. Each step mixes in the separable minimiser by an exact line search on
    that quadratic; `ȳ` is the next `y`, and the one with the best bound is returned.
    """
    gram, target, feasible = problem.gram.array, problem.target, problem.feasible
    best, best_value = y, _bound(problem, diagonal, y, y @ gram - diagonal * y)
    y = feasible.nearest(target) - target
    g = y @ gram - diagonal * y
    cost = (diagonal * y * y).sum(axis=-1)
    for _ in range(rounds):
        least, x = feasible.separable_minimum(diagonal, g, target)
        inner = np.einsum("ri,ri->r", y, g)
        better = least - inner > best_value
        best = np.where(better[:, None], y, best)
        best_value = np.where(better, least - inner, best_value)
        if np.all(cost + inner - best_value <= GAP * np.abs(best_value)) or not np.isfinite(least).all():
            break
        step = x - target - y
        image = step @ gram - diagonal * step
        change = (diagonal * (x - target) ** 2).sum(axis=-1) - cost
        slope = change + 2 * np.einsum("ri,ri->r", step, g)
        curvature = 2 * np.einsum("ri,ri->r", step, image)
        length = np.clip(-slope / np.where(curvature > 0, curvature, 1.0), 0.0, 1.0)
        y = y + length[:, None] * step
        g = g + length[:, None] * image
        cost = cost + length * change
    return best


def _bound(problem: LeastSquares, diagonal: Array, y: Array, g: Array) -> Array:
    return np.asarray(problem.feasible.separable_minimum(diagonal, g, problem.target)[0] - np.einsum("ri,ri->r", y, g))
