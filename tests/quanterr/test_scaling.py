"""Scales are the best of their grids, and nothing is scaled that cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bounds import IntegerBox
from quanterr.errors import InputError
from quanterr.scaling import SCALES, codes_range, grid_errors, lp_norm, max_abs, mse_grid

WEIGHTS = arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.integers(1, 12)),
    elements=st.floats(-50, 50).filter(lambda w: abs(w) > 1e-100),
)


def error(weight: np.ndarray, scale: float, bits: int, p: float = 2.0) -> float:
    """The definition, by the same rounding as the feasible set of `bounds`."""
    codes = IntegerBox(*codes_range(bits)).nearest(weight / scale)
    return float((np.abs(weight - scale * codes) ** p).sum())


def test_codes() -> None:
    assert [codes_range(b) for b in (1, 2, 4, 8, 16)] == [(-1, 0), (-2, 1), (-8, 7), (-128, 127), (-32768, 32767)]


@settings(max_examples=60, deadline=None)
@given(weight=WEIGHTS, bits=st.integers(1, 10))
def test_mse_is_the_best_of_its_candidates(weight: np.ndarray, bits: int) -> None:
    scale = mse_grid(weight, bits)
    assert isinstance(scale, float)
    candidates = float(max_abs(weight, bits)) * np.geomspace(1.0, 0.01, 400)
    assert np.isclose(candidates, scale, rtol=1e-12).any()
    best = min(error(weight, c, bits) for c in candidates)
    assert error(weight, scale, bits) == pytest.approx(best, rel=1e-9, abs=1e-18)


@settings(max_examples=40, deadline=None)
@given(weight=WEIGHTS, bits=st.integers(1, 8), p=st.sampled_from([1.0, 2.0, 2.4]))
def test_lp_is_the_best_of_its_candidates(weight: np.ndarray, bits: int, p: float) -> None:
    scale = lp_norm(weight, bits, p=p)
    candidates = float(max_abs(weight, bits)) * (1.0 - np.arange(80) / 100.0)
    best = min(error(weight, c, bits, p) for c in candidates)
    assert error(weight, float(scale), bits, p) == pytest.approx(best, rel=1e-9, abs=1e-18)


@settings(max_examples=40, deadline=None)
@given(weight=WEIGHTS, bits=st.integers(2, 12))
def test_max_abs_puts_the_largest_on_the_highest_code(weight: np.ndarray, bits: int) -> None:
    scale = float(max_abs(weight, bits))
    high = codes_range(bits)[1]
    assert np.abs(weight).max() == pytest.approx(scale * high, rel=1e-15)


@settings(max_examples=40, deadline=None)
@given(weight=WEIGHTS, bits=st.integers(1, 8), name=st.sampled_from(sorted(SCALES)))
def test_one_scale_a_row_is_the_scale_of_each_row(weight: np.ndarray, bits: int, name: str) -> None:
    together = SCALES[name](weight, bits, axis=0)
    np.testing.assert_array_equal(together, [SCALES[name](row, bits) for row in weight])


@settings(max_examples=40, deadline=None)
@given(weight=WEIGHTS, bits=st.integers(1, 8), name=st.sampled_from(sorted(SCALES)), power=st.integers(-20, 20))
def test_scales_follow_the_unit_of_the_weights(weight: np.ndarray, bits: int, name: str, power: int) -> None:
    """Multiplication by a power of two is exact, so the answer is the same candidate."""
    assert SCALES[name](weight * 2.0**power, bits) == pytest.approx(SCALES[name](weight, bits) * 2.0**power, rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(weight=WEIGHTS, bits=st.integers(1, 8), p=st.sampled_from([2.0, 2.4]))
def test_kernel_is_the_definition(weight: np.ndarray, bits: int, p: float) -> None:
    scales = np.array([0.1, 0.7, 1.0, 3.3])
    errors = grid_errors(weight.ravel(), scales, *codes_range(bits), p)
    np.testing.assert_allclose(errors, [error(weight, s, bits, p) for s in scales], rtol=1e-9, atol=1e-18)


def test_gaussian_reaches_the_known_snr() -> None:
    """The best 4-bit scale of a standard normal gives 19.26 dB (the sample has its own last hundredth)."""
    weight = np.random.default_rng(0).standard_normal(400_000)
    scale = float(mse_grid(weight, 4))
    assert scale == pytest.approx(0.3352, rel=0.015)
    assert 10 * np.log10((weight**2).sum() / error(weight, scale, 4)) == pytest.approx(19.26, abs=0.03)


def test_finer_grids_are_never_worse() -> None:
    weight = np.random.default_rng(1).standard_t(3, 5000)
    coarse, fine = mse_grid(weight, 3, steps=50), mse_grid(weight, 3, steps=99)
    assert error(weight, float(fine), 3) <= error(weight, float(coarse), 3)
    assert mse_grid(weight, 3) == mse_grid(weight.reshape(50, 100), 3) == mse_grid(weight.reshape(5, 10, 10, 10), 3)


@pytest.mark.parametrize("name", sorted(SCALES))
@pytest.mark.parametrize(
    ("weight", "bits", "options", "word"),
    [
        (np.zeros((2, 3)), 4, {}, "every weight is zero"),
        (np.array([[1.0, 2.0], [0.0, 0.0]]), 4, {"axis": 0}, "row 1 is zero"),
        (np.array([[1.0, np.nan]]), 4, {}, "nan in row 0, position 1"),
        (np.array([[1.0, np.inf]]), 4, {}, "inf"),
        (np.zeros((0, 3)), 4, {}, "no weights"),
        (np.ones(3), 0, {}, "bits = 0"),
        (np.ones(3), 17, {}, "bits = 17"),
        (np.ones(3), 2.5, {}, "bits = 2.5"),
        (np.ones(3), True, {}, "bits = True"),
        (np.ones(3), 4, {"axis": 1}, "axis = 1"),
    ],
)
def test_refusals(name: str, weight: np.ndarray, bits: Any, options: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError) as caught:
        SCALES[name](weight, bits, **options)
    assert word in str(caught.value)


def test_refused_parameters() -> None:
    with pytest.raises(InputError, match="steps"):
        mse_grid(np.ones(3), 4, steps=0)
    with pytest.raises(InputError, match="p = 0"):
        lp_norm(np.ones(3), 4, p=0.0)


@pytest.mark.parametrize("name", sorted(SCALES))
def test_tiny_and_huge_weights(name: str) -> None:
    weight = np.array([0.3, -1.0, 0.7, 0.05])
    for power in (-900, 900):
        assert SCALES[name](weight * 2.0**power, 3) == float(SCALES[name](weight, 3)) * 2.0**power
    with pytest.raises(InputError, match="too small"):
        SCALES[name](np.full(3, 5e-324), 4)
