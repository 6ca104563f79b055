"""What quantisation and pruning do to one weight tensor, exactly, and what its best fit says they should do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..contestants import DENSE_BITS, codes_range
from ..distributions import Distribution
from ..errors import InputError
from ..expected import decibels, matching_sparsity, optimal_scale, pruning_snr, quantization_snr, zero_fraction
from ..grids import IntegerGrid
from . import kernels
from .fits import Fit, fit_families

Array = NDArray[np.float64]
STEPS = 100


@dataclass(frozen=True)
class Measured:
    """One tensor at all bit-widths; arrays are (bits,), SNRs in dB, infinite where nothing is lost.

    `kurtosis`, `fit` and the predictions are NaN or None where all weights are equal.
    """

    kurtosis: float
    sparsity: float
    fit: Fit | None
    quant_snr_db: Array
    quant_snr_channel_db: Array
    quant_snr_group_db: Array
    quant_scale: Array
    quant_zero_fraction: Array
    prune_snr_db: Array
    prune_snr_mask_cost_db: Array
    predicted_quant_snr_db: Array
    predicted_prune_snr_db: Array
    predicted_zero_fraction: Array


def measure(weight: NDArray[np.floating], bits: Sequence[int], *, group: int = 128, steps: int = STEPS) -> Measured:
    """Measure a weight tensor.

    Parameters
    ----------
    weight : (channels, …) float array with a weight that is not zero, all finite
    bits : bit-widths of the two's complement grid; pruning keeps `⌊n · bits/16⌋` weights, and `⌊n · (bits − 1)/16⌋`
        when its mask costs one bit a weight
    group : weights within an output channel that share a scale; the last group of a channel may be smaller
    steps : scales tried for each tensor, channel and group: `i / steps` of the full range, as in the paper's section
        2; then 32 between the neighbours of the best, then a least-squares refit

    Raises
    ------
    InputError
        A group below 1, no bits, or a bit-width outside 1 … 16.
    """
    if group < 1:
        raise InputError(f"group = {group}: at least one weight shares a scale")
    ranges = np.array([codes_range(b) for b in bits], dtype=np.int64).reshape(-1, 2)
    if not len(ranges):
        raise InputError("bits is empty: give at least one bit-width, e.g. (2, 3, 4, 8)")
    rows, exponent = _normalized(weight)
    channel = _errors([np.sort(rows, axis=1)], ranges, steps)
    groups = _errors(_groups(rows, group), ranges, steps) if group < rows.shape[1] else channel
    flat = np.sort(rows, axis=None)
    del rows
    tensor = _errors([flat[None, :]], ranges, steps)
    _, power, variance, fourth = kernels.moments(flat)
    size = flat.size
    widths = np.asarray(bits, dtype=np.int64)
    unit = float(np.ldexp(1.0, exponent))
    fit = fit_families(flat, unit)[0] if flat[0] < flat[-1] else None
    normal = fit.distribution.scaled(1.0 / unit).truncate(float(flat[0]), float(flat[-1])) if fit is not None else None
    expected = _predict(normal, bits)
    return Measured(
        kurtosis=fourth / variance**2 if fit is not None else float("nan"),
        sparsity=1.0 - int(np.count_nonzero(flat)) / size,
        fit=fit,
        quant_snr_db=decibels(power, tensor[:, 0] / size),
        quant_snr_channel_db=decibels(power, channel[:, 0] / size),
        quant_snr_group_db=decibels(power, groups[:, 0] / size),
        quant_scale=np.ldexp(tensor[:, 2], exponent),
        quant_zero_fraction=tensor[:, 1] / size,
        prune_snr_db=decibels(power, _pruned(flat, size * widths // DENSE_BITS) / size),
        prune_snr_mask_cost_db=decibels(power, _pruned(flat, size * (widths - 1) // DENSE_BITS) / size),
        predicted_quant_snr_db=expected[0],
        predicted_prune_snr_db=expected[1],
        predicted_zero_fraction=expected[2],
    )


def _normalized(weight: NDArray[np.floating]) -> tuple[NDArray[np.floating], int]:
    """(channels, columns) with a largest magnitude in [½, 1), and the power of two taken out: no square underflows."""
    kind = np.float64 if weight.dtype == np.float64 else np.float32
    rows: NDArray[np.floating] = np.array(weight.reshape(weight.shape[0], -1), dtype=kind)
    exponent = int(np.frexp(max(float(rows.max()), -float(rows.min())))[1])
    if kind is np.float32:
        # Half of the way at a time: a subnormal tensor needs more than float32's own range.
        first = -exponent // 2
        np.ldexp(np.ldexp(rows, first, out=rows), -exponent - first, out=rows)
    else:
        np.ldexp(rows, -exponent, out=rows)
    return rows, exponent


def _groups(rows: NDArray[np.floating], group: int) -> list[NDArray[np.floating]]:
    """Sorted groups as rows: the full ones, and what is left at the end of each channel."""
    full = rows.shape[1] - rows.shape[1] % group
    parts = [rows[:, :full].reshape(-1, group), rows[:, full:]]
    return [np.sort(part, axis=1) for part in parts if part.size]


def _errors(parts: list[NDArray[np.floating]], ranges: NDArray[np.int64], steps: int) -> Array:
    """(bits, 3): squared error, zeros, and the last scale."""
    total = np.zeros((len(ranges), 3))
    for part in parts:
        out = np.empty((len(ranges), 3))
        kernels.quantize_rows(part, ranges[:, 0].copy(), ranges[:, 1].copy(), steps, out)
        total[:, :2] += out[:, :2]
        total[:, 2] = out[:, 2]
    return total


def _pruned(flat: NDArray[np.floating], keep: NDArray[np.int64]) -> Array:
    removed = flat.size - keep
    order = np.argsort(removed, kind="stable")
    out = np.empty(len(keep))
    kernels.prune(flat, removed[order], out)
    errors = np.empty(len(keep))
    errors[order] = out
    return errors


def _predict(dist: Distribution | None, bits: Sequence[int]) -> tuple[Array, Array, Array]:
    """Closed-form SNRs and zero fraction of the fit, truncated to the range of the weights."""
    if dist is None:
        nothing = np.full(len(bits), np.nan)
        return nothing, nothing, nothing
    grids = [IntegerGrid(int(b)) for b in bits]
    scale = optimal_scale(dist, grids, tolerance=1e-2)
    return (
        quantization_snr(dist, grids, scale),
        pruning_snr(dist, matching_sparsity(bits)),
        zero_fraction(dist, grids, scale),
    )
