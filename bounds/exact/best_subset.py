"""Exact pruning: the best support of a given size, row by row, by branch and bound.

What the lower bounds rest on
-----------------------------
The search runs in float64 on `M = gram⁻¹`, scaled to a nearly unit diagonal by powers of two. Let
T = Σ gramⱼⱼ Mⱼⱼ (the trace of the inverse at unit diagonal; T ≤ `gram.amplification`) and u = 2⁻⁵³.
An error of ε √(aᵢᵢ aⱼⱼ) in each entry of `gram` or of `M` changes every error E by at most the fraction
ε · columns · T, because E is monotone in the matrix and the smallest eigenvalue of either one at unit
diagonal is at least 1 / T. To first order, with columns = n, the fractions are at most

* 4 n u · nT for the inverse: Cholesky, triangular inverse (both sides), product (Higham, §10.1 and §8.1);
* 3 n u · nT for the pivots on the way to the optimal support, whose backward error is that of a
  Cholesky factorisation, and for the weights carried along (removed weights obey v² ≤ M_jj E);
* 40 n u · nT for leaves finished by enumeration of the kept columns, where the energy that cancels is
  held below `LEAF_RATIO` times the gap.

`ROUNDING` = 64 covers their sum: lower = (smallest bound open, or incumbent · (1 − gap_tol)) ·
(1 − 64 n u · nT). Node bounds subtract the rounding of their own evaluation, and their diagonal is
accepted only with a Cholesky proof and a margin (`kernels/best_subset.py`), so nothing else is trusted:
neither the fixed point for z, nor the Newton step for D, nor the start. The same holds where eight rows
are searched side by side (`kernels/subset_lanes.py`). A search that is cut short reports the smallest
bound among the nodes still open.
"""

from __future__ import annotations

import math
import time
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from ..errors import MethodError
from ..feasible.sparse import Sparse
from ..gram import UNIT_ROUNDOFF, Array, Gram
from ..kernels.best_subset import BARRIER, advance, root_bound, safe, tighten, tree
from ..kernels.lanes import LANES
from ..kernels.linear_algebra import stride
from ..kernels.subset_lanes import advance_lanes, space
from ..kernels.subset_start import improve, starts
from ..problem import LeastSquares
from ..result import Solution, Status, solution

ROUNDING = 64.0
SLICE = 3_000_000  # nodes · columns² between two looks at the clock: about 50 ms
FITTED = 64  # rows whose weights are fitted in one call
#: Fewer rows are searched one by one, since empty lanes cost as much as full ones, …
FEW = 8
#: … and so are wider ones, of which eight outgrow the first cache.
NARROW = 48

Mask = NDArray[np.int8]


