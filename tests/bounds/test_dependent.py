"""Singular Grams against brute force on the input vectors themselves, which know the exact rank."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bounds
from bounds import (
    BlockSparse,
    BranchAndBound,
    Codebook,
    Feasible,
    Gram,
    IntegerBox,
    LeastSquares,
    NofM,
    Sparse,
    SparseIntegerBox,
    Status,
)
from bounds.exact import dependent
from bounds.gram import Array

COLUMNS = 6
SETS = [IntegerBox(-2, 1), Codebook([-1.5, -0.25, 0.5, 2]), SparseIntegerBox(-2, 1, 3)]
FREE = [Sparse(2), Sparse(4), NofM(1, 2), BlockSparse(1, 3)]


def few(rng: np.random.Generator) -> Array:
    """Four input vectors for six columns: the general position."""
    return rng.normal(size=(4, COLUMNS))


def twins(rng: np.random.Generator) -> Array:
    """Two pairs of proportional inputs and a dead one."""
    inputs = rng.normal(size=(40, COLUMNS))
    inputs[:, 1], inputs[:, 4], inputs[:, 2] = inputs[:, 0], -3 * inputs[:, 3], 0.0
    return inputs


def sums(rng: np.random.Generator) -> Array:
    """One input is the sum of three others, in units that differ by a million."""
    inputs = rng.normal(size=(40, COLUMNS))
    inputs[:, 5] = inputs[:, 0] + inputs[:, 2] - 2 * inputs[:, 3]
    return np.asarray(inputs * 10.0 ** np.arange(-3, 3))


def equal(rng: np.random.Generator) -> Array:
    """All inputs are the same: rank one."""
    return np.repeat(rng.normal(size=(9, 1)), COLUMNS, axis=1)


MAKERS = [few, twins, sums, equal]
every_rank = pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)


def best_supported(inputs: Array, target: Array, feasible: Feasible) -> float:
    """The least error over all supports of a set of free weights, by least squares on the inputs."""
    best = np.inf
    output = inputs @ target
    for pattern in itertools.product([0.0, 1.0], repeat=COLUMNS):
        mask = np.array(pattern)
        if feasible.contains(mask[None])[0]:
            kept = inputs[:, mask > 0]
            scale = np.linalg.norm(kept, axis=0)
            kept = kept / np.where(scale > 0, scale, 1.0)
            weight = np.linalg.lstsq(kept, output, rcond=1e-10)[0] if kept.size else np.zeros(0)
            best = min(best, float(((output - kept @ weight) ** 2).sum()) / len(inputs))
    return best


@every_rank
@pytest.mark.parametrize("feasible", SETS, ids=str)
def test_bounded_sets_are_bracketed_closely(make: Callable[..., Array], feasible: Feasible) -> None:
    rng = np.random.default_rng(5)
    inputs = make(rng)
    target = 1.5 * rng.normal(size=(5, COLUMNS))
    problem = LeastSquares(inputs.T @ inputs / len(inputs), target, feasible)
    assert problem.gram.singular
    found = bounds.solve(problem, BranchAndBound())
    values = feasible.levels if isinstance(feasible, Codebook) else range(feasible.low, feasible.high + 1)  # type: ignore[attr-defined]
    points = np.array(list(itertools.product(values, repeat=COLUMNS)), dtype=float)
    points = points[feasible.contains(points)]
    for row in range(5):
        error = (((points - target[row]) @ inputs.T) ** 2).sum(axis=1).min() / len(inputs)
        assert found.lower[row] <= error * (1 + 1e-9) + 1e-12
        assert found.upper[row] == pytest.approx(error, rel=1e-6, abs=1e-9)
        assert found.lower[row] >= error * (1 - 1e-3) - 1e-5 * np.square(inputs).sum() / len(inputs)


@every_rank
@pytest.mark.parametrize("feasible", FREE, ids=str)
def test_free_weights_are_bracketed_and_pruning_is_solved(make: Callable[..., Array], feasible: Feasible) -> None:
    rng = np.random.default_rng(6)
    inputs = make(rng)
    target = rng.normal(size=(5, COLUMNS))
    problem = LeastSquares(inputs.T @ inputs / len(inputs), target, feasible)
    found = bounds.solve(problem, BranchAndBound())
    for row in range(5):
        error = best_supported(inputs, target[row], feasible)
        scale = float(np.square(np.abs(inputs) @ np.abs(target[row])).mean())
        assert found.lower[row] <= error * (1 + 1e-9) + 1e-12 * scale
        assert found.upper[row] >= error * (1 - 1e-9) - 1e-12 * scale
        if isinstance(feasible, Sparse):
            assert found.upper[row] == pytest.approx(error, rel=1e-6, abs=1e-12 * scale)
            assert found.lower[row] == pytest.approx(error, rel=1e-5, abs=1e-9 * scale)


def test_duplicates_are_merged() -> None:
    """Pruning two equal inputs is pruning their sum."""
    rng = np.random.default_rng(7)
    inputs = rng.normal(size=(30, 9))
    wide = np.hstack([inputs, inputs[:, [2]]])
    target = rng.normal(size=(4, 10))
    merged = target[:, :9] + np.outer(target[:, 9], np.arange(9) == 2)
    found = bounds.solve(LeastSquares(wide.T @ wide / 30, target, Sparse(3)), BranchAndBound())
    alone = bounds.solve(LeastSquares(inputs.T @ inputs / 30, merged, Sparse(3)), BranchAndBound())
    assert found.closed.all()
    np.testing.assert_allclose(found.upper, alone.upper, rtol=1e-9)
    assert len(dependent.independent_sets(Gram(wide.T @ wide / 30)) or ()) == 1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 4))
def test_integer_inputs_of_any_rank(seed: int, rank: int, keep: int) -> None:
    """Small integers make circuits of every size, and the column sets found must hold a best support."""
    rng = np.random.default_rng(seed)
    inputs = (rng.integers(-2, 3, size=(9, rank)) @ rng.integers(-2, 3, size=(rank, COLUMNS))).astype(float)
    target = rng.normal(size=(2, COLUMNS))
    problem = LeastSquares(inputs.T @ inputs / 9, target, Sparse(keep))
    found = bounds.solve(problem, BranchAndBound())
    for row in range(2):
        error = best_supported(inputs, target[row], Sparse(keep))
        scale = float(np.square(np.abs(inputs) @ np.abs(target[row])).mean())
        assert found.lower[row] <= error * (1 + 1e-9) + 1e-12 * scale
        assert abs(found.upper[row] - error) <= 1e-8 * scale


def test_too_many_sets_leave_a_good_point_and_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(8)
    inputs = rng.normal(size=(12, 30))
    problem = LeastSquares(inputs.T @ inputs / 12, rng.normal(size=(3, 30)), Sparse(5))
    assert dependent.independent_sets(problem.gram) is None
    found = bounds.solve(problem, BranchAndBound())
    assert (found.lower == 0.0).all()
    assert (found.upper < 0.5 * problem.error(problem.feasible.nearest(problem.target))).all()
    assert (found.status == Status.DEPENDENT).all()
    again = bounds.solve(problem, BranchAndBound(), start=found.x)
    assert (again.upper <= found.upper).all()
    codes = LeastSquares(problem.gram, 2 * problem.target, IntegerBox(-8, 7))
    rounded = bounds.solve(codes, BranchAndBound())
    assert (rounded.lower >= 0.0).all()
    assert (rounded.upper < codes.upper(codes.feasible.nearest(codes.target))).all()
    assert (rounded.status == Status.DEPENDENT).all()
