"""Expected errors against 50 digits, against brute force, and against the facts that are known."""

import math
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

from quanterr import expected as ex
from quanterr.distributions import (
    Empirical,
    Gaussian,
    GeneralizedGaussian,
    Laplace,
    Logistic,
    Mixture,
    StudentT,
    Uniform,
)
from quanterr.grids import CodebookGrid, IntegerGrid, fp4_e2m1, fp8_e4m3, nf4, powers_of_two, ternary

from . import mp_reference as reference

TOLERANCE = 1e-12


def student_mass(df):
    nu = mpf(df)
    return mp.sqrt(mp.pi * nu) * mp.gamma(nu / 2) / mp.gamma((nu + 1) / 2)


# name, distribution, density in 50 digits, df, limit, bits, scale
TABLE = [
    ("gaussian, near", Gaussian(), reference.gaussian, None, None, 4, 0.34),
    ("gaussian, deep tail", Gaussian(), reference.gaussian, None, None, 3, 9.0),
    ("gaussian, truncated", Gaussian().truncate(3.0), reference.gaussian, None, 3.0, 2, 1.2),
    ("laplace, deep tail", Laplace(), reference.laplace, None, None, 2, 300.0),
    ("laplace, fine", Laplace(), reference.laplace, None, None, 4, 1e-4),
    ("logistic", Logistic(), reference.logistic, None, None, 4, 0.6),
    ("logistic, deep tail", Logistic(), reference.logistic, None, None, 4, 30.0),
    ("generalised 0.5", GeneralizedGaussian(0.5), reference.generalized(0.5), None, None, 3, 2.0),
    ("generalised 1.3", GeneralizedGaussian(1.3), reference.generalized(1.3), None, None, 3, 0.1),
    ("generalised 8", GeneralizedGaussian(8.0), reference.generalized(8.0), None, None, 2, 0.7),
    ("t 0.5, truncated at 1e4", StudentT(0.5).truncate(1e4), reference.student(0.5), 0.5, 1e4, 4, 50.0),
    ("t 1, truncated", StudentT(1).truncate(100.0), reference.student(1), 1.0, 100.0, 3, 9.0),
    ("t 2.1", StudentT(2.1), reference.student(2.1), 2.1, None, 2, 0.3),
    ("t 3, deep tail", StudentT(3), reference.student(3), 3.0, None, 2, 1e5),
    ("t 8", StudentT(8), reference.student(8), 8.0, None, 4, 0.5),
    ("t 100", StudentT(100), reference.student(100), 100.0, None, 3, 0.55),
    ("t 100, deep tail", StudentT(100), reference.student(100), 100.0, None, 3, 100.0),
    ("t 100, truncated at 1e4", StudentT(100).truncate(1e4), reference.student(100), 100.0, 1e4, 2, 60.0),
    ("one bit", Gaussian(), reference.gaussian, None, None, 1, 0.9),
]


@pytest.mark.parametrize(("name", "dist", "density", "df", "limit", "bits", "scale"), TABLE, ids=[t[0] for t in TABLE])
def test_rounding_and_clipping_to_fifty_digits(name, dist, density, df, limit, bits, scale):
    grid = IntegerGrid(bits)
    low, high = (-mp.inf, mp.inf) if limit is None else (-mpf(limit), mpf(limit))
    rounding, clipping, mass = reference.errors(density, df, low, high, grid.levels.tolist(), scale)
    if df is not None and limit is None:
        mass = student_mass(df)
    assert abs(mpf(float(ex.rounding_error(dist, grid, scale))) * mass / rounding - 1) < TOLERANCE
    assert abs(mpf(float(ex.clipping_error(dist, grid, scale))) * mass / clipping - 1) < TOLERANCE


