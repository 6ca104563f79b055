"""The block-diagonal matrix of largest weighted trace below a Gram matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..block_certificate import BlockDiagonal
from ..gram import Array

REFRESH = 4


def weighted_ascent(
    gram: Array, start: BlockDiagonal, weights: Sequence[Array], barrier: float, sweeps: int, floor: float
) -> BlockDiagonal:
    """Exact block ascent on `Σ ⟨W_B, D_B⟩ + barrier · log det(gram − D)`, `D_B ⪰ floor · (largest D_B)`.

    With the other blocks fixed, `T = D_B + ((gram − D)⁻¹)_BB⁻¹` is the largest `D_B`; in coordinates where `T = I` and
    `W_B` is diagonal with entries `w`, the maximiser is diagonal with entries `max(floor, 1 − barrier / w)`. Changing
    one block updates the inverse by a rank-`width` correction, so that a sweep costs one matrix product of columns³.

    Parameters
    ----------
    gram : (columns, columns), positive definite on the live columns
    start : a block-diagonal `D` with `gram − D ≻ 0`
    weights : (width, width) positive semidefinite, one for each block
    """
    live = np.sort(np.concatenate(start.blocks)) if start.blocks else np.zeros(0, dtype=np.intp)
    position = np.zeros(gram.shape[0], dtype=np.intp)
    position[live] = np.arange(live.size)
    blocks = [position[block] for block in start.blocks]
    matrices = [d.copy() for d in start.matrices]
    scale = gram[np.ix_(live, live)]

    def rest_inverse() -> Array:
        rest = scale.copy()
        for block, d in zip(blocks, matrices, strict=True):
            rest[np.ix_(block, block)] -= d
        inverse = np.linalg.inv(rest)
        return np.asarray((inverse + inverse.T) / 2)

    inverse = rest_inverse()
    for sweep in range(1, sweeps + 1):
        for index, block in enumerate(blocks):
            own = inverse[np.ix_(block, block)]
            largest = np.linalg.inv((own + own.T) / 2) + matrices[index]
            values, vectors = np.linalg.eigh((largest + largest.T) / 2)
            root = vectors * np.sqrt(np.maximum(values, 1e-14 * values[-1]))
            weight, turned = np.linalg.eigh(root.T @ weights[index] @ root)
            frame = root @ turned
            new = (frame * np.maximum(floor, 1 - barrier / np.maximum(weight, 1e-300))) @ frame.T
            new = (new + new.T) / 2
            change = matrices[index] - new
            matrices[index] = new
            inner = np.linalg.solve(np.eye(block.size) + change @ own, change)
            columns = inverse[:, block]
            inverse -= (columns @ ((inner + inner.T) / 2)) @ columns.T
        if sweep % REFRESH == 0 and sweep < sweeps:
            inverse = rest_inverse()
    return BlockDiagonal(start.blocks, tuple(matrices))


def largest_trace(gram: Array, blocks: tuple[np.ndarray, ...], floor: float = 0.02) -> BlockDiagonal:
    """A start: the `D` of largest trace (weights of the identity), by a falling barrier."""
    split = BlockDiagonal(blocks, tuple(np.zeros((block.size, block.size)) for block in blocks))
    live = np.concatenate(blocks)
    trace = float(gram.diagonal()[live].sum())
    weights = [np.eye(block.size) / trace for block in blocks]
    for barrier in (0.3, 0.1, 0.03, 0.01):
        split = weighted_ascent(gram, split, weights, barrier / live.size, 3, floor)
    return split
