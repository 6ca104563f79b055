"""The separable minimum of every set against brute force in exact rationals."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds import Feasible, IntegerBox, Sparse

COLUMNS = 4
SETS: list[Feasible] = [IntegerBox(-2, 1), IntegerBox(0, 3), IntegerBox(1, 1), Sparse(0), Sparse(2), Sparse(COLUMNS)]
exact = np.vectorize(Fraction, otypes=[object])
quarters = st.integers(-24, 24).map(lambda k: Fraction(k, 4))
positive = st.integers(1, 16).map(lambda k: Fraction(k, 4))


def cost(d: list[Fraction], g: list[Fraction], t: list[Fraction], x: tuple[Fraction, ...]) -> Fraction:
    return sum((a * (c - b) ** 2 + 2 * h * (c - b) for a, h, b, c in zip(d, g, t, x, strict=True)), Fraction(0))


def members(
    feasible: Feasible, d: list[Fraction], g: list[Fraction], t: list[Fraction]
) -> Iterator[tuple[Fraction, ...]]:
    """All codes; for supports the unconstrained minimiser on each."""
    if isinstance(feasible, IntegerBox):
        yield from product(*[[Fraction(c) for c in range(feasible.low, feasible.high + 1)]] * COLUMNS)
        return
    assert isinstance(feasible, Sparse)
    for support in combinations(range(COLUMNS), feasible.keep):
        yield tuple(t[i] - g[i] / d[i] if i in support else Fraction(0) for i in range(COLUMNS))


def row(values: st.SearchStrategy[Fraction]) -> st.SearchStrategy[list[Fraction]]:
    return st.lists(values, min_size=COLUMNS, max_size=COLUMNS)


@pytest.mark.parametrize("feasible", SETS, ids=repr)
@settings(max_examples=60, deadline=None)
@given(d=row(positive), g=row(quarters), t=row(quarters))
def test_separable_minimum_is_exact(
    feasible: Feasible, d: list[Fraction], g: list[Fraction], t: list[Fraction]
) -> None:
    truth = min(cost(d, g, t, x) for x in members(feasible, d, g, t))
    rational, x = feasible.separable_minimum(exact(d), exact([g]), exact([t]))
    assert rational[0] == truth
    assert cost(d, g, t, tuple(x[0])) == truth
    floats = [np.array(v, dtype=float) for v in (d, [g], [t])]
    value, x = feasible.separable_minimum(*floats)
    assert value[0] == pytest.approx(float(truth), rel=1e-12, abs=1e-12)
    assert feasible.contains(x).all()


@given(d=row(quarters), g=row(quarters), t=row(quarters))
def test_boxes_allow_concave_columns(d: list[Fraction], g: list[Fraction], t: list[Fraction]) -> None:
    feasible = IntegerBox(-2, 1)
    truth = min(cost(d, g, t, x) for x in members(feasible, d, g, t))
    assert feasible.separable_minimum(exact(d), exact([g]), exact([t]))[0][0] == truth


def test_flat_columns_are_free_to_keep_only_without_a_slope() -> None:
    t, g = np.array([[2.0, 3.0]]), np.array([[0.0, 1.0]])
    assert Sparse(1).separable_minimum(np.zeros(2), g, t)[0][0] == -np.inf
    assert Sparse(0).separable_minimum(np.zeros(2), g, t)[0][0] == pytest.approx(-6.0)
    assert Sparse(1).separable_minimum(np.zeros(2), 0 * g, t)[0][0] == 0.0


@pytest.mark.parametrize("feasible", SETS, ids=repr)
def test_nearest_is_a_member_and_nearest(feasible: Feasible) -> None:
    t = np.random.default_rng(0).normal(size=(50, COLUMNS)) * 3
    near = feasible.nearest(t)
    assert feasible.contains(near).all()
    ones = [Fraction(1)] * COLUMNS
    for target, point in zip(t, near, strict=True):
        exact_target = [Fraction(v) for v in target]
        zero = [Fraction(0)] * COLUMNS
        best = min(cost(ones, zero, exact_target, x) for x in members(feasible, ones, zero, exact_target))
        assert ((point - target) ** 2).sum() == pytest.approx(float(best), rel=1e-12, abs=1e-12)


def test_contains() -> None:
    assert IntegerBox(-2, 1).contains(
        np.array([[0.0, -2.0], [1.5, 0.0], [2.0, 0.0], [-3.0, 0.0], [np.nan, 0]])
    ).tolist() == [True, False, False, False, False]
    assert Sparse(1).contains(np.array([[0.0, 5.0], [1.0, 1.0]])).tolist() == [True, False]
