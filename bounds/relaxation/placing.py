"""Where intervals of `s = vᵀ(x − target)` are worth their cost: centres are added where the bound is least.

What one `y` proves at a centre `c` (see `interval_certificate`) holds for every `s`: `E ≥ peak − τ(s − c)²`. The bound
of a row is the least value of the upper envelope of such parabolas, all of one curvature, and an interval is the part
of the envelope that one of them makes up. Nothing here is trusted: it proposes centres and edges.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..gram import Array

Rows = NDArray[np.intp]
Found = TypeVar("Found")
#: First centres beside zero, in lengths at which a parabola falls by this share of the peak; then so many times as far.
FALL, GROWTH = 0.3, 5.0
#: A new centre keeps this share of the distance between its neighbours from both.
APART = 0.15
#: A bound below this share of an achieved error is as good as none.
NOTHING = 1e-3
LEVELS = 40


@dataclass(frozen=True)
class Near(Generic[Found]):
    """What is known left and right of a new centre, and how far it is from the one to the other (may be outside)."""

    left: Found
    right: Found
    share: float


Evaluate = Callable[[Rows, Array, Sequence["Near[Found] | None"]], tuple[Array, Sequence[Found]]]


@dataclass(frozen=True)
class Placed(Generic[Found]):
    """The envelope of one row: centres (intervals,), edges (intervals + 1,), and what was found at each centre."""

    centres: Array
    edges: Array
    found: list[Found]


def place(
    evaluate: Evaluate[Found], error: Array, lift: float, tail: float, loss: float, most: int
) -> list[Placed[Found] | None]:
    """Centres and edges for each row; None where not even so many intervals leave a bound.

    Parameters
    ----------
    evaluate : callable
        Peaks and finds for some rows at some centres, near what is known; the first call is for all rows at zero.
    error : (rows,) errors achieved, positive
    lift, tail : `τ` and `σ` of the inequality, positive
    loss : share of the lowest peak that may be lost between centres
    most : intervals of a row
    """
    rows = len(error)
    row: Rows = np.arange(rows)
    centre = np.zeros(rows)
    peak, first = evaluate(row, centre, [None] * rows)
    found = list(first)
    step = np.sqrt(FALL * np.maximum(peak, NOTHING * error) / lift)
    for _ in range(LEVELS):
        order, crossing, height = _envelope(row, centre, peak, lift)
        row, centre, peak, found = row[order], centre[order], peak[order], [found[i] for i in order]
        lowest = np.full(rows, np.inf)
        np.minimum.at(lowest, row, peak)
        goal = (1 - loss) * np.maximum(lowest, NOTHING * error)
        last = np.append(row[1:] != row[:-1], True)
        first_of = np.append(True, last[:-1])
        reach = np.sqrt(goal / tail)
        side = np.sqrt(np.maximum(peak - goal[row], 0.0) / lift)
        spare = np.bincount(row, minlength=rows) < most
        gap = np.flatnonzero(~last & (height < goal[row]) & spare[row])
        up = np.flatnonzero(last & (centre + side < reach[row]) & spare[row])
        down = np.flatnonzero(first_of & (side - centre < reach[row]) & spare[row])
        if gap.size + up.size + down.size == 0:
            break
        span = centre[np.minimum(gap + 1, row.size - 1)] - centre[gap]
        inside = np.clip(crossing[gap], centre[gap] + APART * span, centre[gap] + (1 - APART) * span)
        beyond = [_further(sign * centre[ends], step[row[ends]]) for sign, ends in ((1, up), (-1, down))]
        new_row = row[np.concatenate([gap, up, down])]
        new_centre = np.concatenate([inside, beyond[0], -beyond[1]])
        left = np.concatenate([gap, np.where(first_of[up], up, up - 1), down])
        right = np.concatenate([gap + 1, up, np.where(last[down], down, down + 1)])
        near = [_near(centre, found, *pair) for pair in zip(left.tolist(), right.tolist(), new_centre, strict=True)]
        new_peak, new_found = evaluate(new_row, new_centre, near)
        row, centre = np.concatenate([row, new_row]), np.concatenate([centre, new_centre])
        peak, found = np.concatenate([peak, new_peak]), [*found, *new_found]
    order, crossing, height = _envelope(row, centre, peak, lift)
    row, centre, peak, found = row[order], centre[order], peak[order], [found[i] for i in order]
    bounds = np.searchsorted(row, np.arange(rows + 1)).tolist()
    return [
        _placed(centre[a:b], peak[a:b], crossing[a : b - 1], found[a:b], lift, tail)
        if height[a : b - 1].min(initial=peak[a]) > 0
        else None
        for a, b in pairwise(bounds)
    ]


def _further(distance: Array, step: Array) -> Array:
    return np.where(distance > 0, GROWTH * distance, step)


def _near(centre: Array, found: list[Found], left: int, right: int, new: float) -> Near[Found]:
    apart = float(centre[right] - centre[left])
    return Near(found[left], found[right], (new - float(centre[left])) / apart if apart > 0 else 0.0)


def _envelope(row: Rows, centre: Array, peak: Array, lift: float) -> tuple[Rows, Array, Array]:
    """The parabolas of the upper envelope, ordered by row and centre; where each meets the next, and how high.

    For the last one of a row the meeting place has no meaning.
    """
    order = np.lexsort((centre, row))
    while True:
        r, c, p = row[order], centre[order], peak[order]
        same = r[1:] == r[:-1]
        apart = np.where(same, c[1:] - c[:-1], 1.0)
        meet = (c[1:] + c[:-1]) / 2 + (p[:-1] - p[1:]) / (2 * lift * apart)
        hidden = np.zeros(order.size, dtype=np.bool_)
        hidden[1:-1] = same[1:] & same[:-1] & (meet[1:] <= meet[:-1])
        hidden[1:] &= ~hidden[:-1]  # of neighbours the first: without it the next may be seen
        if not hidden.any():
            crossing = np.append(meet, 0.0)
            return order, crossing, p - lift * (crossing - c) ** 2
        order = order[~hidden]


def _placed(
    centre: Array, peak: Array, crossing: Array, found: list[Found], lift: float, tail: float
) -> Placed[Found] | None:
    """The edges of one row: where parabolas meet each other, and the outermost `σs²`."""
    low = -_outermost(-float(centre[0]), float(peak[0]), lift, tail)
    high = _outermost(float(centre[-1]), float(peak[-1]), lift, tail)
    edges = np.concatenate([[low], crossing, [high]])
    return Placed(centre, edges, found) if low < 0 < high and np.all(np.diff(edges) > 0) else None


def _outermost(centre: float, peak: float, lift: float, tail: float) -> float:
    """The larger `s` with `peak − τ(s − centre)² = σs²`."""
    both = lift + tail
    return (lift * centre + math.sqrt(max(both * peak - lift * tail * centre * centre, 0.0))) / both
