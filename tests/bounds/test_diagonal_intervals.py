"""Intervals with one diagonal for all rows: safe, better than a diagonal alone, and the same row by row."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import bounds
from bounds import (
    BlockDiagonal,
    BlockSparse,
    Codebook,
    DiagonalIntervals,
    Feasible,
    IntegerBox,
    LeastSquares,
    MethodError,
    NofM,
    ProblemError,
    Sparse,
)
from bounds.relaxation import diagonal_interval

from .test_certificate import exact_optimum
from .test_interval_certificate import flat_problem

SETS = [
    (Sparse(2), 6),
    (Sparse(0), 5),
    (NofM(2, 4), 8),
    (BlockSparse(2, 1), 6),
    (IntegerBox(-2, 1), 5),
    (Codebook((-1.0, -0.25, 0.0, 0.5, 2.0)), 5),
]


@pytest.mark.parametrize(("feasible", "n"), SETS, ids=lambda one: repr(one))
def test_every_set_is_bounded_safely(feasible: Feasible, n: int) -> None:
    """Against the search of another module, which ends in proof, and the rational value of the certificate."""
    problem = flat_problem(np.random.default_rng(n), n, 4, 1, 1e-3)
    problem = LeastSquares(problem.gram, problem.target, feasible)
    bound = bounds.lower_bound(problem, DiagonalIntervals(loss=0.1))
    optimum = bounds.solve(problem, bounds.Exhaustive()).upper
    assert np.all(bound.value <= optimum)
    assert np.all(bound.value > 0) or isinstance(feasible, IntegerBox | Codebook)
    np.testing.assert_array_equal(bounds.safe_value(problem, bound.certificate), bound.value)
    for row, exact in enumerate(bounds.verify(problem, bound.certificate)):
        assert Fraction(float(bound.value[row])) <= exact
        assert float(exact) - bound.value[row] <= 1e-9 * optimum[row]
        if isinstance(feasible, IntegerBox | Sparse):
            assert exact <= exact_optimum(problem, row)


@pytest.mark.parametrize("feasible", [Sparse(12), NofM(1, 4)])
def test_a_near_null_direction_is_repaired(feasible: Feasible) -> None:
    problem = flat_problem(np.random.default_rng(1), 80, 6, 1, 1e-6)
    problem = LeastSquares(problem.gram, problem.target, feasible)
    diagonal = bounds.lower_bound(problem, bounds.DiagonalSplit(60)).value
    found = bounds.lower_bound(problem, DiagonalIntervals())
    upper = problem.upper(feasible.nearest(problem.target))
    assert np.all(found.value < upper)
    assert np.all(found.value > 30 * diagonal)


def test_rows_do_not_depend_on_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = flat_problem(np.random.default_rng(2), 70, 7, 9)
    method = DiagonalIntervals().settled(problem)
    together = bounds.lower_bound(problem, method).value
    for row in range(problem.rows):
        np.testing.assert_allclose(bounds.lower_bound(problem.restrict(row), method).value, together[row], rtol=1e-5)
    monkeypatch.setattr(diagonal_interval, "BATCH", 4 * 70 * 2)
    monkeypatch.setattr("bounds.interval_certificate.SLICE", 70 * 30)
    np.testing.assert_allclose(bounds.lower_bound(problem, method).value, together, rtol=1e-5)


def test_dead_inputs_and_rows_without_error() -> None:
    problem = flat_problem(np.random.default_rng(3), 10, 3, 4)
    gram = np.zeros((12, 12))
    live = np.array([0, 1, 2, 4, 5, 6, 7, 8, 10, 11])
    gram[np.ix_(live, live)] = problem.gram.array
    target = np.ones((3, 12))
    target[:, live] = problem.target
    target[1, live[4:]] = 0.0
    target[1, [3, 9]] = 0.0
    padded = LeastSquares(gram, target, Sparse(4))
    bound = bounds.lower_bound(padded, DiagonalIntervals())
    assert bound.value[1] == 0 == bounds.verify(padded, bound.certificate, rows=[1])[0]
    plain = bounds.lower_bound(problem, DiagonalIntervals()).value
    np.testing.assert_allclose(bound.value[[0, 2]], plain[[0, 2]], rtol=0.05)
    everything = LeastSquares(gram, target, Sparse(12))
    np.testing.assert_array_equal(bounds.lower_bound(everything, DiagonalIntervals()).value, 0.0)


def test_refusals() -> None:
    problem = flat_problem(np.random.default_rng(4), 6, 1, 2)
    wide = BlockDiagonal((np.arange(6),), (1e-6 * np.eye(6),))
    with pytest.raises(MethodError, match="blocks of one column"):
        bounds.lower_bound(problem, replace(DiagonalIntervals(), split=wide))
    for bad in ({"rounds": 0}, {"more": 0}, {"tune": -1}, {"lift": 0.0}, {"loss": 1.0}, {"intervals": 1}):
        with pytest.raises(ProblemError):
            DiagonalIntervals(**bad)
    twins = LeastSquares(np.ones((2, 2)), np.ones(2), Sparse(1))
    with pytest.raises(ProblemError, match=r"columns \[0, 1\]"):
        bounds.lower_bound(twins, DiagonalIntervals())
