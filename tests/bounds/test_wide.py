"""What wide layers are treated with, on problems narrow enough to know better."""

from __future__ import annotations

import math

import numpy as np
import pytest

import bounds
from bounds.kernels.diagonal import descend
from bounds.kernels.level_moves import box_descent
from bounds.local import box, wide_subsets
from bounds.local.split_penalty import supports
from bounds.relaxation import max_trace
from bounds.relaxation.diagonal_bands import descend_bands
from bounds.relaxation.low_rank import low_rank_diagonal

SETS = [bounds.Sparse(1), bounds.Sparse(4), bounds.Sparse(9), bounds.NofM(2, 4)]


def gram_of(rng: np.random.Generator, columns: int) -> np.ndarray:
    """Power-law inputs in random directions, scales apart."""
    inputs = rng.normal(size=(3 * columns, columns)) * np.arange(1, columns + 1) ** -0.5
    inputs = inputs @ np.linalg.qr(rng.normal(size=(columns, columns)))[0] * rng.lognormal(sigma=0.4, size=columns)
    return inputs.T @ inputs / len(inputs)


def search(problem: bounds.LeastSquares, rounds: int = 2, start: np.ndarray | None = None) -> np.ndarray:
    return wide_subsets.search(problem, start, rounds, math.inf, 0)


@pytest.mark.parametrize("columns", [40, 130])
def test_low_rank_diagonal_is_below_and_nearly_the_largest(columns: int) -> None:
    """The interior point gives the largest trace to 1e-6; the other one may be at most a little short of it."""
    rng = np.random.default_rng(columns)
    gram = gram_of(rng, columns)
    best = max_trace.max_trace_diagonal(gram)
    root = np.sqrt(gram.diagonal())
    matrix, weight = gram / root / root[:, None], gram.diagonal() / gram.diagonal().mean()

    def definite(diagonal: np.ndarray) -> bool:
        return bool(np.linalg.eigvalsh(matrix - np.diag(diagonal))[0] > 0)

    found, most = low_rank_diagonal(matrix, weight, definite)
    assert definite(found)
    assert (found >= 0).all()
    trace = float(found @ gram.diagonal())
    assert 0.98 * best.sum() <= trace <= best.sum() * (1 + 1e-5)
    assert most * gram.diagonal().mean() >= best.sum() * (1 - 1e-5)
    np.testing.assert_array_equal(found, low_rank_diagonal(matrix, weight, definite)[0])


def test_low_rank_diagonal_is_proven_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    gram = gram_of(rng, 60)
    gram[7] = gram[:, 7] = 0.0
    narrow = max_trace.max_trace_diagonal(gram)
    monkeypatch.setattr(max_trace, "WIDE", 10)
    wide = max_trace.max_trace_diagonal(gram)
    assert wide[7] == 0
    assert (wide >= 0).all()
    assert 0.98 * narrow.sum() <= wide.sum() <= narrow.sum() * (1 + 1e-5)
    problem = bounds.LeastSquares(gram, rng.normal(size=(1, 60)), bounds.IntegerBox(-2, 1))
    exact = bounds.verify(problem, bounds.Certificate(wide, np.zeros((1, 60))))
    assert exact[0] > 0