@lru_cache
def closed_form(name, r):
    """Antiderivatives of p, w p and w² p for 0 ≤ w ≤ r, and the mass of ±r, in 50 digits."""
    if name == "laplace":
        return (
            lambda w: (-mp.exp(-w), -mp.exp(-w) * (w + 1), -mp.exp(-w) * (w * w + 2 * w + 2)),
            2 - 2 * mp.exp(-mpf(r)),
        )
    if name == "gaussian":
        root = mp.sqrt(mp.pi / 2)

        def normal(w):
            tail, front = root * mp.erfc(w / mp.sqrt(2)), mp.exp(-w * w / 2)
            return -tail, -front, -w * front - tail

        return normal, 2 * root * mp.erf(mpf(r) / mp.sqrt(2))

    def student(w):
        size = mp.sqrt(2 + w * w)
        return w / size, -2 / size, 2 * (mp.asinh(w / mp.sqrt(2)) - w / size)

    return student, 2 * student(mpf(r))[0]


FINE = [("student", 20.0, b) for b in (5, 6, 7, 8, 10, 12, 14, 16)] + [
    ("student", 1e4, 12),
    ("laplace", 30.0, 16),
    ("laplace", 30.0, 9),
    ("gaussian", 9.0, 11),
    ("gaussian", 9.0, 13),
    ("gaussian", 9.0, 15),
]


@pytest.mark.parametrize(("name", "r", "bits"), FINE)
def test_fine_grids_to_fifty_digits(name, r, bits):
    """Antiderivatives cancel here: with 50 digits there are enough left, with 16 there would not be."""
    family = {"student": StudentT(2), "laplace": Laplace(), "gaussian": Gaussian()}[name]
    scale = 0.7 * r / 2 ** (bits - 1)
    moments, mass = closed_form(name, r)
    step = mpf(scale)
    below = moments(mpf(0))
    half = 2 ** (bits - 1)
    cells = []
    for code in range(half):
        above = moments(step * (code + mpf("0.5")))
        cells.append(_about(step * code, below, above))
        below = above
    top, edge = moments(step * (half - 1)), moments(mpf(r))
    upper = mp.fsum(cells[:-1]) + _about(step * (half - 1), moments(step * (half - mpf("1.5"))), top)
    last = moments(step * half)
    lower = mp.fsum(cells) + _about(step * half, moments(step * (half - mpf("0.5"))), last)
    clipping = _about(step * (half - 1), top, edge) + _about(step * half, last, edge)
    scaled = {"student": family.truncate(r), "laplace": family.truncate(r), "gaussian": family.truncate(r)}[name]
    grid = IntegerGrid(bits)
    assert abs(mpf(float(ex.rounding_error(scaled, grid, scale))) * mass / (upper + lower) - 1) < TOLERANCE
    assert abs(mpf(float(ex.clipping_error(scaled, grid, scale))) * mass / clipping - 1) < TOLERANCE


def _about(center, below, above):
    zero, one, two = (v - u for u, v in zip(below, above, strict=True))
    return two - 2 * center * one + center * center * zero


@pytest.mark.parametrize(
    ("dist", "density", "df", "limit"),
    [
        (Gaussian(), reference.gaussian, None, None),
        (Laplace().truncate(2.0), reference.laplace, None, 2.0),
        (GeneralizedGaussian(0.5), reference.generalized(0.5), None, None),
        (StudentT(0.5), reference.student(0.5), 0.5, None),
        (StudentT(2).truncate(1e4), reference.student(2), 2.0, 1e4),
        (StudentT(100), reference.student(100), 100.0, None),
    ],
    ids=repr,
)
def test_pruning_to_fifty_digits(dist, density, df, limit):
    """The threshold solves the mass equation, the error is the power below it."""
    high = mp.inf if limit is None else mpf(limit)
    mass = 2 * reference.integral(density, df, mpf(0), 0, mpf(0), high)
    for sparsity in (1e-9, 0.3, 0.75, 1.0 - 2.0**-20):
        t = mpf(float(ex.pruning_threshold(dist, sparsity)))
        wanted = mpf(sparsity) * mass / 2
        for _ in range(2):
            t -= (reference.integral(density, df, mpf(0), 0, mpf(0), t) - wanted) / density(t)
        power = 2 * reference.integral(density, df, mpf(0), 2, mpf(0), t) / mass
        assert abs(mpf(float(ex.pruning_error(dist, sparsity))) / power - 1) < TOLERANCE


