"""The families, with their norming constants."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .checks import finite, positive
from .continuous import Continuous
from .kernels import COEFFICIENT, CONSTANT, GAUSSIAN, GENERALIZED, LAPLACE, LOGISTIC, STUDENT, Array


def component(constant: float, kind: int, shape: float, mean: float, scale: float) -> Array:
    """One row of a table: `constant / scale · profile((w − mean) / scale)` on the whole line."""
    return np.array([[constant / scale, kind, shape, mean, scale, -np.inf, np.inf]])


class Gaussian(Continuous):
    """Normal distribution with standard deviation `std`, in weight units."""

    def __init__(self, std: float = 1.0, mean: float = 0.0) -> None:
        scale, center = positive("std", std), finite("mean", mean)
        super().__init__(
            component(1.0 / math.sqrt(2.0 * math.pi), GAUSSIAN, 0.0, center, scale),
            f"Gaussian(std={scale!r}, mean={center!r})",
        )


class Uniform(Continuous):
    """Constant density on [low, high]."""

    def __init__(self, low: float = -1.0, high: float = 1.0) -> None:
        first, last = finite("low", low), finite("high", high)
        if not first < last:
            raise ValueError(f"Uniform(low={first!r}, high={last!r}): low must be below high")
        row = [1.0 / (last - first), CONSTANT, 0.0, 0.5 * first + 0.5 * last, 0.5 * last - 0.5 * first, first, last]
        super().__init__(np.array([row]), f"Uniform(low={first!r}, high={last!r})")


class Laplace(Continuous):
    """Density `exp(−|w − mean| / scale) / (2 scale)`; standard deviation `√2 · scale`."""

    def __init__(self, scale: float = 1.0, mean: float = 0.0) -> None:
        spread, center = positive("scale", scale), finite("mean", mean)
        super().__init__(component(0.5, LAPLACE, 0.0, center, spread), f"Laplace(scale={spread!r}, mean={center!r})")


class Logistic(Continuous):
    """Density of the logistic distribution; standard deviation `π / √3 · scale`."""

    def __init__(self, scale: float = 1.0, mean: float = 0.0) -> None:
        spread, center = positive("scale", scale), finite("mean", mean)
        super().__init__(component(1.0, LOGISTIC, 0.0, center, spread), f"Logistic(scale={spread!r}, mean={center!r})")


class GeneralizedGaussian(Continuous):
    """Density proportional to `exp(−|(w − mean) / scale|^shape)`: Laplace at 1, Gaussian at 2 (`std = scale / √2`).

    `shape` from 0.1 to 50.
    """

    def __init__(self, shape: float, scale: float = 1.0, mean: float = 0.0) -> None:
        exponent, spread, center = positive("shape", shape), positive("scale", scale), finite("mean", mean)
        if not 0.1 <= exponent <= 50.0:
            raise ValueError(f"shape = {exponent!r} is outside [0.1, 50]: take Uniform for large shapes")
        constant = 0.5 / math.gamma(1.0 + 1.0 / exponent)
        super().__init__(
            component(constant, GENERALIZED, exponent, center, spread),
            f"GeneralizedGaussian(shape={exponent!r}, scale={spread!r}, mean={center!r})",
        )


class StudentT(Continuous):
    """Student's t with `df` degrees of freedom; its variance is infinite for `df ≤ 2` unless truncated.

    Erratum: the exponent of the density is `−(df + 1)/2`, not the `(−df + 1)/2` of eq. (17), and nothing is
    normalised to unit variance (appendix B says so, but the untruncated t with df = 2 has none).
    """

    def __init__(self, df: float, scale: float = 1.0, mean: float = 0.0) -> None:
        freedom, spread, center = positive("df", df), positive("scale", scale), finite("mean", mean)
        constant = gamma_ratio(0.5 * freedom) / math.sqrt(math.pi * freedom)
        super().__init__(
            component(constant, STUDENT, freedom, center, spread),
            f"StudentT(df={freedom!r}, scale={spread!r}, mean={center!r})",
        )


class Mixture(Continuous):
    """`Σ weightᵢ · distributionᵢ`; the weights are normalised to sum 1."""

    def __init__(self, distributions: Sequence[Continuous], weights: Sequence[float]) -> None:
        if len(distributions) == 0 or len(distributions) != len(weights):
            raise ValueError(f"{len(distributions)} distributions and {len(weights)} weights: give one weight for each")
        if not all(isinstance(d, Continuous) for d in distributions):
            raise ValueError("a Mixture is made of distributions with a density: Empirical values cannot be mixed in")
        shares = np.array([positive("weight", w, "drop the component instead") for w in weights])
        shares /= shares.sum()
        tables = []
        for distribution, share in zip(distributions, shares, strict=True):
            table = np.array(distribution.table)
            table[:, COEFFICIENT] *= share
            tables.append(table)
        names = " + ".join(f"{s:.6g}·{d!r}" for d, s in zip(distributions, shares, strict=True))
        super().__init__(np.concatenate(tables), f"Mixture({names})")


def gamma_ratio(x: float) -> float:
    """`Γ(x + ½) / Γ(x)` to rounding, where a difference of log-gammas would cancel."""
    if x < 80.0:
        return math.gamma(x + 0.5) / math.gamma(x)
    z = 1.0 / x
    series = 1.0 + z * (
        -1 / 8 + z * (1 / 128 + z * (5 / 1024 + z * (-21 / 32768 + z * (-399 / 262144 + z * 869 / 4194304))))
    )
    return math.sqrt(x) * series
