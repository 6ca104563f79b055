"""A shared diagonal tuned for the pruning bound of the rows instead of for its trace."""

from __future__ import annotations

import numpy as np

from ..feasible import Sparse
from ..gram import Array
from ..problem import LeastSquares
from .max_trace import max_trace_diagonal
from .softened import ascend, slopes

SAMPLE = 32  # rows that the diagonal is tuned on, evenly spaced
STEPS = (0.25, 0.5, 1.0)
FIRST, MORE = 60, 20  # rounds on `y`
RIDGE = 0.01


def reweighted(problem: LeastSquares, diagonal: Array, floor: Array, rounds: int) -> Array:
    """A `D`, (columns,), with a better mean bound than the one given, for a `Sparse` problem on live columns.

    The bound is concave in `D`, and its derivative with respect to `Dᵢ` is the variance of the entry `uᵢ` that the
    softened minimiser mixes, kept or pruned. Each round maximises `Σ wᵢ Dᵢ` for the mean `w` of these variances over
    the rows, and steps towards the maximiser as far as the bound improves (a full step oscillates).

    Parameters
    ----------
    diagonal : (columns,) positive, `gram − D ⪰ 0`
    floor : (columns,) what every `D` keeps, `gram − floor ≻ 0`
    """
    feasible, gram = problem.feasible, problem.gram.array
    assert isinstance(feasible, Sparse)
    target = problem.target[np.linspace(0, problem.rows - 1, min(SAMPLE, problem.rows)).astype(np.intp)]
    target = target[(target != 0).any(axis=1)]
    if not len(target):
        return diagonal
    rest = gram.copy()
    rest[np.diag_indices_from(rest)] -= floor

    def bound(d: Array, y: Array, count: int) -> tuple[Array, Array, Array]:
        y = ascend(gram, d, target, feasible.keep, y, count)
        return y, *slopes(gram, d, target, feasible.keep, y)

    y, value, slope = bound(diagonal, np.zeros_like(target), FIRST)
    for _ in range(rounds):
        weight = slope.mean(axis=0)
        scale = gram.diagonal()
        weight += RIDGE * float((weight * scale).mean()) / scale
        away = floor + max_trace_diagonal(rest, weight)
        before, start, start_y = value.sum(), diagonal, y
        for step in STEPS:
            trial = (1 - step) * start + step * away
            moved = bound(trial, start_y, MORE)
            if not moved[1].sum() > value.sum():
                break
            diagonal, (y, value, slope) = trial, moved
        if not value.sum() > before:
            break
    return diagonal
