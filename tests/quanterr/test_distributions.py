"""Densities, moments, quantiles and samples of the distributions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf
from scipy import stats

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
from quanterr.distributions.families import gamma_ratio
from quanterr.distributions.legendre import legendre_rule

FAMILIES = [
    (Gaussian(0.7, 0.2), stats.norm(0.2, 0.7)),
    (Uniform(-2.0, 1.0), stats.uniform(-2.0, 3.0)),
    (Laplace(1.5, -1.0), stats.laplace(-1.0, 1.5)),
    (Logistic(0.5, 3.0), stats.logistic(3.0, 0.5)),
    (GeneralizedGaussian(0.4), stats.gennorm(0.4)),
    (GeneralizedGaussian(6.0, 2.0, 0.5), stats.gennorm(6.0, 0.5, 2.0)),
    (StudentT(0.5), stats.t(0.5)),
    (StudentT(2, 3.0, 1.0), stats.t(2, 1.0, 3.0)),
    (StudentT(7.3), stats.t(7.3)),
    (StudentT(100), stats.t(100)),
]
EVERY = [d for d, _ in FAMILIES] + [
    StudentT(2).truncate(20.0),
    Gaussian().truncate(30.0, 31.0),
    Laplace().truncate(-1.0, 4.0).scaled(-2.0).shifted(0.3),
    Mixture([Gaussian(0.1), Laplace(2.0, 1.0)], [3.0, 1.0]).truncate(5.0),
]
IDS = [repr(d) for d in EVERY]


@pytest.mark.parametrize(("dist", "peer"), FAMILIES, ids=[repr(d) for d, _ in FAMILIES])
def test_agrees_with_scipy(dist, peer):
    w = np.concatenate([np.linspace(-6, 6, 41), [-50.0, 50.0]])
    np.testing.assert_allclose(dist.pdf(w), peer.pdf(w), rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(dist.cdf(w), peer.cdf(w), rtol=1e-11, atol=1e-300)
    np.testing.assert_allclose(dist.sf(w), peer.sf(w), rtol=1e-11, atol=1e-300)
    p = np.array([1e-9, 0.01, 0.3, 0.5, 0.8, 0.999])
    np.testing.assert_allclose(dist.ppf(p), peer.ppf(p), rtol=1e-9, atol=1e-12)
    assert dist.entropy() * math.log(2.0) == pytest.approx(float(peer.entropy()), rel=1e-9)
    variance = float(peer.var())
    if np.isfinite(variance):
        assert dist.variance() == pytest.approx(variance, rel=1e-12)
        assert dist.power() == pytest.approx(variance + float(peer.mean()) ** 2, rel=1e-12)


@pytest.mark.parametrize("dist", EVERY, ids=IDS)
def test_mass_is_one_and_quantiles_invert(dist):
    assert dist.moment(0) == pytest.approx(1.0, abs=1e-14)
    p = np.array([1e-12, 1e-3, 0.25, 0.5, 0.75, 0.999])
    # A quantile that is large against the spread cannot resolve the mass finer than one unit in its last place.
    slack = dist.pdf(dist.ppf(p)) * np.abs(dist.ppf(p)) * 3e-16
    assert np.all(np.abs(dist.cdf(dist.ppf(p)) - p) <= 1e-13 * p + slack)
    t = dist.magnitude_quantile(p)
    slack = (dist.pdf(t) + dist.pdf(-t)) * t * 3e-16
    assert np.all(np.abs(dist.moment(0, -t, t) - p) <= 1e-13 * p + slack)
    assert np.all(np.diff(t) > 0)
    low, high = dist.support
    assert dist.ppf([0.0, 1.0]).tolist() == [low, high]


@pytest.mark.parametrize("dist", EVERY, ids=IDS)
@pytest.mark.parametrize("k", [0, 1, 2, 3])
def test_partial_moments_add_up_and_shift(dist, k):
    a, b, c = -0.8, 0.35, 2.0
    whole = dist.moment(k, a, c)
    size = dist.moment(0, a, c) * 2.0**k + 1e-300
    assert abs(dist.moment(k, a, b) + dist.moment(k, b, c) - whole) <= 1e-13 * size
    about = sum(math.comb(k, i) * (-0.9) ** (k - i) * dist.moment(i, a, c) for i in range(k + 1))
    assert abs(dist.moment(k, a, c, about=0.9) - about) <= 1e-12 * size * 2**k
    moved = dist.scaled(-3.0).shifted(1.0)
    scaled = moved.moment(k, 1 - 3 * c, 1 - 3 * a, about=1.0)
    np.testing.assert_allclose(scaled, (-3.0) ** k * whole, rtol=1e-12, atol=1e-12 * size)


@pytest.mark.parametrize("dist", EVERY, ids=IDS)
def test_samples_follow_the_distribution(dist):
    values = dist.sample(20_000, 5)
    low, high = dist.support
    assert low <= values.min()
    assert values.max() <= high
    p = np.sort(dist.cdf(values[:2000]))
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    assert np.array_equal(values, dist.sample(20_000, np.random.default_rng(5)))


@pytest.mark.parametrize("x", [0.25, 1.0, 50.0, 79.9, 80.0, 500.0, 1e6, 1e12])
def test_gamma_ratio(x):
    with mp.workdps(50):
        exact = mp.exp(mp.loggamma(mpf(x) + mpf("0.5")) - mp.loggamma(mpf(x)))
        assert abs(gamma_ratio(x) / exact - 1) < 4e-15


@pytest.mark.parametrize("points", [4, 5, 10, 20])
def test_legendre_rule_integrates_powers(points):
    nodes, weights = legendre_rule(points)
    for k in range(2 * points):
        exact = 2.0 / (k + 1) if k % 2 == 0 else 0.0
        assert float(np.sum(weights * nodes**k)) == pytest.approx(exact, abs=3e-16, rel=1e-15)


def test_kurtosis_of_the_families():
    assert Gaussian(3.0, 1.0).kurtosis() == pytest.approx(3.0, rel=1e-13)
    assert Uniform().kurtosis() == pytest.approx(1.8, rel=1e-13)
    assert Laplace(0.1).kurtosis() == pytest.approx(6.0, rel=1e-13)
    assert Logistic().kurtosis() == pytest.approx(4.2, rel=1e-13)
    assert StudentT(5).kurtosis() == pytest.approx(9.0, rel=1e-13)
    assert StudentT(3).kurtosis() == math.inf
    with pytest.raises(ValueError, match="truncate it"):
        StudentT(2).kurtosis()
    with pytest.raises(ValueError, match="has no mean"):
        StudentT(1).mean()
    assert StudentT(2).power() == math.inf


def test_truncated_student_of_two_has_its_elementary_moments():
    with mp.workdps(50):
        for r in (0.01, 1.0, 20.0, 1e4):
            x = mpf(r)
            exact = (mp.asinh(x / mp.sqrt(2)) - x / mp.sqrt(2 + x * x)) / (x / (2 * mp.sqrt(2 + x * x)))
            assert abs(mpf(StudentT(2).truncate(r).power()) / exact - 1) < 1e-14


def test_mixture_is_the_weighted_sum():
    parts = [Gaussian(0.5, 1.0), StudentT(5), Uniform(0.0, 3.0)]
    mix = Mixture(parts, [1.0, 2.0, 1.0])
    w = np.linspace(-3, 3, 13)
    share = np.array([0.25, 0.5, 0.25])
    np.testing.assert_allclose(mix.pdf(w), sum(s * d.pdf(w) for s, d in zip(share, parts, strict=True)), rtol=1e-14)
    again = mix.truncate(-0.5, 2.0)
    np.testing.assert_allclose(again.cdf(1.3), mix.moment(0, -0.5, 1.3) / mix.moment(0, -0.5, 2.0), rtol=1e-14)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.floats(0.0, 1.0))
def test_empirical_is_plain_numpy(values, fraction):
    dist, array = Empirical(values), np.array(values, dtype=np.float64)
    assert dist.moment(2) == np.sum(array**2) / array.size
    assert dist.cdf(array[0]) == np.sum(array <= array[0]) / array.size
    assert dist.support == (array.min(), array.max())
    pruned = array.size - math.floor((1.0 - fraction) * array.size + 1e-9)
    t = float(dist.magnitude_quantile(fraction))
    assert pruned == 0 or t == np.sort(np.abs(array))[pruned - 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gaussian(0.0), "std = 0.0 is not positive"),
        (lambda: Gaussian(math.nan), "std = nan is not finite"),
        (lambda: Gaussian(1.0, math.inf), "mean = inf"),
        (lambda: Gaussian("wide"), "std = 'wide' is not a number"),
        (lambda: StudentT(0), "df = 0.0 is not positive"),
        (lambda: StudentT(-1.0), "df = -1.0"),
        (lambda: GeneralizedGaussian(0.01), "outside"),
        (lambda: Uniform(1.0, 1.0), "low must be below high"),
        (lambda: Mixture([], []), "one weight for each"),
        (lambda: Mixture([Gaussian()], [0.0]), "drop the component"),
        (lambda: Mixture([Empirical([1.0])], [1.0]), "cannot be mixed"),
        (lambda: Empirical([]), "at least one weight"),
        (lambda: Empirical([0.0, math.nan]), r"values\[1\]"),
        (lambda: Empirical([1.0]).truncate(0.5), "wider limits"),
        (lambda: Empirical([1.0]).pdf(0.0), "no density"),
        (lambda: Empirical([1.0]).entropy(), "fit a family"),
        (lambda: Empirical([1.0, 1.0]).kurtosis(), "no kurtosis"),
        (lambda: Gaussian().truncate(-1.0), "r = -1.0 is not positive"),
        (lambda: Gaussian().truncate(2.0, 1.0), "low must be below high"),
        (lambda: Gaussian().truncate(50.0, 60.0), "nearer to its bulk"),
        (lambda: Gaussian().scaled(0.0), "non-zero factor"),
        (lambda: Gaussian().ppf(1.5), "probability = 1.5"),
        (lambda: Gaussian().ppf(math.nan), "probability = nan"),
        (lambda: Gaussian().moment(-1), "k = -1"),
        (lambda: Gaussian().moment(2, math.nan), "a or b is NaN"),
        (lambda: Gaussian().sample(-1), "n = -1"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
