"""Expected quantisation error: `E[(W − Q(W))²]` in squared weight units (eqs. (9)–(15) of *Pruning vs Quantization*).

`dist` and `grid` are one object each or arrays of them, `scale` (weight units a code step) a number or an
array; all three broadcast, the result has their common shape. Each function raises ValueError for a scale that
is not positive and finite.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..distributions import checks
from ..distributions.kernels import Array
from .sweep import distributions, each, grids


def rounding_error(dist: Any, grid: Any, scale: Any) -> Array:
    """Error of the weights between the outermost levels (eq. (10)).

    Relative error at most 1e-12 for densities (see `Continuous`), whatever the fineness of the grid.
    """
    return each(lambda d, g, s: d.rounding(g.levels, s), distributions(dist), grids(grid), checks.scales(scale))


def clipping_error(dist: Any, grid: Any, scale: Any) -> Array:
    """Error of the weights beyond the outermost levels (eq. (11)); infinite if the variance is.

    Relative error at most 1e-12 down to the smallest normal double, 2.3e-308.
    """
    return each(lambda d, g, s: d.clipping(g.levels, s), distributions(dist), grids(grid), checks.scales(scale))


def quantization_error(dist: Any, grid: Any, scale: Any) -> Array:
    """Rounding and clipping error together (eq. (9))."""
    return rounding_error(dist, grid, scale) + clipping_error(dist, grid, scale)


def uniform_noise_error(scale: Any) -> Array:
    """`scale² / 12`: quantisation as independent uniform noise (the model behind pseudo quantisation noise).

    It neglects clipping and takes the density as constant within a cell: good at 6 and more bits with a scale that
    covers the weights, wrong at 2 or 3 bits and wherever the outliers decide.
    """
    return np.asarray(np.square(checks.scales(scale)) / 12.0)


def zero_fraction(dist: Any, grid: Any, scale: Any) -> Array:
    """Probability that a weight is quantised to zero, the natural sparsity of appendix C (0 if zero is not a level)."""

    def probability(d: Any, g: Any, s: float) -> float:
        at = np.flatnonzero(g.levels == 0.0)
        return float(d.probabilities(g.levels, s)[at[0]]) if at.size else 0.0

    return each(probability, distributions(dist), grids(grid), checks.scales(scale))


def code_entropy(dist: Any, grid: Any, scale: Any) -> Array:
    """Entropy of the codes in bits a weight: the size that an ideal entropy coder reaches."""

    def entropy(d: Any, g: Any, s: float) -> float:
        p = d.probabilities(g.levels, s)
        p = p[p > 0.0]
        return max(-float(np.sum(p * np.log2(p))), 0.0)

    return each(entropy, distributions(dist), grids(grid), checks.scales(scale))