class Metric:
    """What all rows and sizes on one Gram share: the live columns, scaled by powers of two, and their inverse.

    Raises
    ------
    ProblemError
        If the live columns are linearly dependent; the message names them.
    """

    def __init__(self, gram: Gram) -> None:
        gram.require_definite("the best-subset search")
        self.live = gram.live
        n = self.live.size
        block = gram.array[np.ix_(self.live, self.live)]
        self.power = np.frexp(block.diagonal())[1] // 2
        scaled = np.ldexp(np.ldexp(block, -self.power), -self.power[:, None])
        root = solve_triangular(np.linalg.cholesky(scaled), np.eye(n), lower=True)
        self.gram = np.zeros((n, stride(n)))
        self.inverse = np.zeros((n, stride(n)))
        self.gram[:, :n] = scaled
        inverse = root.T @ root
        self.inverse[:, :n] = inverse / 2 + inverse.T / 2
        variance_inflation = float(scaled.diagonal() @ inverse.diagonal())
        self.allowance = ROUNDING * n * UNIT_ROUNDOFF * n * variance_inflation

    def scale(self, target: Array) -> tuple[Array, NDArray[np.int_]]:
        """Live targets in the scaled columns, each row times 2^−power to be of order one; and the powers."""
        rows = np.ldexp(target[:, self.live], self.power)
        power = np.frexp(np.abs(rows).max(axis=1, initial=0.0))[1]
        return np.ldexp(rows, -power[:, None]), power

    @cached_property
    def diagonal(self) -> Array:
        """A diagonal D ≺ gram of nearly the largest trace, by Newton steps on a shrinking barrier."""
        n = self.live.size
        (a, b, c), (g, y2, e, reciprocal) = np.zeros((3, n, stride(n))), np.zeros((4, stride(n)))
        none = np.full(n, 0.5)
        d = np.full(n, 0.5 / np.linalg.eigvalsh(self.inverse[:, :n])[-1])
        for barrier in np.geomspace(30.0, BARRIER, 12):
            for _ in range(4):
                tighten(self.inverse, d, none, n, barrier, 0.0, a, b, c, g, y2, e, reciprocal)
        while not safe(self.inverse, d, n, a, reciprocal):
            d *= 0.5
        return d

    def fit(self, target: Array, kept: Mask) -> Array:
        """The weights of least error on each support, by the normal equations, in scaled units."""
        n = self.live.size
        x, left, sizes = np.zeros_like(target), np.where(kept == 0, target, 0.0), kept.sum(axis=1)
        for size in np.unique(sizes):
            alike = np.flatnonzero(sizes == size)
            for rows in np.split(alike, range(FITTED, alike.size, FITTED)):
                on = np.nonzero(kept[rows])[1].reshape(rows.size, size)
                right = np.einsum("rkn,rn->rk", self.gram[on, :n], left[rows])
                moved = np.linalg.solve(self.gram[on[:, :, None], on[:, None, :]], right[:, :, None])[:, :, 0]
                x[rows[:, None], on] = target[rows[:, None], on] + moved
        return x


_metrics: WeakKeyDictionary[Gram, Metric] = WeakKeyDictionary()


def metric_of(gram: Gram) -> Metric:
    """The shared `Metric` of a Gram, made at the first use and dropped with the Gram."""
    if gram not in _metrics:
        _metrics[gram] = Metric(gram)
    return _metrics[gram]


def greedy(metric: Metric, target: Array, keeps: list[int]) -> tuple[Mask, Array]:
    """The heuristic alone: greedy elimination and selection with swaps, for all sizes in two walks a row.

    Parameters
    ----------
    target : (rows, live columns) from `Metric.scale`
    keeps : strictly increasing, each between 1 and the live columns

    Returns
    -------
    kept : (sizes, rows, live columns), 1 where kept
    error : (sizes, rows) in scaled units
    """
    kept = np.zeros((len(keeps), *target.shape), dtype=np.int8)
    error = np.zeros((len(keeps), target.shape[0]))
    starts(metric.inverse, metric.gram, target, np.array(keeps, dtype=np.int64), kept, error)
    return kept, error


def heuristic(problem: LeastSquares, start: Array | None) -> Solution:
    """Greedy points after swaps, nothing proven: `lower` is zero; no row ends worse than its `start`.

    Raises
    ------
    ProblemError
        As `solve`.
    """
    metric = metric_of(problem.gram)
    assert isinstance(problem.feasible, Sparse)
    keep = min(problem.feasible.keep, metric.live.size)
    x = np.zeros_like(problem.target)
    if keep:
        target, power = metric.scale(problem.target)
        kept = greedy(metric, target, [keep])[0][0]
        x[:, metric.live] = np.ldexp(np.ldexp(metric.fit(target, kept), power[:, None]), -metric.power)
    error = problem.error(x)
    if start is not None:
        given = problem.members(start, "start")
        x = np.where((problem.error(given) < error)[:, None], given, x)
    stopped = np.full(problem.rows, Status.UNPROVEN, dtype=object)
    return solution(x, problem.upper(x), np.zeros(problem.rows), stopped, {"start_error": error})


