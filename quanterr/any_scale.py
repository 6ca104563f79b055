"""What is proven about codes at every scale, from lower bounds at some: one scale for all rows together.

All rows of a chunk, side by side, are one vector in the metric of their Gram matrices. Let `e(s)²` be the sum of their
optima at scale `s` and `W²` that of their energies `wᵀ gram w`. The triangle inequality for
`s c − w = r (m c − w) + (r − 1) w`, `r = s / m`, gives

    e(s)  ≥  r e(m) − |r − 1| W,

so that bounds at two scales hold up what lies between them: from the left `W − (s/a)(W − e(a))`, which falls, from the
right `(s/b)(W + e(b)) − W`, which rises. The lowest crossing is the next scale to try (Piyavskii 1972, Shubert 1972).

Outside: no code row is longer than `K`, `K² = Σ_rows L² Σᵢⱼ |gramᵢⱼ|` with the largest level `L`, hence
`e(s) ≥ W − s K` below the first scale. And where `s² λ gᵢᵢ l² ≥ 4 wᵀ gram w` for every row and input, `l` the smallest
level but zero and `gram ⪰ λ diag(gram)`, no code row but zero can be better than zero: `e(s) = W` above the last scale.

The numbers are exact fractions here; what they rest on are the bounds at the single scales.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TypeVar

import numpy as np

from bounds.feasible import Codebook, Feasible, IntegerBox, SparseIntegerBox
from bounds.gram import Array

Number = TypeVar("Number", float, Fraction)
#: Digits of a square root that is rounded to the safe side.
ROOT_BITS = 80


@dataclass(frozen=True, eq=False)
class EveryScale:
    """What a certificate keeps of one chunk: `lower` follows from `sums` at `scales` by `bound_for_every_scale`.

    Attributes
    ----------
    lower : no positive scale, one for all rows, has a smaller sum of optima
    scales, sums : (k,) ascending scales, and lower bounds of the sum at each, which rest on searches
    floors : (groups,) `λ` with `gram ⪰ λ diag(gram)`
    """

    lower: float
    scales: Array
    sums: Array
    floors: Array


@dataclass(frozen=True)
class Surroundings:
    """What a bound for all scales needs to know of all rows together, exactly or on the safe side.

    Attributes
    ----------
    energy : at least `Σ wᵀ gram w`
    least_energy : at most that
    longest : at least `K²`
    last : at least the square of the scale above which zero is best
    """

    energy: Fraction
    least_energy: Fraction
    longest: Fraction
    last: Fraction


def lower_root(value: Fraction) -> Fraction:
    """At most `√value`, to 80 bits."""
    if value <= 0:
        return Fraction(0)
    shift = ROOT_BITS + max(0, value.denominator.bit_length() - value.numerator.bit_length()) // 2
    return Fraction(math.isqrt((value.numerator << 2 * shift) // value.denominator), 1 << shift)


def upper_root(value: Fraction) -> Fraction:
    """At least `√value`, to 80 bits."""
    root = lower_root(value)
    return root if root * root == value else root * (1 + Fraction(1, 1 << (ROOT_BITS - 4)))


def bound_for_every_scale(scales: Sequence[float], sums: Sequence[float], around: Surroundings) -> Fraction:
    """No positive scale has a sum of errors below this, if none of `sums` exceeds the optimum at its scale.

    `scales` ascend; zero is returned where they do not reach far enough.
    """
    points = [(Fraction(scale), lower_root(Fraction(least))) for scale, least in zip(scales, sums, strict=True)]
    if not points or points[0][0] <= 0 or any(a >= b for (a, _), (b, _) in pairwise(points)):
        return Fraction(0)
    if points[-1][0] ** 2 < around.last:
        return Fraction(0)
    size = upper_root(around.energy)
    least = lower_root(around.least_energy) - points[0][0] * upper_root(around.longest)
    for (a, low), (b, high) in pairwise(points):
        least = min(least, tent(a, low, b, high, size)[0])
    return max(least, Fraction(0)) ** 2


def tent(a: Number, low: Number, b: Number, high: Number, size: Number) -> tuple[Number, Number]:
    """The least root of a sum that is possible between two scales, and where; `low`, `high` bound those at the ends."""
    low, high = min(low, size), min(high, size)
    if not size:
        return size, a
    crossing = 2 * size / ((size - low) / a + (size + high) / b)
    if crossing <= a:
        return a / b * (size + high) - size, a
    if crossing >= b:
        return size - b / a * (size - low), b
    return size - crossing / a * (size - low), crossing


def at_any_scale(feasible: Feasible) -> IntegerBox | Codebook:
    """The codes of a set that is multiplied with a scale, all of them kept.

    Raises
    ------
    ValueError
        A set without codes.
    """
    if isinstance(feasible, SparseIntegerBox):
        return feasible.box
    if not isinstance(feasible, IntegerBox | Codebook):
        raise ValueError(f"{feasible} holds no codes")
    return feasible


def levels_reach(codes: IntegerBox | Codebook) -> tuple[Fraction, Fraction] | None:
    """(smallest magnitude but zero, largest magnitude) of the levels; None where zero is not among them."""
    levels = (
        [codes.low, codes.high, *(v for v in (-1, 1) if codes.low <= v <= codes.high)]
        if isinstance(codes, IntegerBox)
        else list(codes.levels)
    )
    holds_zero = codes.low <= 0 <= codes.high if isinstance(codes, IntegerBox) else 0.0 in codes.levels
    sizes = [abs(Fraction(level)) for level in levels if level]
    return (min(sizes), max(sizes)) if holds_zero and sizes else None


def surroundings(
    codes: IntegerBox | Codebook, grams: Sequence[Array], energies: Sequence[Sequence[tuple[Fraction, Fraction]]],
    floors: Sequence[Fraction],
) -> Surroundings | None:  # fmt: skip
    """Of all rows, Gram by Gram; None where the end of the scales cannot be told.

    Parameters
    ----------
    grams : one for each group of rows, (columns, columns)
    energies : (at least, at most) the energy of each row, for each Gram
    floors : `λ` with `gram ⪰ λ diag(gram)`, for each Gram
    """
    reach = levels_reach(codes)
    if reach is None:
        return None
    smallest, largest = reach
    longest = last = Fraction(0)
    for gram, rows, floor in zip(grams, energies, floors, strict=True):
        live = [Fraction(float(v)) for v in np.diag(gram) if v > 0]
        if not live:
            continue
        if floor <= 0:
            return None
        # a sum of m terms in floats is off by at most (m − 1) u relative
        entries = Fraction(float(np.abs(gram).sum())) * (1 + Fraction(gram.size, 2**52))
        longest += len(rows) * largest**2 * entries
        most = max(high for _, high in rows)
        last = max(last, 4 * most / (floor * min(live) * smallest**2))
    least, most = (sum((row[i] for rows in energies for row in rows), Fraction(0)) for i in (0, 1))
    return Surroundings(most, least, longest, last)
