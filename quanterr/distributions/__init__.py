"""Distributions of weights, with partial moments exact to rounding."""

from .base import Distribution
from .continuous import Continuous
from .empirical import Empirical
from .families import Gaussian, GeneralizedGaussian, Laplace, Logistic, Mixture, StudentT, Uniform

__all__ = [
    "Continuous",
    "Distribution",
    "Empirical",
    "Gaussian",
    "GeneralizedGaussian",
    "Laplace",
    "Logistic",
    "Mixture",
    "StudentT",
    "Uniform",
]
