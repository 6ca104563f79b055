"""The slow twin against exact rational brute force."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from bounds import IntegerBox, LeastSquares, MethodError, Sparse
from bounds.exact.exhaustive import Exhaustive


def exact_error(gram, target, x):
    step = [Fraction(float(a)) - Fraction(float(b)) for a, b in zip(x, target, strict=True)]
    return sum(Fraction(float(gram[i, j])) * step[i] * step[j] for i in range(len(step)) for j in range(len(step)))


def random_gram(rng, columns, samples=None):
    inputs = rng.standard_normal((samples or columns + 4, columns)) @ rng.standard_normal((columns, columns))
    return inputs.T @ inputs / len(inputs)


def solve_fractions(matrix, right):
    """Gaussian elimination over the rationals."""
    rows = [[*row, r] for row, r in zip(matrix, right, strict=True)]
    for p in range(len(rows)):
        pivot = next(i for i in range(p, len(rows)) if rows[i][p] != 0)
        rows[p], rows[pivot] = rows[pivot], rows[p]
        rows[p] = [v / rows[p][p] for v in rows[p]]
        for i in range(len(rows)):
            if i != p:
                rows[i] = [a - rows[i][p] * b for a, b in zip(rows[i], rows[p], strict=True)]
    return [row[-1] for row in rows]


@pytest.mark.parametrize("box", [(-2, 1), (-1, 1), (0, 3)])
def test_integer_box_equals_rational_brute_force(box):
    rng = np.random.default_rng(1)
    gram, target = random_gram(rng, 3), rng.normal(0, 2, (4, 3))
    problem = LeastSquares(gram, target, IntegerBox(*box))
    solution = Exhaustive().solve(problem)
    assert solution.closed.all()
    for row in range(4):
        optimum = min(
            exact_error(problem.gram.array, target[row], x)
            for x in itertools.product(range(box[0], box[1] + 1), repeat=3)
        )
        assert solution.lower[row] <= optimum <= solution.upper[row]
        assert exact_error(problem.gram.array, target[row], solution.x[row]) == optimum


@pytest.mark.parametrize("keep", [0, 1, 2, 4])
def test_sparse_equals_rational_brute_force(keep):
    rng = np.random.default_rng(2)
    gram, target = random_gram(rng, 4), rng.normal(0, 2, (3, 4))
    problem = LeastSquares(gram, target, Sparse(keep))
    solution = Exhaustive().solve(problem)
    exact = [[Fraction(float(v)) for v in row] for row in problem.gram.array]
    for row in range(3):
        t = [Fraction(float(v)) for v in target[row]]
        optimum = None
        for support in itertools.combinations(range(4), keep):
            right = [sum(exact[i][j] * t[j] for j in range(4)) for i in support]
            weight = solve_fractions([[exact[i][j] for j in support] for i in support], right) if keep else []
            step = [-v for v in t]
            for i, v in zip(support, weight, strict=True):
                step[i] += v
            error = sum(exact[i][j] * step[i] * step[j] for i in range(4) for j in range(4))
            optimum = error if optimum is None else min(optimum, error)
        assert solution.lower[row] <= optimum <= solution.upper[row]
        assert solution.upper[row] - solution.lower[row] <= 1e-9 * (1 + float(optimum))


def test_singular_gram_is_welcome():
    rng = np.random.default_rng(3)
    inputs = rng.standard_normal((9, 4))
    inputs[:, 3] = inputs[:, 1]
    gram, target = inputs.T @ inputs / 9, rng.normal(0, 1, (2, 4))
    box = Exhaustive().solve(LeastSquares(gram, target, IntegerBox(-2, 1)))
    assert box.closed.all()
    pruned = Exhaustive().solve(LeastSquares(gram, target, Sparse(2)))
    merged = target[:, :3] + np.array([0, 1, 0]) * target[:, 3:]
    without = Exhaustive().solve(LeastSquares(gram[:3, :3], merged, Sparse(2)))
    assert pruned.closed.all()
    np.testing.assert_allclose(pruned.upper, without.upper, rtol=1e-9)


def test_one_member():
    solution = Exhaustive(limit=1).solve(LeastSquares(np.eye(3), np.full((2, 3), 0.25), IntegerBox(1, 1)))
    np.testing.assert_array_equal(solution.x, np.ones((2, 3)))
    assert solution.closed.all()


def test_refuses_large_sets_by_name():
    problem = LeastSquares(np.eye(8), np.zeros(8), IntegerBox(-8, 7))
    with pytest.raises(MethodError, match=r"4294967296 members .* limit = 4194304: use BranchAndBound"):
        Exhaustive().solve(problem)
    with pytest.raises(MethodError, match="70 members"):
        Exhaustive(limit=69).solve(LeastSquares(np.eye(8), np.zeros(8), Sparse(4)))
