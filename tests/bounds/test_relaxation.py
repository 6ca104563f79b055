"""Every relaxation is below the optimum, in the order that theory gives them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bounds import (
    DiagonalSplit,
    Gram,
    IntegerBox,
    LeastSquares,
    MethodError,
    ProblemError,
    SemidefiniteDual,
    Sparse,
    Spectral,
    lower_bound,
    verify,
)
from bounds.certificate import certify
from bounds.gram import Array
from bounds.relaxation.diagonal import _frank_wolfe, improve, shared_diagonal
from bounds.relaxation.softened import ascend
from bounds.verbs import Relaxation

quick = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
INTEGER_METHODS: list[Relaxation] = [
    Spectral(),
    DiagonalSplit(rounds=0),
    DiagonalSplit(),
    SemidefiniteDual(box=False),
    SemidefiniteDual(improve=0),
    SemidefiniteDual(),
]
SPARSE_METHODS: list[Relaxation] = [Spectral(), DiagonalSplit(rounds=0), DiagonalSplit(), DiagonalSplit(50, 0.0)]


def random_gram(rng: np.random.Generator, n: int, samples: int | None = None) -> Array:
    inputs = rng.normal(size=(samples or 3 * n + 3, n)) @ (np.eye(n) + 0.5 * rng.normal(size=(n, n)) / np.sqrt(n))
    return np.asarray(inputs.T @ inputs / len(inputs))


def optimum(problem: LeastSquares) -> Array:
    """(rows,) upper ends of the optimal errors by trying every code, or every support."""
    feasible, gram, n = problem.feasible, problem.gram.array, problem.columns
    best = np.full(problem.rows, np.inf)
    if isinstance(feasible, IntegerBox):
        for point in itertools.product(range(feasible.low, feasible.high + 1), repeat=n):
            best = np.minimum(best, problem.upper(np.tile(np.array(point, dtype=float), (problem.rows, 1))))
        return best
    assert isinstance(feasible, Sparse)
    for support in itertools.combinations(range(n), feasible.keep):
        kept = np.isin(np.arange(n), support)
        x = np.zeros_like(problem.target)
        move = np.linalg.lstsq(gram[np.ix_(kept, kept)], gram[np.ix_(kept, ~kept)] @ problem.target[:, ~kept].T)[0]
        x[:, kept] = problem.target[:, kept] + move.T
        best = np.minimum(best, problem.upper(x))
    return best


@quick
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 5),
    low=st.integers(-3, 0),
    width=st.integers(0, 3),
    spread=st.sampled_from([1e-6, 0.1, 2.0, 1e4]),
)
def test_below_the_optimum_over_boxes(seed: int, n: int, low: int, width: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    problem = LeastSquares(random_gram(rng, n), spread * rng.normal(size=(3, n)), IntegerBox(low, low + width))
    best = optimum(problem)
    for method in INTEGER_METHODS:
        bound = lower_bound(problem, method)
        assert np.all((bound.value >= 0) & (bound.value <= best)), method
        exact = verify(problem, bound.certificate)
        assert all(float(value) <= proven for value, proven in zip(bound.value, exact, strict=True)), method


@quick
@given(seed=st.integers(0, 10**6), n=st.integers(2, 6), share=st.floats(0, 1))
def test_below_the_optimum_over_supports(seed: int, n: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    problem = LeastSquares(random_gram(rng, n), rng.normal(size=(3, n)), Sparse(round(share * n)))
    best = optimum(problem)
    for method in SPARSE_METHODS:
        bound = lower_bound(problem, method)
        assert np.all((bound.value >= 0) & (bound.value <= best)), method
        exact = verify(problem, bound.certificate)
        assert all(float(value) <= proven for value, proven in zip(bound.value, exact, strict=True)), method


@pytest.mark.parametrize("bits", [2, 3])
def test_the_hierarchy(bits: int) -> None:
    """λ_min ≤ paper's dual ≤ the same over the box ≤ y improved; and largest trace ≤ the same with y improved."""
    rng = np.random.default_rng(10 + bits)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    for _ in range(10):
        problem = LeastSquares(random_gram(rng, 4), high * rng.normal(size=(4, 4)), IntegerBox(low, high))
        paper, box, better, split, best_split = (
            lower_bound(problem, method).value
            for method in (
                SemidefiniteDual(box=False),
                SemidefiniteDual(improve=0),
                SemidefiniteDual(),
                DiagonalSplit(rounds=0),
                DiagonalSplit(),
            )
        )
        free = LeastSquares(problem.gram, problem.target, IntegerBox(-(2**31), 2**31))
        slack = 1 + 1e-5
        assert np.all(lower_bound(free, Spectral()).value <= paper * slack)
        assert np.all(paper <= box * slack)
        assert np.all(box <= better * slack)
        assert np.all(split <= best_split * slack)
        assert np.all(best_split <= optimum(problem))


def test_the_box_is_worth_a_lot_at_two_bits() -> None:
    rng = np.random.default_rng(11)
    problem = LeastSquares(random_gram(rng, 24, 200), 1.3 * rng.normal(size=(20, 24)), IntegerBox(-2, 1))
    paper = lower_bound(problem, SemidefiniteDual(box=False)).value
    assert np.all(lower_bound(problem, SemidefiniteDual()).value > 1.2 * paper)


