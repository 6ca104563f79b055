"""Exact boxed integer least squares: enumeration of eight nodes at a time, all rows of a Gram sharing one preparation.

The claim `lower ≤ optimum` rests on float64 as follows. Let `n` be the live columns, `u = 2⁻⁵³` and
`A = Gram.amplification = columns / smallest eigenvalue at unit diagonal`.

1. Every tail diagonal is accepted only after a Cholesky factorisation with a shift above its own backward
   error (Rump 2006), so `G_k − D_k ⪰ 0` holds in exact arithmetic for the doubles the search uses.
2. The search works relative to the integers nearest to the row's centre `c`. That shift is exact, and each
   centre is then no larger than its distance to any other integer. Hence every rounding error of the search is
   relative to `‖x − c‖` in the diagonal's norm, at most `√(Q / λ)`: the factor (`(n+1)u·A`), the conditional
   centres (`2n·u·A` for the triangular solves, `2n·u·A` for the updates), sums and constant (`(2n+5)u·A`)
   together change the error of the optimum by less than `8 n u A` of itself to first order.
   No term is absolute, whatever the box and the target. Products fused with a sum round once instead of twice; the
   integers on a path are kept as binary digits of doubles below 2⁵², exactly.
3. `2G(c − t) − g`, the part of the recentring identity that rounding left unsatisfied, is measured for each row
   as `ρ` and costs at most `‖ρ/√diag‖ · √(upper / λ)`.

`lower` is the smaller of the best error (less `gap_tol`) and the smallest bound left on the stack, minus
`32 n u A · upper` (a safety factor of four over the first-order count) and the measured third term.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ..errors import MethodError, ProblemError
from ..feasible import IntegerBox
from ..gram import UNIT_ROUNDOFF, Array, Gram
from ..kernels.enumeration import FINISHED, ROW, enumerate_rows
from ..kernels.enumeration_lanes import LANES, PATH
from ..kernels.enumeration_prepare import conditional_centres, leading_diagonals, sorted_order
from ..problem import LeastSquares
from ..result import CLOSED, Solution, Status, solution
from . import reduced_lattice
from .faint import FAINTEST, faint

SLICE = 500_000
PATIENCE = 20_000
REDUCED_NODES, REDUCED_COLUMNS = 100_000, 36  # wider bases rarely close, and their nodes cost more
NARROW, WIDE = 3 * LANES, 8 * LANES
SAFETY = 32.0
SMALLEST_TAIL = 1e-30


class Preparation:
    """What all rows and all boxes share: the live part of a Gram in search order, its factor, its tail diagonals.

    `exponent` is the power of two taken out, so that the largest diagonal entry lies in [1/2, 1).
    """

    def __init__(self, gram: Gram) -> None:
        gram.require_definite("the enumeration of integer points")
        self.live = gram.live
        n = self.live.size
        live = gram if n == gram.columns else gram.restrict(self.live)
        if (columns := faint(gram)).size:
            raise ProblemError(
                f"the enumeration cannot weigh columns {columns.tolist()} against the others: their Gram diagonal is "
                f"less than {FAINTEST:.0e} of the largest; drop these inputs, they have no effect"
            )
        self.padded = -(-n // LANES) * LANES
        self.exponent = int(np.frexp(live.array.diagonal().max())[1])
        matrix = np.ldexp(live.array, -self.exponent)
        order = sorted_order(matrix)
        self.columns = self.live[order]
        self.gram = np.ascontiguousarray(matrix[np.ix_(order, order)])
        weight = self.gram.diagonal().copy()
        root = np.sqrt(weight)
        factor = np.linalg.cholesky(self.gram)
        inverse_root = np.linalg.inv(factor)
        self.inverse = np.ascontiguousarray(inverse_root.T @ inverse_root)
        coupling = np.zeros((n + 1, self.padded))
        self.cost = np.zeros(n)
        conditional_centres(self.gram, factor, coupling, self.cost)
        tails = np.zeros((n + 1, self.padded))
        leading_diagonals(self.gram / root / root[:, None], weight, live.smallest_eigenvalue, tails)
        self.coupling, self.tails = coupling.ravel(), tails.ravel()
        self.vertex = 0.5 / np.maximum(self.tails, SMALLEST_TAIL)
        self.allowance = SAFETY * n * UNIT_ROUNDOFF * live.amplification
        self.smallest_eigenvalue = live.smallest_eigenvalue


_prepared: WeakKeyDictionary[Gram, Preparation] = WeakKeyDictionary()


def prepare(gram: Gram) -> Preparation:
    """The preparation of a Gram, computed at its first use and kept as long as the Gram lives.

    Raises
    ------
    ProblemError
        If the live part of the Gram is singular.
    """
    if gram not in _prepared:
        _prepared[gram] = Preparation(gram)
    return _prepared[gram]


def solve(problem: LeastSquares, start: Array | None, *, max_nodes: int, time_limit: float, gap_tol: float) -> Solution:
    """The nearest integer point of every row, with proof.

    Recentring on the box as in Lagrangian duality, sorted QR (Wübben et al. 2001), Schnorr–Euchner order, and the
    inequality of the separable bound with one diagonal for each leading block as the tail bound. Rows that take more
    than `PATIENCE` nodes are tried in a reduced basis of the lattice (`reduced_lattice`), then searched to the end,
    from the best point found so far and with a wider first dive.

    Parameters
    ----------
    start : (rows, columns) or (columns,) integer points in the box, used where better than the built-in start
    max_nodes : nodes a row, of the last search to be tried on it; passed by fewer than 16, as 16 are visited at once
    time_limit : seconds for the whole call; rows not reached keep a rounded start and their root bound
    gap_tol : relative gap at which a node is closed

    Returns
    -------
    Solution with `stats` nodes (rows,) and start_error (rows,), the error before the search.

    Raises
    ------
    ProblemError
        Singular Gram, a start outside the box, or an error that overflows float64.
    MethodError
        If the feasible set is not an `IntegerBox`.
    """
    deadline = time.monotonic() + time_limit
    box = problem.feasible
    if not isinstance(box, IntegerBox):
        raise MethodError(f"the enumeration treats IntegerBox, not {type(box).__name__}; Exhaustive takes small sets")
    x = box.nearest(problem.target)
    largest = np.abs(x - problem.target).max(axis=1)
    with np.errstate(over="ignore"):
        sizes = largest * np.abs(problem.gram.array).sum() * largest
    if not np.isfinite(sizes).all():
        row = int(np.flatnonzero(~np.isfinite(sizes))[0])
        raise ProblemError(f"the error of row {row} overflows float64: pass the target in code units (weight / scale)")
    given = None if start is None else problem.members(start, "the start")
    rows = problem.rows
    nodes = np.zeros(rows, np.int64)
    if problem.gram.live.size == 0:
        zero = np.zeros(rows)
        return solution(
            x, problem.upper(x), zero, np.full(rows, Status.CLOSED, dtype=object), {"nodes": nodes, "start_error": zero}
        )
    first = _enumerate(problem, given, min(max_nodes, PATIENCE), deadline, gap_tol, NARROW)
    if max_nodes > PATIENCE:
        narrow = min(1.0, REDUCED_COLUMNS / problem.gram.live.size)
        reduced_nodes = min(max_nodes - PATIENCE, int(REDUCED_NODES * narrow**3))
        for row in map(int, np.flatnonzero(first.stopped == Status.NODE_LIMIT)):
            if time.monotonic() < deadline:
                _search_reduced(problem, first, row, reduced_nodes, gap_tol)
        rest = np.flatnonzero(first.stopped == Status.NODE_LIMIT)
        if rest.size:
            again = LeastSquares(problem.gram, problem.target[rest], box)
            first.replace(rest, _enumerate(again, first.x[rest], max_nodes, deadline, gap_tol, WIDE))
    stats = {"nodes": first.nodes, "start_error": first.start_error}
    return solution(first.x, problem.upper(first.x), first.lower, first.stopped, stats, gap_tol)


@dataclass
class _Rows:
    """Row by row: best points, lower bounds, what ended the search, nodes, error of the start."""

    x: Array
    lower: Array
    stopped: NDArray[np.object_]
    nodes: NDArray[np.int64]
    start_error: Array

    def replace(self, rows: NDArray[np.intp], other: _Rows) -> None:
        """A second search of some rows; its start was the first one's best point."""
        self.x[rows], self.stopped[rows] = other.x, other.stopped
        self.lower[rows] = np.maximum(self.lower[rows], other.lower)
        self.nodes[rows] += other.nodes


