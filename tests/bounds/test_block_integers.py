"""Wide blocks of integers: exact minima, proven bounds, and a `D` and `y` worth having."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bounds
from bounds import BlockCertificate, BlockDiagonal, BlockSplit, CertificateError, IntegerBox, LeastSquares, ProblemError
from bounds.gram import Array
from bounds.minima import integers
from bounds.relaxation import block_integers
from bounds.relaxation.partition import partition

from .test_block_certificate import random_split
from .test_certificate import exact_optimum, random_gram

quick = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def correlated(rng: np.random.Generator, n: int) -> Array:
    """A Gram matrix of inputs that share a few directions."""
    inputs = rng.normal(size=(6 * n, n)) + rng.normal(size=(6 * n, 4)) @ rng.normal(size=(4, n))
    return np.asarray(inputs.T @ inputs / (6 * n))


def brute_force(problem: LeastSquares, claim: BlockCertificate, row: int) -> float:
    """The right side of the inequality at every point of the box."""
    box = problem.feasible
    d = claim.split.dense(problem.columns)
    g = (problem.gram.array - d) @ claim.y[row]
    points = itertools.product(range(box.low, box.high + 1), repeat=problem.columns)
    u = np.array(list(points)) - problem.target[row]
    return float((np.einsum("ki,ij,kj->k", u, d, u) + 2 * u @ g).min() - claim.y[row] @ g)


@quick
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(2, 6),
    width=st.integers(1, 5),
    low=st.integers(-3, 1),
    size=st.integers(0, 3),
    power=st.integers(-300, 300),
    factor=st.floats(0.0, 2.0),
)
def test_safe_value_below_exact_value_below_exact_optimum(
    seed: int, n: int, width: int, low: int, size: int, power: int, factor: float
) -> None:
    rng = np.random.default_rng(seed)
    gram = np.ldexp(random_gram(rng, n), power)
    problem = LeastSquares(gram, 2 * rng.normal(size=(2, n)), IntegerBox(low, low + size))
    split = random_split(rng, problem.gram, width)
    claim = BlockCertificate(split.blocks, split.matrices, factor * rng.normal(size=(2, n)))
    values = bounds.safe_value(problem, claim)
    for row, (value, exact) in enumerate(zip(values, bounds.verify(problem, claim), strict=True)):
        assert value <= exact <= exact_optimum(problem, row)
        expected = np.ldexp(brute_force(problem, claim, row), 0)
        assert float(exact) == pytest.approx(expected, rel=1e-9, abs=1e-9 * np.ldexp(1.0, power))


def test_little_is_lost_to_rounding() -> None:
    rng = np.random.default_rng(3)
    problem = LeastSquares(correlated(rng, 40), 2 * rng.normal(size=(3, 40)), IntegerBox(-4, 3))
    split = BlockSplit(width=14).tune(problem)
    claim = bounds.lower_bound(problem, BlockSplit(split=split)).certificate
    for value, exact in zip(bounds.safe_value(problem, claim), bounds.verify(problem, claim), strict=True):
        assert value <= exact
        assert float(exact) - value <= 1e-8 * abs(float(exact))


def test_one_block_of_all_columns_is_the_exact_optimum() -> None:
    rng = np.random.default_rng(2)
    problem = LeastSquares(correlated(rng, 12), rng.normal(size=(3, 12)), IntegerBox(-2, 1))
    claim = BlockCertificate((np.arange(12),), ((1 - 1e-9) * problem.gram.array,), np.zeros((3, 12)))
    optimum = bounds.solve(problem, bounds.BranchAndBound())
    assert optimum.closed.all()
    values = bounds.safe_value(problem, claim)
    assert (values <= optimum.upper).all()
    assert values == pytest.approx(optimum.lower, rel=1e-5)


def test_blocks_of_one_column_are_the_diagonal_certificate() -> None:
    rng = np.random.default_rng(1)
    problem = LeastSquares(random_gram(rng, 9), rng.normal(size=(4, 9)), IntegerBox(-1, 2))
    diagonal = 0.6 * np.linalg.eigvalsh(problem.gram.array)[0] * rng.uniform(0.5, 1.0, 9)
    y = 0.3 * rng.normal(size=(4, 9))
    claim = BlockCertificate(tuple(np.array([i]) for i in range(9)), tuple(np.array([[v]]) for v in diagonal), y)
    assert bounds.verify(problem, claim) == bounds.verify(problem, bounds.Certificate(diagonal, y))


@pytest.mark.parametrize("bits", [2, 3])
def test_tuning_pays(bits: int) -> None:
    """Of largest trace < tuned < the optimum, for rows that the tuning has not seen."""
    rng = np.random.default_rng(bits)
    gram = bounds.Gram(correlated(rng, 24))
    box = IntegerBox(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    sample = LeastSquares(gram, rng.normal(size=(16, 24)), box)
    unseen = LeastSquares(gram, rng.normal(size=(16, 24)), box)
    optimum = bounds.solve(unseen, bounds.BranchAndBound())
    assert optimum.closed.all()
    for width in (8, 12):
        sums = []
        for rounds in (0, 12):
            split = BlockSplit(width=width, rounds=rounds).tune(sample)
            value = bounds.lower_bound(unseen, BlockSplit(split=split)).value
            assert (value <= optimum.upper).all()
            sums.append(float(value.sum()))
        assert 0 < sums[0] < sums[1]
    # one column a block: as good a y as coordinate descent finds for a diagonal
    split = BlockSplit(width=1, rounds=0).tune(sample)
    value = bounds.lower_bound(unseen, BlockSplit(split=split)).value
    diagonal = bounds.lower_bound(unseen, bounds.DiagonalSplit()).value
    assert float(np.mean(value / optimum.upper)) > 0.95 * float(np.mean(diagonal / optimum.upper))


def test_the_y_found_is_the_best_one() -> None:
    """Against Frank–Wolfe on the dual program with minima by brute force, an independent second method."""
    rng = np.random.default_rng(5)
    problem = LeastSquares(correlated(rng, 8), rng.normal(size=(1, 8)), IntegerBox(-2, 1))
    split = BlockSplit(width=4).tune(problem)
    value = bounds.lower_bound(problem, BlockSplit(split=split)).value[0]
    d = split.dense(8)
    rest = problem.gram.array - d
    points = np.array(list(itertools.product(range(-2, 2), repeat=4)), dtype=float)
    y, best = np.zeros(8), -np.inf
    for step in range(3000):
        g, least, corner = rest @ y, -y @ rest @ y, np.zeros(8)
        for block, matrix in zip(split.blocks, split.matrices, strict=True):
            u = points - problem.target[0, block]
            terms = np.einsum("ki,ij,kj->k", u, matrix, u) + 2 * u @ g[block]
            least += terms.min()
            corner[block] = u[terms.argmin()]
        best = max(best, least)
        y = y + 2 / (step + 2) * (corner - y)
    upper = problem.error(problem.feasible.nearest(problem.target))[0]
    assert best <= value + 2e-3 * upper
    assert value == pytest.approx(best, abs=1e-2 * upper)


def test_a_capped_search_claims_no_more_than_it_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(8)
    problem = LeastSquares(correlated(rng, 16), rng.normal(size=(2, 16)), IntegerBox(-4, 3))
    claim = bounds.lower_bound(problem, BlockSplit(width=16)).certificate
    full = bounds.safe_value(problem, claim)
    for nodes in (0, 1, 5, 20):
        monkeypatch.setattr(integers, "MAX_NODES", nodes)
        assert (bounds.safe_value(problem, claim) <= full).all()
    monkeypatch.setattr(integers, "MAX_CHECKS", 3)
    with pytest.raises(CertificateError, match="narrower blocks"):
        bounds.verify(problem, claim)


def test_batches_agree_and_repeat_bit_by_bit() -> None:
    rng = np.random.default_rng(9)
    problem = LeastSquares(correlated(rng, 20), rng.normal(size=(3, 20)), IntegerBox(-2, 1))
    method = BlockSplit(split=BlockSplit(width=10, rounds=3).tune(problem))
    together = bounds.lower_bound(problem, method)
    apart = np.concatenate([bounds.lower_bound(problem.restrict(row), method).value for row in range(3)])
    np.testing.assert_allclose(together.value, apart, rtol=1e-9)
    np.testing.assert_array_equal(together.value, bounds.lower_bound(problem, method).value)


def test_a_d_for_each_row_is_no_worse() -> None:
    rng = np.random.default_rng(11)
    problem = LeastSquares(correlated(rng, 18), rng.normal(size=(2, 18)), IntegerBox(-2, 1))
    split = BlockSplit(width=6, rounds=4).tune(problem)
    shared = bounds.lower_bound(problem, BlockSplit(split=split))
    own = bounds.lower_bound(problem, BlockSplit(split=split, row_rounds=4))
    upper = problem.error(problem.feasible.nearest(problem.target))
    assert (own.value >= shared.value - 5e-3 * upper).all()
    for value, exact in zip(own.value, bounds.verify(problem, own.certificate), strict=True):
        assert 0 < Fraction(float(value)) <= exact


def test_intervals_repair_a_near_null_direction() -> None:
    rng = np.random.default_rng(14)
    values, vectors = np.linalg.eigh(correlated(rng, 14))
    values[0] = 1e-5 * values[-1]
    gram = (vectors * values) @ vectors.T
    problem = LeastSquares((gram + gram.T) / 2, 2 * rng.normal(size=(2, 14)), IntegerBox(-4, 3))
    optimum = bounds.solve(problem, bounds.BranchAndBound())
    plain = bounds.lower_bound(problem, BlockSplit(width=4, rounds=4))
    branched = bounds.lower_bound(problem, bounds.IntervalSplit(width=4, rounds=4, loss=0.02))
    assert optimum.closed.all()
    assert plain.value.sum() < branched.value.sum()
    for row, exact in enumerate(bounds.verify(problem, branched.certificate)):
        assert 0 < Fraction(float(branched.value[row])) <= exact <= Fraction(float(optimum.upper[row]))


def test_dead_inputs_and_targets_in_the_box() -> None:
    rng = np.random.default_rng(12)
    gram = np.zeros((7, 7))
    gram[1:, 1:] = correlated(rng, 6)
    target = rng.normal(size=(2, 7))
    target[1] = [0, 1, -1, 0, 1, -2, 1]
    problem = LeastSquares(gram, target, IntegerBox(-2, 1))
    bound = bounds.lower_bound(problem, BlockSplit(width=3, rounds=2))
    assert bound.value[0] > 0
    assert bound.value[1] == 0
    assert bounds.verify(problem, bound.certificate)[1] <= 0
    nothing = LeastSquares(np.zeros((2, 2)), np.ones((1, 2)), IntegerBox(0, 0))
    np.testing.assert_array_equal(bounds.lower_bound(nothing, BlockSplit()).value, 0.0)


@pytest.mark.parametrize("scale", [0.0, np.nan])
def test_an_indefinite_or_flat_block_is_refused(scale: float) -> None:
    rng = np.random.default_rng(13)
    problem = LeastSquares(random_gram(rng, 4), rng.normal(size=(1, 4)), IntegerBox(-2, 1))
    blocks = partition(problem.gram, 2)
    claim = BlockCertificate(blocks, tuple(scale * np.ones((2, 2)) for _ in blocks), np.zeros((1, 4)))
    with pytest.raises(CertificateError):
        bounds.verify(problem, claim)
    flat = BlockDiagonal(blocks, tuple(np.zeros((2, 2)) for _ in blocks))
    with pytest.raises(ProblemError, match="not numerically definite"):
        block_integers.improve(problem, flat, 0)
