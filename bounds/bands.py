"""Coordinate descent over all rows of a wide problem at once: what moves in a band of columns is one matrix product."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .gram import Array

BAND = 64
#: Up to so many columns rows go one by one: none depends, not even in its last bit, on those beside it.
NARROW = 256


def sweep(gram: Array, r: Array, moves_of: Callable[[int, Array], None]) -> None:
    """Columns in turn, each at its best given all others; `r` (rows, columns) is `gram` times the step and kept so.

    `moves_of(first, moves)` writes how far the columns `first` … of every row move, (rows, band).
    """
    rows, n = r.shape
    for first in range(0, n, BAND):
        moves = np.empty((rows, min(BAND, n - first)))
        moves_of(first, moves)
        if moves.any():
            r += moves @ gram[first : first + BAND]
