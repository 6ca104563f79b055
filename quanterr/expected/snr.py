"""Signal-to-noise ratios in decibels, `10 log₁₀(E[W²] / error)`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..distributions.kernels import Array
from .pruning import joint_error, nofm_pruning_error, pruning_error
from .quantization import quantization_error
from .scale import optimal_scale
from .sweep import distributions, each


def decibels(power: Any, error: Any) -> Array:
    """`10 log₁₀(power / error)`; infinite for zero error.

    Raises
    ------
    ValueError
        If the power is infinite or zero: the ratio then has no meaning.
    """
    signal, noise = np.broadcast_arrays(np.asarray(power, dtype=np.float64), np.asarray(error, dtype=np.float64))
    if not ((signal > 0.0) & np.isfinite(signal)).all():
        raise ValueError(
            "E[W²] is infinite or zero, so there is no SNR: truncate the distribution, or drop zero tensors"
        )
    with np.errstate(divide="ignore"):
        return np.asarray(10.0 * (np.log10(signal) - np.log10(noise)))


def _power(dist: Any) -> Array:
    return each(lambda d: d.power(), distributions(dist))


def quantization_snr(dist: Any, grid: Any, scale: Any = None) -> Array:
    """SNR of quantisation in dB; `scale=None` takes `optimal_scale(dist, grid)`."""
    power = _power(dist)
    decibels(power, 1.0)
    step = optimal_scale(dist, grid) if scale is None else scale
    return decibels(power, quantization_error(dist, grid, step))


def pruning_snr(dist: Any, sparsity: Any) -> Array:
    """SNR of magnitude pruning in dB."""
    return decibels(_power(dist), pruning_error(dist, sparsity))


def nofm_pruning_snr(dist: Any, keep: int, group: int) -> Array:
    """SNR in dB of keeping the `keep` largest of every `group` independent weights."""
    return decibels(_power(dist), nofm_pruning_error(dist, keep, group))


def joint_snr(dist: Any, grid: Any, sparsity: Any, scale: Any) -> Array:
    """SNR in dB of pruning followed by quantisation."""
    return decibels(_power(dist), joint_error(dist, grid, sparsity, scale))