def test_interior_point_where_low_rank_comes_short(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(40)
    inputs = rng.normal(size=(120, 40)) @ rng.normal(size=(40, 40)) @ rng.normal(size=(40, 40))
    gram = inputs.T @ inputs
    best = max_trace.max_trace_diagonal(gram)
    monkeypatch.setattr(max_trace, "WIDE", 10)
    assert max_trace.max_trace_diagonal(gram).sum() >= 0.89 * best.sum()


def test_a_tuned_diagonal_bounds_its_rows_better() -> None:
    rng = np.random.default_rng(11)
    gram = gram_of(rng, 96)
    gram[5] = gram[:, 5] = 0.0
    problem = bounds.LeastSquares(gram, rng.normal(size=(6, 96)), bounds.Sparse(24))
    plain, tuned = (bounds.lower_bound(problem, bounds.DiagonalSplit(rounds=60, tune=tune)) for tune in (0, 3))
    assert tuned.value.sum() > 1.02 * plain.value.sum()
    assert (tuned.value <= bounds.solve(problem, bounds.LocalSearch(rounds=1)).upper).all()
    np.testing.assert_array_equal(bounds.safe_value(problem, tuned.certificate), tuned.value)
    dense = bounds.LeastSquares(gram, problem.target, bounds.Sparse(96))
    assert (bounds.lower_bound(dense, bounds.DiagonalSplit(rounds=5, tune=1)).value == 0).all()
    nothing = bounds.LeastSquares(gram, np.zeros((1, 96)), bounds.Sparse(24))
    assert bounds.lower_bound(nothing, bounds.DiagonalSplit(rounds=5, tune=1)).value[0] == 0
    with pytest.raises(bounds.ProblemError, match="tune = -1"):
        bounds.DiagonalSplit(tune=-1)


def test_one_tuned_diagonal_serves_all_sizes_from_an_eighth_on() -> None:
    rng = np.random.default_rng(12)
    gram, target = bounds.Gram(gram_of(rng, 96)), rng.normal(size=(5, 96))
    found = {}
    for keep in (4, 12, 24, 48):
        problem = bounds.LeastSquares(gram, target, bounds.Sparse(keep))
        found[keep] = bounds.DiagonalSplit(tune=3).settled(problem).diagonal
        anew = bounds.LeastSquares(bounds.Gram(gram.array), target, bounds.Sparse(keep))
        np.testing.assert_array_equal(bounds.DiagonalSplit(tune=3).settled(anew).diagonal, found[keep])
    assert found[12] is found[24] is found[48]
    assert not np.allclose(found[4], found[24], rtol=1e-3)


def test_low_rank_diagonal_gives_zero_where_nothing_is_definite() -> None:
    matrix = gram_of(np.random.default_rng(0), 20)
    assert not low_rank_diagonal(matrix, np.ones(20), lambda _: False)[0].any()


@pytest.mark.parametrize("low", [-1, -8])
def test_bands_take_the_steps_of_row_by_row(low: int) -> None:
    rng = np.random.default_rng(5)
    gram = gram_of(rng, 150)  # two bands and a part
    gram /= gram.diagonal().mean()
    diagonal = max_trace.max_trace_diagonal(gram)
    diagonal[3] = -0.1
    target = rng.uniform(low - 1.0, -low + 1.0, size=(7, 150))
    y, used = np.zeros_like(target), np.zeros(7, dtype=np.int64)
    descend(gram, diagonal[None], target, float(low), -low - 1.0, 25, 1e-9, y, used)
    banded = descend_bands(gram, diagonal, target, float(low), -low - 1.0, 25, 1e-9, np.zeros_like(target))
    problem = bounds.LeastSquares(gram, target, bounds.IntegerBox(low, -low - 1))
    one, other = (bounds.safe_value(problem, bounds.Certificate(diagonal, each)) for each in (y, banded))
    np.testing.assert_allclose(one, other, rtol=1e-6)
    start = bounds.safe_value(problem, bounds.Certificate(diagonal, np.zeros_like(target)))
    assert (one > start).all()


def test_bands_find_the_multipliers_of_the_box(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    gram, target = gram_of(rng, 150), 2.0 * rng.normal(size=(5, 150))
    target[2] = np.clip(target[2], -1.0, 1.0)  # nothing to do in this row
    slopes = np.zeros_like(target)
    for t, slope in zip(target, slopes, strict=True):
        box_descent(gram, t, -1.0, 1.0, slope)
    monkeypatch.setattr(box, "NARROW", 10)
    found = box.box_slopes(gram, target, -1.0, 1.0)
    np.testing.assert_allclose(found, slopes, atol=1e-5 * np.abs(slopes).max())
    assert np.count_nonzero(slopes) > 20
    assert not found[2].any()


@pytest.mark.parametrize("feasible", SETS, ids=str)
def test_wide_pruning_between_the_optimum_and_its_start(feasible: bounds.Feasible) -> None:
    rng = np.random.default_rng(7)
    problem = bounds.LeastSquares(gram_of(rng, 12), rng.normal(size=(30, 12)), feasible)
    proven = bounds.solve(problem, bounds.BranchAndBound())
    found = search(problem)
    assert feasible.contains(found).all()
    upper = problem.upper(found)
    assert (upper >= proven.lower).all()
    assert np.count_nonzero(upper <= proven.upper * (1 + 1e-6)) >= 27  # seeded; a broken search would miss many
    again = problem.upper(search(problem, rounds=0, start=proven.x))
    assert (again <= proven.upper * (1 + 1e-12)).all()
    np.testing.assert_array_equal(found, search(problem))


@pytest.mark.parametrize("feasible", [bounds.Sparse(30), bounds.NofM(2, 4)], ids=str)
def test_exchanges_among_some_columns_only_help(feasible: bounds.Feasible, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer columns in doubt than there are: the support changes there alone, and the error falls."""
    rng = np.random.default_rng(8)
    problem = bounds.LeastSquares(gram_of(rng, 80), rng.normal(size=(4, 80)), feasible)
    groups = wide_subsets.Groups.of(problem)
    shuffled = rng.random((4, groups.columns // groups.size, groups.size)).argsort(axis=2)
    first = (shuffled < groups.keep).reshape(4, -1)
    monkeypatch.setattr(wide_subsets, "supports", lambda *_: first)
    begin = np.array(
        [wide_subsets.fit(problem.gram.array, t, np.flatnonzero(s)) for t, s in zip(problem.target, first, strict=True)]
    )
    monkeypatch.setattr(wide_subsets, "IN_DOUBT", (24,))
    monkeypatch.setattr(wide_subsets, "FIRST", 1)
    one, more = search(problem, rounds=0), search(problem, rounds=4)
    assert (np.count_nonzero((one != 0) ^ first, axis=1) <= 24).all()
    errors = [problem.error(x) for x in (begin, one, more)]
    assert (errors[1] <= errors[0] * (1 + 1e-12)).all()
    assert (errors[2] <= errors[1] * (1 + 1e-12)).all()
    assert errors[2].sum() < 0.9 * errors[0].sum()


@pytest.mark.parametrize(("keep", "size"), [(7, 40), (1, 4), (20, 40)])
def test_splitting_keeps_the_right_count_and_beats_magnitude(keep: int, size: int) -> None:
    rng = np.random.default_rng(10)
    problem = bounds.LeastSquares(gram_of(rng, 40), rng.normal(size=(9, 40)), bounds.NofM(keep, size))
    gram = problem.gram
    root = np.sqrt(gram.array.diagonal())
    kept = supports(gram.eigenvalues, gram.eigenvectors, gram.live, problem.target * root, keep, size)
    assert (kept.reshape(9, -1, size).sum(axis=2) == keep).all()
    largest = problem.feasible.nearest(problem.target * root) != 0

    def error(masks: np.ndarray) -> float:
        pairs = zip(problem.target, masks, strict=True)
        points = np.array([wide_subsets.fit(gram.array, t, np.flatnonzero(m)) for t, m in pairs])
        return float(problem.error(points).sum())

    assert error(kept) < error(largest)


@pytest.mark.parametrize("feasible", [*SETS, bounds.Sparse(0), bounds.Sparse(12)], ids=str)
def test_wide_pruning_of_dead_dependent_and_tiny_inputs(feasible: bounds.Feasible) -> None:
    rng = np.random.default_rng(9)
    inputs = rng.normal(size=(8, 12))
    inputs[:, 4] = 0.0
    inputs[:, 7] = inputs[:, 2]
    inputs[:, 9] *= 1e-12
    problem = bounds.LeastSquares(inputs.T @ inputs / 8, rng.normal(size=(3, 12)), feasible)
    found = search(problem)
    assert feasible.contains(found).all()
    assert (problem.upper(found) <= problem.upper(feasible.nearest(problem.target)) * 1.5).all()
    inside = bounds.LeastSquares(problem.gram, feasible.nearest(problem.target), feasible)
    found = search(inside)
    live = ~problem.gram.dead
    np.testing.assert_allclose(found[:, live], inside.target[:, live], rtol=1e-12)


def test_a_schur_complement_that_rounding_made_indefinite_is_lifted() -> None:
    schur = np.array([[1.0, 1.0], [1.0, 1.0 - 1e-9]])
    lifted, solved = wide_subsets._solved(schur, np.ones(2), np.ones(2))
    assert np.linalg.eigvalsh(lifted)[0] > 0
    np.testing.assert_allclose(lifted, schur, atol=1e-7)
    np.testing.assert_allclose(lifted @ solved, np.ones(2), rtol=1e-6)
    assert np.isfinite(wide_subsets._solved(-schur, np.ones(2), np.ones(2))[1]).all()
