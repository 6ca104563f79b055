"""The best codes at the best scale: exact searches at single scales, and what they prove about those between.

With `e(s)` the root of the optimum at scale `s`, `W² = wᵀ gram w` and `r = s / m`, the triangle inequality for
`s c − w = r (m c − w) + (r − 1) w` gives

    e(s)  ≥  r e(m) − |r − 1| W .

So two searches at the ends of an interval bound everything inside it, from below by a tent upside down; its lowest
point is the next scale to search (Piyavskii 1972, Shubert 1972) until nothing below the incumbent is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import ProblemError
from ..feasible import Codebook, IntegerBox, SparseIntegerBox
from ..gram import UNIT_ROUNDOFF, Array, Gram
from ..problem import LeastSquares
from .branch_and_bound import BranchAndBound

if TYPE_CHECKING:
    from ..verbs import Search

Indices = NDArray[np.intp]
ROUNDING = 1e-13  # of W and of each root: a dozen float operations lie between the searches and the bound


@dataclass(frozen=True)
class ScaleFreeSolution:
    """The best codes and scale of each row, in weight units.

    Attributes
    ----------
    codes : (rows, columns), scale : (rows,)
    upper, lower : (rows,)
        `lower ≤ min over codes and scales of E(s · c) ≤ E(scale · codes) ≤ upper`.
    searches : (rows,) scales at which an exact search was run
    """

    codes: Array
    scale: Array
    upper: Array
    lower: Array
    searches: Indices


def solve_any_scale(
    gram: Gram | object,
    weight: object,
    codes: IntegerBox | Codebook | SparseIntegerBox,
    smallest: float,
    largest: float,
    method: Search | None = None,
    tolerance: float = 0.01,
    goal: Array | float = np.inf,
    max_searches: int = 5000,
) -> ScaleFreeSolution:
    """The least error over all codes and all scales in [smallest, largest], to a relative `tolerance`.

    Parameters
    ----------
    gram : (columns, columns), weight : (rows, columns), in weight units
    method : a search, `BranchAndBound()` by default
    goal : (rows,) or one number
        A row is finished as soon as its lower bound reaches the goal, e.g. the error of a rival format.
    max_searches : for each row; what is then open keeps its valid, looser bound

    Raises
    ------
    ProblemError
        Scales that are not 0 < smallest ≤ largest < ∞, or a tolerance outside (0, 1).
    """
    if not 0 < smallest <= largest < np.inf:
        raise ProblemError(f"scales from {smallest} to {largest}: use 0 < smallest ≤ largest")
    if not 0 < tolerance < 1:
        raise ProblemError(f"tolerance = {tolerance} is not a relative gap in (0, 1)")
    search = BranchAndBound() if method is None else method
    whole = LeastSquares(gram, weight, codes)
    matrix, rows = whole.gram, whole.target
    absolute = np.sqrt(np.einsum("ri,ri->r", np.abs(rows) @ np.abs(matrix.array), np.abs(rows)))
    energy = np.einsum("ri,ri->r", rows @ matrix.array, rows)
    size = np.sqrt(energy + (2 * whole.columns + 8) * UNIT_ROUNDOFF * absolute**2) * (1 + 1e-15)
    best = np.full(whole.rows, np.inf)
    best_codes, best_scale = np.zeros_like(rows), np.full(whole.rows, float(smallest))
    searches = np.zeros(whole.rows, dtype=np.intp)
    threshold = np.broadcast_to(np.asarray(goal, dtype=np.float64), best.shape)

    def roots(row: Indices, scale: Array) -> Array:
        """Run one batch of searches; returns a lower bound of each root and improves the incumbents."""
        nonlocal best, best_codes, best_scale
        problem = LeastSquares(matrix, rows[row] / scale[:, None], codes)
        found = search.solve(problem, None)
        searches[:] += np.bincount(row, minlength=whole.rows)
        slack = UNIT_ROUNDOFF * absolute[row]  # the target is rounded
        for x, r, s in zip(found.x, row, scale, strict=True):
            for trial in (s, _fitted(matrix.array, rows[r], x, smallest, largest)):
                step = trial * x - rows[r]
                moved = np.abs(trial * x) + np.abs(rows[r])
                rounding = (2 * whole.columns + 12) * UNIT_ROUNDOFF * (np.abs(step) + moved)
                error = max(float(step @ matrix.array @ step), 0.0)
                error += float(2 * rounding @ np.abs(matrix.array) @ (np.abs(step) + rounding))
                if error < best[r]:
                    best[r], best_codes[r], best_scale[r] = error, x, trial
        return np.asarray((scale * np.sqrt(found.lower) - slack) * (1 - ROUNDING) - ROUNDING * size[row])

    row: Indices = np.arange(whole.rows, dtype=np.intp)
    a, b = np.full(whole.rows, float(smallest)), np.full(whole.rows, float(largest))
    low, high = roots(row, a), roots(row, b)
    proven = np.minimum(low, high)
    lower = np.full(whole.rows, np.inf)
    while row.size:
        bound, middle = _tent(a, b, low, high, size[row])
        aim = np.minimum((1 - tolerance) * best[row], threshold[row])
        done = (np.maximum(bound, 0.0) ** 2 >= aim) | (searches[row] >= max_searches) | (b <= a * (1 + 1e-12))
        np.minimum.at(lower, row[done], np.maximum(bound[done], 0.0) ** 2)
        row = row[~done]
        a, b, low, high, middle = (part[~done] for part in (a, b, low, high, middle))
        if row.size:
            at = roots(row, middle)
            row = np.concatenate([row, row])
            a, b = np.concatenate([a, middle]), np.concatenate([middle, b])
            low, high = np.concatenate([low, at]), np.concatenate([at, high])
    lower = np.minimum(lower, np.maximum(proven, 0.0) ** 2) * (1 - 1e-15)
    return ScaleFreeSolution(best_codes, best_scale, best, np.minimum(lower, best), searches)


def _fitted(gram: Array, weight: Array, codes: Array, smallest: float, largest: float) -> float:
    """The scale of least error for given codes."""
    image = gram @ codes
    power = float(codes @ image)
    return float(np.clip(image @ weight / power, smallest, largest)) if power > 0 else smallest


def _tent(a: Array, b: Array, low: Array, high: Array, size: Array) -> tuple[Array, Array]:
    """The least root that is possible in [a, b], and where; `low`, `high` bound the roots at the ends from below.

    From the left `e(s) ≥ W − (s/a)(W − e_a)`, from the right `e(s) ≥ (s/b)(W + e_b) − W`.
    """
    slope = np.maximum(size - low, 0.0) / a + (size + high) / b
    middle = np.clip(2 * size / np.where(slope > 0, slope, 1.0), a, b)
    from_left = size - middle / a * np.maximum(size - low, 0.0)
    from_right = middle / b * (size + high) - size
    rounding = 4 * ROUNDING * (size + np.abs(low) + np.abs(high))
    # the first falls and the second rises: off their crossing the larger one is the least of the maximum
    crossing = (middle > a) & (middle < b)
    value = np.where(crossing, np.minimum(from_left, from_right), np.maximum(from_left, from_right))
    even = np.sqrt(a * b)
    inside = (middle > a * (1 + 1e-9)) & (middle < b * (1 - 1e-9))
    return value - rounding, np.where(inside, middle, even)
