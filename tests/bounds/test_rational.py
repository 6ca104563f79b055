"""Products of integers by digits, and the allowance for a target that is only known to its rounding."""

from fractions import Fraction

import numpy as np
import pytest

import bounds
from bounds.rational import product


@pytest.mark.parametrize("columns", [1, 2, 9, 300])
@pytest.mark.parametrize("bits", [1, 26, 27, 62, 64, 200])
def test_products_by_digits_are_exact(columns: int, bits: int) -> None:
    rng = np.random.default_rng(bits)
    sign = lambda *shape: rng.integers(0, 2, shape).astype(object) * 2 - 1  # noqa: E731
    left = sign(3, columns) * (2**bits - rng.integers(0, 2, (3, columns)).astype(object))
    right = sign(columns, 4) * (2**bits - rng.integers(0, 2, (columns, 4)).astype(object))
    slow = [[sum(a * b for a, b in zip(row, column, strict=True)) for column in right.T] for row in left]
    assert product(left, right).tolist() == slow


def test_products_of_zeros_and_of_mixed_sizes() -> None:
    left = np.array([[0, 1], [-(10**40), 3]], dtype=object)
    assert product(left, 0 * left).tolist() == [[0, 0], [0, 0]]
    assert product(left, left).tolist() == [[-(10**40), 3], [-3 * 10**40, 9 - 10**40]]


SPLITS = [
    bounds.DiagonalSplit(),
    bounds.BlockSplit(3, 2),
    bounds.BlockSplit(3, 2, row_rounds=2),
    bounds.IntervalSplit(width=3, rounds=2),
    bounds.DiagonalIntervals(loss=0.1),
]


@pytest.mark.parametrize("feasible", [bounds.IntegerBox(-2, 1), bounds.IntegerBox(-128, 127), bounds.Sparse(3)])
@pytest.mark.parametrize("relaxation", SPLITS, ids=repr)
def test_a_blurred_bound_holds_for_every_target_within(
    feasible: bounds.Feasible, relaxation: bounds.verbs.Relaxation
) -> None:
    """Against exact rationals, with a blur large enough to see."""
    rng = np.random.default_rng(4)
    inputs = rng.normal(size=(30, 8))
    inputs[:, 7] = inputs[:, :7].sum(axis=1) + 0.02 * inputs[:, 7]
    gram = inputs.T @ inputs / 30
    target = rng.normal(size=(6, 8)) * 2
    problem = bounds.LeastSquares(gram, target, feasible)
    certificate = bounds.lower_bound(problem, relaxation).certificate
    plain = bounds.safe_value(problem, certificate)
    proven = plain > 0  # intervals may prove nothing on a wide box
    assert proven.all() or isinstance(relaxation, bounds.IntervalSplit | bounds.DiagonalIntervals)
    for size in (1e-3, 2.0**-53):
        blur = size * np.abs(target)
        safe = bounds.safe_value(problem, certificate, blur)
        assert (safe[proven] < plain[proven]).all()
        assert size > 1e-9 or np.allclose(safe, plain, rtol=1e-9)
        for _ in range(2):
            moved = target + blur * rng.choice([-1.0, 1.0], target.shape) * (1 - 1e-6 * (size > 1e-9))
            exact = bounds.verify(bounds.LeastSquares(gram, moved, feasible), certificate)
            assert all(Fraction(float(s)) <= e for s, e in zip(safe, exact, strict=True))
    assert (bounds.safe_value(problem, certificate, 0 * target) <= plain).all()
    assert np.allclose(bounds.safe_value(problem, certificate, 0 * target), plain, rtol=1e-12)
