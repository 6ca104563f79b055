"""Error curves of pruned rows: the least error with 0, 1, … kept columns, exactly where a budget asks for it.

A layer that spends one budget over its rows needs few of the `rows · columns` best subsets, and most of those only up
to a threshold: a search that is told to look for errors below the line of an `Ask` ends much sooner than one that is
told to look for the optimum. Supports from the greedy walks with swaps come first, for all sizes in two walks a row.

Why the rounds end: for given asks every (row, size) is searched at most once, since the lines only fall when better
supports are found. If a round finds none, the lower curves prove what was asked, up to rounding and searches cut short;
and there are finitely many supports.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..allocation import Ask
from ..feasible.sparse import Sparse
from ..gram import Array, Gram
from ..problem import LeastSquares
from ..result import Status
from .best_subset import Mask, Metric, greedy, metric_of, search
from .branch_and_bound import BranchAndBound

#: How far beyond its line a search proves, in prices of one weight: the next round's line may lie a little higher.
BEYOND = 0.02
#: A gap between the two curves that no search can close: its own tolerance.
ENOUGH = 1e-8


@dataclass(frozen=True, eq=False)
class RowCurves:
    """What is known of the error curves of rows on one Gram.

    Attributes
    ----------
    lower : (rows, columns + 1)
        Proven, non-increasing, rounding included.
    upper : (rows, columns + 1)
        Error of the best support known, non-increasing: plain float64, to be recomputed from the weights of a support.
    kept : (rows, columns + 1, columns) int8, the supports; 1 where kept
    stuck : (rows, columns + 1) True where a search was cut short
    searches, nodes : (rows,) how many searches were run, and their nodes
    """

    lower: Array
    upper: Array
    kept: Mask
    stuck: NDArray[np.bool_]
    searches: NDArray[np.int64]
    nodes: NDArray[np.int64]

    def weights(self, gram: Gram, weight: Array, keep: NDArray[np.int64]) -> tuple[Array, Array]:
        """`fitted` to the best supports with `keep` (rows,) columns."""
        return fitted(gram, weight, self.kept[np.arange(len(keep)), keep])


def fitted(gram: Gram, weight: Array, kept: Mask) -> tuple[Array, Array]:
    """The weights of least error on each support, (rows, columns), and their safe errors, (rows,).

    A support with all non-zeros of a row on live columns gives that row itself there.
    """
    problem = LeastSquares(gram, weight, Sparse(gram.columns))
    metric = metric_of(gram)
    live = metric.live
    target, power = metric.scale(problem.target)
    on = kept[:, live]
    x = np.zeros_like(problem.target)
    x[:, live] = np.ldexp(np.ldexp(metric.fit(target, on), power[:, None]), -metric.power)
    whole = ~((problem.target[:, live] != 0.0) & (on == 0)).any(axis=1)
    x[np.ix_(whole, live)] = problem.target[np.ix_(whole, live)]
    return x, problem.upper(x)


def start(gram: Gram, weight: Array) -> RowCurves:
    """Upper curves by greedy elimination and selection with swaps; lower curves zero but where nothing is kept.

    Parameters
    ----------
    gram : of full rank but for dead columns
    weight : (rows, columns)

    Raises
    ------
    ProblemError
        A Gram matrix that is singular beyond dead columns, or a weight that does not fit.
    """
    problem = LeastSquares(gram, weight, Sparse(0))
    metric = metric_of(gram)
    rows, columns, live = problem.rows, problem.columns, metric.live
    kept = np.zeros((rows, columns + 1, columns), dtype=np.int8)
    upper, lower = np.zeros((2, rows, columns + 1))
    nothing = np.zeros_like(problem.target)
    energy, above = problem.error(nothing), problem.upper(nothing)
    upper[:, 0], lower[:, 0] = energy, np.maximum(2.0 * energy - above, 0.0)
    target, power = metric.scale(problem.target)
    sizes = list(range(1, live.size))
    if sizes:
        masks, error = greedy(metric, target, sizes)
        upper[:, 1 : live.size] = np.ldexp(error, 2 * power).T
        kept[:, 1 : live.size, live] = masks.transpose(1, 0, 2)
    kept[:, live.size :, live] = 1
    own = np.count_nonzero(problem.target[:, live], axis=1)
    free = np.arange(columns + 1) >= own[:, None]
    upper[free] = 0.0
    row, keep = np.nonzero(free)
    kept[row, keep] = ((problem.target != 0.0) & ~gram.dead)[row]
    inherit(upper, kept, live)
    none = np.zeros(rows, dtype=np.int64)
    return RowCurves(lower, upper, kept, np.zeros(upper.shape, dtype=np.bool_), none, none)


def prove(
    gram: Gram, weight: Array, curves: RowCurves, wanted: Sequence[Ask], method: BranchAndBound | None = None
) -> RowCurves:
    """Search the (row, size) pairs that the asks need, each as far as they need it.

    Parameters
    ----------
    gram, weight : as in `start`
    curves : what is known; better supports found on the way replace its own
    method : budget of each search; its `time_limit` is that of the whole call
    """
    method = method or BranchAndBound()
    metric = metric_of(gram)
    target, power = metric.scale(LeastSquares(gram, weight, Sparse(0)).target)
    unit = np.ldexp(1.0, 2 * power)
    lower, upper = curves.lower.copy(), curves.upper.copy()
    kept, stuck = curves.kept.copy(), curves.stuck.copy()
    enough = ENOUGH + method.gap_tol + 2.0 * metric.allowance
    deadline = time.monotonic() + method.time_limit if method.time_limit < math.inf else math.inf
    searches, nodes = curves.searches.copy(), curves.nodes.copy()
    while wanted and metric.allowance < 1.0:
        need = np.max([ask.line(upper) for ask in wanted], axis=0)
        goal = np.minimum(upper, np.max([ask.line(upper) + BEYOND * ask.price for ask in wanted], axis=0))
        missing = ~stuck & (lower < np.minimum(upper, need) * (1.0 - enough))
        # those near their line first: a better support there lowers the line for all others of its row
        near = missing & (goal >= upper)
        row, keep = np.nonzero(near if near.any() else missing)
        if row.size == 0:
            break
        found = _search(metric, target[row], kept[row, keep], goal[row, keep] / unit[row], method, deadline)
        lower[row, keep] = np.maximum(lower[row, keep], found.lower * unit[row])
        stuck[row, keep] = found.stopped != Status.CLOSED
        better = np.flatnonzero(found.improved)
        kept[row[better], keep[better]] = found.kept[better]
        upper[row[better], keep[better]] = np.minimum(upper[row, keep], found.error * unit[row])[better]
        np.add.at(searches, row, 1)
        np.add.at(nodes, row, found.nodes)
        inherit(upper, kept, metric.live)
        lower = np.maximum.accumulate(lower[:, ::-1], axis=1)[:, ::-1]
    return RowCurves(np.ascontiguousarray(lower), upper, kept, stuck, searches, nodes)


@dataclass(frozen=True)
class _Found:
    lower: Array
    error: Array
    kept: Mask
    improved: NDArray[np.bool_]
    stopped: NDArray[np.object_]
    nodes: NDArray[np.int64]


def _search(metric: Metric, target: Array, start: Mask, goal: Array, method: BranchAndBound, deadline: float) -> _Found:
    """Whether supports of the sizes of `start` (searches, columns) have errors below `goal` (searches,), scaled units.

    The tree is told of an incumbent with the error `goal`: it ends with a better one or the proof that there is none.
    """
    on = np.ascontiguousarray(start[:, metric.live])
    error = goal.copy()
    lower, stopped, nodes = search(
        metric, np.ascontiguousarray(target), on, error, method.max_nodes, deadline, 1.0 - method.gap_tol
    )
    kept = np.zeros_like(start)
    kept[:, metric.live] = on
    return _Found(lower * max(0.0, 1.0 - metric.allowance), error, kept, error < goal, stopped, nodes)


def inherit(upper: Array, kept: Mask, live: NDArray[np.intp]) -> None:
    """A support of one column less serves as well where it is better: fill it up with any live column."""
    for keep in range(1, live.size):
        worse = np.flatnonzero(upper[:, keep] > upper[:, keep - 1])
        upper[worse, keep] = upper[worse, keep - 1]
        kept[worse, keep] = kept[worse, keep - 1]
        for row in worse:
            free = live[kept[row, keep, live] == 0]
            kept[row, keep, free[: keep - int(kept[row, keep].sum())]] = 1
