"""Search in a reduced basis: unimodular, equal to plain enumeration, and far fewer nodes in thin metrics."""

import numpy as np
import pytest

import bounds
from bounds.exact import enumeration, reduced_lattice
from bounds.exact.exhaustive import Exhaustive
from bounds.exact.reduced_lattice import Reduced


def thin_gram(rng: np.random.Generator, columns: int, thinness: float) -> bounds.Gram:
    """Neighbouring pixels of smooth pictures: a common part and small differences."""
    inputs = rng.normal(size=(400, 1)) + thinness * rng.normal(size=(400, columns))
    return bounds.Gram(inputs.T @ inputs / 400)


@pytest.mark.parametrize("seed", range(8))
def test_the_basis_is_unimodular_and_reduced(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gram = thin_gram(rng, 6 + seed, 10.0 ** -rng.integers(0, 4))
    reduced = Reduced(gram)
    assert reduced.usable
    np.testing.assert_array_equal(reduced.basis @ reduced.inverse, np.eye(gram.columns))
    factor = reduced.factor
    coupling = np.abs(np.triu(factor, 1)) / np.abs(np.diag(factor))[:, None]
    assert coupling.max() <= 0.51
    diagonal = np.diag(factor) ** 2
    mu = np.diag(factor, 1) / np.diag(factor)[:-1]
    assert np.all(diagonal[1:] >= (0.99 - mu**2) * diagonal[:-1])


@pytest.mark.parametrize("seed", range(30))
def test_equals_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    columns = int(rng.integers(1, 6))
    gram = thin_gram(rng, columns, 10.0 ** -rng.uniform(0, 3))
    low = int(rng.integers(-6, 1))
    problem = bounds.LeastSquares(gram, rng.normal(size=columns) * 4, bounds.IntegerBox(low, low + 6))
    start = problem.upper(problem.feasible.nearest(problem.target))[0]
    point, complete, slack, _ = reduced_lattice.search(gram, problem.target[0], low, low + 6, start, 10**6, 1e-9, 1.0)
    best = start if point is None else problem.upper(point[None, :])[0]
    truth = bounds.solve(problem, Exhaustive())
    assert best >= truth.lower[0]
    if complete:
        assert best * (1 - slack) <= truth.upper[0]
        assert best == pytest.approx(truth.upper[0], rel=1e-6)
    else:
        assert np.any((problem.target < low) | (problem.target > low + 6)), "only a box that cuts hard is an excuse"


def test_thin_metrics_need_few_nodes_where_plain_enumeration_drowns(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    gram = thin_gram(rng, 9, 0.08)
    problem = bounds.LeastSquares(gram, rng.normal(size=(20, 9)) * 40, bounds.IntegerBox(-128, 127))
    monkeypatch.setattr(enumeration, "PATIENCE", 1000)
    quick = bounds.solve(problem, bounds.BranchAndBound())
    assert quick.closed.all()
    monkeypatch.setattr(enumeration, "PATIENCE", 10**9)
    plain = bounds.solve(problem, bounds.BranchAndBound(max_nodes=10**9))
    assert plain.closed.all()
    np.testing.assert_allclose(quick.upper, plain.upper, rtol=1e-9)
    assert plain.stats["nodes"].max() > 5 * quick.stats["nodes"].max()


def test_a_budget_too_small_is_not_complete() -> None:
    rng = np.random.default_rng(2)
    gram = thin_gram(rng, 12, 0.1)
    target = rng.normal(size=12) * 9
    point, complete, _, nodes = reduced_lattice.search(gram, target, -128, 127, 1e6, 5, 1e-9, 1.0)
    assert not complete
    assert nodes == 6
    assert point is None


def test_wide_grams_are_left_to_plain_enumeration() -> None:
    gram = bounds.Gram(np.eye(reduced_lattice.WIDEST + 1))
    assert reduced_lattice.search(gram, np.zeros(gram.columns), -1, 1, 1.0, 10, 0.0, 1.0) == (None, False, 1.0, 0)


def test_nothing_is_tried_where_rounding_would_cost_more_than_the_search_proves() -> None:
    rng = np.random.default_rng(3)
    gram = thin_gram(rng, 12, 0.1)
    target = rng.normal(size=12)
    assert reduced_lattice.search(gram, target, -8, 7, 1e6, 10**6, 1e-9, 0.0) == (None, False, 1.0, 0)
    assert reduced_lattice.search(gram, target, -8, 7, 1e6, 10**6, 1e-9, 1.0)[1]
