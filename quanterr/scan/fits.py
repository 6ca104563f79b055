"""Which family describes a weight tensor best: maximum likelihood, compared by the Bayesian information criterion."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import gammaln

from ..distributions import Continuous, Gaussian, GeneralizedGaussian, Laplace, Logistic, StudentT

Array = NDArray[np.float64]
ENDS = 1024
CELLS = 2048
SHAPES = (0.2, 20.0)
FREEDOMS = (0.3, 100.0)
SMALLEST_SCALE = 1e-4
ITERATIONS = 100


@dataclass(frozen=True)
class Fit:
    """A family fitted to a tensor.

    Attributes
    ----------
    family : `Gaussian`, `Laplace`, `Logistic`, `GeneralizedGaussian` or `StudentT`
    shape : of the generalised Gaussian, or degrees of freedom; NaN for the others
    distribution : with its parameters, in weight units
    bic : Bayesian information criterion in nats a weight, `(k ln n − 2 ln L) / n`; the least is best
    """

    family: str
    shape: float
    distribution: Continuous
    bic: float


def fit_families(ordered: Array, step: float = 1.0) -> list[Fit]:
    """All five families fitted to ascending weights, the best first.

    Each is centred on the mean of the weights and has a scale; generalised Gaussian and Student-t have a shape too
    (0.2 … 20, and 0.3 … 100 degrees of freedom), which the criterion charges for. Of more than 4096 weights the 1024
    smallest and largest count one by one and the rest as 2048 cells of neighbours at their means. `step`: what 1 in
    `ordered` is worth in weight units.

    Raises
    ------
    ValueError
        Fewer than two different weights.
    """
    values, counts = _condensed(ordered)
    number = float(counts.sum())
    mean = float(counts @ values / number)
    y = np.abs(values - mean)
    power = float(counts @ (y * y) / number)
    if not power > 0.0:
        raise ValueError("all weights are equal: no density describes them")
    unit = math.sqrt(power)
    y /= unit
    shares = counts / number
    fits = []
    for family in (_gaussian, _laplace, _logistic, _generalized, _student):
        build, likelihood, shape = family(y, shares)
        distribution = build(unit * step, mean * step)
        bic = (1 + math.isfinite(shape)) * math.log(number) / number - 2.0 * (
            likelihood - math.log(unit) - math.log(step)
        )
        fits.append(Fit(type(distribution).__name__, shape, distribution, bic))
    return sorted(fits, key=lambda fit: fit.bic)


def _condensed(ordered: Array) -> tuple[Array, Array]:
    size = ordered.size
    if size <= 2 * ENDS + CELLS:
        return ordered.astype(np.float64), np.ones(size)
    edges = np.linspace(ENDS, size - ENDS, CELLS + 1).astype(np.intp)
    widths = np.diff(edges)
    means = np.add.reduceat(ordered[: edges[-1]], edges[:-1], dtype=np.float64) / widths
    values = np.concatenate([ordered[:ENDS], means, ordered[-ENDS:]])
    return values.astype(np.float64), np.concatenate([np.ones(ENDS), widths, np.ones(ENDS)])


#: The family from a unit and a centre, the log-likelihood a weight in that unit, and the shape.
Standard = tuple[Callable[[float, float], Continuous], float, float]


def _gaussian(y: Array, shares: Array) -> Standard:
    return Gaussian, -0.5 * (math.log(2.0 * math.pi) + 1.0), math.nan


def _laplace(y: Array, shares: Array) -> Standard:
    scale = float(shares @ y)
    return lambda unit, mean: Laplace(scale * unit, mean), -math.log(2.0 * scale) - 1.0, math.nan


def _logistic(y: Array, shares: Array) -> Standard:
    def cost(log_scale: float) -> float:
        u = y * math.exp(-log_scale)
        return log_scale + float(shares @ (u + 2.0 * np.log1p(np.exp(-u))))

    log_scale, value = _least(cost, math.log(SMALLEST_SCALE), 1.0)
    return lambda unit, mean: Logistic(math.exp(log_scale) * unit, mean), -value, math.nan


def _generalized(y: Array, shares: Array) -> Standard:
    with np.errstate(divide="ignore"):
        logs = np.log(y)

    def scale(shape: float) -> float:
        return float((shape * (shares @ np.exp(shape * logs))) ** (1.0 / shape))

    def cost(log_shape: float) -> float:
        shape = math.exp(log_shape)
        constant = math.log(shape) - math.log(2.0 * scale(shape)) - float(gammaln(1.0 / shape))
        return 1.0 / shape - constant

    log_shape, value = _least(cost, *map(math.log, SHAPES))
    shape = math.exp(log_shape)
    return lambda unit, mean: GeneralizedGaussian(shape, scale(shape) * unit, mean), -value, shape


def _student(y: Array, shares: Array) -> Standard:
    squares = y * y

    def square(freedom: float) -> float:
        """The most likely squared scale, by the fixed point of Kent, Tyler and Vardi (1994)."""
        value = float(shares @ np.minimum(squares, 1.0))
        for _ in range(ITERATIONS):
            weights = shares / (freedom + squares / value)
            following = max(float(weights @ squares / weights.sum()), SMALLEST_SCALE**2)
            if abs(following - value) <= 1e-10 * value:
                return following
            value = following
        return value

    def cost(log_freedom: float) -> float:
        freedom = math.exp(log_freedom)
        v = square(freedom)
        constant = float(gammaln(0.5 * (freedom + 1.0)) - gammaln(0.5 * freedom)) - 0.5 * math.log(
            math.pi * freedom * v
        )
        return 0.5 * (freedom + 1.0) * float(shares @ np.log1p(squares / (freedom * v))) - constant

    log_freedom, value = _least(cost, *map(math.log, FREEDOMS))
    freedom = math.exp(log_freedom)
    return lambda unit, mean: StudentT(freedom, math.sqrt(square(freedom)) * unit, mean), -value, freedom


def _least(cost: Callable[[float], float], low: float, high: float) -> tuple[float, float]:
    found = minimize_scalar(cost, bounds=(low, high), method="bounded", options={"xatol": 1e-5})
    return float(found.x), float(found.fun)
