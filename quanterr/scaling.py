"""Choice of the quantisation scale: weight units for each step of the integer grid −2^(b−1) … 2^(b−1)−1."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit

from bounds.feasible import Codebook
from bounds.gram import Array

from .contestants import Contestant, codes_range
from .errors import InputError

Scale = float | Array
MSE_STEPS = 400
MSE_SMALLEST = 0.01
LP_STEPS = 80


def max_abs(weight: Array, bits: int, *, axis: int | None = None) -> Scale:
    """The largest magnitude on the highest code: `max |w| / (2^(b−1)−1)`, and `max |w|` for 1 bit.

    Parameters
    ----------
    weight : array of any shape
    axis : None for one scale, 0 for one a row (output channel)

    Returns
    -------
    float, or (rows,) with `axis=0`; weight units a code step

    Raises
    ------
    InputError
        `bits` outside 1 … 16, NaN or infinity, no weights, or weights that are all zero.
    """
    return _shaped(_largest(_rows(weight, axis), bits, axis), axis)


def mse_grid(weight: Array, bits: int, *, axis: int | None = None, steps: int = MSE_STEPS) -> Scale:
    """The scale with the least squared rounding and clipping error of the weights, by grid search.

    The range estimator of the paper's section 2 (one scale for the tensor). Candidates are `steps` geometric fractions
    from 0.01 to 1 of the `max_abs` scale: 1.2 % apart by default. Arguments, units and errors as for `max_abs`.
    """
    return _search(weight, bits, axis, np.geomspace(1.0, MSE_SMALLEST, _positive(steps)), 2.0)


def lp_norm(weight: Array, bits: int, *, axis: int | None = None, p: float = 2.4) -> Scale:
    """The scale with the least `Σ |error|^p`, among `max_abs` shrunk by 1 − i/100, i = 0 … 79.

    The search of LAPQ (Nahshan et al. 2021) with the exponent 2.4 that Optimal Brain Compression uses. Arguments, units
    and errors as for `max_abs`; `p` is positive.
    """
    if not 0.0 < p < float("inf"):
        raise InputError(f"p = {p!r}: the norm needs a positive finite exponent")
    return _search(weight, bits, axis, 1.0 - np.arange(LP_STEPS) / 100.0, float(p))


SCALES: dict[str, Callable[..., Scale]] = {"mse": mse_grid, "max": max_abs, "lp": lp_norm}


def contestant_scale(contestant: Contestant, weight: Array, rule: str) -> float:
    """The scale of a whole tensor for what a contestant may store; 1 where it needs none.

    Codebooks: the largest magnitude on the largest level for `max`, and for `mse` and `lp` the best of the same
    fractions of it, each weight at its nearest level. Codes of which only some are kept: what the largest weights
    of the tensor ask for, the others being zero whatever the scale.

    Parameters
    ----------
    weight : (rows, columns)
    rule : a key of `SCALES`

    Raises
    ------
    InputError
        As `max_abs`.
    """
    codes = contestant.codes
    if codes is None:
        return 1.0
    if isinstance(codes, Codebook):
        return _codebook_scale(weight, codes.array, rule)
    kept = np.array(weight, dtype=np.float64)
    few = int(contestant.keep * kept.size)
    if 0 < few < kept.size:
        smallest = np.argsort(np.abs(kept), axis=None, kind="stable")[: kept.size - few]
        kept.flat[smallest] = 0.0
    return float(SCALES[rule](kept, (codes.high - codes.low).bit_length()))


def _codebook_scale(weight: Array, levels: Array, rule: str) -> float:
    values = np.sort(_rows(weight, None)[0])
    largest = max(-values[0], values[-1])
    if largest == 0.0:
        raise InputError("every weight is zero: no scale is better than another; leave it out")
    unit = int(np.frexp(largest)[1])
    top = float(np.ldexp(largest, -unit)) / max(float(np.abs(levels).max()), np.finfo(np.float64).tiny)
    if rule == "max":
        return float(_shaped(np.array([np.ldexp(top, unit)]), None))
    power, fractions = (
        (2.0, np.geomspace(1.0, MSE_SMALLEST, MSE_STEPS)) if rule == "mse" else (2.4, 1.0 - np.arange(LP_STEPS) / 100.0)
    )
    errors = level_errors(np.ldexp(values, -unit), top * fractions, levels, power)
    return float(_shaped(np.array([np.ldexp(top * fractions[int(np.argmin(errors))], unit)]), None))


def _search(weight: Array, bits: int, axis: int | None, fractions: Array, p: float) -> Scale:
    rows = _rows(weight, axis)
    low, high = codes_range(bits)
    largest = _largest(rows, bits, axis)
    best = np.empty(len(rows))
    for row, top in enumerate(largest):
        unit = int(np.frexp(top)[1])  # a power of two, so that neither squares nor powers leave the range of float64
        candidates = np.ldexp(top, -unit) * fractions
        errors = grid_errors(np.ldexp(rows[row], -unit), candidates, low, high, p)
        best[row] = np.ldexp(candidates[int(np.argmin(errors))], unit)
    return _shaped(best, axis)


def _rows(weight: Array, axis: int | None) -> Array:
    array = np.asarray(weight, dtype=np.float64)
    if axis not in (None, 0):
        raise InputError(f"axis = {axis!r}: scales are per tensor (None) or per output channel (0)")
    if array.size == 0 or (axis == 0 and array.ndim == 0):
        raise InputError(f"no weights to scale: shape {array.shape}")
    rows = array.reshape(1, -1) if axis is None else array.reshape(array.shape[0], -1)
    if not np.isfinite(rows).all():
        row, column = np.argwhere(~np.isfinite(rows))[0]
        raise InputError(f"the weight holds {rows[row, column]} in row {row}, position {column}: repair the checkpoint")
    return np.ascontiguousarray(rows)


def _largest(rows: Array, bits: int, axis: int | None) -> Array:
    largest = np.abs(rows).max(axis=1)
    zero = np.flatnonzero(largest == 0.0)
    if zero.size:
        where = "every weight is zero" if axis is None else f"row {zero[0]} is zero ({zero.size} of {len(rows)} rows)"
        raise InputError(f"{where}: no scale is better than another; leave it out")
    return np.asarray(largest / max(codes_range(bits)[1], 1))


def _positive(steps: int) -> int:
    if isinstance(steps, bool) or steps != int(steps) or steps < 1:
        raise InputError(f"steps = {steps!r}: the search needs at least one candidate")
    return int(steps)


def _shaped(scales: Array, axis: int | None) -> Scale:
    if scales.min() < np.finfo(np.float64).tiny:
        raise InputError(f"the weights are too small for float64 (scale {scales.min():.3g}): rescale them")
    return float(scales[0]) if axis is None else scales


def _grid_errors(weight: Array, scales: Array, low: int, high: int, p: float) -> Array:
    """(scales,) `Σ |w − scale · clip(round(w / scale))|^p`; ties round up, as in `bounds.IntegerBox`.

    Scales run innermost: their sums are independent, so the loop vectorises and its order of summation is fixed.
    """
    inverse = 1.0 / scales
    errors = np.zeros(scales.size)
    bottom, top = float(low), float(high)
    if p == 2.0:
        for w in weight:
            for i in range(scales.size):
                code = min(max(np.floor(w * inverse[i] + 0.5), bottom), top)
                residue = w - scales[i] * code
                errors[i] += residue * residue
    else:
        for w in weight:
            for i in range(scales.size):
                code = min(max(np.floor(w * inverse[i] + 0.5), bottom), top)
                errors[i] += abs(w - scales[i] * code) ** p
    return errors


grid_errors = njit(cache=True)(_grid_errors)


def _level_errors(weight: Array, scales: Array, levels: Array, p: float) -> Array:
    """(scales,) `Σ |w − scale · nearest level|^p`; `weight` and `levels` ascend, so that both are walked once."""
    errors = np.zeros(scales.size)
    for i in range(scales.size):
        at, last = 0, levels.size - 1
        for w in weight:
            while at < last and w >= scales[i] * 0.5 * (levels[at] + levels[at + 1]):
                at += 1
            miss = abs(w - scales[i] * levels[at])
            errors[i] += miss * miss if p == 2.0 else miss**p
    return errors


level_errors = njit(cache=True)(_level_errors)
