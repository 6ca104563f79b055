"""Scales of groups, and answers that hold for every scale of an interval."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bounds
from bounds import (
    AnyScale,
    BranchAndBound,
    Codebook,
    Gram,
    IntegerBox,
    LeastSquares,
    ProblemError,
    SparseIntegerBox,
    Spectral,
    in_code_units,
    verify,
)
from bounds.gram import Array

CODES = [IntegerBox(-2, 1), Codebook.fp4_e2m1(), Codebook([1.0, 3.0])]


def instance(seed: int, n: int, rows: int = 3) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((5 * n, n)) @ (np.eye(n) + 0.3 * rng.standard_normal((n, n)))
    return np.asarray(inputs.T @ inputs / (5 * n)), rng.standard_normal((rows, n))


def test_code_units_keep_the_error() -> None:
    gram, weight = instance(1, 6)
    scales = np.array([0.3, 0.7, 1.1])
    scaled, target = in_code_units(gram, weight, scales)
    found = bounds.solve(LeastSquares(scaled, target, IntegerBox(-2, 1)), BranchAndBound())
    step = np.repeat(scales, 2)
    best = np.full(3, np.inf)
    for point in itertools.product(range(-2, 2), repeat=6):
        away = np.array(point) * step - weight
        best = np.minimum(best, np.einsum("ri,ij,rj->r", away, gram, away))
    np.testing.assert_allclose(found.upper, best, rtol=1e-10)
    away = found.x * step - weight
    np.testing.assert_allclose(np.einsum("ri,ij,rj->r", away, gram, away), best, rtol=1e-10)


def test_one_scale_is_a_factor_of_the_error() -> None:
    gram, weight = instance(2, 5)
    scaled = bounds.solve(LeastSquares(*in_code_units(gram, weight, 0.5), Codebook.nf4()), BranchAndBound())
    plain = bounds.solve(LeastSquares(gram, weight / 0.5, Codebook.nf4()), BranchAndBound())
    np.testing.assert_allclose(scaled.upper, 0.25 * plain.upper, rtol=1e-12)


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        ([1.0, 2.0, 3.0, 4.0], "for each of 6 columns"),
        ([1.0, 0.0], "scale 1 is not"),
        ([], "for each"),
        (-1.0, "scale 0"),
    ],
)
def test_bad_scales_are_refused(scales: object, message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        in_code_units(np.eye(6), np.zeros(6), scales)  # type: ignore[arg-type]


@pytest.mark.parametrize("codes", CODES, ids=repr)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_scale_holds_codes_at_every_scale(codes: IntegerBox | Codebook, data: st.DataObject) -> None:
    smallest = data.draw(st.floats(1e-3, 10))
    largest = smallest * data.draw(st.floats(1.0, 3.0))
    levels = [-2.0, -1.0, 0.0, 1.0] if isinstance(codes, IntegerBox) else list(codes.levels)
    scale = min(max(data.draw(st.floats(smallest, largest)), smallest), largest)
    point = np.array([data.draw(st.sampled_from(levels)) for _ in range(4)])
    relaxed = AnyScale(codes, smallest, largest)
    assert relaxed.contains(scale * point[None])[0]
    lows, highs = relaxed.intervals
    assert (lows <= highs).all()
    assert (highs[:-1] < lows[1:]).all()
    t = np.array([data.draw(st.lists(st.floats(-30, 30), min_size=4, max_size=4))])
    d = np.array(data.draw(st.lists(st.floats(0.01, 3), min_size=4, max_size=4)))
    g = np.array([data.draw(st.lists(st.floats(-5, 5), min_size=4, max_size=4))])
    value, x = relaxed.separable_minimum(d, g, t)
    for ends in (lows, highs):  # no end and no inner point is better
        grid = np.clip(t - g / d, lows[:, None], highs[:, None])
        for candidate in (grid, ends[:, None] + 0 * t):
            each = d * (candidate - t) ** 2 + 2 * g * (candidate - t)
            assert value[0] <= each.min(axis=0).sum() + 1e-9 * (1 + np.abs(each).sum())
    assert relaxed.contains(x)[0]


def test_any_scale_outside_its_intervals() -> None:
    relaxed = AnyScale(IntegerBox(0, 2), 1.0, 1.25)
    assert relaxed.contains(np.array([[0, 1.1], [0, 0.5], [-0.1, 0], [2.6, 0], [1.3, 0]])).tolist() == [
        True, False, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize("codes", CODES, ids=repr)
def test_bounds_hold_at_every_scale(codes: IntegerBox | Codebook) -> None:
    gram, weight = instance(3, 6)
    smallest, largest = 0.2, 1.4
    matrix = Gram(gram)
    sweep = np.full(3, np.inf)
    for scale in np.geomspace(smallest, largest, 300):
        found = bounds.solve(LeastSquares(matrix, weight / scale, codes), BranchAndBound())
        sweep = np.minimum(sweep, scale**2 * found.upper)
    coarse = bounds.scale_free_bound(matrix, weight, codes, smallest, largest, parts=4)
    fine = bounds.scale_free_bound(matrix, weight, codes, smallest, largest, parts=64)
    assert (fine.value >= coarse.value * 0.999).all()
    assert (fine.value <= sweep).all()
    for problem, bound in fine.parts[::16]:
        assert all(v >= b for v, b in zip(verify(problem, bound.certificate), bound.value, strict=True))
    weak = bounds.scale_free_bound(matrix, weight, codes, smallest, largest, Spectral(), parts=64)
    assert (weak.value.sum() <= fine.value.sum()).all()
    exact = bounds.solve_any_scale(matrix, weight, codes, smallest, largest, tolerance=0.02)
    assert (exact.lower <= sweep).all()
    assert (exact.upper <= sweep * (1 + 1e-9)).all()
    assert (exact.lower >= 0.979 * exact.upper).all()
    away = exact.scale[:, None] * exact.codes - weight
    np.testing.assert_allclose(np.einsum("ri,ij,rj->r", away, gram, away), exact.upper, rtol=1e-9)
    assert (exact.lower >= fine.value * 0.98).all()


def test_a_goal_ends_the_search_early() -> None:
    gram, weight = instance(4, 8)
    codes = SparseIntegerBox(-2, 1, 4)
    full = bounds.solve_any_scale(gram, weight, codes, 0.2, 1.5)
    early = bounds.solve_any_scale(gram, weight, codes, 0.2, 1.5, goal=0.5 * full.lower)
    assert (early.searches < full.searches).all()
    assert (early.lower >= 0.5 * full.lower).all()
    assert (early.lower <= full.upper).all()
    cut = bounds.solve_any_scale(gram, weight, codes, 0.2, 1.5, max_searches=5)
    assert (cut.lower <= full.upper).all()
    assert (cut.upper >= full.lower).all()
    assert (cut.searches <= 9).all()


def test_one_scale_alone_and_exact_codes() -> None:
    gram, weight = instance(5, 5)
    alone = bounds.solve_any_scale(gram, weight, IntegerBox(-2, 1), 0.6, 0.6)
    fixed = bounds.solve(LeastSquares(gram, weight / 0.6, IntegerBox(-2, 1)), BranchAndBound())
    np.testing.assert_allclose(alone.upper, 0.36 * fixed.upper, rtol=1e-9)
    assert (alone.lower >= 0.36 * fixed.lower * (1 - 1e-9)).all()
    exact = bounds.solve_any_scale(gram, 0.5 * np.array([[1.0, -2, 0, 1, -1]]), IntegerBox(-2, 1), 0.25, 1.0)
    assert exact.upper[0] <= 1e-26
    assert (exact.lower <= exact.upper).all()
    zero = bounds.solve_any_scale(gram, np.zeros((1, 5)), IntegerBox(1, 2), 0.25, 1.0)
    assert 0 < zero.lower[0] <= zero.upper[0]


def test_bad_intervals_are_refused() -> None:
    for call in (bounds.solve_any_scale, bounds.scale_free_bound):
        with pytest.raises(ProblemError, match="smallest ≤ largest"):
            call(np.eye(2), np.zeros(2), IntegerBox(-1, 1), 2.0, 1.0)
    with pytest.raises(ProblemError, match="tolerance"):
        bounds.solve_any_scale(np.eye(2), np.zeros(2), IntegerBox(-1, 1), 1.0, 2.0, tolerance=0.0)
    with pytest.raises(ProblemError, match="0 parts"):
        bounds.scale_free_bound(np.eye(2), np.zeros(2), IntegerBox(-1, 1), 1.0, 2.0, parts=0)