def test_truncation_just_beyond_the_largest_level():
    """The clipped interval is a difference of nearly equal numbers."""
    grid, scale = IntegerGrid(4, symmetric=True), 0.1
    r = 0.7 * (1 + 1e-7)
    width = mpf(r) - 7 * mpf(scale)
    with mp.workdps(50):
        exact = 2 * width**3 / 3 / (2 * mpf(r))
        assert abs(mpf(float(ex.clipping_error(Uniform(-r, r), grid, scale))) / exact - 1) < TOLERANCE


def test_facts_of_the_paper():
    grid = IntegerGrid(4)
    assert float(ex.quantization_snr(Gaussian(), grid)) == pytest.approx(19.257674815511816, abs=1e-11)
    assert float(ex.optimal_scale(Gaussian(), grid)) == pytest.approx(0.338607935715186, rel=1e-12)
    assert float(ex.pruning_snr(Gaussian(), 0.75)) == pytest.approx(5.584729001293914, abs=1e-11)
    assert float(ex.quantization_snr(StudentT(2).truncate(20.0), IntegerGrid(4), 1.0)) < 19.0


def test_best_scale_of_the_normal_in_fifty_digits():
    """The stationary scale of codes −8 … 7, and 19.26 dB there, by closed forms and Newton in 50 digits."""
    moments, mass = closed_form("gaussian", 1e3)
    half = mpf("0.5")

    def error(scale):
        total = mpf(0)
        for sign, codes in ((1, 8), (-1, 9)):
            for code in range(codes):
                a = max(scale * (code - half), mpf(0))
                b = scale * (code + half) if code < codes - 1 else mpf(60)
                total += _about(scale * code, moments(a), moments(b)) + 0 * sign
        return total / mass

    best = mp.findroot(lambda s: mp.diff(error, s), mpf("0.3386"))
    found = ex.search_scale(Gaussian(), IntegerGrid(4))
    assert abs(mpf(float(found.scale)) / best - 1) < TOLERANCE
    assert abs(mpf(float(found.error)) / error(best) - 1) < TOLERANCE
    assert abs(-10 * mp.log10(error(best)) - mpf("19.2576748155118")) < mpf("1e-12")


@pytest.mark.parametrize(("bits", "kurtosis"), [(2, 8.873), (3, 15.985), (4, 28.350), (5, 51.771)])
def test_break_even_of_the_truncated_student(bits, kurtosis):
    found = ex.break_even(
        lambda r: StudentT(2).truncate(r), ex.quantized(IntegerGrid(bits)), ex.pruned(1 - bits / 16), 0.5, 1e3
    )
    assert found.kurtosis == pytest.approx(kurtosis, abs=6e-4)
    dist = StudentT(2).truncate(found.parameter)
    assert found.snr == pytest.approx(float(ex.pruning_snr(dist, 1 - bits / 16)), abs=1e-9)


def test_break_even_says_when_there_is_none():
    with pytest.raises(ValueError, match="the first format is better throughout"):
        ex.break_even_kurtosis(lambda r: Gaussian(r), ex.quantized(IntegerGrid(8)), ex.pruned(0.5), 0.5, 2.0)


DISTS = [
    Gaussian(0.5, 0.1),
    Laplace(),
    Logistic().truncate(-1.0, 6.0),
    GeneralizedGaussian(0.6),
    StudentT(4.5),
    StudentT(2).truncate(50.0),
    Mixture([Gaussian(0.2), Gaussian(3.0, 0.5)], [0.9, 0.1]),
    Uniform(-0.3, 2.0),
]
GRIDS = [IntegerGrid(1), IntegerGrid(3), IntegerGrid(4, zero_point=5), nf4, fp4_e2m1, ternary, powers_of_two(4)]


