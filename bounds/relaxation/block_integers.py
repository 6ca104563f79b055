"""Integer boxes with a block-diagonal `D`: wide blocks with exact minima, `D` tuned on the bound itself."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..block_certificate import BlockDiagonal, provable_split
from ..errors import ProblemError
from ..feasible import IntegerBox
from ..gram import Array
from ..kernels.block_multipliers import improve_row
from ..kernels.box import descend
from ..minima.integer_blocks import Packed, prepared
from ..problem import LeastSquares
from .ascent import largest_trace, weighted_ascent
from .partition import partition

TOLERANCE = 1e-3
GAP = 1e-4
PASSES = 4
FEWEST = 64  # passes: blocks of one or two columns get a column a pass too
TUNING_TOLERANCE = 3e-3
SWEEPS = 2
MAX_NODES = 200_000
BARRIER = 0.05
RIDGE = 3e-3
FLOOR = 0.01
START_FLOOR = 0.2
PROGRESS = 3e-4
FAILURES = 4
SAMPLE = 8


@dataclass
class _Columns:
    """The integer points known for one row: steps from the target, their `uᵀDu`, weights and number, by block."""

    steps: Array
    curved: Array
    weight: Array
    count: NDArray[np.int64]

    def copy(self) -> _Columns:
        return _Columns(self.steps.copy(), self.curved.copy(), self.weight.copy(), self.count.copy())


class _Rows:
    """Bounds of some rows for one `D` after the other; their columns are kept in between."""

    def __init__(self, problem: LeastSquares, split: BlockDiagonal) -> None:
        assert isinstance(problem.feasible, IntegerBox)
        self.problem, self.box = problem, problem.feasible
        self.live = problem.gram.live
        self.exponent = int(np.frexp(problem.gram.array.diagonal().max())[1])
        place = np.zeros(problem.columns, dtype=np.int64)
        place[self.live] = np.arange(self.live.size)
        self.blocks = [place[block] for block in split.blocks]
        self.gram = np.ldexp(problem.gram.array[np.ix_(self.live, self.live)], -self.exponent)
        self.target = np.ascontiguousarray(problem.target[:, self.live])
        self.start = self._rounded()
        step = self.start - self.target
        upper = np.einsum("ri,ri->r", step @ self.gram, step)
        self.upper = np.where(upper > 0, upper, 1.0)
        self.use(split)

    def use(self, split: BlockDiagonal) -> None:
        """Take another `D` with the same blocks."""
        found = [prepared(d) for d in split.matrices]
        blocks = [block for block in found if block is not None]
        if len(blocks) < len(found):
            raise ProblemError("a block of D is not numerically definite: propose a D with a higher floor")
        self.split = split
        self.matrices = [np.ldexp(d, -self.exponent) for d in split.matrices]
        self.rest = self.gram.copy()
        for block, d in zip(self.blocks, self.matrices, strict=True):
            self.rest[np.ix_(block, block)] -= d
        self.packed = Packed(blocks, self.exponent)

    def _rounded(self) -> Array:
        """Feasible points, (rows, live columns): conditional rounding of each column in turn, then single moves."""
        order = np.argsort(np.linalg.inv(self.gram).diagonal())[::-1]
        factor = np.linalg.cholesky(self.gram[np.ix_(order, order)])
        x = np.zeros_like(self.target)
        low, high = float(self.box.low), float(self.box.high)
        step = np.zeros_like(self.target)
        factor = factor / factor.diagonal()
        for k in range(len(order) - 1, -1, -1):
            # the centre of column k given the later ones: t − Σ factor[j, k] (x − t)_j
            centre = self.target[:, order[k]] - step[:, k + 1 :] @ factor[k + 1 :, k]
            x[:, order[k]] = np.clip(np.floor(centre + 0.5), low, high)
            step[:, k] = x[:, order[k]] - self.target[:, order[k]]
        n = len(order)
        pull, gradient = np.zeros(n), np.zeros(n)
        lows, highs = np.full(n, low), np.full(n, high)
        for row, t in zip(x, self.target, strict=True):
            descend(self.gram, t, pull, lows, highs, row, gradient)
        return x

    def columns(self, row: int) -> _Columns:
        """The start of a row as its only column."""
        widest = self.packed.widest
        count, capacity = len(self.blocks), 2 * widest + 32
        pool = _Columns(
            np.zeros((count, capacity, widest)),
            np.zeros((count, capacity)),
            np.zeros((count, capacity)),
            np.ones(count, dtype=np.int64),
        )
        pool.weight[:, 0] = 1.0
        for index, block in enumerate(self.blocks):
            pool.steps[index, 0, : block.size] = (self.start - self.target)[row, block]
        return pool

    def improve(self, row: int, pool: _Columns, tolerance: float) -> tuple[float, Array]:
        """The bound of a row (an estimate, in units of its start's error) and its `y` (live columns,)."""
        for index, d in enumerate(self.matrices):
            steps = pool.steps[index, : pool.count[index], : len(d)]
            pool.curved[index, : pool.count[index]] = np.einsum("ki,ki->k", steps @ d, steps)
        y = np.zeros(self.live.size)
        upper = self.upper[row]
        bound, _ = improve_row(
            self.rest, self.packed.shape, self.packed.arrays, np.concatenate(self.blocks), self.packed.order,
            self.target[row], float(self.box.low), float(self.box.high), tolerance * upper,
            GAP * upper / len(self.blocks), MAX_NODES, max(PASSES * self.packed.widest, FEWEST), SWEEPS,
            pool.steps, pool.curved, pool.weight, pool.count, y,
        )  # fmt: skip
        return bound / upper, y

    def mean_bound(self, pools: list[_Columns]) -> float:
        """Mean over the rows of what `improve` gives; the pools grow."""
        return float(np.mean([self.improve(row, pool, TUNING_TOLERANCE)[0] for row, pool in enumerate(pools)]))

    def covariances(self, pools: list[_Columns]) -> list[Array]:
        """`Σ_rows Cov(u_B) / upper` of the weights: the derivative of the mean relative bound with respect to `D`."""
        total = [np.zeros_like(d) for d in self.matrices]
        for row, pool in enumerate(pools):
            for index, block in enumerate(self.blocks):
                steps = pool.steps[index, : pool.count[index], : block.size]
                weight = pool.weight[index, : pool.count[index]]
                mean = weight @ steps
                total[index] += ((steps * weight[:, None]).T @ steps - np.outer(mean, mean)) / self.upper[row]
        return total


def tune(problem: LeastSquares, width: int, rounds: int, seconds: float | None) -> BlockDiagonal:
    """A `D` tuned on at most `SAMPLE` of the rows, evenly spaced: the largest trace, then `ascend`."""
    if problem.gram.live.size == 0:
        return BlockDiagonal((), ())
    chosen = np.unique(np.linspace(0, problem.rows - 1, min(SAMPLE, problem.rows)).astype(int))
    problem = LeastSquares(problem.gram, problem.target[chosen], problem.feasible)
    blocks = partition(problem.gram, width)
    split = provable_split(problem.gram, largest_trace(problem.gram.array, blocks, START_FLOOR))
    return ascend(problem, split, rounds, seconds)


def ascend(problem: LeastSquares, split: BlockDiagonal, rounds: int, seconds: float | None) -> BlockDiagonal:
    """Ascent on the mean of bound / error of a rounded point over the rows, which is concave in `D`.

    At the best `y` the derivative with respect to `D_B` is the covariance of the block under the weights of the
    columns. Each round maximises `Σ ⟨Cov_B, D_B⟩` with a barrier and goes part of the way there, as far as the bound
    rises; the covariances are averaged over the rounds, and the barrier falls when a round fails.
    """
    start = time.process_time()
    rows = _Rows(problem, split)
    pools = [rows.columns(row) for row in range(problem.rows)]
    best = rows.mean_bound(pools)
    weights = rows.covariances(pools)
    length, barrier, failures = 0.5, BARRIER, 0
    columns = rows.live.size
    for _ in range(rounds):
        if failures == FAILURES or (seconds is not None and time.process_time() - start > seconds):
            break
        scale = sum(float(np.sum(w * d)) for w, d in zip(weights, split.matrices, strict=True))
        if not scale > 0:  # one integer point a row: nothing is left to gain
            break
        ridge = RIDGE * sum(float(np.trace(w)) for w in weights) / scale / columns
        goals = [w / scale + ridge * np.eye(len(w)) for w in weights]
        goal = weighted_ascent(problem.gram.array, split, goals, barrier / columns, 3, FLOOR)
        for share in (length, 0.3 * length):
            mixed = [(1 - share) * old + share * new for old, new in zip(split.matrices, goal.matrices, strict=True)]
            trial = provable_split(problem.gram, BlockDiagonal(split.blocks, tuple(mixed)))
            rows.use(trial)
            trials = [pool.copy() for pool in pools]
            value = rows.mean_bound(trials)
            if value > best + PROGRESS * abs(best):
                split, best, pools = trial, value, trials
                weights = [(old + new) / 2 for old, new in zip(weights, rows.covariances(pools), strict=True)]
                length, failures = min(0.8, 1.5 * share), 0
                break
        else:
            failures += 1
            barrier *= 0.5
            length = max(0.3 * length, 0.03)
            weights = rows.covariances(pools)
    return split


def improve(problem: LeastSquares, split: BlockDiagonal, rounds: int) -> tuple[BlockDiagonal, Array]:
    """`y` (rows, columns) by column generation, row by row; after `rounds > 0` of `ascend` on each row alone.

    A row keeps the shared `D` where its own is no better.
    """
    y = np.zeros_like(problem.target)
    if not split.blocks:
        return split, y
    rows = _Rows(problem, split)
    own = []
    for row in range(problem.rows):
        value, y[row, rows.live] = rows.improve(row, rows.columns(row), TOLERANCE)
        own.append(split)
        if rounds > 0:
            found = ascend(problem.restrict(row), split, rounds, None)
            alone = _Rows(problem.restrict(row), found)
            better, step = alone.improve(0, alone.columns(0), TOLERANCE)
            if better > value:
                own[-1], y[row, rows.live] = found, step
    if rounds == 0:
        return split, y
    return BlockDiagonal(split.blocks, tuple(np.stack(d) for d in zip(*(s.matrices for s in own), strict=True))), y


class MovedRow:
    """One row whose target moves: the columns found for one place are carried to the next."""

    def __init__(self, problem: LeastSquares, split: BlockDiagonal) -> None:
        self.rows = _Rows(problem, split)
        self.target = self.rows.target.copy()
        self.start = (np.zeros(self.target.shape[1]), self.rows.columns(0))
        self.value = self.rows.improve(0, self.start[1], TUNING_TOLERANCE)[0] * float(self.rows.upper[0])
        self.value *= 2.0**self.rows.exponent

    def solve(self, move: Array, start: tuple[Array, _Columns], value: float) -> tuple[Array, tuple[Array, _Columns]]:
        """`y` (columns,) of the row with its target moved, and a start for moves nearby; `value` is not needed."""
        place, pool = start[0], start[1].copy()
        step = move[self.rows.live]
        for index, block in enumerate(self.rows.blocks):
            pool.steps[index, : pool.count[index], : block.size] -= (step - place)[block]
        self.rows.target = self.target + step
        y = np.zeros_like(move)
        y[self.rows.live] = self.rows.improve(0, pool, TOLERANCE)[1]
        return y, (step, pool)
