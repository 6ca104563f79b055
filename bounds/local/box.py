"""The multipliers of a box: where the real minimum of every row lies on it."""

from __future__ import annotations

import numpy as np

from ..bands import NARROW, sweep
from ..gram import Array
from ..kernels.level_moves import box_descent, box_moves

SWEEPS, MOVE = 200, 1e-5


def box_slopes(gram: Array, target: Array, low: float, high: float) -> Array:
    """The gradient of `E` at its minimum over the box, where it pushes a column against its limit, (rows, columns)."""
    if target.shape[1] <= NARROW:
        slope = np.zeros_like(target)
        for row in range(len(target)):
            box_descent(gram, target[row], low, high, slope[row])
        return slope
    v = np.clip(target, low, high)
    slope = np.zeros_like(v)
    open_rows = np.flatnonzero((v != target).any(axis=1))
    v = v[open_rows]
    q = (v - target[open_rows]) @ gram
    for _ in range(SWEEPS):
        largest = np.zeros(len(v))

        def moves_of(first: int, moves: Array, v: Array = v, q: Array = q, largest: Array = largest) -> None:
            box_moves(gram, low, high, first, v, q, moves)
            np.maximum(largest, np.abs(moves).max(axis=1), out=largest)

        sweep(gram, q, moves_of)
        going = largest > MOVE * (high - low)
        if 4 * np.count_nonzero(going) < 3 * len(going) or not going.any():
            slope[open_rows[~going]] = _held(v[~going], q[~going], low, high)
            open_rows, v, q = open_rows[going], v[going], q[going]
        if not open_rows.size:
            break
    slope[open_rows] = _held(v, q, low, high)
    return slope


def _held(v: Array, q: Array, low: float, high: float) -> Array:
    return np.where(((v <= low) & (q > 0.0)) | ((v >= high) & (q < 0.0)), 2.0 * q, 0.0)