@pytest.mark.parametrize("dist", DISTS, ids=repr)
@pytest.mark.parametrize("grid", GRIDS, ids=repr)
def test_total_is_the_integral_of_the_squared_distance(dist, grid):
    """Brute force: a midpoint rule on the distance to the nearest level, no cells, no clipping."""
    scale = 0.4
    low, high = (float(v) for v in dist.ppf([1e-11, 1 - 1e-11]))
    edges = np.linspace(low, high, 400_001)
    w = 0.5 * (edges[1:] + edges[:-1])
    nearest = np.abs(w[:, None] - scale * grid.levels).min(axis=1) if grid.levels.size < 40 else None
    brute = float(np.sum(nearest**2 * dist.pdf(w)) * (edges[1] - edges[0]))
    tails = float(ex.clipping_error(dist, grid, scale)) * 1e-3
    assert float(ex.quantization_error(dist, grid, scale)) == pytest.approx(brute, rel=2e-4, abs=tails)


@pytest.mark.parametrize("dist", DISTS, ids=repr)
@pytest.mark.parametrize("sparsity", [5e-324, 1e-310, 1e-300])
def test_vanishing_sparsity_prunes_nothing_measurable(dist, sparsity):
    assert 0.0 <= float(dist.magnitude_quantile(sparsity)) < 1e-200
    assert 0.0 <= float(ex.pruning_error(dist, sparsity)) < 1e-290


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(DISTS), st.sampled_from(GRIDS), st.floats(1e-3, 30.0), st.floats(1e-6, 1e6), st.floats(0.0, 1.0))
def test_scaling_equivariance(dist, grid, scale, factor, sparsity):
    larger = dist.scaled(factor)
    for error in (ex.rounding_error, ex.clipping_error):
        np.testing.assert_allclose(
            error(larger, grid, scale * factor), factor**2 * error(dist, grid, scale), rtol=1e-10, atol=1e-290
        )
    pruned = ex.pruning_error(dist, sparsity)
    np.testing.assert_allclose(ex.pruning_error(larger, sparsity), factor**2 * pruned, rtol=1e-11, atol=1e-290)
    zeros = ex.zero_fraction(dist, grid, scale)
    np.testing.assert_allclose(ex.zero_fraction(larger, grid, scale * factor), zeros, rtol=1e-11)


@pytest.mark.parametrize("dist", DISTS, ids=repr)
def test_joint_error_limits(dist):
    grid, scale = IntegerGrid(4), 0.3
    alone = ex.quantization_error(dist, grid, scale)
    np.testing.assert_allclose(ex.joint_error(dist, grid, 0.0, scale), alone, rtol=1e-14)
    np.testing.assert_allclose(ex.joint_error(dist, grid, 1.0, scale), dist.power(), rtol=1e-14)
    # Within the zero cell pruning changes nothing, beyond it costs.
    cell = float(dist.moment(0, -0.15, 0.15))
    np.testing.assert_allclose(ex.joint_error(dist, grid, 0.999 * cell, scale), alone, rtol=1e-12)
    assert ex.joint_error(dist, grid, min(1.3 * cell, 0.999), scale) > alone
    fine = IntegerGrid(16)
    wide = float(np.abs(dist.ppf([1e-12, 1 - 1e-12])).max()) / 2**15
    np.testing.assert_allclose(ex.joint_error(dist, fine, 0.5, wide), ex.pruning_error(dist, 0.5), rtol=1e-3)