@pytest.mark.parametrize("n", [4, 12, 24])
def test_native_equals_clarabel(n: int) -> None:
    pytest.importorskip("cvxpy")
    rng = np.random.default_rng(20 + n)
    problem = LeastSquares(random_gram(rng, n), 3 * rng.normal(size=(3, n)), IntegerBox(-4, 3))
    native = lower_bound(problem, SemidefiniteDual(box=False)).value
    reference = lower_bound(problem, SemidefiniteDual("cvxpy", box=False)).value
    np.testing.assert_allclose(native, reference, rtol=1e-6)


@pytest.mark.parametrize("distance", [0.0, 1e-12, 1e-8, 1e-5, 1e-3, 1e-2])
def test_targets_next_to_integers(distance: float) -> None:
    """The published code returned "lower bounds" above feasible values here; the error of rounding is one."""
    rng = np.random.default_rng(30)
    for n in (6, 24):
        codes = rng.integers(-3, 3, size=(20, n)).astype(float)
        problem = LeastSquares(random_gram(rng, n), codes + distance * rng.normal(size=(20, n)), IntegerBox(-4, 3))
        upper = problem.upper(codes)
        for method in INTEGER_METHODS:
            value = lower_bound(problem, method).value
            assert np.all((value >= 0) & (value <= upper)), method
        if distance == 1e-2:
            # rounding is optimal for most of these rows; the dual reaches 0.86 and 0.94 of it
            assert np.median(lower_bound(problem, SemidefiniteDual()).value / upper) > 0.8


def test_native_agrees_with_clarabel_next_to_integers() -> None:
    pytest.importorskip("cvxpy")
    rng = np.random.default_rng(31)
    target = rng.integers(-3, 3, size=(3, 8)) + 1e-2 * rng.normal(size=(3, 8))
    problem = LeastSquares(random_gram(rng, 8), target, IntegerBox(-4, 3))
    native = lower_bound(problem, SemidefiniteDual(box=False)).value
    reference = lower_bound(problem, SemidefiniteDual("cvxpy", box=False)).value
    np.testing.assert_allclose(native, reference, rtol=1e-4)
    assert np.all(reference <= problem.upper(np.rint(target)))


