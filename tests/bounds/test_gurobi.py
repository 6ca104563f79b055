"""Gurobi as a second opinion."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bounds import Gurobi, IntegerBox, LeastSquares, MethodError, ProblemError, Sparse, Status, solve
from bounds.feasible import Feasible
from bounds.gram import Array

pytest.importorskip("gurobipy")


def instance(seed: int, n: int, feasible: Feasible, power: int = 0, spread: float = 1.0) -> LeastSquares:
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(3 * n, n)) @ (np.eye(n) + 0.3 * rng.normal(size=(n, n)))
    return LeastSquares(np.ldexp(inputs.T @ inputs / (3 * n), power), spread * rng.normal(size=(3, n)), feasible)


@pytest.mark.parametrize("power", [-300, 0, 300])
def test_integers_by_brute_force(power: int) -> None:
    problem = instance(1, 5, IntegerBox(-2, 1), power, 2.0)
    points = np.array(list(itertools.product(range(-2, 2), repeat=5)), dtype=float)
    found = solve(problem, Gurobi())
    best = np.array(
        [
            min(LeastSquares(problem.gram, np.tile(target, (len(points), 1)), problem.feasible).upper(points))
            for target in problem.target
        ]
    )
    np.testing.assert_allclose(found.upper, best, rtol=1e-12)
    assert np.all((found.lower <= best) & (found.lower >= best * (1 - 1e-6)))
    assert np.all(found.status == Status.CLOSED)
    np.testing.assert_array_equal(found.upper, problem.upper(found.x))


@pytest.mark.parametrize("keep", [0, 1, 3, 6])
@pytest.mark.parametrize("spread", [1e-60, 1.0, 1e60])
def test_supports_by_brute_force(keep: int, spread: float) -> None:
    problem = instance(2, 6, Sparse(keep), 10, spread)
    found = solve(problem, Gurobi())

    def error(support: tuple[int, ...], target: Array) -> float:
        rest = np.setdiff1d(np.arange(6), support)
        inverse = problem.gram.inverse[np.ix_(rest, rest)]
        return float(target[rest] @ np.linalg.solve(inverse, target[rest])) if rest.size else 0.0

    best = [min(error(s, target) for s in itertools.combinations(range(6), keep)) for target in problem.target]
    np.testing.assert_allclose(found.upper, best, rtol=1e-9, atol=1e-13 * spread**2)
    assert np.all(found.lower <= found.upper)
    assert problem.feasible.contains(found.x).all()


def test_a_start_is_kept_when_time_is_short() -> None:
    problem = instance(3, 60, IntegerBox(-8, 7), spread=4.0)
    start = problem.feasible.nearest(problem.target)
    found = solve(problem, Gurobi(time_limit=0.05), start)
    assert np.all(found.upper <= problem.upper(start))
    assert np.all(found.lower <= found.upper)
    assert np.all(found.status == Status.TIME_LIMIT)
    with pytest.raises(ProblemError, match="not in"):
        solve(problem, Gurobi(), start + 0.5)


def test_limits_are_explained() -> None:
    with pytest.raises(MethodError, match="200"):
        solve(LeastSquares(np.eye(201), np.full(201, 0.3), IntegerBox(0, 1)), Gurobi())
    with pytest.raises(ProblemError, match="time_limit"):
        Gurobi(time_limit=0)
    with pytest.raises(ProblemError, match="duplicates or linearly dependent"):
        solve(LeastSquares(np.ones((2, 2)), [1.0, 2.0], Sparse(1)), Gurobi())
