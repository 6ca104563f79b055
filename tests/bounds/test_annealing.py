"""Annealing over levels: the chain has the distribution it should have, and its best point is what it says."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import bounds
from bounds.kernels.level_moves import anneal, uniform
from bounds.local import levels as level_search

from .test_local_search import gram_of, problem_of

LEVELS = np.array([-1.0, 0.0, 0.5, 2.0])


def errors_of(gram: np.ndarray, target: np.ndarray, codes: np.ndarray) -> np.ndarray:
    step = LEVELS[codes] - target
    return np.asarray(np.einsum("ki,ij,kj->k", step, gram, step))


def test_the_chain_visits_points_as_boltzmann_says() -> None:
    """64 points at a fixed temperature, by enumeration; a wrong sign, factor or edge shifts whole shares."""
    rng = np.random.default_rng(0)
    gram, target = gram_of(rng, 3), rng.normal(size=3)
    points = np.array(list(itertools.product(range(4), repeat=3)))
    energy = errors_of(gram, target, points)
    temperature = float(energy.mean()) / 4
    share = np.exp(-energy / temperature)
    share /= share.sum()
    code, best = np.zeros((2, 3), dtype=np.int64)
    q = (LEVELS[code] - target) @ gram
    draws, visits = np.array([1], dtype=np.uint64), np.zeros(64)
    for _ in range(60_000):
        anneal(gram, LEVELS, code, q, 0.0, temperature, temperature, 3, draws, best)
        visits[code @ [16, 4, 1]] += 1
    np.testing.assert_allclose(visits / visits.sum(), share, atol=0.005)
    np.testing.assert_allclose(q, (LEVELS[code] - target) @ gram, atol=1e-8)


@pytest.mark.parametrize("seed", range(5))
def test_best_is_what_it_says_and_cold_enough_a_local_minimum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gram, target = gram_of(rng, 15), rng.normal(size=15)
    code = rng.integers(0, 4, size=15)
    best, start = code.copy(), float(errors_of(gram, target, code[None])[0])
    q = (LEVELS[code] - target) @ gram
    error = anneal(gram, LEVELS, code, q, start, start / 15, 1e-9 * start, 200, np.array([7], dtype=np.uint64), best)
    assert error < start
    assert error == pytest.approx(errors_of(gram, target, best[None])[0], rel=1e-9)
    for i, side in itertools.product(range(15), (-1, 1)):
        if 0 <= code[i] + side < 4:
            other = code.copy()
            other[i] += side
            assert errors_of(gram, target, other[None])[0] > errors_of(gram, target, code[None])[0]


def test_draws_are_uniform_and_independent() -> None:
    draws = np.array([1], dtype=np.uint64)
    sample = np.array([uniform(draws) for _ in range(40_000)])[100:]
    assert sample.min() >= 0.0
    assert sample.max() < 1.0
    counts = np.histogram(sample, bins=20, range=(0, 1))[0]
    expected = sample.size / 20
    assert ((counts - expected) ** 2 / expected).sum() < 45.3  # chi-square, 19 degrees of freedom, p = 0.0006
    assert abs(np.corrcoef(sample[1:], sample[:-1])[0, 1]) < 0.02


def test_annealing_finds_better_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strongly coupled columns, on which a narrow beam alone gets stuck."""
    problem = problem_of(bounds.IntegerBox(-4, 3), columns=80, rows=12, seed=3)
    method = bounds.LocalSearch(rounds=2, beam=128, leaves=1)
    with_it = problem.upper(bounds.solve(problem, method).x)
    monkeypatch.setattr(level_search._Elite, "anneal", lambda *_: None)
    without = problem.upper(bounds.solve(problem, method).x)
    assert with_it.sum() < without.sum()
