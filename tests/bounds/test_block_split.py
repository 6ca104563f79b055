"""The tuned block-diagonal bound: never above the optimum, never behind the diagonal one, its derivatives right."""

from __future__ import annotations

import pickle
from fractions import Fraction

import numpy as np
import pytest

import bounds
from bounds import BlockDiagonal, LeastSquares, Sparse
from bounds.gram import Array
from bounds.relaxation import soft_minimum
from bounds.relaxation.block_sparse import reweighted
from bounds.relaxation.soft_minimum import SoftMinimum

from .test_block_certificate import random_split
from .test_certificate import exact_optimum, random_gram


def correlated(rng: np.random.Generator, n: int, rows: int, keep: int) -> LeastSquares:
    factors = rng.normal(size=(200, 4)) @ rng.normal(size=(4, n)) + 0.7 * rng.normal(size=(200, n))
    return LeastSquares(factors.T @ factors / 200, rng.normal(size=(rows, n)), Sparse(keep))


@pytest.mark.parametrize("row_rounds", [0, 4])
@pytest.mark.parametrize(("n", "width", "keep"), [(7, 3, 2), (8, 4, 4), (8, 8, 3), (6, 1, 2)])
def test_below_the_exact_optimum(n: int, width: int, keep: int, row_rounds: int) -> None:
    problem = LeastSquares(
        random_gram(np.random.default_rng(n), n), np.random.default_rng(1).normal(size=(3, n)), Sparse(keep)
    )
    bound = bounds.lower_bound(problem, bounds.BlockSplit(width=width, rounds=4, row_rounds=row_rounds))
    for row, exact in enumerate(bounds.verify(problem, bound.certificate)):
        assert 0 < Fraction(float(bound.value[row])) <= exact <= exact_optimum(problem, row)


def test_better_than_the_diagonal_and_better_with_every_means() -> None:
    problem = correlated(np.random.default_rng(2), 32, 4, 8)
    diagonal = bounds.lower_bound(problem, bounds.DiagonalSplit()).value
    plain = bounds.lower_bound(problem, bounds.BlockSplit(width=6, rounds=0)).value
    tuned = bounds.lower_bound(problem, bounds.BlockSplit(width=6, rounds=10)).value
    own = bounds.lower_bound(problem, bounds.BlockSplit(width=6, rounds=10, row_rounds=10)).value
    upper = bounds.solve(problem, bounds.BranchAndBound()).upper
    assert max(diagonal.sum(), plain.sum()) < tuned.sum() < own.sum() <= upper.sum()
    assert np.all(own <= upper)


def test_a_tuned_split_serves_other_rows_and_processes() -> None:
    rng = np.random.default_rng(3)
    whole = correlated(rng, 24, 12, 6)
    method = bounds.BlockSplit(width=6, rounds=6)
    split = method.tune(LeastSquares(whole.gram, whole.target[:6], whole.feasible))
    again = pickle.loads(pickle.dumps(split))
    assert isinstance(again, BlockDiagonal)
    rest = LeastSquares(whole.gram, whole.target[6:], whole.feasible)
    one = bounds.lower_bound(rest, bounds.BlockSplit(split=split))
    two = [bounds.lower_bound(rest.restrict(row), bounds.BlockSplit(split=again)).value[0] for row in range(6)]
    np.testing.assert_allclose(one.value, two, rtol=1e-9)
    assert np.all(one.value <= bounds.solve(rest, bounds.BranchAndBound()).upper)


@pytest.mark.parametrize("keep", [0, 1, 9, 10])
def test_every_keep_has_a_bound(keep: int) -> None:
    rng = np.random.default_rng(4)
    target = rng.normal(size=(3, 10))
    target[1] = 0.0
    problem = LeastSquares(random_gram(rng, 10), target, Sparse(keep))
    bound = bounds.lower_bound(problem, bounds.BlockSplit(width=4, rounds=3, row_rounds=2))
    upper = bounds.solve(problem, bounds.Exhaustive()).upper
    assert np.all((bound.value >= 0) & (bound.value <= upper))
    assert bound.value[1] == 0
    if keep == 0:
        np.testing.assert_allclose(bound.value, upper, rtol=1e-9)
    assert all(
        exact >= value for exact, value in zip(bounds.verify(problem, bound.certificate), bound.value, strict=True)
    )


