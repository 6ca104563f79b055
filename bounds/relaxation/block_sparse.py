"""Pruning with a block-diagonal `D`: weights for `D` from the soft minimiser, `y` by Newton's method."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from ..block_certificate import BlockDiagonal, provable_split
from ..feasible import Sparse
from ..gram import Array
from ..problem import LeastSquares
from .ascent import largest_trace, weighted_ascent
from .partition import partition
from .soft_minimum import SoftMinimum

SAMPLE = 16
COLDEST = 0.006
COOLING = 0.3
WARM = (0.03, 0.01)
HALVINGS = 40
BARRIER = (0.05, 0.002)
RIDGE = 0.01
FLOOR = 0.02
SWEEPS = 3
MEMORY = 0.5
LONGEST = 0.8
WORSE = 0.995
LEAST = 1e-3


@dataclass
class _Rows:
    """The rows a `D` is tuned on, and the best `y` known for the current `D`."""

    target: Array
    scale: Array
    y: Array
    value: Array = field(init=False)

    def solve(self, soft: SoftMinimum, warm: bool) -> list[Array]:
        """Best `y` of each row; returns `Σ_rows Cov_B / value`, the derivative of the mean log bound in `D_B`."""
        self.value = np.empty(len(self.target))
        weights = [np.zeros((size, size)) for size in soft.sizes]
        for row, target in enumerate(self.target):
            y, value, eps = solve_row(soft, target, self.y[row] if warm else None, self.scale[row])
            self.y[row], self.value[row] = y, value
            for weight, cov in zip(weights, soft.covariances(target, y, eps), strict=True):
                weight += cov / max(value, LEAST * self.scale[row])
            self.scale[row] = max(value, LEAST * self.scale[row])
        return weights


def solve_row(soft: SoftMinimum, target: Array, y: Array | None, scale: float) -> tuple[Array, float, float]:
    """A nearly best `y` (in the order of `soft`), its softened value and last temperature; `scale` ~ the bound."""
    blocks = len(soft.sizes)
    eps, value = 0.6 * scale / blocks, 0.0
    if y is not None:
        for share in WARM:
            eps = share * scale / blocks
            y, value = soft.rise(target, y, eps, 6, 5e-4)
        return y, value, eps
    y = np.zeros_like(target)
    for cooling, steps in ((COOLING, 12), (0.6, 40)):
        y, eps = np.zeros_like(target), 0.6 * scale / blocks
        for _ in range(HALVINGS):
            eps *= cooling
            y, value = soft.rise(target, y, eps, steps, 3e-3)
            if eps * blocks <= COLDEST * value:
                return y, value, eps
    return y, value, eps


def reweighted(
    problem: LeastSquares, split: BlockDiagonal, rounds: int, seconds: float | None, y: Array | None = None
) -> tuple[BlockDiagonal, Array]:
    """A `D` with a higher mean (log) bound of the rows, and their `y` (rows, columns).

    The bound is the least of functions linear in `D`, so that it is concave in `D`; its derivative is the covariance
    `W_B` of the (softened) minimiser on each block. A round maximises `Σ ⟨W_B, D_B⟩ + barrier · log det(gram − D)`, `W`
    averaged over the rounds, and moves `D` a step in that direction; a step that lowers the bound is taken back.
    """
    start = time.process_time()
    gram, keep = problem.gram.array, keep_of(problem)
    soft = SoftMinimum(gram, split, keep)
    rows = _Rows(
        problem.target[:, soft.order],
        crude_error(problem),
        np.zeros((problem.rows, soft.order.size)) if y is None else y[:, soft.order],
    )
    weights = average = rows.solve(soft, warm=y is not None)
    step = 0.5
    for index in range(rounds):
        if seconds is not None and time.process_time() - start > seconds:
            break
        barrier = BARRIER[0] * (BARRIER[1] / BARRIER[0]) ** (index / max(rounds - 1, 1))
        goal = weighted_ascent(gram, split, _normalised(average, split), barrier / soft.order.size, SWEEPS, FLOOR)
        trial = BlockDiagonal(
            split.blocks,
            tuple((1 - step) * a + step * b for a, b in zip(split.matrices, goal.matrices, strict=True)),
        )
        moved = _Rows(rows.target, rows.scale.copy(), rows.y.copy())
        found = SoftMinimum(gram, trial, keep)
        new = moved.solve(found, warm=True)
        if np.log(np.maximum(moved.value, 1e-300) / rows.scale).mean() >= np.log(WORSE):
            share = max(MEMORY, 2 / (index + 3))
            average = [(1 - share) * a + share * b for a, b in zip(average, new, strict=True)]
            split, rows, weights, soft = trial, moved, new, found
            step = min(LONGEST, 1.2 * step)
        else:
            average = [0.7 * a + 0.3 * b for a, b in zip(average, weights, strict=True)]
            step *= 0.4
    result = np.zeros_like(problem.target)
    result[:, soft.order] = rows.y
    return split, result


def crude_error(problem: LeastSquares) -> Array:
    """(rows,) the error of keeping the largest live weights: a first temperature, above every optimum."""
    live = LeastSquares(problem.gram, np.where(problem.gram.dead, 0.0, problem.target), problem.feasible)
    return np.maximum(live.error(live.feasible.nearest(live.target)), 1e-300)


def keep_of(problem: LeastSquares) -> int:
    """The budget of a pruning problem."""
    assert isinstance(problem.feasible, Sparse)
    return problem.feasible.keep


def _normalised(weights: list[Array], split: BlockDiagonal) -> list[Array]:
    """`Σ ⟨W_B, D_B⟩ = 1`, and a ridge that keeps certain columns in sight; plain traces where nothing is uncertain."""
    total = sum(float(np.sum(w * d)) for w, d in zip(weights, split.matrices, strict=True))
    if not total > 0:
        return _normalised([np.eye(len(w)) for w in weights], split)
    mean = sum(float(np.trace(w)) for w in weights) / sum(len(w) for w in weights)
    return [(w + RIDGE * mean * np.eye(len(w))) / total for w in weights]


def tune(problem: LeastSquares, width: int, rounds: int, seconds: float | None) -> BlockDiagonal:
    """One `D` for all rows, tuned on at most `SAMPLE` of them, evenly spaced."""
    gram = problem.gram
    if gram.live.size == 0:
        return BlockDiagonal((), ())
    split = largest_trace(gram.array, partition(gram, width))
    if rounds and 0 < keep_of(problem) < gram.live.size:
        loud = np.flatnonzero(np.count_nonzero(problem.target[:, gram.live], axis=1) > keep_of(problem))
        if loud.size:
            chosen = loud[np.unique(np.linspace(0, loud.size - 1, min(SAMPLE, loud.size)).round().astype(int))]
            sample = LeastSquares(gram, problem.target[chosen], problem.feasible)
            split, _ = reweighted(sample, split, rounds, seconds)
    return provable_split(gram, split)


def improve(problem: LeastSquares, split: BlockDiagonal, rounds: int) -> tuple[BlockDiagonal, Array]:
    """The best `y` of each row for a shared `D`; after `rounds`, also a `D` of its own."""
    keep = keep_of(problem)
    if keep == 0:
        return split, -problem.target  # the only point: the inequality is tight
    if keep >= problem.gram.live.size:
        return split, np.zeros_like(problem.target)  # the target itself is feasible
    soft = SoftMinimum(problem.gram.array, split, keep)
    y = np.zeros_like(problem.target)
    # rows with fewer weights than `keep` have error zero
    loud = np.flatnonzero(np.count_nonzero(problem.target[:, soft.order], axis=1) > keep).tolist()
    for row in loud:
        # by itself: the last bit of a temperature, which products with more rows change, may be worth 0.01 dB
        single = problem.restrict(row)
        y[row, soft.order] = solve_row(soft, single.target[0, soft.order], None, float(crude_error(single)[0]))[0]
    if not rounds:
        return split, y
    own = []
    for row in range(problem.rows):
        found = split
        if row in loud:
            found, y[row] = reweighted(problem.restrict(row), split, rounds, None, y[row : row + 1])
        own.append(provable_split(problem.gram, found).matrices)
    return BlockDiagonal(split.blocks, tuple(np.stack(stack) for stack in zip(*own, strict=True))), y
