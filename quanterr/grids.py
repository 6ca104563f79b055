"""Grids of representable weights, in units of the scale: a weight becomes `scale · level` for the nearest level."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import log2

import numpy as np

from bounds.feasible.codebook import NF4

from .distributions.checks import count
from .distributions.kernels import Array


class Grid(ABC):
    """A finite set of levels; `levels` ascends and is read-only."""

    @property
    @abstractmethod
    def levels(self) -> Array:
        """(levels,) ascending, in code units."""

    @property
    @abstractmethod
    def bits_per_weight(self) -> float:
        """Storage of one code in bits, before entropy coding."""


@dataclass(frozen=True)
class IntegerGrid(Grid):
    """Integer codes: two's complement −2^(b−1) … 2^(b−1)−1, or one of its two usual variants.

    Erratum: section 3.1 of *Pruning vs Quantization* prints −2^b … 2^b−1, which has b + 1 bits.

    Parameters
    ----------
    bits : int, 1 … 16
    symmetric : bool
        The restricted range −(2^(b−1)−1) … 2^(b−1)−1 (needs at least 2 bits).
    zero_point : int or None
        Unsigned codes 0 … 2^b−1 minus this code; weight zero is representable when it is among them.
    """

    bits: int
    symmetric: bool = False
    zero_point: int | None = None

    def __post_init__(self) -> None:
        least = 2 if self.symmetric else 1
        bits = count("bits", self.bits, least, f"give a bit-width from {least} to 16")
        if bits > 16:
            raise ValueError(f"bits = {bits} exceeds 16: give a bit-width from {least} to 16")
        if self.symmetric and self.zero_point is not None:
            raise ValueError("symmetric=True has its zero in the middle: drop zero_point, or symmetric")
        if self.zero_point is not None:
            zero = count("zero_point", self.zero_point, 0, f"give a code from 0 to {2**bits - 1}")
            if zero >= 2**bits:
                raise ValueError(f"zero_point = {zero} is not a code: give one from 0 to {2**bits - 1}")

    @property
    def low(self) -> int:
        """Lowest code."""
        if self.zero_point is not None:
            return -self.zero_point
        return -(1 << (self.bits - 1)) + int(self.symmetric)

    @property
    def high(self) -> int:
        """Highest code."""
        if self.zero_point is not None:
            return (1 << self.bits) - 1 - self.zero_point
        return (1 << (self.bits - 1)) - 1

    @cached_property
    def levels(self) -> Array:
        return _frozen(np.arange(self.low, self.high + 1))

    @property
    def bits_per_weight(self) -> float:
        return float(self.bits)


class CodebookGrid(Grid):
    """Any levels, sorted; `name` is for tables and plots.

    Raises
    ------
    ValueError
        Fewer than two levels, a repeated level, NaN or infinity.
    """

    def __init__(self, levels: Iterable[float], name: str | None = None) -> None:
        array = np.array(list(levels), dtype=np.float64)
        if array.size < 2 or not np.isfinite(array).all():
            raise ValueError(f"levels = {array!r}: give at least two finite numbers")
        array = np.sort(array)
        if (np.diff(array) <= 0.0).any():
            twice = float(array[1:][np.diff(array) <= 0.0][0])
            raise ValueError(f"levels holds {twice!r} twice: give each level once")
        self._levels = _frozen(array)
        self.name = name

    @property
    def levels(self) -> Array:
        return self._levels

    @property
    def bits_per_weight(self) -> float:
        return log2(self._levels.size)

    def __repr__(self) -> str:
        return self.name or f"CodebookGrid({self._levels.tolist()})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CodebookGrid) and np.array_equal(self._levels, other._levels)

    def __hash__(self) -> int:
        return hash(self._levels.tobytes())


@dataclass(frozen=True)
class FloatGrid(Grid):
    """Sign, exponent and mantissa, with subnormals.

    Parameters
    ----------
    exponent_bits, mantissa_bits : int
    bias : int
        A normal number is `2^(exponent − bias) · (1 + mantissa / 2^mantissa_bits)`.
    reserved : int
        How many of the largest positive codes are infinities or NaN (and as many negative ones).
    name : str
    """

    exponent_bits: int
    mantissa_bits: int
    bias: int
    reserved: int = 0
    name: str = ""

    def __post_init__(self) -> None:
        count("exponent_bits", self.exponent_bits, 1, "give at least one exponent bit")
        count("mantissa_bits", self.mantissa_bits, 0, "give zero or more mantissa bits")
        codes = 2 ** (self.exponent_bits + self.mantissa_bits)
        if self.exponent_bits > 8 or codes > 2**15 or not 0 <= self.reserved < codes - 1:
            raise ValueError(f"{self!r} is no format of at most 16 bits with two finite levels: use fewer bits")

    @cached_property
    def levels(self) -> Array:
        steps = 2**self.mantissa_bits
        code = np.arange(2**self.exponent_bits * steps - self.reserved)
        exponent, mantissa = code // steps, code % steps
        significand = np.where(exponent > 0, steps, 0) + mantissa
        magnitude = np.ldexp(significand.astype(np.float64), np.maximum(exponent, 1) - self.bias - self.mantissa_bits)
        return _frozen(np.concatenate([-magnitude[:0:-1], magnitude]))

    @property
    def bits_per_weight(self) -> float:
        return 1.0 + self.exponent_bits + self.mantissa_bits

    def __repr__(self) -> str:
        return self.name or f"FloatGrid(E{self.exponent_bits}M{self.mantissa_bits}, bias={self.bias})"


def _frozen(levels: object) -> Array:
    array = np.array(levels, dtype=np.float64)
    array.setflags(write=False)
    return array


#: Micikevicius et al. 2022, *FP8 Formats for Deep Learning*: E4M3 keeps all codes but one NaN (largest 448).
fp8_e4m3 = FloatGrid(4, 3, 7, 1, "fp8_e4m3")
#: The same source: E5M2 follows IEEE 754, its top exponent is infinity and NaN (largest 57344).
fp8_e5m2 = FloatGrid(5, 2, 15, 4, "fp8_e5m2")
#: OCP Microscaling Formats (MX) v1.0: no infinities, no NaN; largest 7.5, 28 and 6.
fp6_e2m3 = FloatGrid(2, 3, 1, 0, "fp6_e2m3")
fp6_e3m2 = FloatGrid(3, 2, 3, 0, "fp6_e3m2")
fp4_e2m1 = FloatGrid(2, 1, 1, 0, "fp4_e2m1")
#: Dettmers et al. 2023, *QLoRA*, appendix E: sixteen quantiles of the normal, zero exact, ends at ±1.
nf4 = CodebookGrid(NF4, "nf4")
ternary = CodebookGrid((-1.0, 0.0, 1.0), "ternary")


def powers_of_two(bits: int) -> CodebookGrid:
    """Zero and ± powers of two in `bits` bits: ±2⁰ … ±2^(2^(b−1)−2) and 0, that is 2^b − 1 levels."""
    width = count("bits", bits, 2, "give a bit-width from 2 to 8")
    if width > 8:
        raise ValueError(f"bits = {width} exceeds 8: powers of two beyond that leave float64's useful range")
    powers = 2.0 ** np.arange(2 ** (width - 1) - 1)
    return CodebookGrid(np.concatenate([-powers, [0.0], powers]), f"powers_of_two({width})")