def test_dead_inputs_and_units_change_nothing() -> None:
    rng = np.random.default_rng(5)
    problem = correlated(rng, 12, 2, 4)
    value = bounds.lower_bound(problem, bounds.BlockSplit(width=4, rounds=4)).value
    gram, target = np.zeros((14, 14)), rng.normal(size=(2, 14))
    live = np.array([0, *range(2, 8), *range(9, 14)])
    gram[np.ix_(live, live)] = np.ldexp(problem.gram.array, 40)
    target[:, live] = np.ldexp(problem.target, -30)
    scaled = bounds.lower_bound(LeastSquares(gram, target, Sparse(4)), bounds.BlockSplit(width=4, rounds=4))
    np.testing.assert_allclose(np.ldexp(scaled.value, 20), value, rtol=2e-2)
    dead = LeastSquares(np.zeros((3, 3)), np.ones((1, 3)), Sparse(1))
    assert bounds.lower_bound(dead, bounds.BlockSplit()).value == [0.0]


def soft_value(problem: LeastSquares, split: BlockDiagonal, y: Array, eps: float) -> tuple[SoftMinimum, Array, float]:
    soft = SoftMinimum(problem.gram.array, split, problem.feasible.keep)
    return soft, problem.target[0][soft.order], soft(problem.target[0][soft.order], y, eps)[0]


def test_newton_has_the_right_derivatives(monkeypatch: pytest.MonkeyPatch) -> None:
    """The promised decrement is twice the rise of the quadratic model: compare it with differences."""
    monkeypatch.setattr(soft_minimum, "ACCURACY", 1e-20)
    rng = np.random.default_rng(6)
    problem = LeastSquares(random_gram(rng, 10), rng.normal(size=(1, 10)), Sparse(4))
    split = random_split(rng, problem.gram, 4)
    y, eps = 0.2 * rng.normal(size=10), 0.1
    soft, target, value = soft_value(problem, split, y, eps)
    _, price, q, _ = soft(target, y, eps)
    dy, promise = soft.step(target, y, eps, price, q)
    h = 1e-4
    plus, minus = soft(target, y + h * dy, eps)[0], soft(target, y - h * dy, eps)[0]
    assert (plus - minus) / (2 * h) == pytest.approx(promise, rel=1e-5)
    assert (plus - 2 * value + minus) / h**2 == pytest.approx(-promise, rel=1e-3)


def test_the_soft_minimum_tends_to_the_bound() -> None:
    rng = np.random.default_rng(7)
    problem = correlated(rng, 12, 1, 5)
    split = bounds.BlockSplit(width=4, rounds=0).tune(problem)
    y = np.zeros((1, 12))
    exact = float(bounds.verify(problem, bounds.BlockCertificate(split.blocks, split.matrices, y))[0])
    soft = SoftMinimum(problem.gram.array, split, 5)
    values = [soft(problem.target[0][soft.order], y[0], eps)[0] for eps in (0.3, 0.03, 1e-3)]
    assert values[0] < values[1] < values[2] <= exact + 1e-9
    # the multiplier of the budget replaces the exact allocation: less by at most one block's bend
    assert values[2] > exact - 0.2 * abs(exact)


def test_covariances_are_the_derivative_in_d() -> None:
    rng = np.random.default_rng(8)
    problem = LeastSquares(random_gram(rng, 9), rng.normal(size=(1, 9)), Sparse(4))
    split = random_split(rng, problem.gram, 3)
    eps, h = 0.05, 1e-5

    def best(matrices: tuple[Array, ...]) -> tuple[float, Array, SoftMinimum]:
        soft = SoftMinimum(problem.gram.array, BlockDiagonal(split.blocks, matrices), 4)
        y, value = soft.rise(problem.target[0][soft.order], np.zeros(9), eps, 60, 1e-15)
        return value, y, soft

    _, y, soft = best(split.matrices)
    weights = soft.covariances(problem.target[0][soft.order], y, eps)
    change = [s + s.T for s in (rng.normal(size=(3, 3)) for _ in split.blocks)]
    sides = [best(tuple(d + s * h * c for d, c in zip(split.matrices, change, strict=True)))[0] for s in (1, -1)]
    # at a finite temperature the softened minimum also moves by its entropy in x, none here: supports only
    expected = sum(float(np.sum(w * c)) for w, c in zip(weights, change, strict=True))
    assert (sides[0] - sides[1]) / (2 * h) == pytest.approx(expected, rel=1e-4)


def test_reweighting_never_ends_below_its_start_by_much() -> None:
    problem = correlated(np.random.default_rng(9), 20, 3, 5)
    start = bounds.BlockSplit(width=5, rounds=0)
    split = start.tune(problem)
    before = bounds.lower_bound(problem, bounds.BlockSplit(split=split)).value
    better, y = reweighted(problem, split, 8, None)
    after = bounds.safe_value(problem, bounds.BlockCertificate(better.blocks, better.matrices, y))
    assert np.log(after).mean() > np.log(before).mean()
    unchanged, _ = reweighted(problem, split, 8, 1e-9)
    assert all(np.array_equal(a, b) for a, b in zip(unchanged.matrices, split.matrices, strict=True))
