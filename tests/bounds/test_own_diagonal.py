"""A diagonal of each row's own: better than a shared one, safe, and left alone where nothing is to gain."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import bounds
from bounds import DiagonalIntervals, DiagonalSplit, Gram, IntegerBox, LeastSquares, ProblemError, Sparse
from bounds.gram import Array
from bounds.relaxation import softened
from bounds.relaxation.diagonal import shared_diagonal
from bounds.relaxation.diagonal_ascent import best_diagonal
from bounds.relaxation.size_curves import size_curves
from bounds.relaxation.softened import ascend, slopes

from .test_certificate import exact_optimum, random_gram
from .test_interval_certificate import flat_problem


def wide(rows: int = 4, n: int = 80, keep: int = 20, seed: int = 0) -> LeastSquares:
    rng = np.random.default_rng(seed)
    return LeastSquares(random_gram(rng, n, 4 * n), rng.standard_t(4, size=(rows, n)), Sparse(keep))


def test_newton_steps_reach_the_maximum_of_a_known_concave_function() -> None:
    """`Σ wᵢDᵢ` with fixed weights: `DiagonalSplit` knows the largest trace, which more and more rounds come near to."""
    gram = random_gram(np.random.default_rng(1), 12, 40)
    best = float(bounds.relaxation.max_trace.max_trace_diagonal(gram).sum())
    start = np.full(12, 0.5 * float(np.linalg.eigvalsh(gram)[0]))
    reached = []
    for rounds in (0, 3, 12, 40):
        found = best_diagonal(gram, start, lambda d: (float(d.sum()), np.ones(12)), rounds)
        assert np.linalg.eigvalsh(gram - np.diag(found))[0] >= 0
        reached.append(float(found.sum()))
    assert reached[0] == pytest.approx(float(start.sum()))
    assert reached == sorted(reached)
    assert 0.93 * best < reached[-1] <= best


def test_the_slope_is_the_derivative_of_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """By differences, column by column, with the best `y` for each `D`."""
    monkeypatch.setattr(softened, "TEMPERATURE", 0.01)
    problem = wide(rows=1, n=100, keep=25, seed=3)
    gram, target = problem.gram.array, problem.target
    diagonal = 0.9 * shared_diagonal(problem.gram, 0.5)

    def best(d: Array, y: Array) -> Array:
        for _ in range(6):
            y = ascend(gram, d, target, 25, y, 60, 0.05)
        return y

    y = best(diagonal, ascend(gram, diagonal, target, 25, np.zeros_like(target), 300))
    value, slope = slopes(gram, diagonal, target, 25, y)
    gained = np.empty(100)
    for column in range(100):
        moved = diagonal.copy()
        moved[column] *= 0.7
        gained[column] = (value - slopes(gram, moved, target, 25, best(moved, y))[0])[0] / 0.3
    assert np.corrcoef(gained, slope[0] * diagonal)[0, 1] > 0.8
    assert gained.sum() == pytest.approx(slope[0] @ diagonal, rel=0.2)


@pytest.mark.parametrize("method", [DiagonalSplit(60, tune=2), DiagonalIntervals(tune=2)])
def test_a_row_of_its_own_gains(method: DiagonalSplit | DiagonalIntervals) -> None:
    problem = wide() if isinstance(method, DiagonalSplit) else flat_problem(np.random.default_rng(5), 80, 4, 20, 1e-5)
    shared = bounds.lower_bound(problem, method)
    own = bounds.lower_bound(problem, replace(method, row_rounds=3))
    assert np.all(own.value >= shared.value)
    assert own.value.sum() > 1.05 * shared.value.sum()
    assert np.all(own.value <= bounds.solve(problem, bounds.LocalSearch(rounds=1)).upper)
    np.testing.assert_array_equal(bounds.safe_value(problem, own.certificate), own.value)
    settled = replace(method, row_rounds=3).settled(problem)
    alone = bounds.lower_bound(problem.restrict(2), settled).value[0]
    assert alone == pytest.approx(own.value[2], rel=1e-3)


@pytest.mark.parametrize("method", [DiagonalSplit(row_rounds=4), DiagonalIntervals(row_rounds=4, loss=0.1)])
def test_exact_values_of_small_problems(method: DiagonalSplit | DiagonalIntervals) -> None:
    for seed in range(4):
        problem = flat_problem(np.random.default_rng(seed), 6, 2, 2, 1e-3)
        bound = bounds.lower_bound(problem, method)
        for row, exact in enumerate(bounds.verify(problem, bound.certificate)):
            assert Fraction(float(bound.value[row])) <= exact <= exact_optimum(problem, row)


def test_what_has_no_diagonal_of_its_own_keeps_the_shared_one() -> None:
    problem = wide(rows=3, n=70, keep=9)
    target = problem.target.copy()
    target[1, 9:] = 0.0
    method = DiagonalSplit(60, row_rounds=2)
    for feasible in (Sparse(9), Sparse(0), Sparse(70), IntegerBox(-2, 1), bounds.NofM(1, 2)):
        same = LeastSquares(problem.gram, target, feasible)
        shared = bounds.lower_bound(same, replace(method, row_rounds=0)).value
        own = bounds.lower_bound(same, method).value
        np.testing.assert_allclose(own[1], shared[1], rtol=1e-9)
        assert np.all(own >= shared * (1 - 1e-9))
    with pytest.raises(ProblemError, match="row_rounds = -1"):
        DiagonalSplit(row_rounds=-1)
    with pytest.raises(ProblemError, match="row_rounds"):
        DiagonalIntervals(row_rounds=-1)


def test_curves_of_sizes_gain_too() -> None:
    problem = wide(rows=3, n=70, keep=9)
    sizes = np.array([5, 20, 40])
    gram: Gram = problem.gram
    shared: Array = size_curves(gram, problem.target, sizes, DiagonalSplit(60, tune=1))
    own = size_curves(gram, problem.target, sizes, DiagonalSplit(60, tune=1, row_rounds=3))
    assert np.all(own >= shared)
    for row, size in enumerate(sizes):
        assert own[row, size] > 1.02 * shared[row, size]
        upper = bounds.solve(LeastSquares(gram, problem.target[row], Sparse(int(size))), bounds.LocalSearch(1)).upper
        assert own[row, size] <= upper[0]
