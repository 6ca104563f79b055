"""The checker's integers against fractions, `bounds.verify` and the plain formula."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import bounds
from quanterr.proofs.exact_rows import achieved, dual_values, dyadic_rows, why_not_proven

SETS = [
    bounds.IntegerBox(-2, 1), bounds.IntegerBox(-8, 7), bounds.IntegerBox(0, 0), bounds.Sparse(0), bounds.Sparse(2),
    bounds.Sparse(7), bounds.NofM(2, 4), bounds.Codebook.nf4(), bounds.SparseIntegerBox(-2, 1, 3),
]  # fmt: skip


def fractions(array: Any) -> list[Fraction]:
    return [Fraction(float(v)) for v in array]


def test_doubles_become_integers_exactly() -> None:
    rng = np.random.default_rng(0)
    wild = np.ldexp(rng.normal(size=(6, 5)), rng.integers(-300, 300, (6, 5)))
    wild[0] = 0.0
    wild[1, :3] = [0.0, -0.0, 5e-324]
    wild[2] = [2.0**80, -(2.0**90), 3.0, 0.0, 1e300]
    for array in (wild, rng.normal(size=(2, 3)).astype(np.float32), np.arange(-4, 4, dtype=np.int8).reshape(2, 4)):
        whole, shifts = dyadic_rows(array)
        for row, integers, shift in zip(array, whole, shifts, strict=True):
            assert [Fraction(int(i), 1 << shift) for i in integers] == fractions(row)


@pytest.fixture
def data() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(20, 8))
    return inputs.T @ inputs / 20, rng.normal(size=(6, 8)) * 3


def test_achieved_is_the_quadratic_form(data: Any) -> None:
    gram, weight = data
    scale = np.random.default_rng(2).random(6) + 0.1
    codes = np.rint(weight / scale[:, None]).astype(np.int8)
    for factor, x in ((scale, codes), (None, codes * 0.37)):
        found = achieved(gram, weight, factor, x)
        for row in range(6):
            unit = Fraction(1) if factor is None else Fraction(float(factor[row]))
            step = [unit * a - b for a, b in zip(fractions(x[row]), fractions(weight[row]), strict=True)]
            metric = [fractions(line) for line in gram]
            assert found[row] == sum(step[i] * metric[i][j] * step[j] for i in range(8) for j in range(8))


@pytest.mark.parametrize("feasible", SETS, ids=repr)
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("per_row", [False, True])
def test_dual_values_are_those_of_verify(feasible: bounds.Feasible, scaled: bool, per_row: bool, data: Any) -> None:
    """With a power of two for a scale the quotients are exact, so both must agree; signs of D at random."""
    gram, weight = data
    rng = np.random.default_rng(3)
    scale = np.full(len(weight), 0.25) if scaled else None
    target = weight if scale is None else weight / scale[:, None]
    problem = bounds.LeastSquares(gram, target, feasible)
    best = bounds.lower_bound(problem, bounds.DiagonalSplit()).certificate
    negative = best.diagonal * rng.choice([1.0, 0.5, 0.0, -1.0], weight.shape)
    for diagonal in (best.diagonal, np.where(per_row, negative, best.diagonal)):
        found = dual_values(gram, diagonal, best.y, weight, scale, feasible)
        for row, value in enumerate(found):
            one = bounds.Certificate(diagonal if diagonal.ndim == 1 else diagonal[row : row + 1], best.y[row : row + 1])
            try:
                (exact,) = bounds.verify(problem.restrict(row), one)
            except bounds.CertificateError as error:
                assert "no finite minimum" in str(error)  # noqa: PT017
                assert value is None
                continue
            assert value is not None
            exact *= 1 if scale is None else Fraction(1, 16)
            assert 0 <= exact - value <= abs(exact) * Fraction(1, 10**40)
            assert not isinstance(feasible, bounds.IntegerBox) or value == exact


def test_semidefinite_or_not(data: Any) -> None:
    gram, _ = data
    smallest = float(np.linalg.eigvalsh(gram)[0])
    assert why_not_proven(gram, np.full(8, smallest * (1 - 1e-6))) == ""
    assert "fails" in why_not_proven(gram, np.full(8, smallest * (1 + 1e-6)))
    assert "not positive" in why_not_proven(gram, gram.diagonal() + 1e-300)
    assert why_not_proven(np.zeros((2, 2)), np.array([0.0, -1e-300])) == ""