def solve(problem: LeastSquares, start: Array | None, *, max_nodes: int, time_limit: float, gap_tol: float) -> Solution:
    """The optimal support of every row and its least-squares weights, with a proof.

    Parameters
    ----------
    problem : its feasible set must be `Sparse`
    start : (rows, columns) or None; feasible points whose supports are tried first
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
        If the feasible set is not `Sparse`.
    ProblemError
        If the Gram matrix is singular beyond dead columns, or `start` does not fit.
    """
    began = time.monotonic()
    if not isinstance(problem.feasible, Sparse):
        raise MethodError(f"the best-subset search treats Sparse(keep) only, not {problem.feasible}")
    metric = metric_of(problem.gram)
    live, keep = metric.live, problem.feasible.keep
    support = None if start is None else (problem.members(start, "start") != 0.0).astype(np.int8)
    x = np.zeros_like(problem.target)
    lower, start_error = np.zeros(problem.rows), np.zeros(problem.rows)
    nodes = np.zeros(problem.rows, dtype=np.int64)
    stopped = np.full(problem.rows, Status.CLOSED, dtype=object)
    sparse = np.count_nonzero(problem.target[:, live], axis=1) <= keep
    x[np.ix_(sparse, live)] = problem.target[np.ix_(sparse, live)]
    hard = np.flatnonzero(~sparse)
    if keep == 0:
        start_error = problem.error(x)
        lower = np.maximum(2.0 * start_error - problem.upper(x), 0.0)
    elif hard.size:
        target, power = metric.scale(problem.target[hard])
        kept, error = (part[0] for part in greedy(metric, target, [keep]))
        start_error[hard] = np.ldexp(error, 2 * power)
        if support is not None:
            improve(metric.inverse, target, support[np.ix_(hard, live)], keep, kept, error)
        deadline = began + time_limit
        found = search(metric, target, kept, error, max_nodes, deadline, 1.0 - gap_tol)
        lower[hard] = np.ldexp(found[0] * max(0.0, 1.0 - metric.allowance), 2 * power)
        stopped[hard], nodes[hard] = found[1], found[2]
        x[np.ix_(hard, live)] = np.ldexp(np.ldexp(metric.fit(target, kept), power[:, None]), -metric.power)
    return solution(x, problem.upper(x), lower, stopped, {"nodes": nodes, "start_error": start_error}, gap_tol)


def search(
    metric: Metric, target: Array, kept: Mask, error: Array, max_nodes: int, deadline: float, factor: float
) -> tuple[Array, NDArray[np.object_], NDArray[np.int64]]:
    """Lower bounds before the rounding allowance, what ended each row, and nodes; `kept` and `error` improve."""
    rows, n = target.shape
    several = rows >= FEW and n <= NARROW
    trees, diagonal = tree(n, LANES if several else 1), metric.diagonal
    lanes = space(n) if several else None
    lower, complete = np.zeros(rows), np.full(rows, -1, dtype=np.int8)
    nodes, at = np.zeros(rows, dtype=np.int64), np.zeros(2, dtype=np.int64)
    stopped = np.full(rows, Status.NODE_LIMIT, dtype=object)
    budget = SLICE // n**2 + 1
    in_time = True
    while np.any(complete < 0):
        if in_time and deadline < math.inf and time.monotonic() >= deadline:
            in_time = False
            stopped[complete < 0] = Status.TIME_LIMIT
        limit = max_nodes if in_time else 1
        found = kept, error, lower, complete, nodes
        if lanes is None:
            advance(trees, metric.inverse, target, diagonal, *found, at, limit, factor, budget)
        else:
            advance_lanes(trees, lanes, metric.inverse, target, diagonal, *found, at, limit, factor, budget)
    stopped[complete == 1] = Status.CLOSED
    for row in np.flatnonzero(complete == 0):
        whole = root_bound(trees, metric.inverse, target[row], diagonal, int(kept[row].sum()))
        lower[row] = max(lower[row], whole)
    return lower, stopped, nodes
