"""The split of a budget over rows: against all splits, in exact fractions, and against the plain min-plus product."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds import ProblemError, allocate
from bounds.allocation import asks


def curves(drops):
    """Non-increasing curves that end in zero, from what each weight is worth, (rows, columns)."""
    drops = np.asarray(drops, dtype=np.float64)
    return np.concatenate([drops[:, ::-1].cumsum(axis=1)[:, ::-1], np.zeros((len(drops), 1))], axis=1)


def least(curve, keep):
    """The least sum over all allocations, as an exact fraction."""
    rows, size = curve.shape
    splits = (split for split in product(range(size), repeat=rows) if sum(split) == keep)
    return min(sum((Fraction(float(curve[r, k])) for r, k in enumerate(split)), Fraction(0)) for split in splits)


def plain(curve, keep):
    """The min-plus product over all entries."""
    best = np.full(keep + 1, np.inf)
    best[0] = 0.0
    for line in curve:
        after = np.full(keep + 1, np.inf)
        for k in range(min(line.size - 1, keep) + 1):
            after[k:] = np.minimum(after[k:], best[: keep + 1 - k] + line[k])
        best = after
    return float(best[keep])


def shapes(rng, rows, columns, kind):
    drops = rng.exponential(size=(rows, columns)) ** 2
    if kind == "convex":
        drops = np.sort(drops, axis=1)[:, ::-1]
    if kind == "ties":
        drops = rng.integers(0, 3, size=(rows, columns)).astype(float)
    if kind == "equal rows":
        drops = np.repeat(drops[:1], rows, axis=0)
    if kind == "tiny":
        drops *= 1e-300
    return curves(drops)


KINDS = ("any", "convex", "ties", "equal rows", "tiny")


@pytest.mark.parametrize("kind", KINDS)
def test_bound_and_value_enclose_the_least_of_all_splits_exactly(kind):
    rng = np.random.default_rng(KINDS.index(kind))
    for rows, columns in ((1, 5), (2, 4), (3, 4), (4, 3), (5, 2)):
        curve = shapes(rng, rows, columns, kind)
        for keep in range(rows * columns + 1):
            found = allocate(curve, keep, tolerance=0.0)
            exact = least(curve, keep)
            assert found.keep.sum() == keep
            assert Fraction(found.bound) <= exact <= Fraction(found.value)
            assert sum(Fraction(float(curve[r, k])) for r, k in enumerate(found.keep)) <= Fraction(found.value)
            assert found.value - found.bound <= 1e-13 * (found.value + found.price * keep)
            assert found.relaxed <= found.bound


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_many_rows_agree_with_the_plain_product(kind):
    rng = np.random.default_rng(7)
    curve = shapes(rng, 60, 20, kind)
    for keep in (1, 37, 300, 599, 1100, 1199):
        found, best = allocate(curve, keep), plain(curve, keep)
        assert found.bound <= best * (1 + 1e-12)
        assert found.value >= best * (1 - 1e-12)
        assert found.value - found.bound <= 2e-9 * found.value


def test_greedy_from_traces_is_beaten_where_curves_are_not_convex():
    """Two weights of the first row are worth nothing alone and everything together."""
    curve = curves([[0.0, 10.0], [3.0, 2.0]])
    found = allocate(curve, 2)
    assert found.keep.tolist() == [2, 0]
    assert found.value == pytest.approx(5.0)
    assert found.relaxed < found.bound or found.bound == pytest.approx(5.0)


def test_the_product_is_left_out_where_it_is_too_large(monkeypatch):
    """What the price alone proves is then the bound: valid, and not tight."""
    from bounds import allocation

    rng = np.random.default_rng(3)
    curve = shapes(rng, 12, 6, "any")
    exact = plain(curve, 31)
    whole = allocate(curve, 31)
    monkeypatch.setattr(allocation, "LARGEST", 0)
    found = allocate(curve, 31)
    assert found.bound <= exact <= found.value
    assert found.bound < whole.bound
    assert found.keep.sum() == 31


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.floats(0, 1e6), min_size=3, max_size=3), min_size=1, max_size=5),
    st.integers(0, 15),
)
def test_any_curves(drops, keep):
    curve = curves(drops)
    keep = min(keep, 3 * len(curve))
    found = allocate(curve, keep, tolerance=0.0)
    assert Fraction(found.bound) <= least(curve, keep) <= Fraction(found.value)


def test_wide_layers_take_moments():
    rng = np.random.default_rng(0)
    drops = np.sort(rng.exponential(size=(512, 300)), axis=1)[:, ::-1] * rng.lognormal(size=(512, 1))
    drops *= rng.uniform(0.5, 1.5, size=drops.shape)
    curve = curves(drops)
    found = allocate(curve, 512 * 300 // 4)
    assert found.value - found.bound <= 1e-9 * found.value
    assert found.keep.sum() == 512 * 75


@pytest.mark.parametrize(
    ("curve", "keep", "message"),
    [
        ([[1.0, 2.0, 0.0]], 1, "row 0 is negative, rises"),
        ([[1.0, 0.0], [np.nan, 0.0]], 1, "row 1"),
        ([[1.0, 0.0], [np.inf, 0.0]], 1, "row 1"),
        ([[1.0, -1.0]], 1, "row 0"),
        ([[1.0, 0.0]], 2, "from 0 to 1 × 1"),
        ([[1.0, 0.0]], -1, "from 0 to 1 × 1"),
        ([[1.0, 0.0]], 0.5, "from 0 to 1 × 1"),
        ([1.0, 0.0], 1, "shape"),
        (np.zeros((0, 3)), 0, "shape"),
    ],
)
def test_bad_input_is_refused_by_row(curve, keep, message):
    with pytest.raises(ProblemError, match=message):
        allocate(np.asarray(curve), keep)


def test_what_is_asked_for_is_enough():
    """Lower curves that prove no more than the asks make the bound meet the best allocation known."""
    rng = np.random.default_rng(11)
    for kind in ("any", "convex", "equal rows"):
        upper = shapes(rng, 30, 8, kind)
        keeps = (20, 60, 119, 200)
        wanted = asks(np.zeros_like(upper), upper, keeps)
        assert len(wanted) == 4
        need = np.max([ask.line(upper) for ask in wanted], axis=0)
        lower = np.maximum(np.minimum(upper, need), 0.0)
        lower = np.maximum.accumulate(lower[:, ::-1], axis=1)[:, ::-1]
        assert asks(lower, upper, keeps) == ()
        for keep in keeps:
            best = allocate(upper, keep)
            assert allocate(lower, keep).bound >= best.value * (1 - 1e-8)
