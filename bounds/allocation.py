"""How a layer spends a budget of weights over its rows: the least sum of error curves, with a proof.

The price λ of a weight turns the budget into a term of the sum (`kernels.allocation`). The best price is read off the
lower convex envelopes of the curves; it fixes all rows but those with several entries near their line, and over these
an exact min-plus product decides, for a threshold τ that doubles until an allocation lies within it.

What the bound rests on
-----------------------
With u = 2⁻⁵³, each `a_r(k)` is computed within 2u of itself and each `c` within u more. An allocation whose value is
below the `value` P of the one found has Σ a ≤ P + λK, so that all of this moves its Σ c by at most 4u (P + λK); sums
of `rows` non-negative terms err by `rows` u of themselves, and Σ m_r is at most P + λK as well. `bound` is less by
(2 rows + 16) u (P + λK). Neither the envelopes nor the price have to be trusted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .errors import BoundsDisagree, ProblemError
from .gram import UNIT_ROUNDOFF, Array
from .kernels.allocation import Indices, combine, envelope_slopes, options, reduced, spans
from .result import CLOSED
from .rounding import UNDERFLOW

#: Additions of one min-plus product, a few seconds; beyond them the bound is that of the price.
LARGEST = 3e9
MEMORY = 2**28
TIGHT, WIDER = 2.0**-12, 8.0


@dataclass(frozen=True)
class Allocation:
    """How many weights each row keeps, and what is proven about the sum of the curves.

    Attributes
    ----------
    keep : (rows,) which sum to the budget
    value : float
        Σ curve[r, keep[r]], rounded up.
    bound : float
        No allocation of the budget has a smaller sum: `bound ≤ least ≤ value`. Unless the curves are so flat that
        the product grows too large, they agree within the tolerance.
    price : float
        What the last weight is worth, λ: error per weight.
    relaxed : float
        The bound by the price alone (the sum of the convex envelopes), at most `bound`.
    """

    keep: Indices
    value: float
    bound: float
    price: float
    relaxed: float


def allocate(curve: Array, keep: int, tolerance: float = 1e-9) -> Allocation:
    """Spend `keep` weights over rows so that the sum of their errors is least.

    Parameters
    ----------
    curve : (rows, columns + 1)
        Error of each row with 0, 1, …, `columns` weights, non-increasing. If these are lower bounds, `bound` is a
        lower bound of the layer; if they are achieved, `value` is achieved.
    keep : int
        Weights of all rows together.
    tolerance : float
        A gap between `value` and `bound` that is not worth a search, relative to `value`.

    Raises
    ------
    ProblemError
        A curve that is not finite, negative or rises (by row), or a budget that does not fit.
    BoundsDisagree
        Never, unless the arithmetic is broken.
    """
    curve = np.ascontiguousarray(curve, dtype=np.float64)
    if curve.ndim != 2 or curve.size == 0:
        raise ProblemError(f"error curves have shape (rows, columns + 1), got {curve.shape}")
    rows, columns = curve.shape[0], curve.shape[1] - 1
    if keep != int(keep) or not 0 <= keep <= rows * columns:
        raise ProblemError(f"keep = {keep!r} is not a number of weights from 0 to {rows} × {columns}")
    bad = ~(np.isfinite(curve[:, 0]) & (curve[:, -1] >= 0) & (curve[:, 1:] <= curve[:, :-1]).all(axis=1))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ProblemError(f"the error curve of row {row} is negative, rises or is not finite: make it non-increasing")
    if keep in (0, rows * columns):
        spent = np.full(rows, keep // rows, dtype=np.int64)
        total = math.fsum(curve[:, keep // rows].tolist())
        return Allocation(spent, _up(total), _down(total), 0.0, _down(total))
    price, spent = _priced(curve, int(keep))
    least, place = np.empty(rows), np.empty(rows, dtype=np.int64)
    reduced(curve, price, least, place)
    dual = math.fsum([*least.tolist(), -price * keep])
    value = _value(curve, spent)
    size = value + price * keep
    lost = (2 * rows + 16) * UNIT_ROUNDOFF * size + rows * UNDERFLOW
    relaxed = max(dual - lost, 0.0)
    bound = relaxed
    if value - relaxed > tolerance * value:
        chosen, extra = _least(curve, price, least, int(keep), value - dual + lost)
        if chosen is not None:
            found = _value(curve, chosen)
            spent, value = (chosen, found) if found < value else (spent, value)
        bound = max(relaxed, dual + extra - lost)
    if bound > value:
        raise BoundsDisagree(f"the layer's lower bound {bound!r} exceeds its upper bound {value!r}")
    return Allocation(spent, value, bound, price, relaxed)


@dataclass(frozen=True)
class Ask:
    """What the rows must prove for a budget: `E_r(k) ≥ min(upper[r, k], m_r − price · k + slack)` for every k.

    `m_r = min_k (upper[r, k] + price · k)`. An allocation then either meets the upper curves only, whose best is known,
    or has a row that costs `slack` more than its line, which is the whole gap between the best allocation known and
    `Σ m_r − price · keep`. So the lower curves prove that no allocation is better: no row needs its whole curve.
    """

    price: float
    slack: float

    def line(self, upper: Array) -> Array:
        """`m_r − price · k + slack`, (rows, columns + 1)."""
        cost = self.price * np.arange(upper.shape[1])
        return np.asarray((upper + cost).min(axis=1)[:, None] - cost + self.slack)


def asks(lower: Array, upper: Array, keeps: Sequence[int], tolerance: float = CLOSED) -> tuple[Ask, ...]:
    """What is still to be proven so that the bound of each budget in `keeps` meets the best allocation known.

    Parameters
    ----------
    lower, upper : (rows, columns + 1), as in `allocate`, with `lower ≤ upper`
    tolerance : relative gap at which a budget is closed, and asks for nothing
    """
    wanted = []
    for keep in keeps:
        best = allocate(upper, keep)
        if best.value - allocate(lower, keep).bound > tolerance * best.value:
            wanted.append(Ask(best.price, best.value - best.relaxed))
    return tuple(wanted)


def _priced(curve: Array, keep: int) -> tuple[float, Indices]:
    """The price at which the envelopes spend the budget, and an allocation that is best on them."""
    slope = np.empty((curve.shape[0], curve.shape[1] - 1))
    envelope_slopes(curve, slope)
    flat = np.array(slope).ravel()
    flat.partition(flat.size - keep)
    price = max(float(flat[flat.size - keep]), 0.0)
    sure = (slope > price).sum(axis=1)
    ties = (slope >= price).sum(axis=1) - sure
    before = np.cumsum(ties) - ties
    return price, np.asarray(sure + np.clip(keep - sure.sum() - before, 0, ties), dtype=np.int64)


def _least(curve: Array, price: float, least: Array, keep: int, gap: float) -> tuple[Indices | None, float]:
    """The allocation with the least Σ c and that sum; if that is too much work None, and a sum that none is below."""
    rows = len(curve)
    start, low, high = (np.empty(rows + 1, dtype=np.int64) for _ in range(3))
    proven, most = 0.0, gap * TIGHT
    none = np.empty(0, dtype=np.int64)
    while True:
        most = min(most, gap)
        count = options(curve, price, least, most, start, none, np.empty(0))
        kept, cost = np.empty(count, dtype=np.int64), np.empty(count)
        options(curve, price, least, most, start, kept, cost)
        work = spans(start, kept, keep, low, high)
        width = np.maximum(high - low + 1, 1)
        if work > LARGEST or width[1:].sum() > MEMORY:
            return None, proven
        place = np.cumsum(width[1:]) - width[1:]
        before, after = np.empty(int(width.max())), np.empty(int(width.max()))
        choice, chosen = np.empty(int(width[1:].sum()), dtype=np.int32), np.empty(rows, dtype=np.int64)
        extra = combine(start, kept, cost, low, high, most, before, after, place, choice, chosen)
        if extra <= most:
            return chosen, extra
        proven = most
        if most >= gap:
            return None, proven
        most *= WIDER


def _value(curve: Array, keep: Indices) -> float:
    return _up(math.fsum(curve[np.arange(len(curve)), keep].tolist()))


def _up(total: float) -> float:
    return math.nextafter(total, math.inf) if total else 0.0


def _down(total: float) -> float:
    return math.nextafter(total, 0.0)
