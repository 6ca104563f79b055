"""What the search for the integer minimum of a block needs, computed once for each `D_B`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..gram import UNIT_ROUNDOFF, Array, Gram
from ..kernels.enumeration_lanes import LANES
from ..kernels.enumeration_prepare import conditional_centres, leading_diagonals, sorted_order

SAFETY = 32.0
SMALLEST_TAIL = 1e-30
REMEMBERED = 1024


class IntegerBlock:
    """A positive definite `D_B` in search order, divided by `2^exponent`, with its factor and its tail diagonals.

    `allowance` is the relative error of a minimum in float64, as in `exact.enumeration`.
    """

    def __init__(self, matrix: Array) -> None:
        n = matrix.shape[0]
        self.width = n
        self.padded = -(-n // LANES) * LANES
        self.exponent = int(np.frexp(matrix.diagonal().max())[1])
        scaled = np.ldexp(matrix, -self.exponent)
        self.order = sorted_order(scaled)
        self.gram = np.ascontiguousarray(scaled[np.ix_(self.order, self.order)])
        weight = self.gram.diagonal().copy()
        root = np.sqrt(weight)
        unit = self.gram / root / root[:, None]
        self.smallest_eigenvalue = float(np.linalg.eigvalsh(unit)[0])
        factor = np.linalg.cholesky(self.gram)
        inverse_root = np.linalg.inv(factor)
        self.inverse = np.ascontiguousarray(inverse_root.T @ inverse_root)
        coupling, tails = np.zeros((2, n + 1, self.padded))
        self.cost = np.zeros(n)
        conditional_centres(self.gram, factor, coupling, self.cost)
        leading_diagonals(unit, weight, self.smallest_eigenvalue, tails)
        self.coupling, self.tails = coupling.ravel(), tails.ravel()
        self.vertex = 0.5 / np.maximum(self.tails, SMALLEST_TAIL)
        self.allowance = SAFETY * n * UNIT_ROUNDOFF * n / self.smallest_eigenvalue


@lru_cache(maxsize=REMEMBERED)
def _prepared(width: int, data: bytes) -> IntegerBlock | None:
    matrix = np.frombuffer(data).reshape(width, width)
    if not (np.isfinite(matrix).all() and matrix.diagonal().min() > 0) or Gram(matrix).singular:
        return None
    return IntegerBlock(matrix)


def prepared(matrix: Array) -> IntegerBlock | None:
    """The preparation of a block, or None if it is not numerically definite; the last thousand are remembered."""
    return _prepared(matrix.shape[0], np.ascontiguousarray(matrix).tobytes())


class Packed:
    """Blocks of unequal width behind each other, as `kernels.block_multipliers` takes them."""

    def __init__(self, blocks: Sequence[IntegerBlock], exponent: int) -> None:
        def flat(name: str, power: int) -> Array:
            parts = [np.ldexp(getattr(b, name), power * (b.exponent - exponent)).ravel() for b in blocks]
            return np.concatenate(parts)

        def offsets(sizes: list[int]) -> NDArray[np.int64]:
            return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

        self.starts = offsets([b.width for b in blocks])
        self.widest = max(b.width for b in blocks)
        self.order = np.concatenate([b.order for b in blocks])
        self.shape = (
            self.starts,
            np.array([b.padded for b in blocks], dtype=np.int64),
            offsets([b.width**2 for b in blocks]),
            offsets([(b.width + 1) * b.padded for b in blocks]),
        )
        coupling = np.concatenate([b.coupling for b in blocks])
        self.arrays = (
            flat("gram", 1), flat("inverse", -1), coupling, flat("cost", 1), flat("tails", 1), flat("vertex", -1)
        )  # fmt: skip
