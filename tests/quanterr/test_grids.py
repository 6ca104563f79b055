"""Levels of the grids."""

import numpy as np
import pytest

from quanterr.grids import (
    CodebookGrid,
    FloatGrid,
    IntegerGrid,
    fp4_e2m1,
    fp6_e2m3,
    fp6_e3m2,
    fp8_e4m3,
    fp8_e5m2,
    nf4,
    powers_of_two,
    ternary,
)


@pytest.mark.parametrize("bits", range(1, 17))
def test_integer_codes(bits):
    assert np.array_equal(IntegerGrid(bits).levels, np.arange(-(2 ** (bits - 1)), 2 ** (bits - 1)))
    unsigned = IntegerGrid(bits, zero_point=1)
    assert (unsigned.low, unsigned.high, unsigned.levels.size) == (-1, 2**bits - 2, 2**bits)
    if bits > 1:
        assert np.array_equal(IntegerGrid(bits, symmetric=True).levels, IntegerGrid(bits).levels[1:])


def test_float_formats_have_their_published_values():
    for grid, largest, smallest, size in [
        (fp8_e4m3, 448.0, 2.0**-9, 253),
        (fp8_e5m2, 57344.0, 2.0**-16, 247),
        (fp6_e2m3, 7.5, 0.125, 63),
        (fp6_e3m2, 28.0, 0.0625, 63),
    ]:
        levels = grid.levels
        assert (levels.max(), levels[levels > 0].min(), levels.size) == (largest, smallest, size)
        assert np.array_equal(levels, -levels[::-1])
    assert fp4_e2m1.levels.tolist() == [-6, -4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 6]
    assert (fp8_e4m3.bits_per_weight, fp6_e2m3.bits_per_weight, repr(nf4)) == (8.0, 6.0, "nf4")


def test_half_precision_is_numpy_s():
    half = FloatGrid(5, 10, 15, reserved=2**10)
    codes = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float64)
    assert np.array_equal(half.levels, np.unique(codes[np.isfinite(codes)]))


def test_codebooks():
    assert ternary.levels.tolist() == [-1, 0, 1]
    assert powers_of_two(3).levels.tolist() == [-4, -2, -1, 0, 1, 2, 4]
    assert powers_of_two(4).levels.size == 15
    assert nf4.levels.size == 16
    assert 0.0 in nf4.levels
    shuffled = CodebookGrid([3.0, -1.0, 0.0])
    assert shuffled.levels.tolist() == [-1.0, 0.0, 3.0]
    assert shuffled == CodebookGrid([0.0, -1.0, 3.0])
    assert hash(shuffled) == hash(CodebookGrid([0.0, -1.0, 3.0]))
    for grid in (nf4, fp4_e2m1, IntegerGrid(3)):
        with pytest.raises(ValueError, match="read-only"):
            grid.levels[0] = 5.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IntegerGrid(0), "bits = 0"),
        (lambda: IntegerGrid(17), "bits = 17"),
        (lambda: IntegerGrid(4.0), "bits = 4.0"),
        (lambda: IntegerGrid(True), "bits = True"),
        (lambda: IntegerGrid(1, symmetric=True), "bits = 1"),
        (lambda: IntegerGrid(4, symmetric=True, zero_point=3), "drop zero_point"),
        (lambda: IntegerGrid(4, zero_point=16), "zero_point = 16"),
        (lambda: CodebookGrid([1.0]), "at least two"),
        (lambda: CodebookGrid([1.0, 1.0]), "twice"),
        (lambda: CodebookGrid([0.0, float("nan")]), "finite"),
        (lambda: powers_of_two(1), "bits = 1"),
        (lambda: powers_of_two(9), "bits = 9"),
        (lambda: FloatGrid(0, 3, 1), "exponent_bits = 0"),
        (lambda: FloatGrid(8, 10, 127), "fewer bits"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
