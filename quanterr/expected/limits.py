"""What no code can beat: the rate–distortion limit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..distributions.kernels import Array
from .snr import decibels
from .sweep import distributions, each


def shannon_lower_bound(dist: Any, bits: Any) -> Array:
    """Shannon's lower bound `2^(2h − 2·bits) / (2πe)` on the mean squared error of any code of `bits` bits a weight.

    `h` is the differential entropy in bits. It is the rate–distortion function itself for a Gaussian, and lies
    below it for every other density. Holds for vector codes of any length and complexity. Squared weight units.

    Raises
    ------
    ValueError
        Negative or NaN bits; `Empirical`, which has no differential entropy.
    """
    rate = np.asarray(bits, dtype=np.float64)
    if not (rate >= 0.0).all():
        raise ValueError(f"bits = {bits!r} is negative or NaN: give bits a weight, 0 or more")
    entropies: dict[int, float] = {}

    def bound(d: Any, r: float) -> float:
        h = entropies.setdefault(id(d), math.nan)
        if math.isnan(h):
            h = entropies[id(d)] = d.entropy()
        return float(2.0 ** (2.0 * (h - r)) / (2.0 * math.pi * math.e))

    return each(bound, distributions(dist), rate)


def snr_limit(dist: Any, bits: Any) -> Array:
    """The SNR in dB that no code of `bits` bits a weight exceeds, from Shannon's lower bound.

    6.0206 · bits for a zero-mean Gaussian, where it is the rate–distortion function.
    """
    return decibels(each(lambda d: d.power(), distributions(dist)), shannon_lower_bound(dist, bits))
