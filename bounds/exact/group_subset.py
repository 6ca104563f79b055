"""Exact pruning in groups and blocks: `NofM` and `BlockSparse`, row by row, by branch and bound.

The lower bounds rest on what `best_subset` states: the same matrix, pivots, node bounds and allowance; blocks
removed together are pivoted one column after the other. Dead columns are left at zero, so that a group may
spend all of its non-zeros on live ones.
"""

from __future__ import annotations

import math
import time

import numpy as np
from numpy.typing import NDArray

from ..errors import MethodError
from ..feasible import BlockSparse, NofM
from ..gram import Array
from ..kernels.group_start import group_starts
from ..kernels.group_subset import advance, root_bound, tree
from ..problem import LeastSquares
from ..result import Solution, Status, solution
from .best_subset import metric_of

SLICE = 3_000_000  # nodes · columns² between two looks at the clock


def solve(problem: LeastSquares, start: Array | None, *, max_nodes: int, time_limit: float, gap_tol: float) -> Solution:
    """The optimal support of every row and its least-squares weights, with a proof.

    Parameters
    ----------
    problem : its feasible set must be `NofM` or `BlockSparse`
    start : (rows, columns) or None; feasible points whose supports are tried as well
    max_nodes : for each row
    time_limit : seconds for the whole call; rows that miss it keep their heuristic point and a root bound
    gap_tol : relative gap at which a node is given up

    Returns
    -------
    Solution
        With `stats` nodes (rows,) and start_error (rows,), the error of the heuristic start.

    Raises
    ------
    MethodError
        If the feasible set is another one.
    ProblemError
        If the Gram matrix is singular beyond dead columns, or `start` does not fit.
    """
    deadline = time.monotonic() + time_limit
    metric = metric_of(problem.gram)
    live = metric.live
    unit, group, first, remove = _units(problem, live)
    x = np.zeros_like(problem.target)
    lower, start_error = np.zeros(problem.rows), np.zeros(problem.rows)
    nodes = np.zeros(problem.rows, dtype=np.int64)
    stopped = np.full(problem.rows, Status.CLOSED, dtype=object)
    support = None if start is None else problem.members(start, "start")[:, live] != 0
    whole = np.zeros_like(problem.target)
    whole[:, live] = problem.target[:, live]
    easy = problem.feasible.contains(whole)
    x[easy] = whole[easy]
    hard = np.flatnonzero(~easy)
    if hard.size and remove.sum() == group.size:
        start_error = problem.error(x)
        lower = np.maximum(2.0 * start_error - problem.upper(x), 0.0)
    elif hard.size:
        target, power = metric.scale(problem.target[hard])
        kept, error = np.zeros(target.shape, dtype=np.int8), np.full(hard.size, np.inf)
        droppable = np.ones((hard.size, group.size), dtype=np.int8)
        group_starts(metric.inverse, target, first, group, remove, droppable, kept, error)
        start_error[hard] = np.ldexp(error, 2 * power)
        if support is not None:
            droppable = np.add.reduceat(support[hard], first[:-1], axis=1) == 0
            group_starts(metric.inverse, target, first, group, remove, droppable.astype(np.int8), kept, error)
        space, diagonal = tree(unit, group), metric.diagonal
        proven, complete = np.zeros(hard.size), np.zeros(hard.size, dtype=np.int8)
        count, at = np.zeros(hard.size, dtype=np.int64), np.zeros(2, dtype=np.int64)
        ended = np.full(hard.size, Status.NODE_LIMIT, dtype=object)
        limit = max_nodes
        while at[0] < hard.size:
            if limit == max_nodes and deadline < math.inf and time.monotonic() >= deadline:
                limit = 0
                ended[at[0] :] = Status.TIME_LIMIT
            advance(
                space, metric.inverse, target, diagonal, remove, kept, error, proven, complete, count, at, limit,
                1.0 - gap_tol, SLICE // live.size**2 + 1,
            )  # fmt: skip
        ended[complete == 1] = Status.CLOSED
        for row in np.flatnonzero(complete == 0):
            proven[row] = max(proven[row], root_bound(space, metric.inverse, target[row], diagonal, remove))
        proven = np.minimum(proven, error)
        lower[hard] = np.ldexp(proven * max(0.0, 1.0 - metric.allowance), 2 * power)
        stopped[hard], nodes[hard] = ended, count
        x[np.ix_(hard, live)] = np.ldexp(np.ldexp(metric.fit(target, kept), power[:, None]), -metric.power)
    return solution(x, problem.upper(x), lower, stopped, {"nodes": nodes, "start_error": start_error})


def _units(problem: LeastSquares, live: NDArray[np.intp]) -> tuple[NDArray[np.int64], ...]:
    """Unit of each live column, group of each unit, first column of each unit, units to remove from each group."""
    feasible = problem.feasible
    if isinstance(feasible, NofM):
        width, keep, names = 1, feasible.n, live // feasible.m
    elif isinstance(feasible, BlockSparse):
        width, keep, names = feasible.size, feasible.keep, np.zeros_like(live)
    else:
        raise MethodError(f"this search treats NofM and BlockSparse, not {type(feasible).__name__}")
    _, first, unit = np.unique(live // width, return_index=True, return_inverse=True)
    group = np.unique(names[first], return_inverse=True)[1]
    remove = np.maximum(np.bincount(group, minlength=1) - keep, 0)
    return unit.astype(np.int64), group.astype(np.int64), np.append(first, live.size), remove.astype(np.int64)
