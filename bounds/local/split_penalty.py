"""Supports of all rows at once: the pruning problem split by a penalty that grows until the support stands still."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..gram import Array

#: The first penalty, at unit diagonal, and its growth by the share of the kept that changed since the last look.
PENALTY = np.float32(0.03)
LOOK = 3
GROWTH = ((0.1, 1.1), (0.005, 1.05), (-1.0, 1.03))
MOST = 600


def supports(
    values: Array, vectors: Array, live: NDArray[np.intp], target: Array, keep: int, size: int
) -> NDArray[np.bool_]:
    """Exactly `keep` columns in each group of `size` consecutive ones, (rows, columns), True where kept.

    The alternating direction method of multipliers on `min E(x) + sparse(z)`, `x = z` (Meng et al., *ALPS: Improved
    optimization for highly sparse one-shot pruning*, 2024, algorithm 1), two matrix products an iteration for all
    rows, in float32: only the support is used. The first penalty is smaller and grows more slowly than in the paper.

    Parameters
    ----------
    values, vectors : eigenvalues (live,) and eigenvectors (live, live) of the Gram's live part at unit diagonal
    live : the columns that they belong to; all others have a target of zero
    target : (rows, columns), in the same scaling
    """
    spectrum = np.maximum(values, 0.0).astype(np.float32)
    turn = vectors.astype(np.float32)
    unit = np.maximum(np.abs(target).max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    t = (target / unit).astype(np.float32)
    pull = (t[:, live] @ turn) * spectrum
    kept = _largest(np.abs(t), keep, size)
    z, dual, penalty = t * kept, np.zeros_like(t), np.full((len(t), 1), PENALTY)
    result, active, before = kept.copy(), np.arange(len(t)), kept
    x = np.zeros_like(t)
    for count in range(1, MOST + 1):
        right = pull + (penalty * z - dual)[:, live] @ turn
        x[:, live] = (right / (spectrum + penalty)) @ turn.T
        aim = x + dual / penalty
        kept = _largest(np.abs(aim), keep, size)
        z = aim * kept
        dual += penalty * (x - z)
        if count % LOOK:
            continue
        share = np.count_nonzero(kept != before, axis=1)[:, None] / (keep * (t.shape[1] // size))
        growth = np.full_like(share, GROWTH[-1][1])
        for least, factor in reversed(GROWTH[:-1]):
            growth[share >= least] = factor
        penalty *= growth.astype(np.float32)
        result[active], before = kept, kept
        going = share[:, 0] > 0
        if not going.any():
            break
        if not going.all():
            active, pull, z, dual, penalty, before, x = (
                each[going] for each in (active, pull, z, dual, penalty, before, x)
            )
    return result


def _largest(value: NDArray[np.float32], keep: int, size: int) -> NDArray[np.bool_]:
    groups = value.reshape(len(value), -1, size)
    kept = np.zeros(groups.shape, dtype=np.bool_)
    np.put_along_axis(kept, np.argpartition(-groups, keep - 1, axis=2)[:, :, :keep], True, axis=2)
    return kept.reshape(value.shape)
