"""Exact search over codebooks, and over integer codes of which only some are not zero.

The claim `lower ≤ optimum` rests on float64 as that of `enumeration`, whose preparation, tail diagonals and
error count (`8 n u A` of the optimum, to first order, for `n` live columns and `A = Gram.amplification`) it
shares. What differs:

1. Levels are held as differences to the level next to each centre, each with a relative error `u` and at most
   twice as far from that level as from the centre: `6 u A` of the optimum more.
2. The row is recentred, `E(x) = f₀ + (x − c)ᵀ G (x − c) + Σ gᵢ (xᵢ − bᵢ)` with `y = c − t` and `g = 2 G y`, either
   on the hull of a codebook or, with a limit on the non-zeros, at the `y` of the best separable bound. What
   rounding leaves of this identity at a point as good as the best known is at most
   `Σᵢ (|2 G y − g| + 16 (n + 4) u |G| |y|)ᵢ sᵢ`, measured for each row, with
   `sᵢ = |xᵢ − tᵢ| + |bᵢ − tᵢ| + |yᵢ|` and `|xᵢ − tᵢ| ≤ √(upper / λ Gᵢᵢ)`. Rows with `y = 0` pay nothing for it.

`lower` is the smaller of the best error (less `gap_tol`) and the smallest bound left open, minus `32 n u A · upper`
and the second term.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import MethodError, ProblemError
from ..feasible import Codebook, SparseIntegerBox
from ..gram import UNIT_ROUNDOFF, Array
from ..kernels.codes import FINISHED, ROW, improve_rows, recentre_rows, round_rows, search_rows
from ..kernels.enumeration_prepare import conditional_centres, sorted_order
from ..problem import LeastSquares
from ..relaxation.diagonal import improve, shared_diagonal
from ..result import Solution, Status, solution
from .enumeration import Preparation, prepare

SLICE = 200_000
FEW = 100  # nodes after which a row over uneven levels leaves the shared order for its own
LOUD = 1e5  # times the error of the start: the largest linear term worth recentring for
ROUNDS = 200  # steps towards the best y of a row with a limit on its non-zeros


def solve(problem: LeastSquares, start: Array | None, *, max_nodes: int, time_limit: float, gap_tol: float) -> Solution:
    """The nearest point of a `Codebook` or `SparseIntegerBox` to every row, with proof.

    Parameters
    ----------
    start : (rows, columns) or (columns,) feasible points, used where better than the built-in start
    max_nodes : nodes a row
    time_limit : seconds for the whole call; rows not reached keep their start and their root bound
    gap_tol : relative gap at which a node is closed

    Returns
    -------
    Solution with `stats` nodes (rows,) and start_error (rows,), the error before the search.

    Raises
    ------
    ProblemError
        Singular Gram, a start that is not feasible, or an error that overflows float64.
    MethodError
        If the feasible set is another one.
    """
    deadline = time.monotonic() + time_limit
    values, keep = _levels(problem)
    x = problem.feasible.nearest(problem.target)
    given = None if start is None else problem.members(start, "the start")
    rows = problem.rows
    nodes = np.zeros(rows, np.int64)
    stopped = np.full(rows, Status.NODE_LIMIT, dtype=object)
    if problem.gram.live.size == 0:
        zero = np.zeros(rows)
        stopped[:] = Status.CLOSED
        return solution(x, problem.upper(x), zero, stopped, {"nodes": nodes, "start_error": zero})
    p = prepare(problem.gram)
    n, zero_at = p.columns.size, int(np.searchsorted(values, 0.0)) if keep is not None else -1
    limit_nonzero = n if keep is None else min(keep, n)
    target = np.ascontiguousarray(problem.target[:, p.columns])
    with np.errstate(over="ignore", invalid="ignore"):
        farthest = np.maximum(np.abs(target - values[0]), np.abs(values[-1] - target))
        sizes = np.einsum("ri,ij,rj->r", farthest, np.abs(p.gram), farthest)
    if not np.isfinite(np.ldexp(sizes, max(p.exponent, 0))).all():
        row = int(np.flatnonzero(~np.isfinite(np.ldexp(sizes, max(p.exponent, 0))))[0])
        raise ProblemError(f"the error of row {row} overflows float64: pass the target in code units (weight / scale)")
    c, g, b = _recentred(problem, p, values, target, keep)
    points, error = _start(p, values, zero_at, limit_nonzero, target, c, g, x, given)
    if keep is not None:  # multipliers far above the error would drown it in their rounding
        loud = (np.abs(g).sum(axis=1) * (values[-1] - values[0]) > LOUD * error)[:, None]
        c, g = np.where(loud, target, c), np.where(loud, 0.0, g)
    y = c - target
    constant = np.einsum("ri,ri->r", y @ p.gram, y) + np.einsum("ri,ri->r", g, b - c)
    start_error = error.copy()
    recentred = (c, g, b, constant)
    bound, ended = np.zeros(rows), np.zeros(rows, np.int64)
    uneven = values.size > 2 and np.ptp(np.diff(values)) > 0.0
    most = min(max_nodes, FEW) if uneven else max_nodes
    order = Order(p.coupling.reshape(n + 1, -1), p.cost, p.tails.reshape(n + 1, -1))
    late = _search(order, values, np.ones(n), zero_at, limit_nonzero, recentred, points, error, most, gap_tol, deadline,
                   bound, nodes, ended)  # fmt: skip
    stopped[late:] = Status.TIME_LIMIT
    for row in np.flatnonzero(ended != FINISHED)[: rows * (most < max_nodes)]:
        if time.monotonic() > deadline:
            stopped[row:] = Status.TIME_LIMIT
            break
        left = max_nodes - int(nodes[row])
        again = _search_in_steps(p, values, row, recentred, points, error, left, gap_tol, deadline, bound, nodes)
        stopped[row], ended[row] = again, FINISHED if again == Status.CLOSED else 0
    if keep is not None:
        x[:] = 0.0
    x[:, p.columns] = values[points]
    upper = problem.upper(x)
    stopped[ended == FINISHED] = Status.CLOSED
    reach = np.sqrt(np.ldexp(upper, -p.exponent)[:, None] / (problem.gram.smallest_eigenvalue * p.gram.diagonal()))
    spread = np.minimum(farthest, reach) + np.abs(b - target) * (g != 0) + np.abs(y)
    missed = np.abs(2.0 * (y @ p.gram) - g) + 16 * (n + 4) * UNIT_ROUNDOFF * (np.abs(y) @ np.abs(p.gram))
    left_over = np.einsum("ri,ri->r", missed, spread)
    lower = np.ldexp(bound - left_over, p.exponent) - p.allowance * upper
    stats = {"nodes": nodes, "start_error": np.ldexp(start_error, p.exponent)}
    return solution(x, upper, np.nextafter(np.maximum(lower, 0.0), 0.0), stopped, stats)


@dataclass(frozen=True)
class Order:
    """The Gram factor and tail diagonals of a search order: `coupling`, `tails` (columns + 1, …), `cost` (columns,)."""

    coupling: Array
    cost: Array
    tails: Array


def _search(
    order: Order, values: Array, unit: Array, zero: int, keep: int, recentred: tuple[Array, ...],
    points: NDArray[np.int64], error: Array, max_nodes: int, gap_tol: float, deadline: float, bound: Array,
    nodes: NDArray[np.int64], ended: NDArray[np.int64],
) -> int:  # fmt: skip
    """Run the kernel in slices; returns the first row that missed the deadline (or the number of rows)."""
    n, late = order.cost.size, len(points)
    state = np.zeros(2, np.int64)
    workspace = (
        np.zeros((values.size, n)), np.zeros((values.size, n)), np.zeros((n, n)), np.zeros((4, n + 1)),
        np.zeros((5, n), np.int64),
    )  # fmt: skip
    while not search_rows(
        order.coupling, order.cost, order.tails, values, unit, zero, keep, *recentred, points, error, max_nodes, SLICE,
        1.0 - gap_tol, bound, nodes, ended, state, *workspace,
    ):  # fmt: skip
        if max_nodes and time.monotonic() > deadline:
            late = int(state[ROW])
            max_nodes = 0
    return late


def _search_in_steps(
    p: Preparation, values: Array, row: int, recentred: tuple[Array, ...], points: NDArray[np.int64], error: Array,
    max_nodes: int, gap_tol: float, deadline: float, bound: Array, nodes: NDArray[np.int64],
) -> Status:  # fmt: skip
    """Search one row with every column in steps of its own: the spacing of levels at the best point known.

    An order suited to those steps decides the search where levels are uneven. They are powers of two, so that the
    change of units is exact. The diagonal of the whole Gram serves all leading blocks: no order invalidates it.
    """
    n = p.columns.size
    gaps = np.diff(values)
    around = np.minimum(np.append(gaps, gaps[-1]), np.insert(gaps, 0, gaps[0]))
    step = np.ldexp(1.0, np.frexp(around[points[row]])[1])
    columns = sorted_order(p.gram * step * step[:, None])
    step = step[columns]
    gram = np.ascontiguousarray(p.gram[np.ix_(columns, columns)] * step * step[:, None])
    coupling, cost = np.zeros((n + 1, n)), np.zeros(n)
    conditional_centres(gram, np.linalg.cholesky(gram), coupling, cost)
    whole = p.tails.reshape(n + 1, -1)[n, columns] * step * step
    order = Order(coupling, cost, np.tile(whole, (n + 1, 1)))
    c, g, b, constant = (part[row : row + 1] for part in recentred)
    units = [np.ascontiguousarray(part[:, columns]) for part in (c, g, b)]
    units = [units[0] / step, units[1] * step, units[2] / step]
    found, best = np.ascontiguousarray(points[row : row + 1, columns]), error[row : row + 1].copy()
    proven, count, ended = np.zeros(1), np.zeros(1, np.int64), np.zeros(1, np.int64)
    late = _search(
        order, values, 1.0 / step, -1, n, (*units, constant), found, best, max_nodes, gap_tol, deadline, proven, count,
        ended,
    )  # fmt: skip
    points[row, columns], error[row] = found[0], best[0]
    bound[row] = max(bound[row], proven[0])
    nodes[row] += count[0]
    if ended[0] == FINISHED:
        return Status.CLOSED
    return Status.TIME_LIMIT if late == 0 else Status.NODE_LIMIT


def _levels(problem: LeastSquares) -> tuple[Array, int | None]:
    feasible = problem.feasible
    if isinstance(feasible, Codebook):
        return np.array(feasible.levels), None
    if isinstance(feasible, SparseIntegerBox):
        if feasible.high - feasible.low >= 2**16:
            raise MethodError(f"{feasible} has more than 2^16 codes: use a narrower box")
        return np.arange(feasible.low, feasible.high + 1.0), feasible.keep
    raise MethodError(f"this search treats Codebook and SparseIntegerBox, not {type(feasible).__name__}")


def _recentred(
    problem: LeastSquares, p: Preparation, values: Array, target: Array, keep: int | None
) -> tuple[Array, Array, Array]:
    """Centres, multipliers and anchors of each row, (rows, columns), in search order."""
    c, g, b = target.copy(), np.zeros_like(target), np.zeros_like(target)
    if keep is None:
        recentre_rows(p.gram, p.inverse, target, values[0], values[-1], c, g, b)
        return c, g, b
    gram = problem.gram if p.columns.size == problem.columns else problem.gram.restrict(p.live)
    place = np.searchsorted(p.live, p.columns)
    part = LeastSquares(gram, problem.target[:, p.live], _within(problem.feasible, p.columns.size))
    y = improve(part, shared_diagonal(gram), np.zeros_like(part.target), ROUNDS)[:, place]
    c = target + y
    g = 2.0 * ((c - target) @ p.gram)
    return c, g, np.where(g > 0, values[0], values[-1])


def _within(feasible: object, columns: int) -> SparseIntegerBox:
    assert isinstance(feasible, SparseIntegerBox)
    return SparseIntegerBox(feasible.low, feasible.high, min(feasible.keep, columns))


def _start(
    p: Preparation, values: Array, zero: int, keep: int, target: Array, c: Array, g: Array, nearest: Array,
    given: Array | None,
) -> tuple[NDArray[np.int64], Array]:  # fmt: skip
    """The best of conditional rounding (or the nearest point) and the given one, each improved by local search."""
    proposals = [np.searchsorted(values, nearest[:, p.columns])]
    if zero < 0:
        round_rows(p.gram, p.coupling.reshape(p.columns.size + 1, -1), p.cost, values, c, g, proposals[0])
    if given is not None:
        proposals.append(np.searchsorted(values, given[:, p.columns]))
    best, error = proposals[0], np.full(len(target), np.inf)
    for points in proposals:
        trial = np.zeros(len(target))
        improve_rows(p.gram, values, zero, keep, target, points, trial)
        better = trial < error
        best, error = np.where(better[:, None], points, best), np.where(better, trial, error)
    return np.ascontiguousarray(best), error
