"""Where the codes of a weight matrix lie: a scale and zero point for the tensor, each row or each group of columns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from numba import njit

from bounds.gram import Array

from .contestants import codes_range
from .errors import InputError
from .scaling import LP_STEPS, MSE_SMALLEST, MSE_STEPS

SEARCHES = ("max", "mse", "lp", "gram")
EVERY = {"tensor": 0, "channel": 0}


@dataclass(frozen=True, eq=False)
class CodeGrid:
    """Code c of a weight means `scale · (c − zero)`, for whole c from `low` to `high`.

    Attributes
    ----------
    scale, zero : (rows or 1, groups) weight units a code step, and the code of weight 0
    low, high : first and last code
    group : columns that share a scale, in their order; the last group may be smaller
    columns : of the weight
    """

    scale: Array
    zero: Array
    low: int
    high: int
    group: int
    columns: int

    def step(self) -> Array:
        """(rows or 1, columns) the scale of each weight: the `scale` argument of the quantisers."""
        return self._stretched(self.scale)

    def target(self, weight: Array) -> Array:
        """(rows, columns) in code units: what a quantiser rounds."""
        return np.asarray(np.asarray(weight, dtype=np.float64) / self.step() + self._stretched(self.zero))

    def weight(self, codes: Array) -> Array:
        """(rows, columns) the weights that codes stand for."""
        return np.asarray(self.step() * (np.asarray(codes, dtype=np.float64) - self._stretched(self.zero)))

    def scaled(self, scale: Array) -> CodeGrid:
        """The same codes and zero points at other scales."""
        return replace(self, scale=scale)

    def _stretched(self, values: Array) -> Array:
        return np.asarray(np.repeat(values, self.group, axis=1)[:, : self.columns])


def code_grid(
    weight: Array,
    bits: int,
    *,
    per: str | int = "channel",
    symmetric: bool = True,
    search: str = "mse",
    p: float = 2.4,
    gram: Array | None = None,
) -> CodeGrid:
    """Scales and zero points by search over shrunk ranges of the weights.

    Parameters
    ----------
    weight : (rows, columns)
    bits : 1 … 16
    per : `tensor`, `channel` (one a row) or a number of columns (one for each group of so many in each row)
    symmetric : codes −2^(b−1) … 2^(b−1)−1 with zero point 0, from the largest magnitude; else 0 … 2^b−1 and a zero
        point, from the range of the weights widened to hold 0
    search : which shrunk range is taken: `max` none, `mse` the least squared rounding error, `lp` the least
        `Σ |error|^p` (Nahshan et al. 2021; 2.4 as in Optimal Brain Compression), `gram` the least output error
        `eᵀ gram e` of nearest rounding, where a group counts its own block of the Gram matrix alone
    gram : (columns, columns), for `gram`

    Candidates are 80 linear fractions 1, 0.99 … 0.21 for `lp` and `gram`, 400 geometric ones down to 0.01 for `mse`.
    Weights that are all zero get scale 1.

    Raises
    ------
    InputError
        Bad bits, options or shapes, NaN or infinity.
    """
    w = np.asarray(weight, dtype=np.float64)
    if w.ndim != 2 or w.size == 0 or not np.isfinite(w).all():
        raise InputError(f"the weight {w.shape} is not a non-empty matrix of finite numbers: repair the checkpoint")
    if search not in SEARCHES:
        raise InputError(f"search = {search!r}: choose one of {', '.join(SEARCHES)}")
    if isinstance(per, bool) or not (per in EVERY or (isinstance(per, int) and per >= 1)):
        raise InputError(f"per = {per!r}: give 'tensor', 'channel' or a number of columns")
    if not 0.0 < p < float("inf"):
        raise InputError(f"p = {p!r}: the norm needs a positive finite exponent")
    rows, columns = w.shape
    metric = np.eye(columns) if gram is None else np.asarray(gram, dtype=np.float64)
    if (search == "gram" and gram is None) or metric.shape != (columns, columns):
        raise InputError(f"search by gram needs a Gram matrix of {columns} columns, got {metric.shape}")
    half = codes_range(bits)[1] + 1
    low, high = (-half, half - 1) if symmetric else (0, 2 * half - 1)
    group = min(per, columns) if isinstance(per, int) else columns
    fractions = np.geomspace(1.0, MSE_SMALLEST, MSE_STEPS) if search == "mse" else 1.0 - np.arange(LP_STEPS) / 100.0
    if search == "max":
        fractions = np.ones(1)
    groups = ceil(columns / group)
    scale, zero = np.empty((rows, groups)), np.empty((rows, groups))
    for g in range(groups):
        part = slice(g * group, min((g + 1) * group, columns))
        block = np.ascontiguousarray(w[:, part])
        bottom, top = np.minimum(block.min(axis=1), 0.0), np.maximum(block.max(axis=1), 0.0)
        if per == "tensor":
            bottom, top = np.full(rows, bottom.min()), np.full(rows, top.max())
        scales, zeros = _candidates(bottom, top, fractions, low, high, symmetric)
        if search == "gram":
            errors = _output_errors(block, scales, zeros, low, high, metric[part, part])
        else:
            errors = power_errors(block, scales, zeros, float(low), float(high), p if search == "lp" else 2.0)
        if per == "tensor":
            errors = np.broadcast_to(errors.sum(axis=0), errors.shape)
        best = errors.argmin(axis=1)
        scale[:, g], zero[:, g] = scales[np.arange(rows), best], zeros[np.arange(rows), best]
    if per == "tensor":
        scale, zero = scale[:1], zero[:1]
    return CodeGrid(scale, zero, low, high, group, columns)


def _candidates(
    bottom: Array, top: Array, fractions: Array, low: int, high: int, symmetric: bool
) -> tuple[Array, Array]:
    """Scales and zero points of the shrunk ranges, (rows, fractions)."""
    width = np.maximum(-bottom, top) / max(high, 1) if symmetric else (top - bottom) / (high - low)
    scales = np.where(width > 0.0, width, 1.0)[:, None] * fractions
    if symmetric:
        return scales, np.zeros_like(scales)
    return scales, np.clip(np.floor(-bottom[:, None] * fractions / scales + 0.5), low, high)


def _output_errors(block: Array, scales: Array, zeros: Array, low: int, high: int, metric: Array) -> Array:
    errors = np.empty_like(scales)
    for i in range(scales.shape[1]):
        scale, zero = scales[:, i : i + 1], zeros[:, i : i + 1]
        miss = block - scale * (np.clip(np.floor(block / scale + zero + 0.5), low, high) - zero)
        errors[:, i] = np.einsum("ri,ri->r", miss @ metric, miss)
    return errors


def _power_errors(block: Array, scales: Array, zeros: Array, low: float, high: float, p: float) -> Array:
    """(rows, candidates) `Σ |w − scale · (code − zero)|^p` of nearest rounding; candidates run innermost."""
    errors = np.zeros(scales.shape)
    for row in range(block.shape[0]):
        inverse = 1.0 / scales[row]
        for w in block[row]:
            for i in range(inverse.size):
                code = min(max(np.floor(w * inverse[i] + zeros[row, i] + 0.5), low), high)
                miss = abs(w - scales[row, i] * (code - zeros[row, i]))
                errors[row, i] += miss * miss if p == 2.0 else miss**p
    return errors


power_errors = njit(cache=True)(_power_errors)