@pytest.mark.parametrize("power", [-660, -333, 333, 660])
def test_any_scale(power: int) -> None:
    """Powers of two change no bit of an integer bound, and of a sparse one none beyond the last few."""
    rng = np.random.default_rng(40)
    gram, target = random_gram(rng, 6), rng.normal(size=(3, 6))
    for method in INTEGER_METHODS:
        one = lower_bound(LeastSquares(gram, target, IntegerBox(-2, 1)), method).value
        other = lower_bound(LeastSquares(np.ldexp(gram, power), target, IntegerBox(-2, 1)), method).value
        np.testing.assert_allclose(np.ldexp(other, -power), one, rtol=1e-7)
    for method in SPARSE_METHODS:
        one = lower_bound(LeastSquares(gram, target, Sparse(2)), method).value
        other = lower_bound(LeastSquares(np.ldexp(gram, power), np.ldexp(target, -power // 2), Sparse(2)), method).value
        np.testing.assert_allclose(np.ldexp(other, -power - 2 * (-power // 2)), one, rtol=1e-7)


@quick
@given(seed=st.integers(0, 10**6), n=st.integers(2, 5), rank=st.integers(1, 4), dead=st.booleans())
def test_singular_grams(seed: int, n: int, rank: int, dead: bool) -> None:
    rng = np.random.default_rng(seed)
    gram = random_gram(rng, n, min(rank, n - 1))
    if dead:
        gram[0], gram[:, 0] = 0.0, 0.0
    problem = LeastSquares(gram, rng.normal(size=(2, n)), IntegerBox(-1, 1))
    best = optimum(problem)
    for method in INTEGER_METHODS[:3] + INTEGER_METHODS[4:]:
        bound = lower_bound(problem, method)
        # the stored doubles may be indefinite by a rounding error, and the bound says so
        assert np.all((bound.value >= -1e-9 * gram.max()) & (bound.value <= best)), method
        verify(problem, bound.certificate)
    if Gram(gram).singular:
        with pytest.raises(ProblemError, match="columns"):
            lower_bound(LeastSquares(gram, problem.target, Sparse(1)), DiagonalSplit())


def test_all_inputs_dead() -> None:
    for method in INTEGER_METHODS:
        problem = LeastSquares(np.zeros((3, 3)), np.full((2, 3), 0.4), IntegerBox(-1, 1))
        np.testing.assert_array_equal(lower_bound(problem, method).value, 0.0)


def test_asymmetric_boxes_far_from_the_target() -> None:
    rng = np.random.default_rng(50)
    problem = LeastSquares(random_gram(rng, 4), rng.normal(size=(4, 4)), IntegerBox(5, 7))
    best = optimum(problem)
    for method in INTEGER_METHODS:
        assert np.all(lower_bound(problem, method).value <= best)
    assert np.all(lower_bound(problem, SemidefiniteDual()).value > 0.5 * best)


def test_improved_y_is_nearly_the_best() -> None:
    """The bound is concave in y: no nearby y and no line search beats the one found."""
    rng = np.random.default_rng(60)
    for feasible, rounds, room in ((IntegerBox(-2, 1), 500, 1e-4), (Sparse(3), 3000, 1e-2)):
        problem = LeastSquares(random_gram(rng, 8), 1.5 * rng.normal(size=(3, 8)), feasible)
        diagonal = shared_diagonal(problem.gram, 0.5)

        def value(y: Array, problem: LeastSquares = problem, diagonal: Array = diagonal) -> Array:
            g = y @ problem.gram.array - diagonal * y
            return np.asarray(
                problem.feasible.separable_minimum(diagonal, g, problem.target)[0] - np.einsum("ri,ri->r", y, g)
            )

        found = improve(problem, diagonal, np.zeros_like(problem.target), rounds)
        for size in (1e-3, 1e-2, 0.1, 1.0):
            for _ in range(50):
                assert np.all(value(found + size * rng.normal(size=found.shape)) <= value(found) * (1 + room))


def test_same_input_same_bits() -> None:
    rng = np.random.default_rng(70)
    problem = LeastSquares(random_gram(rng, 12), rng.normal(size=(5, 12)), IntegerBox(-2, 1))
    for method in (SemidefiniteDual(), DiagonalSplit()):
        np.testing.assert_array_equal(lower_bound(problem, method).value, lower_bound(problem, method).value)
        alone = LeastSquares(problem.gram, problem.target[2], problem.feasible)
        np.testing.assert_allclose(lower_bound(problem, method).value[2], lower_bound(alone, method).value, rtol=1e-9)


def test_what_does_not_apply_is_refused_by_name() -> None:
    sparse = LeastSquares(np.eye(3), np.ones(3), Sparse(1))
    with pytest.raises(MethodError, match="use DiagonalSplit"):
        lower_bound(sparse, SemidefiniteDual())
    with pytest.raises(MethodError, match="box=False needs targets below"):
        lower_bound(LeastSquares(np.eye(1), [1e11], IntegerBox(0, 1)), SemidefiniteDual(box=False))
    for bad in (
        lambda: SemidefiniteDual("mosek"),  # type: ignore[arg-type]
        lambda: SemidefiniteDual(improve=-1),
        lambda: SemidefiniteDual(tol=0.0),
        lambda: DiagonalSplit(rounds=-1),
        lambda: DiagonalSplit(floor=1.0),
    ):
        with pytest.raises(ProblemError):
            bad()


@pytest.mark.parametrize("keep", [1, 12, 60])
def test_softened_ascent_beats_frank_wolfe_on_wide_problems(keep: int) -> None:
    rng = np.random.default_rng(keep)
    inputs = rng.normal(size=(160, 96)) @ (np.eye(96) + 0.1 * rng.normal(size=(96, 96)))
    problem = LeastSquares(inputs.T @ inputs / 160, rng.normal(size=(3, 96)), Sparse(keep))
    d = shared_diagonal(problem.gram, 0.5)
    found = certify(problem, d, ascend(problem.gram.array, d, problem.target, keep, np.zeros((3, 96)), 60))
    walked = certify(problem, d, _frank_wolfe(problem, d, np.zeros((3, 96)), 300))
    assert np.all(found.value >= walked.value)
    point = problem.feasible.nearest(problem.target)
    assert np.all(found.value <= problem.upper(point))
    again = lower_bound(problem, DiagonalSplit(rounds=60))
    np.testing.assert_array_equal(again.value, found.value)


def test_softened_ascent_never_loses_its_start_and_scales_exactly() -> None:
    rng = np.random.default_rng(8)
    gram, target = random_gram(rng, 70), rng.normal(size=(2, 70))
    d = shared_diagonal(Gram(gram), 0.5)
    good = ascend(gram, d, target, 9, np.zeros_like(target), 60)
    problem = LeastSquares(gram, target, Sparse(9))
    value = certify(problem, d, good).value
    assert np.all(certify(problem, d, ascend(gram, d, target, 9, good, 0)).value == value)
    large = ascend(np.ldexp(gram, 333), np.ldexp(d, 333), np.ldexp(target, -400), 9, np.zeros_like(target), 60)
    np.testing.assert_array_equal(np.ldexp(large, 400), good)


def test_dead_columns_change_no_wide_bound() -> None:
    rng = np.random.default_rng(9)
    gram, target = random_gram(rng, 70), rng.normal(size=(2, 72))
    padded = np.zeros((72, 72))
    live = np.setdiff1d(np.arange(72), [3, 40])
    padded[np.ix_(live, live)] = gram
    plain = lower_bound(LeastSquares(gram, target[:, live], Sparse(9)), DiagonalSplit(rounds=60)).value
    np.testing.assert_allclose(
        lower_bound(LeastSquares(padded, target, Sparse(9)), DiagonalSplit(rounds=60)).value, plain, rtol=1e-9
    )
