"""The certificate is safe in floats, exact in rationals, and refuses what is false."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bounds import (
    Certificate,
    CertificateError,
    IntegerBox,
    LeastSquares,
    ProblemError,
    Sparse,
    rational,
    safe_value,
    verify,
)
from bounds.certificate import certify
from bounds.feasible import Feasible
from bounds.gram import Array
from bounds.rational import dyadic, why_not_semidefinite
from bounds.relaxation.max_trace import max_trace_diagonal

quick = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def random_gram(rng: np.random.Generator, n: int, samples: int | None = None) -> Array:
    inputs = rng.normal(size=(samples or 3 * n + 3, n)) @ (np.eye(n) + 0.5 * rng.normal(size=(n, n)))
    return np.asarray(inputs.T @ inputs / len(inputs))


def exact_error(gram: Array, target: Array, x: list[Fraction]) -> Fraction:
    step = [value - Fraction(float(t)) for value, t in zip(x, target, strict=True)]
    n = len(step)
    return sum((step[i] * Fraction(float(gram[i, j])) * step[j] for i in range(n) for j in range(n)), Fraction(0))


def exact_solve(matrix: list[list[Fraction]], right: list[Fraction]) -> list[Fraction]:
    n = len(right)
    rows = [[*line, value] for line, value in zip(matrix, right, strict=True)]
    for k in range(n):
        for i in range(k + 1, n):
            share = rows[i][k] / rows[k][k]
            rows[i] = [a - share * b for a, b in zip(rows[i], rows[k], strict=True)]
    x = [Fraction(0)] * n
    for k in reversed(range(n)):
        x[k] = (rows[k][n] - sum(rows[k][j] * x[j] for j in range(k + 1, n))) / rows[k][k]
    return x


def exact_optimum(problem: LeastSquares, row: int) -> Fraction:
    """By trying every code, or every support, in rational arithmetic."""
    gram, target, n = problem.gram.array, problem.target[row], problem.columns
    if isinstance(problem.feasible, IntegerBox):
        codes = range(problem.feasible.low, problem.feasible.high + 1)
        points = itertools.product(codes, repeat=n)
        return min(exact_error(gram, target, [Fraction(v) for v in point]) for point in points)
    assert isinstance(problem.feasible, Sparse)
    best = []
    for support in itertools.combinations(range(n), problem.feasible.keep):
        pruned = [j for j in range(n) if j not in support]
        block = [[Fraction(float(gram[i, j])) for j in support] for i in support]
        pull = [
            sum((Fraction(float(gram[i, j])) * Fraction(float(target[j])) for j in pruned), Fraction(0))
            for i in support
        ]
        move = exact_solve(block, pull)
        x = [Fraction(0)] * n
        for i, value in zip(support, move, strict=True):
            x[i] = Fraction(float(target[i])) + value
        best.append(exact_error(gram, target, x))
    return min(best)


feasible_sets = st.one_of(
    st.builds(lambda low, width: IntegerBox(low, low + width), st.integers(-4, 1), st.integers(0, 3)),
    st.builds(Sparse, st.integers(0, 3)),
)


@quick
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(3, 4),
    feasible=feasible_sets,
    power=st.integers(-300, 300),
    factor=st.floats(0.0, 1.5),
)
def test_safe_value_below_exact_value_below_exact_optimum(
    seed: int, n: int, feasible: Feasible, power: int, factor: float
) -> None:
    rng = np.random.default_rng(seed)
    problem = LeastSquares(np.ldexp(random_gram(rng, n), power), 2 * rng.normal(size=(2, n)), feasible)
    diagonal = max_trace_diagonal(problem.gram.array) * rng.uniform(0.3, 1.0, size=(2, n))
    y = factor * rng.normal(size=(2, n))
    claim = Certificate(diagonal, y)
    values = safe_value(problem, claim)
    bound = certify(problem, diagonal, y)
    for row, (value, exact) in enumerate(zip(values, verify(problem, claim), strict=True)):
        optimum = exact_optimum(problem, row)
        assert value <= exact <= optimum
        assert float(bound.value[row]) >= max(value, 0.0)
    proven = verify(problem, bound.certificate)
    assert all(Fraction(float(value)) <= exact for value, exact in zip(bound.value, proven, strict=True))


@pytest.mark.parametrize("feasible", [IntegerBox(-2, 1), IntegerBox(-128, 127), Sparse(9), Sparse(36), Sparse(0)])
@pytest.mark.parametrize("shared", [True, False])
def test_little_is_lost_to_rounding(feasible: Feasible, shared: bool) -> None:
    rng = np.random.default_rng(1)
    n = 36
    gram = random_gram(rng, n, 300)
    target = rng.normal(size=(6, n)) * (feasible.high / 2 if isinstance(feasible, IntegerBox) else 1.0)
    problem = LeastSquares(gram, target, feasible)
    diagonal = 0.5 * np.linalg.eigvalsh(gram)[0] * np.ones(n)
    y = 0.3 * (feasible.nearest(target) - target)
    claim = Certificate(diagonal if shared else np.tile(diagonal, (6, 1)), y)
    values = safe_value(problem, claim)
    for value, exact in zip(values, verify(problem, claim), strict=True):
        assert value <= exact
        assert float(exact) - value <= 1e-9 * abs(float(exact))
    np.testing.assert_array_equal(values, safe_value(problem, Certificate(np.tile(diagonal, (6, 1)), y)))


def test_a_diagonal_beyond_the_slack_is_refused() -> None:
    rng = np.random.default_rng(2)
    gram = random_gram(rng, 12)
    problem = LeastSquares(gram, rng.normal(size=(3, 12)), IntegerBox(-2, 1))
    tight = np.tile(max_trace_diagonal(gram), (3, 1))
    y = np.zeros((3, 12))
    verify(problem, Certificate(tight, y))
    for excess in (1e-4, 1.0):
        false = tight.copy()
        false[1] += excess * gram.diagonal()
        with pytest.raises(CertificateError, match=r"row 1.*not positive semidefinite"):
            verify(problem, Certificate(false, y))
        with pytest.raises(CertificateError, match="row 1"):
            safe_value(problem, Certificate(false, y))
        assert len(verify(problem, Certificate(false, y), rows=[0, 2])) == 2
        bound = certify(problem, false, y)
        assert np.all(bound.certificate.diagonal[1] < false[1])
        verify(problem, bound.certificate)


def test_a_wrong_y_only_weakens() -> None:
    rng = np.random.default_rng(3)
    problem = LeastSquares(random_gram(rng, 5), rng.normal(size=(2, 5)), IntegerBox(-2, 1))
    bound = certify(problem, max_trace_diagonal(problem.gram.array), 1e6 * rng.normal(size=(2, 5)))
    assert np.all(bound.value >= 0)
    for row in range(2):
        assert Fraction(float(bound.value[row])) <= exact_optimum(problem, row)


@pytest.mark.parametrize(
    ("diagonal", "y", "match"),
    [
        (np.zeros(4), np.zeros((2, 3)), "a certificate for targets"),
        (np.zeros(3), np.zeros(3), "a certificate for targets"),
        (np.array([0.0, np.nan, 0.0]), np.zeros((2, 3)), "D is not finite"),
        (np.zeros(3), np.array([[0.0, 0, 0], [0, np.inf, 0]]), "y is not finite in row 1"),
    ],
)
def test_malformed_certificates(diagonal: Array, y: Array, match: str) -> None:
    problem = LeastSquares(np.eye(3), np.zeros((2, 3)), IntegerBox(0, 1))
    for judge in (verify, safe_value):
        with pytest.raises(CertificateError, match=match):
            judge(problem, Certificate(diagonal, y))
    with pytest.raises(CertificateError, match=match):
        certify(problem, diagonal, y)


def test_no_finite_minimum_is_an_error_and_not_a_number() -> None:
    problem = LeastSquares(np.eye(3), np.ones((1, 3)), Sparse(1))
    with pytest.raises(CertificateError, match="row 0: no finite minimum"):
        verify(problem, Certificate(np.array([-1.0, 0.5, 0.5]), np.zeros((1, 3))))


def test_an_exactly_singular_matrix_is_accepted_where_semidefinite() -> None:
    """`gram − D` of rank 1 with integer entries: only exact elimination can say so."""
    direction = np.array([1.0, 2.0, -3.0, 4.0])
    gram = np.outer(direction, direction) + np.diag([1.0, 2.0, 3.0, 4.0])
    problem = LeastSquares(gram, np.full((1, 4), 0.3), IntegerBox(-1, 1))
    exact = verify(problem, Certificate(np.array([1.0, 2.0, 3.0, 4.0]), np.zeros((1, 4))))[0]
    assert 0 < exact <= exact_optimum(problem, 0)
    with pytest.raises(CertificateError, match="row 0"):
        verify(problem, Certificate(np.array([1.0, 2.0, 3.0, np.nextafter(4.0, 5.0)]), np.zeros((1, 4))))


def test_singular_grams_have_a_bound_over_a_box_and_are_refused_by_name_without_one() -> None:
    rng = np.random.default_rng(4)
    for _ in range(5):
        gram = random_gram(rng, 5, 3)
        problem = LeastSquares(gram, rng.normal(size=(2, 5)), IntegerBox(-1, 1))
        bound = certify(problem, np.full(5, 0.1), np.zeros((2, 5)))
        for row, exact in enumerate(verify(problem, bound.certificate)):
            assert Fraction(float(bound.value[row])) <= exact <= exact_optimum(problem, row)
            assert bound.value[row] > -1e-10
    with pytest.raises(ProblemError, match="duplicates or linearly dependent"):
        certify(LeastSquares(gram, np.ones((1, 5)), Sparse(4)), np.full(5, 0.1), np.zeros((1, 5)))


def test_dead_inputs_cost_nothing() -> None:
    rng = np.random.default_rng(5)
    gram = np.zeros((5, 5))
    gram[np.ix_([0, 2, 4], [0, 2, 4])] = random_gram(rng, 3)
    for feasible in (IntegerBox(-2, 1), Sparse(2)):
        problem = LeastSquares(gram, rng.normal(size=(2, 5)), feasible)
        bound = certify(problem, max_trace_diagonal(gram) + 0.1 * (gram.diagonal() == 0), 0.1 * np.ones((2, 5)))
        assert np.all(bound.certificate.diagonal[[1, 3]] == 0)
        part = LeastSquares(gram[np.ix_([0, 2, 4], [0, 2, 4])], problem.target[:, [0, 2, 4]], feasible)
        for row, exact in enumerate(verify(problem, bound.certificate)):
            assert 0 <= Fraction(float(bound.value[row])) <= exact <= exact_optimum(part, row)


@quick
@given(
    entries=st.lists(st.integers(-3, 3), min_size=12, max_size=12), shift=st.integers(-2, 2), spread=st.integers(0, 80)
)
def test_integer_matrices_are_judged_like_their_spectrum(entries: list[int], shift: int, spread: int) -> None:
    """`A Aᵀ + shift·I` of rank at most 3, rows and columns scaled apart by powers of two."""
    factor = np.array(entries).reshape(4, 3)
    matrix = factor @ factor.T + shift * np.eye(4, dtype=int)
    scales = [1, 1 << spread, 1, 1 << (spread // 2)]
    scaled = [[int(matrix[i, j]) * scales[i] * scales[j] for j in range(4)] for i in range(4)]
    assert (why_not_semidefinite(scaled) == "") == bool(np.linalg.eigvalsh(matrix)[0] > -1e-9)


def test_dyadic_numbers_are_exact() -> None:
    values = [[0.1, -3.0, 0.0, 2.0**-1074], [1e300, 1.5, -0.0, 7e-9]]
    integers, shift = dyadic(values)
    for row, expected in zip(integers, values, strict=True):
        assert [Fraction(v, 1 << shift) for v in row] == [Fraction(v) for v in expected]


def test_the_exact_proof_does_not_rest_on_its_float_witness(monkeypatch: pytest.MonkeyPatch) -> None:
    """A witness that raises the diagonal completes on an indefinite matrix; the integers still say no."""
    matrix = [[1000, 1001], [1001, 1000]]
    monkeypatch.setattr(rational, "UNIT_ROUNDOFF", -1e-3)
    assert not rational._witnessed([[1000], [1001, 1000]])
    assert why_not_semidefinite(matrix) == "exact elimination fails at column 1"
    monkeypatch.undo()
    assert rational._witnessed([[1001], [1000, 1001]])


def test_cancellation_in_the_gradient_is_paid_for() -> None:
    """`gram·y` loses eight digits here; bounds without an allowance for it would be false about half the time."""
    rng = np.random.default_rng(6)
    n = 8
    gram = 1e8 * np.ones((n, n)) + np.eye(n)
    y = rng.normal(size=(200, n))
    y -= y.mean(axis=1, keepdims=True)
    for feasible in (IntegerBox(-9, 9), Sparse(3)):
        problem = LeastSquares(gram, 3 * rng.normal(size=(200, n)), feasible)
        claim = Certificate(np.full(n, 0.99), y)
        values = safe_value(problem, claim)
        for value, exact in zip(values, verify(problem, claim), strict=True):
            assert value <= exact <= value + 1e-4 * (1 + abs(value))
