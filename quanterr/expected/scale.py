"""The best scale of a grid for a distribution, with a proof that no other scale is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..distributions import checks
from ..distributions.kernels import Array
from . import scale_bounds
from .problems import Index, Problems
from .sweep import distributions, each, grids

START_RATIOS = 2.0 ** np.arange(-3.0, 4.0)
ROUNDS = 100
FIRST_STEP = 0.01
BRACKET_STEPS = 6
SECANT_STEPS = 60
SETTLED = 1e-13


@dataclass(frozen=True)
class ScaleSearch:
    """Result of a search over all positive scales; arrays of the shape of the arguments.

    Attributes
    ----------
    scale : weight units a code step; a stationary point of the error to about 1e-13 for densities
    error : mean squared error there, in squared weight units
    lower : no scale has an error below this. Proven by concavity (see `scale_bounds`) up to the accuracy of the
        errors themselves (1e-12); not interval arithmetic
    evaluations : number of errors evaluated
    """

    scale: Array
    error: Array
    lower: Array
    evaluations: Array


def optimal_scale(dist: Any, grid: Any, *, tolerance: float = 1e-4, max_evaluations: int = 200_000) -> Array:
    """The scale with the least quantisation error over *all* positive scales, by branch and bound.

    Parameters
    ----------
    dist, grid : one object each or arrays of them, broadcast
    tolerance : float
        What is proven: no scale has an error below `(1 − tolerance)` times that of the result (1e-4 is 0.0004 dB).
        The result itself is a local minimum to rounding.
    max_evaluations : int
        For each pair.

    Raises
    ------
    ValueError
        Infinite or zero `E[W²]`, or a grid with all levels on one side of zero.
    RuntimeError
        If the proof is not finished within `max_evaluations`; `search_scale` then tells what is known.
    """
    found = search_scale(dist, grid, tolerance=tolerance, max_evaluations=max_evaluations)
    short = found.lower < (1.0 - tolerance) * found.error
    if short.any():
        gap = float((1.0 - found.lower / found.error).max())
        raise RuntimeError(
            f"the best scale is proven to {gap:.2g} of the error only, not to tolerance = {tolerance:g}: "
            "raise tolerance or max_evaluations, or take search_scale(...).scale as the best known"
        )
    return found.scale


def search_scale(dist: Any, grid: Any, *, tolerance: float = 1e-4, max_evaluations: int = 200_000) -> ScaleSearch:
    """`optimal_scale` with its evidence; arguments and errors as there, but an unfinished proof is not an error."""
    checks.positive("tolerance", tolerance)
    checks.count("max_evaluations", max_evaluations, 1, "give at least one evaluation")
    pairs = np.broadcast(distributions(dist), grids(grid))
    shape = pairs.shape
    both = list(pairs)
    problems = Problems([d for d, _ in both], [g for _, g in both])
    search = _Search(problems, tolerance, max_evaluations)
    search.bracket()
    search.branch()
    search.polish()
    fields = (search.scale, search.error, search.lower, search.evaluations)
    return ScaleSearch(*(np.asarray(f).reshape(shape) for f in fields))


class _Search:
    """One worklist of intervals for all problems, so that every round is one call of a kernel."""

    def __init__(self, problems: Problems, tolerance: float, max_evaluations: int) -> None:
        self.problems, self.tolerance, self.max_evaluations = problems, tolerance, max_evaluations
        size = problems.power.size
        self.scale, self.error = np.ones(size), np.full(size, np.inf)
        self.lower, self.evaluations = np.full(size, np.inf), np.zeros(size, dtype=np.int64)

    def _evaluate(self, which: Index, scales: Array) -> Array:
        found = self.problems.parts(which, scales)
        order = np.lexsort((found[:, 0], which))
        first = order[np.unique(which[order], return_index=True)[1]]
        better = first[found[first, 0] < self.error[which[first]]]
        self.error[which[better]], self.scale[which[better]] = found[better, 0], scales[better]
        np.add.at(self.evaluations, which, 1)
        return found

    def bracket(self) -> None:
        """An interval outside of which every scale is proven worse than the best of a coarse geometric grid.

        Below it the clipping error alone is too large (it falls with the scale), above it the power lost in
        the cell of zero is (it rises). Without a level at zero the mean squared level is at least the smallest,
        which bounds the slope of the concave function of `scale_bounds`.
        """
        problems = self.problems
        everyone = np.arange(problems.power.size)
        largest = np.array([np.abs(g.levels).max() for g in problems.grids])
        smallest = np.array([np.abs(g.levels).min() for g in problems.grids])
        start = 2.0 * np.sqrt(problems.power) / largest
        which = np.repeat(everyone, START_RATIOS.size)
        self._evaluate(which, (start[:, None] * START_RATIOS).ravel())
        low, high = self.scale.copy(), self.scale.copy()
        open_ = everyone
        while open_.size:
            low[open_] *= 0.5
            open_ = open_[problems.outer(open_, low[open_])[:, 0] < self.error[open_]]
        open_ = everyone
        while open_.size:
            high[open_] *= 2.0
            proven = problems.outer(open_, high[open_])[:, 1] >= self.error[open_]
            bare = np.flatnonzero(smallest[open_] > 0.0)
            if bare.size:
                at = open_[bare]
                error = problems.parts(at, high[at])[:, 0]
                rising = error - problems.power[at] + np.square(high[at] * smallest[at]) >= 0.0
                proven[bare] = rising & (error >= self.error[at])
            open_ = open_[~proven]
        self.lower = self.error.copy()
        self.low, self.high = low, high

    def branch(self) -> None:
        """Halve intervals (in the logarithm) until each is proven not to matter."""
        problems = self.problems
        which = np.arange(problems.power.size)
        ends = np.stack([self.low, self.high], axis=1)
        values = np.stack([self._evaluate(which, ends[:, 0]), self._evaluate(which, ends[:, 1])], axis=1)
        for _ in range(ROUNDS):
            bound = self._bound(which, ends, values)
            matters = bound < (1.0 - self.tolerance) * self.error[which]
            exhausted = self.evaluations[which] >= self.max_evaluations
            done = ~matters | exhausted
            np.minimum.at(self.lower, which[done], bound[done])
            which, ends, values = which[~done], ends[~done], values[~done]
            if which.size == 0:
                return
            middle = np.sqrt(ends[:, 0]) * np.sqrt(ends[:, 1])
            found = self._evaluate(which, middle)
            left = np.stack([ends[:, 0], middle], axis=1), np.stack([values[:, 0], found], axis=1)
            right = np.stack([middle, ends[:, 1]], axis=1), np.stack([found, values[:, 1]], axis=1)
            which = np.concatenate([which, which])
            ends, values = np.concatenate([left[0], right[0]]), np.concatenate([left[1], right[1]])
        np.minimum.at(self.lower, which, self._bound(which, ends, values))

    def _bound(self, which: Index, ends: Array, values: Array) -> Array:
        problems = self.problems
        bound = scale_bounds.chord_bound(problems.power[which], ends, values[:, :, 0])
        at = np.flatnonzero(problems.smooth[which])
        if at.size:
            v = values[at]
            smooth = scale_bounds.smooth_bound(
                ends[at], v[:, :, 1], v[:, :, 2], v[:, :, 3], v[:, 1, 4], problems.bends[which[at]]
            )
            bound[at] = np.maximum(bound[at], smooth)
        return np.asarray(bound)

    def polish(self) -> None:
        """Root of the slope next to the best scale found: secant steps inside a bracket (Illinois variant)."""
        problems = self.problems
        everyone = np.arange(problems.power.size)
        here, f_here = self.scale.copy(), problems.slopes(everyone, self.scale)
        there, f_there = here.copy(), f_here.copy()
        step = FIRST_STEP
        open_ = np.flatnonzero(f_here != 0.0)
        for _ in range(BRACKET_STEPS):
            there[open_] = here[open_] * (1.0 - step * np.sign(f_here[open_]))
            f_there[open_] = problems.slopes(open_, there[open_])
            open_ = open_[f_there[open_] * f_here[open_] > 0.0]
            step *= 2.0
            if open_.size == 0:
                break
        active = np.flatnonzero(f_here * f_there < 0.0)
        root = np.where(np.abs(f_there) < np.abs(f_here), there, here)
        for _ in range(SECANT_STEPS):
            if active.size == 0:
                break
            a, b, fa, fb = here[active], there[active], f_here[active], f_there[active]
            x = (a * fb - b * fa) / (fb - fa)
            x = np.where((np.minimum(a, b) < x) & (x < np.maximum(a, b)), x, 0.5 * (a + b))
            fx = problems.slopes(active, x)
            moved = np.abs(x - root[active])
            root[active] = x
            # The newest point becomes `there`; an end that stays where it was has its value halved.
            crossed = fx * fb < 0.0
            here[active], f_here[active] = np.where(crossed, b, a), np.where(crossed, fb, 0.5 * fa)
            there[active], f_there[active] = x, fx
            active = active[(moved > SETTLED * x) & (fx != 0.0)]
        error = problems.parts(everyone, root)[:, 0]
        take = error <= self.error
        self.scale[take], self.error[take] = root[take], error[take]
        self.lower = np.minimum(self.lower, self.error)


def grid_search_scale(dist: Any, grid: Any, *, steps: int = 100, largest: Any = None) -> Array:
    """The paper's range estimator (section 2): the best of `steps` scales evenly spaced up to the full range.

    Candidates put the outermost level at `i / steps` of `largest`, `i = 1 … steps`; `largest` defaults to the
    largest magnitude in the support and is needed where that is infinite. A coarse search: nothing is proven.

    Raises
    ------
    ValueError
        Infinite support without `largest`, or `steps < 1`.
    """
    checks.count("steps", steps, 1, "give the number of candidates, e.g. 100")

    def best(d: Any, g: Any, top: Any) -> float:
        reach = max(abs(v) for v in d.support) if top is None else checks.positive("largest", top)
        if not np.isfinite(reach) or reach == 0.0:
            raise ValueError(f"the largest magnitude of {d!r} is {reach}: give largest, e.g. four standard deviations")
        candidates = reach * np.arange(1, steps + 1) / steps / np.abs(g.levels).max()
        errors = [d.rounding(g.levels, s) + d.clipping(g.levels, s) for s in candidates]
        return float(candidates[int(np.argmin(errors))])

    return each(best, distributions(dist), grids(grid), np.asarray(largest, dtype=object))
