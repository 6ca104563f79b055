"""Every format against brute force: one table of sets feeds the tests of sets, certificates and searches."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bounds
from bounds import (
    AnyScale,
    BlockSparse,
    BranchAndBound,
    Certificate,
    CertificateError,
    Codebook,
    DiagonalSplit,
    Exhaustive,
    Feasible,
    IntegerBox,
    LeastSquares,
    MethodError,
    NofM,
    ProblemError,
    Sparse,
    SparseIntegerBox,
    Spectral,
    Status,
    verify,
)
from bounds.gram import UNIT_ROUNDOFF, Array

COLUMNS = 4
Row = list[Fraction]


@dataclass(frozen=True)
class Format:
    """A set for `COLUMNS` columns, and what can be done with it."""

    feasible: Feasible
    levels: tuple[float, ...] = ()  # of each entry; empty for real weights
    exact: bool = True  # BranchAndBound has a tree

    def __str__(self) -> str:
        return str(self.feasible)


FORMATS = [
    Format(IntegerBox(-2, 1), (-2, -1, 0, 1)),
    Format(Codebook([-1.5, -0.25, 0.5, 2]), (-1.5, -0.25, 0.5, 2)),
    Format(Codebook.ternary(), (-1, 0, 1)),
    Format(Codebook([0.75]), (0.75,)),
    Format(Codebook([1, 2, 16]), (1, 2, 16)),
    Format(SparseIntegerBox(-2, 1, 2), (-2, -1, 0, 1)),
    Format(SparseIntegerBox(0, 2, 1), (0, 1, 2)),
    Format(SparseIntegerBox(-1, 1, 0), (-1, 0, 1)),
    Format(SparseIntegerBox(-1, 1, COLUMNS), (-1, 0, 1)),
    Format(Sparse(2)),
    Format(NofM(2, 4)),
    Format(NofM(1, 2)),
    Format(NofM(0, 2)),
    Format(NofM(2, 2)),
    Format(BlockSparse(1, 2)),
    Format(BlockSparse(3, 1)),
    Format(BlockSparse(0, 4)),
    Format(BlockSparse(1, 4)),
]
every_format = pytest.mark.parametrize("form", FORMATS, ids=str)
every_search = pytest.mark.parametrize("form", [f for f in FORMATS if f.exact], ids=str)
quick = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
quarters = st.integers(-24, 24).map(lambda k: Fraction(k, 4))
positive = st.integers(1, 16).map(lambda k: Fraction(k, 4))
exactly = np.vectorize(Fraction, otypes=[object])


def row(values: st.SearchStrategy[Fraction]) -> st.SearchStrategy[Row]:
    return st.lists(values, min_size=COLUMNS, max_size=COLUMNS)


def supports(feasible: Feasible) -> Iterator[tuple[int, ...]]:
    """Every maximal support, from the definition of the set."""
    for support in itertools.product([0, 1], repeat=COLUMNS):
        if feasible.contains(np.array([support], dtype=float))[0]:
            yield tuple(i for i in range(COLUMNS) if support[i])


def points(form: Format) -> Iterator[Row]:
    for point in itertools.product([Fraction(v) for v in form.levels], repeat=COLUMNS):
        if form.feasible.contains(np.array([point], dtype=float))[0]:
            yield list(point)


def solve_exactly(matrix: list[Row], right: Row) -> Row:
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


def quadratic(gram: list[Row], slope: Row, step: Row) -> Fraction:
    """`stepᵀ gram step + 2 slopeᵀ step`."""
    n = range(len(step))
    inner = sum((gram[i][j] * step[i] * step[j] for i in n for j in n), Fraction(0))
    return inner + 2 * sum((slope[i] * step[i] for i in n), Fraction(0))


def minimum(form: Format, gram: list[Row], slope: Row, target: Row) -> Fraction:
    """The least `uᵀ gram u + 2 slopeᵀ u`, `u = x − target`, in rational arithmetic, from the definition."""
    n = range(len(target))
    if form.levels:
        return min(quadratic(gram, slope, [x - t for x, t in zip(p, target, strict=True)]) for p in points(form))
    best = []
    for support in supports(form.feasible):
        off = [j for j in n if j not in support]
        block = [[gram[i][j] for j in support] for i in support]
        pull = [sum((gram[i][j] * target[j] for j in off), Fraction(0)) - slope[i] for i in support]
        step = [-t for t in target]
        for i, value in zip(support, solve_exactly(block, pull), strict=True):
            step[i] = value
        best.append(quadratic(gram, slope, step))
    return min(best)


def diagonal_matrix(d: Row) -> list[Row]:
    return [[d[i] if i == j else Fraction(0) for j in range(len(d))] for i in range(len(d))]


def optimum(form: Format, problem: LeastSquares, index: int = 0) -> Fraction:
    gram = [[Fraction(float(v)) for v in line] for line in problem.gram.array]
    target = [Fraction(float(v)) for v in problem.target[index]]
    return minimum(form, gram, [Fraction(0)] * len(target), target)


def random_gram(rng: np.random.Generator, n: int, spread: float = 0.6) -> Array:
    inputs = rng.normal(size=(4 * n, n)) @ (np.eye(n) + spread * rng.normal(size=(n, n)) / np.sqrt(n))
    return np.asarray(inputs.T @ inputs / (4 * n) + 0.3 * np.ones((n, n)))


@every_format
@quick
@given(d=row(positive), g=row(quarters), t=row(quarters))
def test_separable_minimum_is_exact(form: Format, d: Row, g: Row, t: Row) -> None:
    truth = minimum(form, diagonal_matrix(d), g, t)
    value, x = form.feasible.separable_minimum(exactly(d), exactly([g]), exactly([t]))
    assert value[0] == truth
    assert isinstance(value[0], Fraction | int)
    step = [Fraction(a) - b for a, b in zip(x[0], t, strict=True)]
    assert quadratic(diagonal_matrix(d), g, step) == truth
    value, x = form.feasible.separable_minimum(*[np.array(v, dtype=float) for v in (d, [g], [t])])
    assert value[0] == pytest.approx(float(truth), rel=1e-12, abs=1e-12)
    assert form.feasible.contains(x).all()


@pytest.mark.parametrize("form", [f for f in FORMATS if f.levels], ids=str)
@quick
@given(d=row(quarters), g=row(quarters), t=row(quarters))
def test_codes_allow_concave_columns(form: Format, d: Row, g: Row, t: Row) -> None:
    truth = minimum(form, diagonal_matrix(d), g, t)
    assert form.feasible.separable_minimum(exactly(d), exactly([g]), exactly([t]))[0][0] == truth


@every_format
@quick
@given(data=st.data())
def test_rounding_of_the_separable_minimum_stays_within_its_allowance(form: Format, data: st.DataObject) -> None:
    """The contract on which `safe_value` rests, with values that differ by many powers of ten."""
    wild = st.tuples(st.floats(-1, 1), st.integers(-30, 30)).map(lambda v: v[0] * 2.0 ** v[1])
    lists = st.lists(wild, min_size=COLUMNS, max_size=COLUMNS)
    d = np.abs(data.draw(lists)) + 2.0**-40
    g, t = np.array([data.draw(lists)]), np.array([data.draw(lists)])
    value, _ = form.feasible.separable_minimum(d, g, t)
    exact, x = form.feasible.separable_minimum(exactly(d), exactly(g), exactly(t))
    reach = form.feasible.reach(d, np.abs(g), t)
    step = np.array([[abs(float(a - b)) for a, b in zip(x[0], exactly(t)[0], strict=True)]])
    assert (step <= reach * (1 + 1e-9)).all()
    gamma = (COLUMNS + 16) * UNIT_ROUNDOFF
    allowance = 4 * gamma * float((np.abs(d) * reach**2 + 2 * np.abs(g) * reach).sum())
    assert abs(Fraction(float(value[0])) - exact[0]) <= Fraction(allowance)


@every_format
@quick
@given(data=st.data())
def test_reach_covers_every_smaller_slope(form: Format, data: st.DataObject) -> None:
    d = np.array(data.draw(row(positive)), dtype=float)
    t = np.array([data.draw(row(quarters))], dtype=float)
    g = np.array([data.draw(row(quarters))], dtype=float)
    share = np.array([data.draw(row(st.integers(-4, 4).map(lambda k: Fraction(k, 4))))], dtype=float)
    reach = form.feasible.reach(d, np.abs(g), t)
    x = form.feasible.separable_minimum(d, share * np.abs(g), t)[1]
    assert (np.abs(x - t) <= reach + 1e-12).all()


@every_format
def test_nearest_is_a_member_and_nearest(form: Format) -> None:
    targets = np.random.default_rng(0).normal(size=(20, COLUMNS)) * 2
    near = form.feasible.nearest(targets)
    assert form.feasible.contains(near).all()
    one = diagonal_matrix([Fraction(1)] * COLUMNS)
    for target, point in zip(targets, near, strict=True):
        best = minimum(form, one, [Fraction(0)] * COLUMNS, [Fraction(v) for v in target])
        assert ((point - target) ** 2).sum() == pytest.approx(float(best), rel=1e-12, abs=1e-12)


@every_format
def test_certificates_are_accepted_and_tampered_ones_are_not(form: Format) -> None:
    rng = np.random.default_rng(1)
    problem = LeastSquares(random_gram(rng, COLUMNS), 1.5 * rng.normal(size=(3, COLUMNS)), form.feasible)
    spectral = bounds.lower_bound(problem, Spectral())
    bound = bounds.lower_bound(problem, DiagonalSplit())
    assert bound.value.sum() >= spectral.value.sum() * (1 - 1e-6)
    for index, value in enumerate(verify(problem, bound.certificate)):
        assert bound.value[index] <= value <= optimum(form, problem, index)
    assert bound.value.sum() > 0 or form.feasible.contains(problem.target).all() or form.feasible == NofM(2, 2)
    room = np.diag(np.linalg.inv(problem.gram.array - np.diag(bound.certificate.diagonal * (1 - 1e-7))))
    for i in range(COLUMNS):
        diagonal = bound.certificate.diagonal.copy()
        diagonal[i] += 1.01 / room[i] + 1e-6 * diagonal[i]
        with pytest.raises(CertificateError, match="not positive semidefinite"):
            verify(problem, Certificate(diagonal, bound.certificate.y))
    moved = verify(problem, Certificate(bound.certificate.diagonal, bound.certificate.y + 0.3))
    assert all(value <= optimum(form, problem, index) for index, value in enumerate(moved))
    assert moved != verify(problem, bound.certificate)


@every_search
@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10**6),
    spread=st.sampled_from([0.0, 0.6, 3.0]),
    size=st.sampled_from([0.01, 1.0, 30.0]),
    power=st.sampled_from([-300, 0, 200]),
    gap_tol=st.sampled_from([0.0, 1e-9, 0.1]),
    limit=st.sampled_from([1, 2, 5, 10**9]),
)
def test_search_brackets_the_rational_optimum(
    form: Format, seed: int, spread: float, size: float, power: int, gap_tol: float, limit: int
) -> None:
    rng = np.random.default_rng(seed)
    gram = np.ldexp(random_gram(rng, COLUMNS, spread), power)
    problem = LeastSquares(gram, size * rng.normal(size=(2, COLUMNS)), form.feasible)
    found = bounds.solve(problem, BranchAndBound(max_nodes=limit, gap_tol=gap_tol))
    slow = Exhaustive().solve(problem)
    assert form.feasible.contains(found.x).all()
    for index in range(2):
        truth = optimum(form, problem, index)
        assert found.lower[index] <= truth <= found.upper[index]
        assert slow.lower[index] <= truth <= slow.upper[index]
        if limit == 10**9 and gap_tol < 0.1 and spread < 3:
            assert found.status[index] == Status.CLOSED
            # Where nothing is constrained the optimum is 0, and both sides are rounding of the energy.
            noise = 1e-24 * problem.error(np.zeros_like(problem.target))[index]
            assert found.upper[index] == pytest.approx(slow.upper[index], rel=1e-9, abs=noise)


@every_search
def test_dead_inputs_have_no_effect(form: Format) -> None:
    rng = np.random.default_rng(2)
    gram = random_gram(rng, COLUMNS)
    gram[1], gram[:, 1] = 0.0, 0.0
    problem = LeastSquares(gram, 2 * rng.normal(size=(5, COLUMNS)), form.feasible)
    found, slow = bounds.solve(problem, BranchAndBound()), Exhaustive().solve(problem)
    assert found.closed.all()
    np.testing.assert_allclose(found.upper, slow.upper, rtol=1e-9, atol=1e-14)
    nothing = bounds.solve(LeastSquares(np.zeros((COLUMNS, COLUMNS)), problem.target, form.feasible), BranchAndBound())
    assert nothing.closed.all()
    assert (nothing.upper == 0).all()


@every_search
def test_duplicate_columns_are_bracketed(form: Format) -> None:
    rng = np.random.default_rng(3)
    inputs = rng.normal(size=(30, COLUMNS))
    inputs[:, 3] = inputs[:, 0]
    problem = LeastSquares(inputs.T @ inputs / 30, rng.normal(size=(3, COLUMNS)), form.feasible)
    found, slow = bounds.solve(problem, BranchAndBound()), Exhaustive().solve(problem)
    assert (found.lower <= slow.upper).all()
    np.testing.assert_allclose(found.upper, slow.upper, rtol=1e-6, atol=1e-12)


@every_search
def test_starts_are_checked_and_used(form: Format) -> None:
    rng = np.random.default_rng(4)
    problem = LeastSquares(random_gram(rng, COLUMNS), 2 * rng.normal(size=(4, COLUMNS)), form.feasible)
    best = bounds.solve(problem, BranchAndBound())
    warm = bounds.solve(problem, BranchAndBound(max_nodes=1), start=best.x)
    np.testing.assert_allclose(warm.upper, best.upper, rtol=1e-9)
    with pytest.raises(ProblemError, match="shape"):
        bounds.solve(problem, BranchAndBound(), start=best.x[:2])
    wrong = np.full_like(best.x, 0.123)
    if not form.feasible.contains(wrong).all():
        with pytest.raises(ProblemError, match="row 0 of"):
            bounds.solve(problem, BranchAndBound(), start=wrong)


@pytest.mark.parametrize("size", [1e-3, 1e-9, 1e-13, 1e-15])
def test_targets_next_to_the_end_of_a_codebook_keep_a_safe_claim(size: float) -> None:
    """Multipliers of that size are rounded away in part: the claim must pay for it."""
    rng = np.random.default_rng(5)
    for form in (f for f in FORMATS if f.levels):
        gram = random_gram(rng, COLUMNS, 2.0)
        ends = np.array(form.feasible.separable_minimum(-np.ones(4), np.zeros((8, 4)), rng.normal(size=(8, 4)))[1])
        problem = LeastSquares(gram, ends + size * rng.normal(size=(8, COLUMNS)), form.feasible)
        found = bounds.solve(problem, BranchAndBound())
        for index in range(8):
            assert found.lower[index] <= optimum(form, problem, index) <= found.upper[index]
        assert size < 1e-6 or found.closed.all()


def test_tiny_targets_with_a_limit_on_non_zeros_are_closed() -> None:
    rng = np.random.default_rng(6)
    gram = random_gram(rng, COLUMNS)
    target = 1e-8 * rng.normal(size=(3, COLUMNS))
    found = bounds.solve(LeastSquares(gram, target, SparseIntegerBox(-2, 1, 2)), BranchAndBound())
    assert found.closed.all()
    assert (found.x == 0).all()


def test_contains() -> None:
    assert Codebook([-1, 0.5]).contains(np.array([[0.5, -1], [0.5, 0], [np.nan, -1]])).tolist() == [True, False, False]
    assert NofM(1, 2).contains(np.array([[1.0, 0, 0, 2], [1, 1, 0, 0]])).tolist() == [True, False]
    assert BlockSparse(1, 2).contains(np.array([[0, 0, 1.0, 2], [1, 0, 0, 1]])).tolist() == [True, False]
    sparse = SparseIntegerBox(-2, 1, 1)
    assert sparse.contains(np.array([[0.0, -2], [1, 1], [0, 2], [0, 0.5]])).tolist() == [True, False, False, False]


def test_level_tables() -> None:
    assert Codebook.fp4_e2m1().levels[7:] == (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
    for book, count, largest, least in (
        (Codebook.fp8_e4m3(), 253, 448.0, 2.0**-9),
        (Codebook.fp8_e5m2(), 247, 57344.0, 2.0**-16),
        (Codebook.fp4_e2m1(), 15, 6.0, 0.5),
        (Codebook.nf4(), 16, 1.0, 0.07958029955625534),
        (Codebook.ternary(), 3, 1.0, 1.0),
        (Codebook.powers_of_two(3), 7, 4.0, 1.0),
    ):
        assert len(book.levels) == count
        assert max(book.levels) == largest
        assert min(v for v in book.levels if v > 0) == least
        assert 0.0 in book.levels
        assert list(book.levels) == sorted(book.levels)


BAD = [
    (lambda: Codebook([]), "at least one finite"),
    (lambda: Codebook([1, np.inf]), "at least one finite"),
    (lambda: Codebook([1, 2, 1.0]), "holds 1.0 twice"),
    (lambda: Codebook([0.0, -0.0]), "twice"),
    (lambda: Codebook.powers_of_two(9), "2 to 8 bits"),
    (lambda: Codebook.floating_point(0, 3, 1), "no format"),
    (lambda: NofM(3, 2), "0 ≤ n ≤ m"),
    (lambda: NofM(1, 0), "m ≥ 1"),
    (lambda: NofM(1.5, 4), "counts of columns"),
    (lambda: BlockSparse(-1, 2), "count of blocks"),
    (lambda: BlockSparse(1, 0), "count of columns"),
    (lambda: SparseIntegerBox(1, 3, 1), "include 0"),
    (lambda: SparseIntegerBox(-1, 1, -1), "count of columns"),
    (lambda: SparseIntegerBox(2, 1, 0), "exceeds high"),
    (lambda: AnyScale(IntegerBox(0, 1), 2.0, 1.0), "smallest ≤ largest"),
    (lambda: AnyScale(Sparse(1), 1.0, 1.0), "not Sparse"),
    (lambda: AnyScale(IntegerBox(-(2**20), 2**20), 1.0, 1.0), "narrower"),
    (lambda: LeastSquares(np.eye(3), np.zeros(3), NofM(1, 2)), "groups of 2: pad"),
    (lambda: LeastSquares(np.eye(3), np.zeros(3), BlockSparse(1, 2)), "blocks of 2: pad"),
    (lambda: LeastSquares(np.eye(4), np.zeros(4), BlockSparse(3, 2)), "exceeds the 2 blocks"),
    (lambda: LeastSquares(np.eye(3), np.zeros(3), SparseIntegerBox(0, 1, 4)), "exceeds the 3 columns"),
]


@pytest.mark.parametrize(("build", "message"), BAD, ids=[m for _, m in BAD])
def test_bad_sets_are_refused_with_a_remedy(build, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ProblemError, match=message):
        build()


def test_sets_without_a_tree_are_refused_by_name() -> None:
    problem = LeastSquares(np.eye(2), np.ones(2), AnyScale(IntegerBox(0, 1), 0.5, 1.0))
    with pytest.raises(MethodError, match="no tree for AnyScale"):
        bounds.solve(problem, BranchAndBound())
    with pytest.raises(MethodError, match="no list of the members of AnyScale"):
        Exhaustive().solve(problem)
    huge = LeastSquares(np.eye(2), np.array([1e200, 0.0]), Codebook.ternary())
    with pytest.raises(ProblemError, match="overflows"):
        bounds.solve(huge, BranchAndBound())
