"""Local search: feasible, never worse than the start, deterministic, close to the optimum where that is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import bounds
from bounds.kernels.level_moves import block_search, box_descent
from bounds.kernels.subset_moves import best_exchange, exchange
from bounds.local.elimination import eliminate
from bounds.local.metric import SearchMetric
from bounds.local.subsets import Groups, Walk, fit

SETS = [
    bounds.IntegerBox(-2, 1),
    bounds.IntegerBox(-8, 7),
    bounds.Codebook((-1.5, -0.2, 0.0, 0.7, 2.0)),
    bounds.Sparse(3),
    bounds.Sparse(9),
    bounds.NofM(2, 4),
]
NAMES = [str(s) for s in SETS]


def gram_of(rng: np.random.Generator, columns: int, samples: int | None = None) -> np.ndarray:
    inputs = rng.normal(size=(samples or 3 * columns, columns)) @ (
        np.eye(columns) + 0.3 * rng.normal(size=(columns, columns))
    )
    return inputs.T @ inputs / inputs.shape[0]


def problem_of(feasible: bounds.Feasible, columns: int = 12, rows: int = 5, seed: int = 0) -> bounds.LeastSquares:
    rng = np.random.default_rng(seed)
    return bounds.LeastSquares(gram_of(rng, columns), 1.5 * rng.normal(size=(rows, columns)), feasible)


@pytest.mark.parametrize("feasible", SETS, ids=NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_between_the_optimum_and_the_start(feasible: bounds.Feasible, seed: int) -> None:
    problem = problem_of(feasible, seed=seed)
    found = bounds.solve(problem, bounds.LocalSearch(rounds=3, beam=32, seed=seed))
    proven = bounds.solve(problem, bounds.BranchAndBound())
    assert problem.feasible.contains(found.x).all()
    assert (found.upper >= proven.lower).all()
    assert (found.upper <= problem.upper(feasible.nearest(problem.target))).all()
    np.testing.assert_array_equal(found.upper, problem.upper(found.x))
    assert (found.lower == 0).all()
    assert set(found.status) == {bounds.Status.UNPROVEN}
    # from the optimum nothing can be better, and nothing may get worse
    again = bounds.solve(problem, bounds.LocalSearch(rounds=0, beam=1), start=proven.x)
    assert (again.upper <= proven.upper).all()


def test_finds_most_small_optima() -> None:
    """Seeded and deterministic: 60 rows, of which a broken search would miss many."""
    for feasible in SETS:
        problem = problem_of(feasible, rows=60, seed=7)
        found = bounds.solve(problem, bounds.LocalSearch(rounds=5, beam=64))
        best = bounds.solve(problem, bounds.BranchAndBound())
        assert np.count_nonzero(found.upper <= best.upper * (1 + 1e-6)) >= 57, feasible


@pytest.mark.parametrize("feasible", SETS, ids=NAMES)
def test_same_bits_again_and_row_by_row(feasible: bounds.Feasible) -> None:
    problem, method = problem_of(feasible, columns=20, rows=4), bounds.LocalSearch(rounds=4, beam=16, seed=5)
    first, second = (bounds.solve(problem, method).x for _ in range(2))
    np.testing.assert_array_equal(first, second)
    for row in range(problem.rows):
        np.testing.assert_array_equal(bounds.solve(problem.restrict(row), method).x[0], first[row])


@pytest.mark.parametrize("feasible", SETS, ids=NAMES)
def test_never_worse_than_a_start_and_leaves_it_alone(feasible: bounds.Feasible) -> None:
    problem = problem_of(feasible, columns=16)
    rng = np.random.default_rng(1)
    start = feasible.nearest(problem.target + rng.normal(size=problem.target.shape))
    copy = start.copy()
    found = bounds.solve(problem, bounds.LocalSearch(rounds=0, beam=1), start)
    assert (found.upper <= problem.upper(start)).all()
    np.testing.assert_array_equal(start, copy)
    np.testing.assert_array_equal(found.stats["start_error"], problem.error(start))


@pytest.mark.parametrize("feasible", [*SETS, bounds.Sparse(0), bounds.Sparse(12)], ids=str)
def test_dead_dependent_and_tiny_inputs(feasible: bounds.Feasible) -> None:
    """Zero columns, duplicated inputs, wildly different units, fewer samples than columns."""
    rng = np.random.default_rng(3)
    inputs = rng.normal(size=(8, 12))
    inputs[:, 4] = 0.0
    inputs[:, 7] = inputs[:, 2]
    inputs[:, 9] *= 1e-12
    problem = bounds.LeastSquares(inputs.T @ inputs / 8, rng.normal(size=(3, 12)), feasible)
    found = bounds.solve(problem, bounds.LocalSearch(rounds=2, beam=8))
    assert feasible.contains(found.x).all()
    assert (found.upper <= problem.upper(feasible.nearest(problem.target))).all()
    nothing = bounds.LeastSquares(np.zeros((12, 12)), problem.target, feasible)
    assert bounds.solve(nothing, bounds.LocalSearch(rounds=1)).closed.all()


def test_members_of_the_set_are_their_own_answer() -> None:
    for feasible in SETS:
        problem = problem_of(feasible)
        inside = bounds.LeastSquares(problem.gram, feasible.nearest(problem.target), feasible)
        found = bounds.solve(inside, bounds.LocalSearch(rounds=1, beam=4))
        np.testing.assert_array_equal(found.x, inside.target)
        assert found.closed.all()


def test_a_wider_beam_and_more_rounds_help_on_the_whole() -> None:
    problem = problem_of(bounds.IntegerBox(-4, 3), columns=60, rows=20)
    poor, good = (
        bounds.solve(problem, bounds.LocalSearch(rounds=r, beam=w)).upper.sum() for r, w in ((0, 1), (6, 128))
    )
    assert good < 0.97 * poor
    pruned = problem_of(bounds.Sparse(20), columns=60, rows=20)
    poor, good = (bounds.solve(pruned, bounds.LocalSearch(rounds=r)).upper.sum() for r in (0, 6))
    assert good < poor


def test_seconds_end_an_endless_search() -> None:
    for feasible in (bounds.IntegerBox(-2, 1), bounds.Sparse(10), bounds.NofM(1, 4)):
        problem = problem_of(feasible, columns=40, rows=3)
        found = bounds.solve(problem, bounds.LocalSearch(rounds=None, seconds=0.05, beam=64))
        assert feasible.contains(found.x).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rounds": -1}, "rounds = -1"),
        ({"rounds": 1.5}, "rounds = 1.5"),
        ({"rounds": None}, "limit one of them"),
        ({"seconds": 0.0}, "leaves no time"),
        ({"seconds": float("nan")}, "leaves no time"),
        ({"beam": 0}, "beam = 0"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_refuses_by_name(arguments: dict[str, float | None], words: str) -> None:
    with pytest.raises(bounds.ProblemError, match=words):
        bounds.LocalSearch(**arguments)


def test_refuses_other_sets_wide_boxes_strange_starts_and_overflow() -> None:
    search = bounds.LocalSearch(rounds=0)
    with pytest.raises(bounds.MethodError, match="BlockSparse"):
        bounds.solve(problem_of(bounds.BlockSparse(2, 4)), search)
    with pytest.raises(bounds.MethodError, match="65536"):
        bounds.solve(problem_of(bounds.IntegerBox(-(2**20), 2**20)), search)
    problem = problem_of(bounds.Sparse(3))
    with pytest.raises(bounds.ProblemError, match="the start"):
        bounds.solve(problem, search, start=np.ones_like(problem.target))
    huge = bounds.LeastSquares(problem.gram, problem.target * 1e200, bounds.Sparse(3))
    with pytest.raises(bounds.ProblemError, match="row 0 overflows"):
        bounds.solve(huge, search)


def test_elimination_is_a_cholesky_factor_in_its_order() -> None:
    rng = np.random.default_rng(2)
    gram = gram_of(rng, 150)
    order, factor = eliminate(gram, np.zeros(150), lambda left, _: left, 150, 150, 150)
    np.testing.assert_allclose(factor @ factor.T, gram[np.ix_(order, order)], atol=1e-12 * np.trace(gram))
    assert sorted(order) == list(range(150))
    assert (np.triu(factor, 1) == 0).all()


def test_greedy_elimination_is_greedy() -> None:
    """Each removed column is the one whose removal costs least, by brute force."""
    rng = np.random.default_rng(4)
    gram, target = gram_of(rng, 8), rng.normal(size=8)
    order, _ = eliminate(np.linalg.inv(gram), target, lambda left, right: right * right / left, 5, 8, 8)
    kept = list(range(8))
    for removed in order:
        error = {}
        for column in kept:
            rest = np.array([k for k in kept if k != column])
            step = fit(gram, target, rest) - target
            error[column] = step @ gram @ step
        assert removed == min(error, key=error.__getitem__)
        kept.remove(removed)


@pytest.mark.parametrize("keep", [3, 8])
def test_the_tableau_stays_that_of_its_set(keep: int) -> None:
    """After exchanges T, x, gap and left equal their definition, and the best exchange is that of brute force."""
    rng = np.random.default_rng(6)
    columns = 11
    metric, target = SearchMetric(bounds.Gram(gram_of(rng, columns)), scaled=True), rng.normal(size=columns)
    walk = Walk(metric, target, Groups(keep, columns, columns))
    size = keep if walk.inward else columns - keep
    state = walk._tableau(np.arange(size))
    scratch = np.zeros((2, columns))
    for _ in range(20):
        inside, slot = state[4], state[5]
        free = np.zeros(columns, dtype=np.int64)
        change, k, j = best_exchange(*state, columns, walk.sign, free, free, 0, *scratch)
        now = walk._error(inside)
        trials = {}
        for slot_out, column in itertools.product(range(size), np.flatnonzero(slot < 0)):
            other = inside.copy()
            other[slot_out] = column
            trials[slot_out, int(column)] = walk._error(other) - now
        assert change == pytest.approx(min(trials.values()), rel=1e-7, abs=1e-10)
        assert trials[k, j] == pytest.approx(change, rel=1e-7, abs=1e-10)
        exchange(walk.q, *state, int(rng.integers(size)), int(rng.choice(np.flatnonzero(slot < 0))), scratch[0])
        fresh = walk._tableau(state[4])
        outside = state[5] < 0
        np.testing.assert_allclose(state[0], fresh[0], atol=1e-9)
        np.testing.assert_allclose(state[1], fresh[1], atol=1e-9)
        np.testing.assert_allclose(state[2][outside], fresh[2][outside], atol=1e-9)
        np.testing.assert_allclose(state[3][outside], fresh[3][outside], atol=1e-9)
        np.testing.assert_array_equal(state[5], fresh[5])


def test_block_search_is_exact_on_its_block() -> None:
    rng = np.random.default_rng(8)
    levels = np.array([-1.0, 0.0, 0.5, 2.0])
    for _ in range(10):
        gram, target = gram_of(rng, 9), rng.normal(size=9)
        code, block = rng.integers(0, 4, size=9), rng.choice(9, size=4, replace=False)
        step = levels[code] - target
        found = np.zeros(4, dtype=np.int64)
        change, _ = block_search(gram, levels, code, step @ gram, block, 10**6, found)
        errors = []
        for choice in itertools.product(range(4), repeat=4):
            other = code.copy()
            other[block] = choice
            errors.append((levels[other] - target) @ gram @ (levels[other] - target))
        assert step @ gram @ step + change == pytest.approx(min(errors), rel=1e-8)


def test_box_multipliers_have_valid_signs() -> None:
    rng = np.random.default_rng(9)
    gram, target, slope = gram_of(rng, 20), 3.0 * rng.normal(size=20), np.zeros(20)
    box_descent(gram, target, -1.0, 1.0, slope)
    centre = target + np.linalg.solve(gram, slope / 2)
    assert np.count_nonzero(slope) > 0
    # complementary: the minimiser of the recentred error on the box is the centre, cut to the box
    free = slope == 0
    assert (np.abs(centre[free]) <= 1.0 + 1e-3).all()
    np.testing.assert_allclose(centre[slope > 0], -1.0, atol=1e-3)
    np.testing.assert_allclose(centre[slope < 0], 1.0, atol=1e-3)
