"""Bounds by intervals of one linear form: safe, exact, covering, and better on near-null directions."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bounds
from bounds import BlockDiagonal, CertificateError, IntervalCertificate, LeastSquares, MethodError, ProblemError, Sparse
from bounds.gram import Array

from .test_certificate import exact_optimum, random_gram

quick = settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def flat_problem(rng: np.random.Generator, n: int, rows: int, keep: int, curvature: float = 1e-4) -> LeastSquares:
    """A Gram matrix of moderate spectrum with one direction of almost no curvature."""
    gram = random_gram(rng, n, 6 * n)
    values, vectors = np.linalg.eigh(gram)
    values = np.maximum(values, 0.3 * values[-1])
    values[0] = curvature * values[-1]
    gram = (vectors * values) @ vectors.T
    return LeastSquares((gram + gram.T) / 2, rng.normal(size=(rows, n)), Sparse(keep))


def proposal(rng: np.random.Generator, problem: LeastSquares, size: float, own: bool = False) -> IntervalCertificate:
    """Any valid certificate: a random direction next to the null one, random edges, random y."""
    gram, n = problem.gram.array, problem.columns
    values, vectors = np.linalg.eigh(gram)
    v = vectors[:, 0] + 0.01 * rng.normal(size=n)
    lift = float(rng.uniform(0.1, 2) * values[-1])
    tail = 0.99 / float(v @ np.linalg.solve(gram, v))
    blocks = (np.arange(0, n, 2), np.arange(1, n, 2))
    floor = float(np.linalg.eigvalsh(gram + lift * np.outer(v, v))[0])
    matrices = [0.9 * floor * np.eye(block.size) for block in blocks]
    stacked = tuple(np.stack([d] * problem.rows) if own else d for d in matrices)
    reach = size * np.sqrt(values[-1] / tail)
    edges = tuple(
        np.sort(np.concatenate([[-reach, reach], rng.uniform(-reach, reach, 3)])) for _ in range(problem.rows)
    )
    centres = tuple((line[1:] + line[:-1]) / 2 + 0.1 * size * rng.normal(size=4) for line in edges)
    y = tuple(size * 0.3 * rng.normal(size=(4, n)) for _ in range(problem.rows))
    return IntervalCertificate(v, lift, tail, blocks, stacked, edges, centres, y)


@quick
@given(
    seed=st.integers(0, 10**6), n=st.integers(3, 5), keep=st.integers(0, 3), size=st.floats(0.01, 3), own=st.booleans()
)
def test_safe_value_below_exact_value_below_exact_optimum(seed: int, n: int, keep: int, size: float, own: bool) -> None:
    rng = np.random.default_rng(seed)
    problem = flat_problem(rng, n, 2, keep)
    claim = proposal(rng, problem, size, own)
    values, proven = bounds.safe_value(problem, claim), bounds.verify(problem, claim)
    for row, (value, exact) in enumerate(zip(values, proven, strict=True)):
        assert value <= exact <= exact_optimum(problem, row)
        assert float(exact) - value <= 1e-7 * (1 + abs(float(exact)))


def test_each_interval_bounds_the_points_inside_it() -> None:
    """Stronger than the minimum over intervals: every feasible point obeys the bound of its own interval."""
    rng = np.random.default_rng(1)
    problem = flat_problem(rng, 6, 1, 3)
    claim = proposal(rng, problem, 1.0)
    for _ in range(300):
        x = problem.feasible.nearest(3 * rng.normal(size=(1, 6)))
        s = float(claim.direction @ (x - problem.target)[0])
        error = float(problem.error(x)[0])
        low, high = claim.edges[0][:-1], claim.edges[0][1:]
        for cell in np.flatnonzero((low <= s) & (s <= high)):
            part = replace(
                claim,
                edges=(claim.edges[0][cell : cell + 2],),
                centres=(claim.centres[0][cell : cell + 1],),
                y=(claim.y[0][cell : cell + 1],),
            )
            value = bounds.interval_certificate.cell_values(problem, part, [0])[0]
            assert value <= error * (1 + 1e-9)
        assert claim.tail * s * s <= error * (1 + 1e-9)


def test_intervals_repair_what_a_near_null_direction_breaks() -> None:
    problem = flat_problem(np.random.default_rng(2), 16, 3, 5)
    upper = bounds.solve(problem, bounds.BranchAndBound()).upper
    diagonal = bounds.lower_bound(problem, bounds.DiagonalSplit()).value
    block = bounds.lower_bound(problem, bounds.BlockSplit(width=4)).value
    found = bounds.lower_bound(problem, bounds.IntervalSplit(width=4))
    own = bounds.lower_bound(problem, bounds.IntervalSplit(width=4, row_rounds=8))
    assert diagonal.sum() < block.sum() < found.value.sum() < own.value.sum()
    for bound in (found, own):
        assert np.all(bound.value <= upper)
        np.testing.assert_array_equal(bounds.safe_value(problem, bound.certificate), bound.value)
        for value, exact in zip(bound.value, bounds.verify(problem, bound.certificate), strict=True):
            assert Fraction(float(value)) <= exact


@pytest.mark.parametrize(("n", "keep"), [(6, 2), (7, 4), (5, 1)])
def test_the_method_stays_below_the_exact_optimum(n: int, keep: int) -> None:
    problem = flat_problem(np.random.default_rng(n), n, 3, keep, 1e-6)
    bound = bounds.lower_bound(problem, bounds.IntervalSplit(width=3, rounds=3))
    for row, exact in enumerate(bounds.verify(problem, bound.certificate)):
        assert 0 < Fraction(float(bound.value[row])) <= exact <= exact_optimum(problem, row)


def test_a_tuned_split_is_reused_and_rows_without_error_have_bound_zero() -> None:
    rng = np.random.default_rng(3)
    problem = flat_problem(rng, 8, 3, 3)
    target = problem.target.copy()
    target[1, 3:] = 0.0
    problem = LeastSquares(problem.gram, target, problem.feasible)
    method = bounds.IntervalSplit(width=4, rounds=3)
    split = method.tune(problem)
    assert isinstance(split, BlockDiagonal)
    bound = bounds.lower_bound(problem, replace(method, split=split))
    assert bound.value[1] == 0 == bounds.verify(problem, bound.certificate, rows=[1])[0]
    assert np.all(bound.value[[0, 2]] > 0)
    np.testing.assert_array_equal(bound.value, bounds.lower_bound(problem, method).value)


@pytest.mark.parametrize(
    ("correlation", "ratio", "target"),
    [(0.9997054588756169, 0.64, [-1.172862693535263, -0.38578836092830604]), (0.99, 5.0, [0.4, 1.3])],
)
def test_two_columns_of_codes_have_a_bound(correlation: float, ratio: float, target: list[float]) -> None:
    """Blocks of one column, far from independent: their weights take many sweeps to settle."""
    gram = np.array([[1.0, correlation * ratio], [correlation * ratio, ratio * ratio]])
    problem = LeastSquares(gram, [target], bounds.IntegerBox(-8, 7))
    bound = bounds.lower_bound(problem, bounds.IntervalSplit(width=1, rounds=3))
    proven = bounds.verify(problem, bound.certificate)[0]
    assert 0 < Fraction(float(bound.value[0])) <= proven <= exact_optimum(problem, 0)


def test_every_part_of_a_false_certificate_is_refused() -> None:
    rng = np.random.default_rng(4)
    problem = flat_problem(rng, 5, 2, 2)
    claim = proposal(rng, problem, 1.0)
    bounds.verify(problem, claim)
    gram = problem.gram.array
    steep = replace(claim, matrices=tuple(4 * d + np.eye(len(d)) for d in claim.matrices))
    below: Array = np.linalg.inv(gram - claim.tail * np.outer(claim.direction, claim.direction))
    higher = claim.tail + 1.01 / float(claim.direction @ below @ claim.direction)
    gap = claim.edges[0] + 2 * np.abs(claim.edges[0]).max()
    cases = [
        (steep, "lift·vvᵀ − D is not"),
        (replace(claim, lift=0.0), "lift·vvᵀ − D is not"),
        (replace(claim, tail=higher), "tail·vvᵀ is not"),
        (replace(claim, tail=-1.0), "must be finite and not negative"),
        (replace(claim, lift=np.nan), "must be finite and not negative"),
        (replace(claim, direction=claim.direction[:-1]), "5 finite numbers"),
        (replace(claim, edges=claim.edges[:1]), "2 rows have edges for 1"),
        (replace(claim, edges=(gap, claim.edges[1])), "row 0: edges must increase"),
        (replace(claim, edges=(claim.edges[0][::-1], claim.edges[1])), "row 0: edges must increase"),
        (replace(claim, edges=(claim.edges[0][:-1], claim.edges[1])), "row 0: edges of shape"),
        (replace(claim, centres=(claim.centres[0][1:], claim.centres[1])), "row 0: edges of shape"),
        (replace(claim, y=(claim.y[0] * np.inf, claim.y[1])), "row 0: edges, centres or y are not finite"),
    ]
    for false, match in cases:
        for judge in (bounds.verify, bounds.safe_value):
            with pytest.raises(CertificateError, match=match):
                judge(problem, false)


def test_the_tail_is_part_of_the_bound() -> None:
    """Without intervals far from zero the least value is that of the tail."""
    rng = np.random.default_rng(5)
    problem = flat_problem(rng, 5, 1, 2)
    claim = proposal(rng, problem, 1.0)
    near = replace(claim, edges=(1e-3 * claim.edges[0],), centres=(1e-3 * claim.centres[0],))
    reach = min(-near.edges[0][0], near.edges[0][-1])
    assert bounds.verify(problem, near)[0] <= Fraction(near.tail) * Fraction(float(reach)) ** 2
    nothing = replace(claim, edges=(np.zeros(1),), centres=(np.zeros(0),), y=(np.zeros((0, 5)),))
    assert bounds.verify(problem, nothing) == [0]
    assert bounds.safe_value(problem, nothing) == [0.0]


def test_refusals() -> None:
    rng = np.random.default_rng(6)
    gram = random_gram(rng, 4)
    with pytest.raises(MethodError, match="NofM"):
        bounds.lower_bound(LeastSquares(gram, np.ones(4), bounds.NofM(2, 4)), bounds.IntervalSplit())
    for bad in ({"width": 0}, {"lift": 0.0}, {"loss": 1.0}, {"intervals": 1}):
        with pytest.raises(ProblemError):
            bounds.IntervalSplit(**bad)


def test_every_row_is_judged_with_its_own_matrix() -> None:
    """A row without intervals before one with a single interval: each has a `D` of its own."""
    rng = np.random.default_rng(7)
    problem = flat_problem(rng, 5, 2, 2)
    claim = proposal(rng, problem, 1.0, own=True)
    steep = tuple(np.stack([1e3 * d[0], d[1]]) for d in claim.matrices)
    edges, nothing = claim.edges[1][1:3], np.zeros((0, 5))
    edges = np.array([min(edges[0], -1e-3), max(edges[1], 1e-3)])
    few = replace(
        claim, edges=(np.zeros(1), edges), centres=(np.zeros(0), claim.centres[1][:1]), y=(nothing, claim.y[1][:1])
    )
    first = bounds.interval_certificate.row_values(problem, replace(few, matrices=steep))
    np.testing.assert_array_equal(first, bounds.interval_certificate.row_values(problem, few))
