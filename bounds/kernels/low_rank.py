"""Row-wise descent on a low-rank factor. `fastmath` reorders sums: nothing is claimed from these floats."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ..gram import Array


@njit(cache=True, fastmath={"reassoc", "contract", "arcp", "nsz"})
def descend_rows(matrix: Array, pull: Array, root: Array, factor: Array, diagonal: Array, first: int) -> None:
    """Minimise `⟨S, V Vᵀ⟩`, `‖v_i‖ ≥ root_i`, over one row of `V` after the other, for a band of rows.

    Parameters
    ----------
    matrix : (band, columns) rows `first` … of `S`
    pull : (band, rank) the same rows of `S V`, before
    factor : (columns, rank) `V`; the rows of the band are replaced
    diagonal : (columns,) written for the band: the multipliers, `S_ii − ‖Σ_{j≠i} S_ij v_j‖ / root_i` or 0
    """
    band, rank = pull.shape
    change = np.zeros_like(pull)
    g = np.empty_like(pull[0])
    for a in range(band):
        i = first + a
        own = matrix[a, i]
        for c in range(rank):
            g[c] = pull[a, c] - own * factor[i, c]
        for b in range(a):
            f = matrix[a, first + b]
            for c in range(rank):
                g[c] += f * change[b, c]
        square = 0.0
        for c in range(rank):
            square += g[c] * g[c]
        length = max(math.sqrt(square), 1e-300)
        diagonal[i] = max(0.0, own - length / root[i])
        stretch = -max(1.0 / own, root[i] / length)
        for c in range(rank):
            new = stretch * g[c]
            change[a, c] = new - factor[i, c]
            factor[i, c] = new