def _search_reduced(problem: LeastSquares, found: _Rows, row: int, max_nodes: int, gap_tol: float) -> None:
    """Close one row in a reduced basis if that is quick; `found` is updated in place."""
    box, live = problem.feasible, problem.gram.live
    assert isinstance(box, IntegerBox)
    known = problem.restrict(row).upper(found.x[row : row + 1])[0]
    point, complete, slack, nodes = reduced_lattice.search(
        problem.gram,
        problem.target[row, live],
        box.low,
        box.high,
        known,
        max_nodes,
        gap_tol,
        max(CLOSED, prepare(problem.gram).allowance),
    )
    found.nodes[row] += nodes
    if point is not None:
        found.x[row, live] = point
    if complete:
        best = problem.restrict(row).error(found.x[row : row + 1])[0]
        found.lower[row] = max(found.lower[row], best * (1.0 - slack))
        found.stopped[row] = Status.CLOSED


def _enumerate(
    problem: LeastSquares, given: Array | None, max_nodes: int, deadline: float, gap_tol: float, width: int
) -> _Rows:
    """Every row in the original coordinates, in slices between looks at the clock."""
    box, rows = problem.feasible, problem.rows
    assert isinstance(box, IntegerBox)
    x = box.nearest(problem.target)
    nodes = np.zeros(rows, np.int64)
    p = prepare(problem.gram)
    points = np.zeros((rows, p.columns.size))
    found, bound, residual, start_error = np.zeros((4, rows))
    ended = np.zeros(rows, np.int64)
    stopped = np.full(rows, Status.NODE_LIMIT, dtype=object)
    state = np.zeros(3, np.int64)
    if given is None:
        given_points, given_error = np.zeros((1, p.columns.size)), np.full(rows, np.inf)
    else:
        given_points = np.ascontiguousarray(given[:, p.columns])
        given_error = np.ldexp(problem.error(given), -p.exponent)
    target = np.ascontiguousarray(problem.target[:, p.columns])
    arrays = (points, found, bound, residual, start_error, nodes, ended, state, *_workspace(p, box, width))
    limit = max_nodes
    while not enumerate_rows(
        p.gram, p.inverse, p.coupling, p.cost, p.tails, p.vertex, target, float(box.low), float(box.high),
        given_points, given_error, limit, SLICE, gap_tol, *arrays,
    ):  # fmt: skip
        if limit and time.monotonic() > deadline:
            stopped[state[ROW] :] = Status.TIME_LIMIT
            limit = 0
    x[:, p.columns] = points
    upper = problem.upper(x)
    stopped[ended == FINISHED] = Status.CLOSED
    unsatisfied = np.sqrt(np.ldexp(residual, p.exponent) * upper / p.smallest_eigenvalue)
    lower = np.maximum(np.ldexp(bound, p.exponent) - p.allowance * upper - unsatisfied, 0.0)
    return _Rows(x, np.nextafter(lower, 0.0), stopped, nodes, np.ldexp(start_error, p.exponent))


def _workspace(
    p: Preparation, box: IntegerBox, width: int
) -> tuple[NDArray[np.float64] | NDArray[np.int64] | int, ...]:
    """Everything the search writes while it runs; one allocation a call, none in a node."""
    n, m = p.columns.size, p.padded
    bits = max(1, (box.high - box.low).bit_length())
    digits = 52 // bits
    return (
        _aligned(n * (n + PATH + -(-n // digits)) * width),
        np.zeros(n, np.int64),
        digits,
        bits,
        width,
        np.zeros((8, m)),
        np.zeros((4, n)),
        np.zeros((2, n), np.int64),
        np.zeros((n, n)),
    )


def _aligned(size: int) -> Array:
    """Zeros that begin at a cache line."""
    line = np.zeros(size + LANES)
    skip = -(line.ctypes.data // 8) % LANES
    return line[skip : skip + size]
