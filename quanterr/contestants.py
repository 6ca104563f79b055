"""The two contestants at equal storage: which feasible set `bits` means for each method."""

from __future__ import annotations

from enum import StrEnum

from bounds import Feasible, IntegerBox, Sparse

from .scaling import codes_range

DENSE_BITS = 16


class Method(StrEnum):
    """A way to compress a weight row."""

    QUANTIZATION = "quantization"
    PRUNING = "pruning"


def keep_at(bits: int, columns: int) -> int:
    """Weights that pruning may keep in a row of `columns` at the storage of `bits`-bit codes: ⌊columns · bits / 16⌋.

    Dense weights count 16 bits and the mask is free (*Pruning vs Quantization* §2): sparsity 1 − bits/16,
    rounded so that pruning never stores more than quantisation.
    """
    codes_range(bits)  # refuses what is no bit-width
    return columns * bits // DENSE_BITS


def feasible_set(method: Method, bits: int, columns: int) -> Feasible:
    """The set that `method` may choose a row from: codes for quantisation, weights for pruning."""
    if method is Method.QUANTIZATION:
        return IntegerBox(*codes_range(bits))
    return Sparse(keep_at(bits, columns))
