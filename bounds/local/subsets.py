"""Pruning: greedy elimination and selection, then tabu search on exchanges of a kept for a removed column.

Greedy elimination is ExactOBS (Frantar and Alistarh 2022, algorithm 1), selection is orthogonal least squares
(Chen, Billings and Luo 1989), exchanges are those of Beck and Eldar 2013. Where no exchange helps, the best one that
undoes no recent one is made all the same (tabu search, Glover 1989): in equal time that beats random kicks on every
layer measured. Only the rows of the smaller set, kept or removed, are stored (`kernels.subset_moves`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from ..feasible import NofM, Sparse
from ..gram import Array
from ..kernels.subset_moves import descend, tabu
from ..problem import LeastSquares
from .budget import Budget
from .elimination import eliminate
from .metric import SearchMetric

ROUND = 200  # exchanges of a round
TENURE = (5, 5, 20)  # for how many exchanges, and up to twice as many, one is not undone: in turn
SLICE = 2e7  # entries of the tableau touched between two looks at the clock
FRESH = 400  # exchanges after which the tableau is computed anew

Columns = NDArray[np.int64]


def search(problem: LeastSquares, start: Array | None, rounds: int | None, seconds: float, seed: int) -> Array:
    """The best point found of every row, (rows, columns); `seconds` are for all rows together, equally shared.

    Round 0 is greedy with exchanges until none helps; each further round makes `ROUND` exchanges from the best.
    """
    groups = Groups.of(problem)
    metric = SearchMetric(problem.gram, scaled=True)
    x = np.zeros_like(problem.target)
    for row in range(problem.rows):
        target = np.ldexp(np.where(problem.gram.dead, 0.0, problem.target[row]), metric.power)
        given = None if start is None else np.flatnonzero(start[row])
        budget = Budget.of(rounds, seconds / problem.rows)
        if problem.feasible.contains(target) or groups.keep == 0:
            kept = np.flatnonzero(target) if groups.keep else np.zeros(0, dtype=np.int64)
        else:
            kept = _search_row(metric, target, groups, given, budget, seed)
        x[row] = np.ldexp(fit(metric.gram, target, kept), -metric.power)
    return x


@dataclass(frozen=True)
class Groups:
    """At most `keep` columns in each group of `size` consecutive ones are kept; `Sparse` is one group."""

    keep: int
    size: int
    columns: int

    @classmethod
    def of(cls, problem: LeastSquares) -> Groups:
        feasible = problem.feasible
        if isinstance(feasible, NofM):
            return cls(feasible.n, feasible.m, problem.columns)
        assert isinstance(feasible, Sparse)
        return cls(feasible.keep, problem.columns, problem.columns)

    @property
    def total(self) -> int:
        return self.keep * (self.columns // self.size)

    def complete(self, given: Columns, other: Columns) -> Columns:
        """The support of `total` columns that has those given, then those of another support."""
        rank = np.zeros(self.columns)
        rank[other] = 1.0
        rank[given] = 2.0
        order = np.argsort(-rank.reshape(-1, self.size), axis=1, kind="stable")[:, : self.keep]
        return np.asarray((order + np.arange(0, self.columns, self.size)[:, None]).ravel())


def fit(gram: Array, target: Array, kept: Columns) -> Array:
    """The weights of least error on a support, (columns,)."""
    x = np.zeros_like(target)
    if kept.size:
        rest = target.copy()
        rest[kept] = 0.0
        x[kept] = target[kept] + cho_solve(cho_factor(gram[np.ix_(kept, kept)], lower=True), gram[kept] @ rest)
    return x


def _search_row(
    metric: SearchMetric, target: Array, groups: Groups, given: Columns | None, budget: Budget, seed: int
) -> Columns:
    """The best support found, (total,)."""
    walk = Walk(metric, target, groups)
    supports = [greedy(metric, target, groups, forward) for forward in (False, True)]
    if given is not None:
        supports.append(groups.complete(given, supports[0]))
    for support in supports:
        walk.descend(support)
    random = np.random.default_rng(seed)
    for number in budget.numbers():
        if number > 0:
            walk.roam(tenures(random, number, walk.inside.size, target.size), budget)
    return walk.kept


def tenures(random: np.random.Generator, number: int, inside: int, columns: int) -> Columns:
    """What round `number` passes to `Walk.roam`, (ROUND, 2)."""
    longest = np.minimum(2 * TENURE[number % len(TENURE)], np.array([inside, columns - inside]) - 1)
    return random.integers(longest // 2, longest + 1, size=(ROUND, 2))


def greedy(metric: SearchMetric, target: Array, groups: Groups, forward: bool) -> Columns:
    """The support, (total,), by selection of the column that helps most or elimination of the one that hurts least."""
    total, size = groups.total, groups.size
    if forward:
        right = metric.gram @ target
        return eliminate(metric.gram, right, lambda left, b: -b * b / left, total, size, groups.keep)[0]
    removed, _ = eliminate(
        metric.inverse, target, lambda left, v: v * v / left, target.size - total, size, size - groups.keep
    )
    return np.setdiff1d(np.arange(target.size), removed)


class Metric(Protocol):
    """A positive definite matrix and its inverse, (columns, columns)."""

    @property
    def gram(self) -> Array: ...

    @property
    def inverse(self) -> Array: ...


class Walk:
    """One row's tableau of the smaller set, and the best set met."""

    def __init__(self, metric: Metric, target: Array, groups: Groups) -> None:
        self.metric, self.target, self.size = metric, target, groups.size
        self.inward = 2 * groups.total <= target.size  # whether the kept columns are those inside
        self.q = metric.gram if self.inward else metric.inverse
        self.b = metric.gram @ target if self.inward else target
        self.sign = -1.0 if self.inward else 1.0
        self.best, self.inside = np.inf, np.zeros(0, dtype=np.int64)
        self.scratch = np.zeros((2, target.size))

    @property
    def kept(self) -> Columns:
        return self._other(self.inside) if not self.inward else np.sort(self.inside)

    def _other(self, columns: Columns) -> Columns:
        return np.setdiff1d(np.arange(self.target.size), columns)

    def _tableau(self, inside: Columns) -> tuple[Array, Array, Array, Array, Columns, Columns]:
        """T, x, gap, left, inside and slot of `kernels.subset_moves`, afresh."""
        factor = cho_factor(self.q[np.ix_(inside, inside)], lower=True)
        rows = self.q[inside]
        t = np.ascontiguousarray(cho_solve(factor, rows))
        x = np.asarray(cho_solve(factor, self.b[inside]))
        gap = self.b - x @ rows
        left = self.q.diagonal() - np.einsum("ij,ij->j", rows, t)
        t[:, inside] = cho_solve(factor, np.eye(inside.size))
        slot = np.full(self.target.size, -1)
        slot[inside] = np.arange(inside.size)
        return t, x, gap, left, inside.copy(), slot

    def _error(self, inside: Columns) -> float:
        step = fit(self.metric.gram, self.target, self._other(inside) if not self.inward else inside) - self.target
        return float(step @ self.metric.gram @ step)

    def _keep_better(self, inside: Columns) -> None:
        error = self._error(inside)
        if error < self.best:
            self.best, self.inside = error, inside.copy()

    def _slice(self, inside: Columns) -> int:
        return max(1, int(SLICE / (8.0 * inside.size * self.target.size)))

    def descend(self, support: Columns) -> None:
        """The best exchange until none helps, from a support."""
        inside = np.array(support if self.inward else self._other(support), dtype=np.int64)
        free = np.zeros(self.target.size, dtype=np.int64)
        most, before, improving = self._slice(inside), np.inf, True
        while improving and self._error(inside) < before:  # rounding may promise what is not there
            self._keep_better(inside)
            state, before, total = self._tableau(inside), self._error(inside), 0
            error = before
            while improving and total < FRESH:
                error, made = descend(self.q, *state, self.size, self.sign, error, most, *self.scratch, free)
                total += made
                improving = made == most
            inside = state[4]
        self._keep_better(inside)

    def roam(self, tenure: Columns, budget: Budget) -> None:
        """Exchanges from the best set, one for each row of `tenure`, the time for which it is not undone."""
        state, error = self._tableau(self.inside), self.best
        stay, away = np.zeros(self.inside.size, dtype=np.int64), np.zeros(self.target.size, dtype=np.int64)
        best, found, now = self.best, self.inside.copy(), 0
        while now < len(tenure) and not budget.over:
            part = tenure[now : now + self._slice(self.inside)]
            error, best = tabu(
                self.q, *state, self.size, self.sign, error, best, part, stay, away, now, *self.scratch, found
            )
            now += len(part)
        if best < self.best:
            self._keep_better(found)
