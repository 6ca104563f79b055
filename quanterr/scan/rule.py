"""The kurtosis at which pruning becomes better, by theory: what a scan is compared with."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from ..contestants import codes_range
from ..distributions import StudentT
from ..expected import BreakEven, break_even, pruned, quantized
from ..grids import IntegerGrid

FREEDOM = 2.0
RANGES = (0.5, 1e5)


def break_even_range(bits: int) -> BreakEven:
    """The truncated Student-t (2 degrees of freedom) for which `bits`-bit codes and pruning to 1 − bits/16 are equal.

    The family of *Pruning vs Quantization* section 3.3. `.kurtosis` is 8.873, 15.985, 28.350, 51.771 for 2 … 5 bits;
    `.parameter` is the truncation range and `.snr` the SNR of both in dB.

    Raises
    ------
    InputError
        A bit-width outside 1 … 15 (at 16 bits nothing is pruned).
    """
    codes_range(bits)
    return _solved(int(bits))


@lru_cache
def _solved(bits: int) -> BreakEven:
    return break_even(
        lambda reach: StudentT(FREEDOM).truncate(reach),
        quantized(IntegerGrid(bits)),
        pruned(1.0 - bits / 16.0),
        *RANGES,
    )


def predicted_better(kurtosis: float, bits: int) -> str:
    """`pruning` above the break-even kurtosis of `break_even_range`, else `quantization`."""
    return "pruning" if kurtosis > break_even_range(bits).kurtosis else "quantization"


def agreement(winners: Iterable[tuple[float, int, str]]) -> float:
    """Share of (kurtosis, bits, better) for which the rule names the winner that was measured."""
    hits = [predicted_better(kurtosis, bits) == better for kurtosis, bits, better in winners]
    return sum(hits) / len(hits)
