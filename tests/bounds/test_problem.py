"""The problem itself: what is accepted, what is refused, and that `upper` is never below the exact error."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import bounds
from bounds import (
    BoundsDisagree,
    CertificateError,
    Gram,
    IntegerBox,
    LeastSquares,
    MethodError,
    ProblemError,
    Sparse,
    Status,
)
from bounds.result import solution

exact = np.vectorize(Fraction, otypes=[object])


def random_gram(rng: np.random.Generator, columns: int, samples: int | None = None) -> np.ndarray:
    inputs = rng.normal(size=(samples or 3 * columns, columns)) * np.exp(rng.normal(size=columns))
    return inputs.T @ inputs / len(inputs)


@pytest.mark.parametrize(
    ("gram", "message"),
    [
        (np.ones(3), "square"),
        (np.ones((2, 3)), "square"),
        (np.ones((0, 0)), "not empty"),
        ([[1.0, np.nan], [0.0, 1.0]], r"holds nan at \(0, 1\)"),
        ([[np.inf, 0.0], [0.0, 1.0]], r"holds inf at \(0, 0\)"),
        ([[1.0, 0.5], [0.4, 1.0]], r"asymmetric: entries \(0, 1\) and \(1, 0\)"),
        ([[1.0, 2.0], [2.0, 1.0]], "indefinite: scaled to a unit diagonal its smallest eigenvalue is -1"),
        ([[-1.0, 0.0], [0.0, 1.0]], "indefinite: column 0 has diagonal -1"),
        ([[0.0, 0.5], [0.5, 1.0]], "indefinite: column 0 has diagonal 0 but a non-zero row"),
        (np.eye(2) * 1j, "no array of real numbers: its entries are complex"),
        ([["one", "two"], ["two", "one"]], "the Gram matrix is no array of real numbers: could not convert"),
        ([[1.0, 0.0], [0.0]], "the Gram matrix is no array of real numbers"),
    ],
)
def test_what_is_no_gram_matrix(gram: object, message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        Gram(gram)


def test_what_is_no_set_no_method_no_certificate_and_no_row() -> None:
    with pytest.raises(ProblemError, match="the target is no array of real numbers"):
        LeastSquares(np.eye(2), [1j, 2], Sparse(1))
    with pytest.raises(ProblemError, match="4 is no feasible set: pass one such as IntegerBox"):
        LeastSquares(np.eye(2), [1, 2], 4)  # type: ignore[arg-type]
    problem = LeastSquares(np.eye(2), [1, 2], Sparse(1))
    for method in (bounds.BranchAndBound(), bounds.DiagonalSplit):
        with pytest.raises(MethodError, match="is no relaxation: use a value such as DiagonalSplit"):
            bounds.lower_bound(problem, method)  # type: ignore[arg-type]
    for method in (bounds.DiagonalSplit(), bounds.BranchAndBound):
        with pytest.raises(MethodError, match="is no search: use a value such as BranchAndBound"):
            bounds.solve(problem, method)  # type: ignore[arg-type]
    found = bounds.lower_bound(problem, bounds.DiagonalSplit())
    with pytest.raises(CertificateError, match="3 is no certificate"):
        bounds.verify(problem, 3)  # type: ignore[arg-type]
    for row in (-1, 1):
        with pytest.raises(ProblemError, match=f"there is no row {row}: the problem has 1"):
            bounds.verify(problem, found.certificate, rows=[row])


def test_rounding_asymmetry_is_averaged() -> None:
    gram = random_gram(np.random.default_rng(0), 5)
    gram[0, 1] *= 1 + 1e-15
    assert np.array_equal(Gram(gram).array, Gram(gram).array.T)


def test_the_null_share_tells_who_depends_on_whom() -> None:
    rng = np.random.default_rng(3)
    inputs = rng.normal(size=(40, 6))
    inputs[:, 4], inputs[:, 2] = -3 * inputs[:, 1], 0.0
    half = np.sqrt(0.5)
    np.testing.assert_allclose(Gram(inputs.T @ inputs / 40).null_share, [0, half, 0, 0, half, 0], atol=1e-6)
    assert not Gram(np.eye(3)).null_share.any()
    few = rng.normal(size=(3, 6))
    share = Gram(few.T @ few / 3).null_share
    assert np.sum(share**2) == pytest.approx(3)
    assert share.min() > 0.1


def test_singular_grams_are_legal_and_named() -> None:
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(50, 6))
    inputs[:, 4] = inputs[:, 1]
    twins = Gram(inputs.T @ inputs / 50)
    assert twins.singular
    with pytest.raises(ProblemError, match=r"this needs a Gram matrix of full rank: columns \[1, 4\] are duplicates"):
        twins.require_definite("this")
    few = rng.normal(size=(4, 6))
    assert Gram(few.T @ few / 4).singular
    dead = Gram(np.diag([1.0, 0.0, 2.0]))
    assert not dead.singular
    assert dead.live.tolist() == [0, 2]
    with pytest.raises(ProblemError, match=r"inputs \[1\] are dead"):
        _ = dead.inverse


def test_factorisations_agree() -> None:
    gram = Gram(random_gram(np.random.default_rng(2), 8))
    np.testing.assert_allclose(gram.cholesky @ gram.cholesky.T, gram.array, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(gram.inverse @ gram.array, np.eye(8), atol=1e-10)


def test_scaling_columns_does_not_change_the_amplification() -> None:
    gram = random_gram(np.random.default_rng(3), 7)
    scale = 2.0 ** np.arange(-9, 12, 3)
    assert Gram(gram * scale * scale[:, None]).amplification == pytest.approx(Gram(gram).amplification, rel=1e-9)


@pytest.mark.parametrize(
    ("target", "feasible", "message"),
    [
        (np.ones((2, 4)), IntegerBox(-2, 1), r"shape \(2, 4\), but the Gram matrix has 3 columns"),
        (np.ones((2, 2, 3)), IntegerBox(-2, 1), "shape"),
        ([[1.0, np.nan, 0.0]], IntegerBox(-2, 1), "holds nan in row 0, column 1: repair or drop"),
        (np.ones((2, 3)), Sparse(4), "keep = 4 exceeds the 3 columns"),
    ],
)
def test_what_is_no_problem(target: object, feasible: bounds.Feasible, message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        LeastSquares(np.eye(3), target, feasible)


def test_what_is_no_set() -> None:
    for bad in (lambda: IntegerBox(2, 1), lambda: IntegerBox(0.5, 1), lambda: Sparse(-1), lambda: Sparse(1.5)):
        with pytest.raises(ProblemError):
            bad()


def test_upper_refuses_points_outside() -> None:
    problem = LeastSquares(np.eye(2), np.ones((3, 2)), IntegerBox(-2, 1))
    with pytest.raises(ProblemError, match="row 1 of the proposed solution is not in IntegerBox"):
        problem.upper(np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 0.0]]))


values = st.floats(-1e6, 1e6, allow_subnormal=False)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), arrays(float, (2, 5), elements=values), arrays(float, (2, 5), elements=values))
def test_upper_is_never_below_the_exact_error(seed: int, target: np.ndarray, x: np.ndarray) -> None:
    problem = LeastSquares(random_gram(np.random.default_rng(seed), 5), target, Sparse(5))
    step = exact(x) - exact(problem.target)
    truth = ((step @ exact(problem.gram.array)) * step).sum(axis=1)
    upper = problem.upper(x)
    assert all(Fraction(u) >= t for u, t in zip(upper, truth, strict=True))
    reference = np.abs(x - target)
    size = np.einsum("ri,ij,rj->r", reference, np.abs(problem.gram.array), reference)
    assert np.all(upper - truth.astype(float) <= 1e-14 * size + 1e-300)


def test_status_follows_the_gap_not_the_loop() -> None:
    x = np.zeros((4, 1))
    upper = np.array([1.0, 1.0, 1.0, 0.0])
    lower = np.array([1.0 - 1e-9, 0.5, 0.5, 0.0])
    stopped = np.array([Status.NODE_LIMIT, Status.NODE_LIMIT, Status.CLOSED, Status.TIME_LIMIT], dtype=object)
    judged = solution(x, upper, lower, stopped, {})
    assert judged.status.tolist() == [Status.CLOSED, Status.NODE_LIMIT, Status.ROUNDING, Status.CLOSED]
    assert all(status.advice for status in Status)


def test_a_rougher_gap_counts_as_closed_only_when_asked_for() -> None:
    x, upper, lower = np.zeros((1, 1)), np.array([1.0]), np.array([0.995])
    done = np.array([Status.CLOSED], dtype=object)
    assert solution(x, upper, lower, done, {}).status[0] is Status.ROUNDING
    assert solution(x, upper, lower, done, {}, gap_tol=0.01).status[0] is Status.CLOSED


def test_a_negative_gap_raises_with_both_numbers() -> None:
    with pytest.raises(BoundsDisagree, match=r"row 1: lower bound .*2\.0.* exceeds upper bound .*1\.0"):
        solution(np.zeros((2, 1)), np.array([1.0, 1.0]), np.array([1.0, 2.0]), np.array([Status.CLOSED] * 2), {})


@pytest.mark.parametrize("bad", [{"max_nodes": 0}, {"time_limit": 0}, {"gap_tol": 1.0}, {"time_limit": float("nan")}])
def test_budgets_are_checked(bad: dict[str, float]) -> None:
    with pytest.raises(ProblemError, match=next(iter(bad))):
        bounds.BranchAndBound(**bad)


def test_a_set_without_a_tree_is_refused_by_name() -> None:
    class Odd(Sparse):
        pass

    problem = LeastSquares(np.eye(2), np.ones((1, 2)), Odd(1))
    with pytest.raises(bounds.MethodError, match=r"no tree for Odd; use Exhaustive .* or DiagonalSplit"):
        bounds.solve(problem, bounds.BranchAndBound())
