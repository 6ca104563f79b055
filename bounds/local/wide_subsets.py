"""Pruning of wide rows: supports by splitting, all rows together, then exchanges among the columns in doubt.

A column is in doubt when it is nearly as good as the next on the other side. The others stay as they are, kept ones
with free weights: what is left is the same problem in the Schur complement of the kept, a few hundred columns wide.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from ..gram import Array, Gram
from ..problem import LeastSquares
from .budget import Budget
from .metric import SearchMetric
from .split_penalty import supports
from .subsets import Columns, Groups, Walk, fit, tenures

FIRST, WORTH = 4, 3e-3  # round 0 takes up to so many turns, as long as one gains such a share of the error
LIFTS = (0.0, 1e-10, 1e-8, 1e-6, 1e-4)
IN_DOUBT = (256, 384, 512)  # columns, in turn


def search(problem: LeastSquares, start: Array | None, rounds: int | None, seconds: float, seed: int) -> Array:
    """The best point found of every row, (rows, columns); `seconds` are for all rows together.

    A turn descends and roams among the columns that are in doubt then. Round 0 takes turns until one gains little, at
    most four; each further round is one.
    """
    groups, metric, gram = Groups.of(problem), SearchMetric(problem.gram, scaled=True), problem.gram
    target = np.ldexp(np.where(gram.dead, 0.0, problem.target), metric.power)
    x = np.where(problem.feasible.contains(target)[:, None], target, 0.0)
    hard = np.flatnonzero((x != target).any(axis=1)) if groups.keep else np.zeros(0, dtype=np.intp)
    if hard.size:
        given = None if start is None else start[hard]
        budget = Budget.of(rounds, seconds)
        x[hard] = [best.x for best in _search(metric, gram, groups, target[hard], given, budget, seed)]
    return np.ldexp(x, -metric.power)


def _search(
    metric: SearchMetric, gram: Gram, groups: Groups, target: Array, start: Array | None, budget: Budget, seed: int
) -> list[_Best]:
    root = np.sqrt(metric.gram.diagonal())
    found = supports(gram.eigenvalues, gram.eigenvectors, gram.live, target * root, groups.keep, groups.size)
    best = [_Best(metric, t, np.flatnonzero(kept)) for t, kept in zip(target, found, strict=True)]
    if start is not None:
        for each, point in zip(best, start, strict=True):
            each.offer(groups.complete(np.flatnonzero(point), each.kept))
    random = np.random.default_rng(seed)
    for number in budget.numbers():
        state = int(random.integers(2**32))
        for each in best:
            for attempt in range(FIRST if number == 0 else 1):
                if number > 0 and budget.over:
                    break
                before = each.error
                turn = number + attempt
                each.offer(_exchanged(metric, each, groups, turn, np.random.default_rng(state + attempt), budget))
                if each.error > (1 - WORTH) * before:
                    break
    return best


class _Best:
    """The best support of a row, and its weights."""

    def __init__(self, metric: SearchMetric, target: Array, kept: Columns) -> None:
        self.gram, self.target, self.error = metric.gram, target, np.inf
        self.offer(kept)

    def offer(self, kept: Columns) -> None:
        """Take a support that is better."""
        x = fit(self.gram, self.target, kept)
        q = self.gram @ (self.target - x)
        error = float((self.target - x) @ q)
        if error < self.error:
            self.kept, self.x, self.q, self.error = kept, x, q, error


@dataclass(frozen=True)
class _Reduced:
    """What a walk asks of a metric."""

    gram: Array

    @cached_property
    def inverse(self) -> Array:
        inverse = np.linalg.inv(self.gram)
        return np.ascontiguousarray(inverse / 2 + inverse.T / 2)


def _exchanged(
    metric: SearchMetric, best: _Best, groups: Groups, number: int, random: np.random.Generator, budget: Budget
) -> Columns:
    """The support after exchanges among the columns in doubt."""
    inside = np.zeros(groups.columns, dtype=np.bool_)
    inside[best.kept] = True
    doubt = _in_doubt(metric, best, inside, groups, IN_DOUBT[number % len(IN_DOUBT)])
    if not doubt.size:
        return best.kept
    settled = np.setdiff1d(best.kept, doubt)
    gram, pull = metric.gram[np.ix_(doubt, doubt)], (metric.gram[doubt] @ best.target)
    if settled.size:
        across = metric.gram[np.ix_(settled, doubt)]
        free = cho_solve(
            cho_factor(metric.gram[np.ix_(settled, settled)], lower=True),
            np.column_stack([across, metric.gram[settled] @ best.target]),
        )
        gram = gram - across.T @ free[:, :-1]
        pull = pull - across.T @ free[:, -1]
    gram, target = _solved(np.ascontiguousarray(gram / 2 + gram.T / 2), metric.gram.diagonal()[doubt], pull)
    grouped = groups.size < groups.columns
    keep = groups.keep if grouped else int(np.count_nonzero(inside[doubt]))
    walk = Walk(_Reduced(gram), target, Groups(keep, groups.size if grouped else doubt.size, doubt.size))
    walk.descend(np.flatnonzero(inside[doubt]))
    walk.roam(tenures(random, number, walk.inside.size, doubt.size), budget)
    return np.union1d(settled, doubt[walk.kept])


def _solved(schur: Array, size: Array, pull: Array) -> tuple[Array, Array]:
    """A Schur complement, and it solved for `pull`; lifted by a share of `size` where rounding made it indefinite."""
    for lift in LIFTS:
        lifted = schur.copy()
        lifted[np.diag_indices_from(lifted)] += lift * size
        try:
            return lifted, np.asarray(cho_solve(cho_factor(lifted, lower=True), pull))
        except LinAlgError:
            continue
    return np.diag(size), pull / size


def _in_doubt(metric: SearchMetric, best: _Best, inside: NDArray[np.bool_], groups: Groups, most: int) -> Columns:
    """At most `most` columns, increasing: the kept that cost least and the removed that help most, or whole groups.

    What leaving or entering alone would change, as far as the inverse of the whole matrix tells.
    """
    least = 1.0 / metric.inverse_diagonal
    change = np.where(inside, best.x**2 * least, -(best.q**2) / least)
    if groups.size < groups.columns:
        parts = change.reshape(-1, groups.size)
        within = inside.reshape(parts.shape)
        margin = np.where(within, parts, np.inf).min(axis=1) + np.where(within, np.inf, parts).min(axis=1)
        first = np.sort(np.argsort(margin, kind="stable")[: max(1, most // groups.size)])
        return np.asarray((first[:, None] * groups.size + np.arange(groups.size)).ravel())
    kept, removed = np.flatnonzero(inside), np.flatnonzero(~inside)
    half = most // 2
    chosen = [side[np.argsort(change[side], kind="stable")[:half]] for side in (kept, removed)]
    return np.sort(np.concatenate(chosen)) if kept.size and removed.size else kept[:0]
