"""Codes times a scale that is not fixed in advance, and scales that differ between groups of columns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ProblemError
from ..gram import Array
from .base import Feasible
from .codebook import Codebook
from .integer_box import IntegerBox
from .intervals import best_in_intervals, nearest_in_intervals, reach_in_intervals

WIDEST = 2**16


@dataclass(frozen=True)
class AnyScale(Feasible):
    """Every entry is a code times some scale in [smallest, largest]: a union of intervals for each entry.

    It holds `s · codes` for every scale `s` of the interval, so that a lower bound over it holds whatever the
    choice of scale. It also holds rows whose entries use different scales, so that the bound is tight only on
    narrow intervals; `scale_free_bound` cuts an interval into such. Targets are in weight units.

    Parameters
    ----------
    codes : IntegerBox (of at most 2¹⁶ codes) or Codebook
    smallest, largest : float
        0 < smallest ≤ largest, weight units per code step.
    """

    codes: IntegerBox | Codebook
    smallest: float
    largest: float

    def __post_init__(self) -> None:
        if not 0 < self.smallest <= self.largest < np.inf:
            raise ProblemError(f"scales from {self.smallest} to {self.largest}: use 0 < smallest ≤ largest")
        if not isinstance(self.codes, IntegerBox | Codebook):
            raise ProblemError(f"AnyScale takes an IntegerBox or a Codebook, not {type(self.codes).__name__}")
        if isinstance(self.codes, IntegerBox) and self.codes.high - self.codes.low >= WIDEST:
            raise ProblemError(f"{self.codes} has more than {WIDEST} codes: use a narrower box")

    @cached_property
    def intervals(self) -> tuple[Array, Array]:
        """Ends of the disjoint intervals, ascending, rounded outwards."""
        box = isinstance(self.codes, IntegerBox)
        levels = np.arange(self.codes.low, self.codes.high + 1.0) if box else self.codes.array  # type: ignore[union-attr]
        ends = np.stack([levels * self.smallest, levels * self.largest])
        lows = np.where(levels == 0, 0.0, np.nextafter(ends.min(axis=0), -np.inf))
        highs = np.where(levels == 0, 0.0, np.nextafter(ends.max(axis=0), np.inf))
        start = np.concatenate([[True], lows[1:] > np.maximum.accumulate(highs)[:-1]])
        first = np.flatnonzero(start)
        return lows[first], np.maximum.reduceat(highs, first)

    def check(self, columns: int) -> None:
        """Every number of columns has members."""

    def contains(self, x: Array) -> NDArray[np.bool_]:
        lows, highs = self.intervals
        at = np.searchsorted(lows, x, side="right") - 1
        return np.asarray(((at >= 0) & (np.asarray(x) <= highs[at])).all(axis=-1))

    def nearest(self, target: Array) -> Array:
        return nearest_in_intervals(*self.intervals, np.asarray(target, dtype=np.float64))

    def separable_minimum(self, d: Any, g: Any, target: Any) -> tuple[Any, Any]:
        value, x = best_in_intervals(*self.intervals, d, g, target)
        return value.sum(axis=-1), x

    def reach(self, d: Array, g: Array, target: Array) -> Array:
        return reach_in_intervals(*self.intervals, d, g, target)


def in_code_units(gram: Array, weight: Array, scales: Array | float) -> tuple[Array, Array]:
    """The same problem with each column in steps of its own scale, for per-channel and per-group scales.

    `E` is unchanged: `(s∘c − w)ᵀ G (s∘c − w) = (c − w/s)ᵀ (S G S) (c − w/s)`, `S = diag(s)`. A scale per row alone
    needs no new Gram matrix: pass `weight / scale` and multiply errors by `scale²`. Rows whose groups have
    scales of their own are separate problems, each with its own `scales`.

    Parameters
    ----------
    gram : (columns, columns), weight : (rows, columns) or (columns,)
    scales : (columns,), or (groups,) with `groups` a divisor of the columns, or one number; positive

    Returns
    -------
    gram : (columns, columns)
    target : (rows, columns) or (columns,)
        For `LeastSquares`; weights are `scales · x`.

    Raises
    ------
    ProblemError
        Scales that are not positive and finite, or whose number does not divide the columns.
    """
    matrix, rows = np.asarray(gram, dtype=np.float64), np.asarray(weight, dtype=np.float64)
    step = np.atleast_1d(np.asarray(scales, dtype=np.float64))
    columns = matrix.shape[0]
    if step.ndim != 1 or step.size == 0 or columns % step.size:
        raise ProblemError(
            f"scales have shape {np.shape(scales)}: give one for each of {columns} columns or each group"
        )
    if not (np.isfinite(step).all() and step.min() > 0):
        raise ProblemError(f"scale {int(np.argmin(np.where(step > 0, 1, 0)))} is not a positive finite number")
    step = np.repeat(step, columns // step.size)
    return matrix * step * step[:, None], rows / step
