"""Points of all rows at once: feasible, reproducible, near the optimum, never worse than the start."""

from __future__ import annotations

import numpy as np
import pytest

import bounds
from bounds import (
    BatchSearch,
    BranchAndBound,
    Codebook,
    Feasible,
    IntegerBox,
    LeastSquares,
    LocalSearch,
    NofM,
    Sparse,
    SparseIntegerBox,
    Status,
)
from bounds.gram import Array

SETS = [IntegerBox(-2, 1), IntegerBox(-8, 7), Codebook([-1.5, -0.25, 0.5, 2]), Sparse(5), NofM(2, 4)]
every_set = pytest.mark.parametrize("feasible", SETS, ids=str)


def problem(feasible: Feasible, rows: int = 12, columns: int = 16, samples: int = 200) -> LeastSquares:
    rng = np.random.default_rng(11)
    inputs = rng.normal(size=(samples, columns)) @ (np.eye(columns) + 0.4 * rng.normal(size=(columns, columns)))
    return LeastSquares(inputs.T @ inputs / samples, 1.5 * rng.normal(size=(rows, columns)), feasible)


def decibels(other: Array, error: Array) -> float:
    return float(10 * np.log10(error.sum() / other.sum()))


@every_set
def test_points_are_feasible_and_near_the_optimum(feasible: Feasible) -> None:
    case = problem(feasible)
    found = bounds.solve(case, BatchSearch())
    optimum = bounds.solve(case, BranchAndBound())
    assert feasible.contains(found.x).all()
    assert (found.upper >= optimum.lower).all()
    assert (found.lower == 0).all()
    assert set(found.status) == {Status.UNPROVEN}
    assert decibels(optimum.upper, found.upper) < 4.0
    rounded = case.upper(feasible.nearest(case.target))
    assert decibels(found.upper, rounded) > 0.5


@every_set
def test_rows_do_not_depend_on_each_other(feasible: Feasible) -> None:
    case = problem(feasible)
    together = bounds.solve(case, BatchSearch())
    alone = bounds.solve(case.restrict(3), BatchSearch())
    np.testing.assert_allclose(alone.upper, together.upper[3:4], rtol=1e-9)


@every_set
def test_a_start_is_never_lost(feasible: Feasible) -> None:
    case = problem(feasible)
    best = bounds.solve(case, BranchAndBound())
    again = bounds.solve(case, BatchSearch(), start=best.x)
    assert (again.upper <= best.upper * (1 + 1e-12)).all()


@pytest.mark.parametrize("feasible", [IntegerBox(-8, 7), Sparse(40)], ids=str)
def test_local_search_is_not_far_ahead(feasible: Feasible) -> None:
    case = problem(feasible, columns=96, samples=300)
    gap = decibels(bounds.solve(case, LocalSearch(rounds=0)).upper, bounds.solve(case, BatchSearch()).upper)
    assert -0.5 < gap < 3.0


@every_set
@pytest.mark.parametrize("samples", [3, 16])
def test_singular_and_dead_inputs(feasible: Feasible, samples: int) -> None:
    rng = np.random.default_rng(12)
    inputs = rng.normal(size=(samples, 16)) * np.append(np.ones(14), [0.0, 1e-8])
    case = LeastSquares(inputs.T @ inputs / samples, rng.normal(size=(5, 16)), feasible)
    found = bounds.solve(case, BatchSearch())
    assert feasible.contains(found.x).all()
    assert (found.upper <= case.upper(feasible.nearest(case.target))).all()
    nothing = bounds.solve(LeastSquares(np.zeros((16, 16)), case.target, feasible), BatchSearch())
    assert (nothing.upper == 0).all()


@pytest.mark.parametrize(("keep", "columns"), [(0, 6), (6, 6), (1, 1)])
def test_keeping_nothing_or_everything(keep: int, columns: int) -> None:
    case = problem(Sparse(keep), columns=columns)
    found = bounds.solve(case, BatchSearch())
    assert (np.count_nonzero(found.x, axis=1) <= keep).all()
    if keep == columns:
        assert (found.upper <= 1e-20).all()


def test_other_sets_and_bad_stages_are_refused_by_name() -> None:
    with pytest.raises(bounds.MethodError, match=r"no moves for SparseIntegerBox; use BranchAndBound"):
        bounds.solve(problem(SparseIntegerBox(-1, 1, 3)), BatchSearch())
    with pytest.raises(bounds.ProblemError, match="stages = 0 is not a count"):
        BatchSearch(stages=0)