@pytest.mark.parametrize("dist", [*DISTS, Empirical(np.random.default_rng(0).normal(size=500))], ids=repr)
def test_nofm_identities(dist):
    power = dist.power()
    assert float(ex.nofm_pruning_error(dist, 0, 1)) == pytest.approx(power, rel=1e-12)
    assert float(ex.nofm_pruning_error(dist, 1, 1)) == 0.0
    losses = [float(ex.nofm_pruning_error(dist, keep, 4)) for keep in range(5)]
    assert losses[0] == pytest.approx(power, rel=1e-12)
    assert losses == sorted(losses, reverse=True)
    # Fewer constraints lose less, and long groups come to unstructured pruning.
    assert losses[2] > float(ex.nofm_pruning_error(dist, 4, 8)) > float(ex.pruning_error(dist, 0.5)) * 0.999
    long = [float(ex.nofm_pruning_error(dist, m // 2, m)) for m in (64, 128)]
    assert 2 * long[1] - long[0] == pytest.approx(float(ex.pruning_error(dist, 0.5)), rel=0.02)


def test_two_of_four_of_the_exponential_magnitudes_in_closed_form():
    """Laplace magnitudes are exponential: order statistic j of m is a sum of exponentials of rates m, m−1, …"""
    rates = 1 / np.array([4.0, 3.0])
    squares = [rates[0] ** 2 * 2, rates[0] ** 2 + rates[1] ** 2 + (rates[0] + rates[1]) ** 2]
    assert float(ex.nofm_pruning_error(Laplace(), 2, 4)) == pytest.approx(sum(squares) / 4, rel=1e-12)
    assert float(ex.nofm_pruning_error(StudentT(0.5), 1, 4)) == math.inf
    assert math.isfinite(float(ex.nofm_pruning_error(StudentT(1.0), 2, 4)))


@pytest.mark.parametrize("grid", [IntegerGrid(3), IntegerGrid(8), nf4, fp8_e4m3], ids=repr)
def test_empirical_equals_numpy_exactly(grid):
    w = np.random.default_rng(3).standard_t(3, size=3001)
    dist, scale = Empirical(w), 0.11
    q = scale * grid.levels[np.abs(w[:, None] / scale - grid.levels).argmin(axis=1)]
    outside = (w < scale * grid.levels[0]) | (w > scale * grid.levels[-1])
    assert float(ex.rounding_error(dist, grid, scale)) == np.sum((w - q)[~outside] ** 2) / w.size
    assert float(ex.clipping_error(dist, grid, scale)) == np.sum((w - q)[outside] ** 2) / w.size
    assert float(ex.zero_fraction(dist, grid, scale)) == np.mean(q == 0)
    mask = np.argsort(np.abs(w))[: w.size - math.floor(0.25 * w.size)]
    np.testing.assert_allclose(float(ex.pruning_error(dist, 0.75)), np.sum(w[mask] ** 2) / w.size, rtol=1e-15)


@pytest.mark.parametrize(
    ("dist", "r"),
    [(Uniform(-1.0, 1.0), 1.0), (Gaussian().truncate(10.0), 10.0), (StudentT(8).truncate(100.0), 100.0)],
    ids=repr,
)
@pytest.mark.parametrize("grid", [IntegerGrid(8), fp8_e4m3], ids=repr)
def test_cases_of_the_fp8_study_against_samples(dist, r, grid):
    scale = 0.5 * r / np.abs(grid.levels).max() if r < 50 else 0.1 * r / np.abs(grid.levels).max()
    values = dist.sample(400_000, 11)
    squares = np.square(values - scale * grid.levels[Empirical(values)._codes(grid.levels, scale)])
    error = float(ex.quantization_error(dist, grid, scale))
    assert abs(squares.mean() - error) < 4 * squares.std() / math.sqrt(values.size)
    assert float(ex.quantization_error(Empirical(values), grid, scale)) == pytest.approx(squares.mean(), rel=1e-12)


@pytest.mark.parametrize("dist", [*DISTS, Empirical(np.random.default_rng(1).standard_t(4, size=300))], ids=repr)
@pytest.mark.parametrize("grid", [*GRIDS, CodebookGrid([-1.0, 1.0]), IntegerGrid(6)], ids=repr)
def test_no_scale_beats_the_best(dist, grid):
    found = ex.search_scale(dist, grid)
    assert found.lower <= found.error
    assert found.lower >= (1 - 1e-4) * found.error
    scales = float(found.scale) * np.concatenate([np.geomspace(1e-3, 1e3, 400), 1 + np.geomspace(1e-6, 0.1, 20)])
    errors = ex.quantization_error(dist, grid, scales)
    assert errors.min() >= found.lower
    assert errors.min() >= found.error * (1 - 1e-13)
    assert float(ex.quantization_error(dist, grid, found.scale)) == pytest.approx(float(found.error), rel=1e-13)


@pytest.mark.parametrize("bits", [2, 4, 6, 8, 12, 16])
@pytest.mark.parametrize("dist", [Gaussian(), StudentT(2).truncate(2.0), Laplace(), GeneralizedGaussian(0.7)], ids=repr)
def test_both_lower_bounds_hold_on_intervals(dist, bits):
    """Chord and smooth bound of an interval never exceed the least error sampled inside it."""
    from quanterr.expected import scale_bounds
    from quanterr.expected.problems import Problems

    problems = Problems([dist], [IntegerGrid(bits)])
    best = float(ex.optimal_scale(dist, IntegerGrid(bits)))
    for center in (0.3, 0.9, 1.0, 1.1, 2.0):
        for width in (1.003, 1.03, 1.5):
            ends = best * center * np.array([[1.0, width]])
            values = problems.parts(np.zeros(2, dtype=np.intp), ends[0])[None]
            chord = scale_bounds.chord_bound(problems.power, ends, values[:, :, 0])
            smooth = scale_bounds.smooth_bound(
                ends, values[:, :, 1], values[:, :, 2], values[:, :, 3], values[:, 1, 4], problems.bends
            )
            inside = np.linspace(ends[0, 0], ends[0, 1], 12)
            least = ex.quantization_error(dist, IntegerGrid(bits), inside).min()
            assert max(chord[0], smooth[0]) <= least * (1 + 1e-9)


def test_search_says_when_it_is_not_finished():
    with pytest.raises(RuntimeError, match="raise tolerance or max_evaluations"):
        ex.optimal_scale(Gaussian(), fp8_e4m3, max_evaluations=50)
    unfinished = ex.search_scale(Gaussian(), fp8_e4m3, max_evaluations=50)
    assert unfinished.lower < (1 - 1e-4) * unfinished.error


def test_grid_search_is_coarse_and_by_name():
    values = np.random.default_rng(0).normal(size=1000)
    grid = IntegerGrid(4, symmetric=True)
    candidates = np.abs(values).max() * np.arange(1, 101) / 100 / 7
    errors = [np.mean((values - s * np.clip(np.rint(values / s), -7, 7)) ** 2) for s in candidates]
    assert float(ex.grid_search_scale(Empirical(values), grid)) == candidates[np.argmin(errors)]
    assert ex.grid_search_scale(Gaussian(), [grid, nf4], largest=4.0).shape == (2,)
    with pytest.raises(ValueError, match="give largest"):
        ex.grid_search_scale(Gaussian(), grid)


def test_arguments_broadcast():
    dists = np.array([[Gaussian()], [Laplace()]], dtype=object)
    grids = [IntegerGrid(2), IntegerGrid(3), nf4]
    scales = ex.optimal_scale(dists, grids)
    assert scales.shape == (2, 3)
    together = ex.quantization_error(dists, grids, scales)
    for i in range(2):
        for j in range(3):
            assert together[i, j] == ex.quantization_error(dists[i, 0], grids[j], scales[i, j])
    assert ex.pruning_snr(dists, [0.1, 0.5, 0.9, 0.99]).shape == (2, 4)
    assert ex.rounding_error(Gaussian(), IntegerGrid(4), np.ones((5, 1))).shape == (5, 1)


def test_rate_distortion_limit_is_not_crossed():
    bits = np.arange(1, 9)
    np.testing.assert_allclose(ex.snr_limit(Gaussian(0.3), bits), 20 * np.log10(2) * bits, rtol=1e-12)
    grids = [IntegerGrid(int(b)) for b in bits]
    for dist in (Gaussian(), Laplace(), StudentT(2).truncate(10.0), GeneralizedGaussian(4.0)):
        assert np.all(ex.quantization_snr(dist, grids) < ex.snr_limit(dist, bits))
        scales = ex.optimal_scale(dist, grids)
        entropy = ex.code_entropy(dist, grids, scales)
        assert np.all(entropy <= bits)
        assert np.all(ex.quantization_snr(dist, grids, scales) < ex.snr_limit(dist, entropy))
    # A uniform density on a matched grid: one bit is 6.02 dB, 0.25 bits (1.53 dB) below the limit.
    matched = CodebookGrid([-3, -1, 1, 3])
    gap = ex.snr_limit(Uniform(), 2) - ex.quantization_snr(Uniform(), matched, 0.25)
    assert float(gap) == pytest.approx(10 * math.log10(math.pi * math.e / 6), rel=1e-10)


def test_uniform_noise_model_holds_only_where_grids_are_fine():
    ratios = []
    for bits in (8, 2):
        scale = ex.optimal_scale(Gaussian(), IntegerGrid(bits))
        ratios.append(
            float(ex.uniform_noise_error(scale) / ex.quantization_error(Gaussian(), IntegerGrid(bits), scale))
        )
    assert ratios[0] == pytest.approx(1.0, abs=0.15)
    assert ratios[1] < 0.7


def test_storage():
    assert ex.matching_sparsity([2, 4, 8]).tolist() == [0.875, 0.75, 0.5]
    assert ex.mask_bits([0.0, 0.5, 1.0], entropy_coded=True).tolist() == [0.0, 1.0, 0.0]
    assert float(ex.mask_bits(0.3)) == 1.0
    assert float(ex.pruned_bits(0.75)) == 4.0
    assert float(ex.pruned_bits(0.75, mask=ex.mask_bits(0.75))) == 5.0
    assert ex.nofm_mask_bits(2, 4) == pytest.approx(math.log2(6) / 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ex.rounding_error(Gaussian(), IntegerGrid(4), 0.0), "scale = 0.0"),
        (lambda: ex.clipping_error(Gaussian(), IntegerGrid(4), [1.0, math.nan]), "scale = nan"),
        (lambda: ex.quantization_error(Gaussian(), IntegerGrid(4), -1.0), "optimal_scale"),
        (lambda: ex.rounding_error("normal", IntegerGrid(4), 1.0), "dist holds 'normal'"),
        (lambda: ex.rounding_error(Gaussian(), 4, 1.0), "grid holds 4"),
        (lambda: ex.rounding_error([], IntegerGrid(4), 1.0), "dist is empty"),
        (lambda: ex.pruning_error(Gaussian(), 75), "0.75 for 75 %"),
        (lambda: ex.pruning_error(Gaussian(), -0.1), "sparsity = -0.1"),
        (lambda: ex.pruning_error(Gaussian(), math.nan), "sparsity = nan"),
        (lambda: ex.joint_error(Gaussian(), IntegerGrid(4), 1.5, 1.0), "sparsity = 1.5"),
        (lambda: ex.nofm_pruning_error(Gaussian(), 5, 4), "keep = 5"),
        (lambda: ex.nofm_pruning_error(Gaussian(), 1, 0), "group = 0"),
        (lambda: ex.optimal_scale(StudentT(2), IntegerGrid(4)), "truncate it"),
        (lambda: ex.optimal_scale(Empirical([0.0, 0.0]), IntegerGrid(4)), "drop zero tensors"),
        (lambda: ex.optimal_scale(Gaussian(), CodebookGrid([1.0, 2.0])), "either side of zero"),
        (lambda: ex.optimal_scale(Gaussian(), nf4, tolerance=0.0), "tolerance = 0.0"),
        (lambda: ex.quantization_snr(StudentT(1.5), nf4, 1.0), "no SNR"),
        (lambda: ex.pruning_snr(StudentT(2), 0.5), "truncate"),
        (lambda: ex.snr_limit(Gaussian(), -1), "bits = -1"),
        (lambda: ex.matching_sparsity(17), "bits = 17"),
        (lambda: ex.break_even_kurtosis(Gaussian, ex.pruned(0.5), ex.pruned(0.6), 2.0, 1.0), "0 < low < high"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
