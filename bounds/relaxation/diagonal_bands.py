"""The best `y` of a shared diagonal over an integer box: all rows of a wide problem together."""

from __future__ import annotations

import numpy as np

from ..bands import sweep
from ..gram import Array
from ..kernels.diagonal import band_moves, judge

REFRESH = 16  # sweeps after which `M u` is computed anew


def descend_bands(
    gram: Array, diagonal: Array, target: Array, low: float, high: float, rounds: int, tol: float, y: Array
) -> Array:
    """`kernels.diagonal.descend` for one shared diagonal, (columns,); returns the best `y`, (rows, columns)."""
    best, best_bound = np.array(y), np.full(len(y), -np.inf)
    open_rows, u, r = np.arange(len(y)), np.array(y), np.zeros_like(y)
    for count in range(rounds + 1):
        if count % REFRESH == 0:
            r = u @ gram - diagonal * u
        t = target[open_rows]
        upper, bound = np.empty((2, len(u)))
        judge(diagonal, t, low, high, u, r, upper, bound)
        better = bound > best_bound[open_rows]
        best[open_rows[better]], best_bound[open_rows[better]] = u[better], bound[better]
        going = upper - bound > tol * np.abs(upper)
        if count == rounds or (count > 0 and not going.any()):
            break
        if count > 0 and 4 * np.count_nonzero(going) < 3 * len(going):
            open_rows, u, r, t = open_rows[going], u[going], r[going], t[going]

        def moves_of(first: int, moves: Array, t: Array = t, u: Array = u, r: Array = r) -> None:
            band_moves(gram, diagonal, t, low, high, first, u, r, moves)
            part = slice(first, first + moves.shape[1])
            r[:, part] -= diagonal[part] * moves

        sweep(gram, r, moves_of)
    return best
