"""Exact layer-wide pruning: the best weights of a whole matrix that keeps so many, in whichever rows they help most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..allocation import allocate, asks
from ..errors import BoundsDisagree, ProblemError
from ..feasible.sparse import Sparse
from ..gram import Array, Gram
from ..problem import LeastSquares
from ..result import CLOSED, Status
from .branch_and_bound import BranchAndBound
from .row_curves import RowCurves, prove, start


@dataclass(frozen=True, eq=False)
class LayerSolution:
    """The best weights found for one budget of the whole matrix, and what is proven about them.

    Attributes
    ----------
    x : (rows, columns)
    keep : (rows,) non-zeros that each row may have; they sum to the budget
    upper, lower : float
        `lower ≤ optimum ≤ Σ_rows E(x_r) ≤ upper`.
    status : Status
        `CLOSED` exactly when `upper − lower ≤ 1e-6 · upper`.
    searches, nodes : int
        Best subsets searched, of rows · columns that there are, and their nodes, for all budgets together.
    """

    x: Array
    keep: NDArray[np.int64]
    upper: float
    lower: float
    status: Status
    searches: int
    nodes: int


def solve_layer(
    gram: object, weight: object, keeps: Sequence[int], method: BranchAndBound | None = None
) -> list[LayerSolution]:
    """The least error of a matrix with `keep` non-zeros in all, for every budget in `keeps`; budgets share their work.

    Parameters
    ----------
    gram : Gram, array (columns, columns) or (groups, columns, columns), or a sequence of Gram
        Of several, each serves an equal share of the rows, in order.
    weight : (rows, columns)
    keeps : weights kept in the whole matrix, each 0 … rows · columns
    method : BranchAndBound, optional
        Budget of each search; its time limit counts for the rows of one Gram in one round.

    Raises
    ------
    ProblemError
        Shapes that do not fit, a budget out of range, a Gram matrix that is singular beyond dead columns.
    """
    method = method or BranchAndBound()
    parts = grams_and_rows(gram, weight)
    keeps = [int(keep) for keep in keeps]
    curves = [start(*part) for part in parts]
    while True:
        before = _total(curves, "searches")
        lower, upper = (np.concatenate([getattr(c, side) for c in curves]) for side in ("lower", "upper"))
        wanted = asks(lower, upper, keeps)
        if wanted:
            curves = [prove(*part, c, wanted, method) for part, c in zip(parts, curves, strict=True)]
        if _total(curves, "searches") == before:
            break
    return [_solution(parts, curves, lower, upper, keep, method) for keep in keeps]


def grams_and_rows(gram: object, weight: object) -> list[tuple[Gram, Array]]:
    """Each Gram with its rows, as `solve_layer` takes them."""
    if isinstance(gram, Gram):
        grams = [gram]
    elif isinstance(gram, Sequence) and gram and all(isinstance(one, Gram) for one in gram):
        grams = list(gram)
    else:
        array = np.asarray(gram, dtype=np.float64)
        grams = [Gram(one) for one in (array if array.ndim == 3 else array[None])]
    rows = np.array(weight, dtype=np.float64, ndmin=2)
    if len(rows) == 0 or len(rows) % len(grams):
        raise ProblemError(f"{len(rows)} rows cannot be split evenly among {len(grams)} Gram matrices")
    return [
        (one, LeastSquares(one, part, Sparse(0)).target)
        for one, part in zip(grams, np.split(rows, len(grams)), strict=True)
    ]


def _solution(
    parts: list[tuple[Gram, Array]], curves: list[RowCurves], lower: Array, upper: Array, keep: int,
    method: BranchAndBound,
) -> LayerSolution:  # fmt: skip
    spent = allocate(upper, keep).keep
    shares = np.split(spent, np.cumsum([len(weight) for _, weight in parts])[:-1])
    found = [c.weights(*part, share) for part, c, share in zip(parts, curves, shares, strict=True)]
    if any(c.stuck.any() for c in curves):
        stopped = Status.TIME_LIMIT if method.time_limit < math.inf else Status.NODE_LIMIT
    else:
        stopped = Status.ROUNDING
    x, errors = (np.concatenate(both) for both in zip(*found, strict=True))
    counts = _total(curves, "searches"), _total(curves, "nodes")
    return judged(x, errors, spent, allocate(lower, keep).bound, stopped, *counts)


def _total(curves: list[RowCurves], name: str) -> int:
    return int(sum(getattr(c, name).sum() for c in curves))


def judged(
    x: Array, errors: Array, keep: NDArray[np.int64], lower: float, stopped: Status, searches: int = 0, nodes: int = 0
) -> LayerSolution:
    """What is found and proven; `errors` (rows,) are safe, `stopped` says why the bounds do not meet.

    Raises
    ------
    BoundsDisagree
        The lower bound exceeds the upper one.
    """
    upper = math.fsum(errors.tolist())
    upper = math.nextafter(upper, math.inf) if upper else 0.0
    if lower > upper:
        raise BoundsDisagree(f"lower bound {lower!r} of the layer exceeds its upper bound {upper!r}")
    status = Status.CLOSED if upper - lower <= CLOSED * upper else stopped
    return LayerSolution(x, keep, upper, lower, status, searches, nodes)
