"""Inputs that float64 cannot weigh against the others are searched as if dead, and cost what they may add."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

import bounds
from bounds import BranchAndBound, Codebook, Feasible, Gram, IntegerBox, LeastSquares, ProblemError, SparseIntegerBox
from bounds.exact import enumeration
from bounds.exact.faint import faint

exact = np.vectorize(Fraction, otypes=[object])


def faint_gram(seed: int = 0, columns: int = 5, size: float = 1e-26) -> np.ndarray:
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(40, columns)) @ (np.eye(columns) + 0.3 * rng.normal(size=(columns, columns)))
    inputs[:, 2] *= size
    return inputs.T @ inputs / 40


def exact_optimum(gram: np.ndarray, target: np.ndarray, points: np.ndarray) -> Fraction:
    """Of one row, over all points, in fractions."""
    step = exact(points) - exact(target)
    return min(d @ exact(gram) @ d for d in step)


@pytest.mark.parametrize("size", [1e-26, 1e-60, 1e-150])
@pytest.mark.parametrize("feasible", [IntegerBox(-2, 1), Codebook((-1.5, -0.5, 0.5, 1.5)), SparseIntegerBox(-2, 1, 2)])
def test_bounds_hold_around_the_exact_optimum(feasible: Feasible, size: float) -> None:
    gram = faint_gram(size=size)
    target = np.random.default_rng(1).normal(size=(6, 5)) * 1.3
    problem = LeastSquares(gram, target, feasible)
    assert faint(problem.gram).tolist() == [2]
    found = bounds.solve(problem, BranchAndBound())
    assert found.closed.all()
    levels = feasible.array if isinstance(feasible, Codebook) else np.arange(-2.0, 2.0)
    points = np.array(list(product(levels, repeat=5)))
    points = points[feasible.contains(points)]
    for row in range(6):
        best = exact_optimum(gram, target[row], points)
        assert Fraction(found.lower[row]) <= best <= Fraction(found.upper[row])


def test_what_a_faint_input_may_add_is_taken_off() -> None:
    """The best codes have no error but that of the faint input, and nothing is claimed above it."""
    gram = faint_gram(size=1e-25)
    target = np.array([[1.0, -2.0, 0.5, 0.0, 1.0]])
    found = bounds.solve(LeastSquares(gram, target, IntegerBox(-2, 1)), BranchAndBound())
    assert found.lower[0] == 0.0
    assert 0.0 < found.upper[0] < 1e-40


def test_the_enumeration_by_itself_refuses_them() -> None:
    with pytest.raises(ProblemError, match=r"cannot weigh columns \[2\] against the others"):
        enumeration.prepare(Gram(faint_gram()))
