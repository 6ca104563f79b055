"""What a bound or a search returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import BoundsDisagree
from .gram import Array

if TYPE_CHECKING:
    from .block_certificate import BlockCertificate
    from .certificate import Certificate
    from .interval_certificate import IntervalCertificate

CLOSED = 1e-6


class Status(StrEnum):
    """How sure a solution is; every value but `CLOSED` comes with its remedy."""

    CLOSED = "closed"
    NODE_LIMIT = "node_limit"
    TIME_LIMIT = "time_limit"
    ROUNDING = "rounding"
    UNPROVEN = "unproven"
    DEPENDENT = "dependent"

    @property
    def advice(self) -> str:
        return {
            Status.CLOSED: "optimal within the stated tolerance",
            Status.NODE_LIMIT: "raise max_nodes, or use fewer columns",
            Status.TIME_LIMIT: "raise time_limit, or use fewer columns",
            Status.ROUNDING: "the Gram matrix is too ill-conditioned for float64 to separate the bounds",
            Status.UNPROVEN: "a good point and no proof: take lower_bound, or BranchAndBound with this point as start",
            Status.DEPENDENT: "inputs depend on each other: give more calibration samples, or use fewer columns",
        }[self]


@dataclass(frozen=True)
class Bound:
    """A proven lower bound of each row.

    Attributes
    ----------
    value : (rows,)
        Safe: the rounding allowance is already subtracted. Same unit as `LeastSquares.error`.
    certificate : Certificate, BlockCertificate or IntervalCertificate
        The `(D, y)` from which `value` follows (`verify` rechecks it in exact arithmetic).
    """

    value: Array
    certificate: Certificate | BlockCertificate | IntervalCertificate


@dataclass(frozen=True)
class Solution:
    """The best point found and what is proven about it.

    Attributes
    ----------
    x : (rows, columns)
    upper, lower : (rows,)
        `lower ≤ optimum ≤ E(x) ≤ upper`. `upper` is recomputed from `x` by the problem.
    status : (rows,) of Status
        `CLOSED` exactly when `upper − lower ≤ 1e-6 · upper` (or the larger `gap_tol` that was asked for),
        whatever ended the search.
    stats : dict
        Counts of the search, e.g. `nodes` (rows,).
    """

    x: Array
    upper: Array
    lower: Array
    status: NDArray[np.object_]
    stats: dict[str, Any] = field(default_factory=dict)

    @property
    def closed(self) -> NDArray[np.bool_]:
        """(rows,) True where optimality is proven."""
        return np.asarray(self.status == Status.CLOSED)


def solution(
    x: Array,
    upper: Array,
    lower: Array,
    stopped: NDArray[np.object_],
    stats: dict[str, Any],
    gap_tol: float = 0.0,
) -> Solution:
    """Judge a search: `stopped` (rows,) names what ended each row and is used only where the gap is open.

    A search that was asked for no more than `gap_tol` counts as closed within it.

    Raises
    ------
    BoundsDisagree
        If a lower bound exceeds an upper bound.
    """
    if np.any(lower > upper):
        row = int(np.argmax(lower - upper))
        raise BoundsDisagree(f"row {row}: lower bound {lower[row]!r} exceeds upper bound {upper[row]!r}")
    closed = upper - lower <= max(CLOSED, 1.01 * gap_tol) * upper
    # Written into an object array: np.where would turn the members of Status into plain strings.
    status = np.array(stopped, dtype=object)
    status[status == Status.CLOSED] = Status.ROUNDING
    status[closed] = Status.CLOSED
    return Solution(x, upper, lower, status, stats)
