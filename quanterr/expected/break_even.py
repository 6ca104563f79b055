"""Where two formats lose equally much: the break-even kurtosis of a one-parameter family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import brentq

from ..distributions import Distribution
from ..grids import Grid
from .snr import nofm_pruning_snr, pruning_snr, quantization_snr

Format = Callable[[Distribution], float]


@dataclass(frozen=True)
class BreakEven:
    """`parameter` of the family at which both formats have `snr` (dB), and the `kurtosis` there."""

    kurtosis: float
    parameter: float
    snr: float


def quantized(grid: Grid) -> Format:
    """The format `grid` at its best scale."""
    return lambda dist: float(quantization_snr(dist, grid))


def pruned(sparsity: float) -> Format:
    """The format of magnitude pruning to `sparsity`."""
    return lambda dist: float(pruning_snr(dist, sparsity))


def pruned_nofm(keep: int, group: int) -> Format:
    """The format of n:m pruning."""
    return lambda dist: float(nofm_pruning_snr(dist, keep, group))


def break_even(
    family: Callable[[float], Distribution],
    first: Format,
    second: Format,
    low: float,
    high: float,
    *,
    samples: int = 24,
) -> BreakEven:
    """The least parameter in [low, high] at which two formats have the same SNR.

    Parameters
    ----------
    family : parameter → distribution, e.g. `lambda r: StudentT(2).truncate(r)`
    first, second : distribution → SNR in dB, e.g. `quantized(IntegerGrid(4))` and `pruned(0.75)`
    samples : int
        Parameters (geometric) between which a change of sign is looked for; crossings closer than that are missed.

    Raises
    ------
    ValueError
        If the same format is better at all samples.
    """
    if not 0.0 < low < high:
        raise ValueError(f"low = {low!r}, high = {high!r}: give 0 < low < high")

    def margin(parameter: float) -> float:
        dist = family(parameter)
        return first(dist) - second(dist)

    points = np.geomspace(low, high, samples)
    before = margin(points[0])
    for left, right in pairwise(points):
        after = margin(right)
        if before * after <= 0.0:
            root = float(brentq(margin, left, right, xtol=1e-13 * left, rtol=1e-14))
            dist = family(root)
            return BreakEven(dist.kurtosis(), root, first(dist))
        before = after
    better = "first" if before > 0.0 else "second"
    raise ValueError(f"the {better} format is better throughout [{low}, {high}]: widen the range of the parameter")


def break_even_kurtosis(
    family: Callable[[float], Distribution], first: Format, second: Format, low: float = 0.5, high: float = 1e3
) -> float:
    """`break_even(…).kurtosis`: above it the second format wins if it profits from outliers."""
    return break_even(family, first, second, low, high).kurtosis
