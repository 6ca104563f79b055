"""A finite set of levels: floating-point formats, NormalFloat, ternary, powers of two, or any other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ProblemError
from ..gram import Array
from .base import Feasible
from .intervals import best_in_intervals, nearest_in_intervals, reach_in_intervals

NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
)  # fmt: skip


@dataclass(frozen=True, init=False)
class Codebook(Feasible):
    """All rows whose entries are among `levels` (finite, distinct, in any order; stored ascending).

    Raises
    ------
    ProblemError
        No level, a repeated level, NaN or infinity.
    """

    levels: tuple[float, ...]

    def __init__(self, levels: Iterable[float]) -> None:
        values = sorted(float(level) + 0.0 for level in levels)
        if not values or not np.isfinite(values).all():
            raise ProblemError(f"levels = {values}: give at least one finite number, and only finite ones")
        for first, second in pairwise(values):
            if first == second:
                raise ProblemError(f"levels holds {first!r} twice: give each level once")
        object.__setattr__(self, "levels", tuple(values))

    @classmethod
    def floating_point(cls, exponent_bits: int, mantissa_bits: int, bias: int, reserved: int = 0) -> Codebook:
        """Sign, exponent and mantissa with subnormals; the `reserved` largest codes are infinities or NaN.

        A normal number is `2^(exponent − bias) · (1 + mantissa / 2^mantissa_bits)`.
        """
        steps = 2**mantissa_bits if mantissa_bits >= 0 else 0
        codes = steps * 2**exponent_bits if exponent_bits >= 1 else 0
        if not 0 <= reserved < codes - 1 or codes > 2**15:
            raise ProblemError(
                f"E{exponent_bits}M{mantissa_bits} less {reserved} codes is no format of at most 16 bits: "
                "use 1 or more exponent bits and fewer reserved codes"
            )
        code = np.arange(codes - reserved)
        exponent, mantissa = code // steps, code % steps
        significand = np.where(exponent > 0, steps, 0) + mantissa
        size = np.ldexp(significand.astype(np.float64), np.maximum(exponent, 1) - bias - mantissa_bits)
        return cls(np.concatenate([-size[:0:-1], size]).tolist())

    @classmethod
    def fp8_e4m3(cls) -> Codebook:
        """Micikevicius et al. 2022, *FP8 Formats for Deep Learning*: one NaN, largest 448."""
        return cls.floating_point(4, 3, 7, 1)

    @classmethod
    def fp8_e5m2(cls) -> Codebook:
        """The same source: as IEEE 754, the top exponent is infinity and NaN, largest 57344."""
        return cls.floating_point(5, 2, 15, 4)

    @classmethod
    def fp4_e2m1(cls) -> Codebook:
        """OCP Microscaling Formats (MX) v1.0, §5.3.3: 0, ½, 1, 1½, 2, 3, 4, 6 and their negatives."""
        return cls.floating_point(2, 1, 1)

    @classmethod
    def nf4(cls) -> Codebook:
        """NormalFloat: sixteen quantiles of the normal, zero exact, ends at ±1 (Dettmers et al. 2023, appendix E)."""
        return cls(NF4)

    @classmethod
    def ternary(cls) -> Codebook:
        """−1, 0, 1."""
        return cls((-1.0, 0.0, 1.0))

    @classmethod
    def powers_of_two(cls, bits: int) -> Codebook:
        """Zero and ± 2⁰ … 2^(2^(bits−1)−2): 2^bits − 1 levels, 2 to 8 bits."""
        if bits != int(bits) or not 2 <= bits <= 8:
            raise ProblemError(f"bits = {bits!r}: powers of two take 2 to 8 bits")
        powers = 2.0 ** np.arange(2 ** (int(bits) - 1) - 1)
        return cls([*(-powers), 0.0, *powers])

    @cached_property
    def array(self) -> Array:
        """(levels,) ascending, read-only."""
        values = np.array(self.levels)
        values.setflags(write=False)
        return values

    @property
    def intervals(self) -> tuple[Array, Array]:
        """The levels as intervals of length zero: lower and upper ends."""
        return self.array, self.array

    def check(self, columns: int) -> None:
        """Every number of columns has members."""

    def contains(self, x: Array) -> NDArray[np.bool_]:
        return np.asarray(np.isin(x, self.array).all(axis=-1))

    def nearest(self, target: Array) -> Array:
        return nearest_in_intervals(self.array, self.array, np.asarray(target, dtype=np.float64))

    def separable_minimum(self, d: Any, g: Any, target: Any) -> tuple[Any, Any]:
        value, x = best_in_intervals(self.array, self.array, d, g, target)
        return value.sum(axis=-1), x

    def reach(self, d: Array, g: Array, target: Array) -> Array:
        return reach_in_intervals(self.array, self.array, d, g, target)

    def __repr__(self) -> str:
        shown = self.levels if len(self.levels) <= 16 else (*self.levels[:2], "…", *self.levels[-2:])
        return f"Codebook({len(self.levels)} levels: {', '.join(map(str, shown))})"
