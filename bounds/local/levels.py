"""Integers and codebooks: K-best beams in several column orders, pair descent, merging of good points, annealing.

A beam on the sorted QR of a lattice problem is the K-best detector of MIMO decoding (Guo and Nilsson, *Algorithm and
implementation of the K-best sphere decoding*, IEEE JSAC 24, 2006), here on the target recentred by the multipliers
of the box, as in `exact.enumeration`. One order serves all rows; each further round slightly perturbs the
diagonal from which the sorted order is made. Points that differ in few columns are merged by exact enumeration of
these columns: a large neighbourhood made by the solutions themselves. Each round ends by annealing from the best
point with single steps, for about a quarter of the beam's time: a beam decides columns in one order and never comes
back. Where single steps still move at these temperatures it is worth 0.16 dB in the same time (the query layer of
MiniLM, 384 columns, 2 to 4 bits); where they are frozen, nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..bands import NARROW
from ..errors import MethodError
from ..feasible import Codebook, IntegerBox
from ..gram import Array
from ..kernels.beam import beam_band, trace_back
from ..kernels.level_moves import anneal, block_search, descend
from ..problem import LeastSquares
from .box import box_slopes
from .budget import Budget
from .elimination import eliminate
from .metric import SearchMetric

BAND = 64
ELITE = 8  # points of a row that are kept for merging
MERGED = 64  # columns that may differ when two points are merged
MERGE_NODES = 5_000
SPREAD = (0.1, 0.3)  # standard deviation of the log stretch, in turn
HOT, COLD = 2.0, 1.2  # first and last temperature, in units of the error a column
SWEEP = 64  # an annealing has beam · columns / 64 sweeps,
WIDE = 384  # fewer again beyond 384 columns, where the steps taken cost more than those refused
MOST_LEVELS = 2**16

Codes = NDArray[np.int64]


def table(problem: LeastSquares) -> Array:
    """The increasing levels every column may take.

    Raises
    ------
    MethodError
        For other sets, and for boxes of more than 2¹⁶ integers.
    """
    feasible = problem.feasible
    if isinstance(feasible, Codebook):
        return np.asarray(feasible.levels, dtype=np.float64)
    assert isinstance(feasible, IntegerBox)
    if feasible.high - feasible.low >= MOST_LEVELS:
        raise MethodError(
            f"LocalSearch tabulates the levels, and {feasible} has more than {MOST_LEVELS}: use BranchAndBound"
        )
    return np.arange(feasible.low, feasible.high + 1, dtype=np.float64)


class _Order:
    """The sorted order of a Gram whose columns are stretched, and the factor of the Gram itself in that order."""

    def __init__(self, gram: Array, stretch: Array) -> None:
        n = stretch.size
        stretched = gram * stretch * stretch[:, None]
        self.columns, factor = eliminate(stretched, np.zeros(n), lambda left, _: left, n, n, n)
        factor /= stretch[self.columns, None]
        root = factor.diagonal().copy()
        self.cost, self.ratio = root**2, factor / root


def search(
    problem: LeastSquares, start: Array | None, rounds: int | None, seconds: float, beam: int, leaves: int, seed: int
) -> Array:
    """The best point found of every row, (rows, columns); `seconds` are for all rows together.

    Round 0 is a beam in the sorted order; each further round takes another order. All rows draw the same numbers.
    """
    budget = Budget.of(rounds, seconds)
    levels, metric, n = table(problem), SearchMetric(problem.gram, scaled=False), problem.columns
    first = problem.feasible.nearest(problem.target)
    target = np.where(problem.gram.dead, first, problem.target)
    slope = box_slopes(metric.gram, target, float(levels[0]), float(levels[-1]))
    centre = target.copy()
    if n > NARROW:
        centre += metric.solve(0.5 * slope.T).T
    else:
        centre += np.array([metric.solve(0.5 * g) for g in slope])
    elites = [_Elite(metric.gram, levels, t) for t in target]
    if start is not None:
        for elite, point in zip(elites, start, strict=True):
            elite.polish(np.abs(levels[None, :] - point[:, None]).argmin(axis=1)[None, :])
    random = np.random.default_rng(seed)
    for number in budget.numbers():
        spread = 0.0 if number == 0 else SPREAD[number % len(SPREAD)]
        order = _Order(metric.gram, np.exp(spread * random.normal(size=n)))
        draws = random.integers(1, 2**64, size=1, dtype=np.uint64)
        for row, elite in enumerate(elites):
            if number > 0 and budget.over:
                break
            elite.polish(_beam(levels, order, centre[row], slope[row], beam, leaves))
            elite.anneal(max(1, beam * min(n, WIDE**2 // n) // SWEEP), draws.copy())
    return np.asarray(levels[np.array([elite.codes[0] for elite in elites])])


def _beam(levels: Array, order: _Order, centre: Array, slope: Array, width: int, leaves: int) -> Codes:
    """The `leaves` best points of a beam, (leaves, columns) codes in the original order of columns."""
    n = centre.size
    c, g = centre[order.columns], slope[order.columns]
    code, parent = np.zeros((2, n, width), dtype=np.int32)
    centres, spent, count = np.repeat(c[None], width, axis=0), np.zeros(width), 1
    for high in range(n, 0, -BAND):
        low = max(0, high - BAND)
        band = slice(low, high)
        first, step = np.zeros(width, dtype=np.int32), np.zeros((width, high - low))
        count = beam_band(
            levels, order.cost[band], np.ascontiguousarray(order.ratio[band, band]), g[band], c[band],
            np.ascontiguousarray(centres[:, band]), spent, count, code[band], parent[band], first, step,
        )  # fmt: skip
        centres = centres[first, :low] - step @ order.ratio[band, :low]
    best = np.argsort(spent[:count], kind="stable")[:leaves]
    points = np.zeros((best.size, n), dtype=np.int64)
    leaf = np.zeros(n, dtype=np.int64)
    for i, last in enumerate(best):
        trace_back(code, parent, int(last), leaf)
        points[i, order.columns] = leaf
    return points


class _Elite:
    """The best points of one row, no two alike, best first."""

    def __init__(self, gram: Array, levels: Array, target: Array) -> None:
        self.gram, self.levels, self.target = gram, levels, target
        self.codes: list[Codes] = []
        self.errors: list[float] = []

    def polish(self, points: Codes) -> None:
        """Take the best of some points after descent, merged with each point known."""
        error, code = min((self._descend(point) for point in points), key=lambda pair: pair[0])
        known = list(zip(self.errors, self.codes, strict=True))
        self._admit(error, code)
        for pair in known:
            apart = np.flatnonzero(pair[1] != code)
            if apart.size > MERGED:
                apart = apart[np.arange(MERGED) * apart.size // MERGED]
            if apart.size > 1:
                error, code = self._merge(*min(pair, (error, code), key=lambda pair: pair[0]), apart)
        self._admit(error, code)

    def anneal(self, sweeps: int, draws: NDArray[np.uint64]) -> None:
        """Anneal from the best point, and keep what is better."""
        error, code = self.errors[0], self.codes[0].copy()
        if not error > 0.0:
            return
        best, unit = code.copy(), error / code.size
        q = (self.levels[code] - self.target) @ self.gram
        if anneal(self.gram, self.levels, code, q, error, HOT * unit, COLD * unit, sweeps, draws, best) < error:
            self._admit(*self._descend(best))

    def _merge(self, error: float, code: Codes, apart: NDArray[np.intp]) -> tuple[float, Codes]:
        """The best codes of the columns `apart`, the others as they are."""
        chosen = np.zeros(apart.size, dtype=np.int64)
        q = (self.levels[code] - self.target) @ self.gram
        change, _ = block_search(self.gram, self.levels, code, q, apart, MERGE_NODES, chosen)
        if not change < 0.0:
            return error, code
        merged = code.copy()
        merged[apart] = chosen
        return self._descend(merged)

    def _descend(self, point: Codes) -> tuple[float, Codes]:
        code = point.copy()
        step = self.levels[code] - self.target
        q = step @ self.gram
        error = descend(self.gram, self.levels, code, q, float(step @ q), *np.zeros((2, 2, code.size)))
        return error, code

    def _admit(self, error: float, code: Codes) -> None:
        if any(np.array_equal(code, other) for other in self.codes):
            return
        at = int(np.searchsorted(self.errors, error, side="right"))
        self.codes.insert(at, code)
        self.errors.insert(at, error)
        del self.codes[ELITE:], self.errors[ELITE:]
