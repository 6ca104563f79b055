"""Contestants: ways to store a row of weights. What each may choose from, and what it costs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction

from bounds.feasible import BlockSparse, Codebook, Feasible, IntegerBox, NofM, Sparse, SparseIntegerBox

from .errors import InputError

DENSE_BITS = 16
#: Bits a weight that the mask of an unstructured pruned row may count at equal storage: free as in the paper, or one.
MASK_COSTS = (0, 1)
COMPOUND = "compound"


class Method(StrEnum):
    """The two ways to compress a weight row that are compared at equal storage."""

    QUANTIZATION = "quantization"
    PRUNING = "pruning"


def codes_range(bits: int) -> tuple[int, int]:
    """The lowest and highest code, both included: (−2^(b−1), 2^(b−1)−1), e.g. (−8, 7) for 4 bits, (−1, 0) for 1.

    Raises
    ------
    InputError
        If `bits` is not an integer from 1 to 16.
    """
    if isinstance(bits, bool) or bits != int(bits) or not 1 <= bits <= 16:
        raise InputError(f"bits = {bits!r}: quanterr quantises to whole numbers of bits from 1 to 16")
    half = 2 ** (int(bits) - 1)
    return -half, half - 1


@dataclass(frozen=True)
class Contestant:
    """One way to store a row of weights: codes times a scale, a few weights of 16 bits, or a few codes.

    Attributes
    ----------
    name : what is stored, e.g. `int4`, `prune75`, `2:4`, `int4+prune50`; `named` makes the contestant of it again
    codes : the codes that a scale is multiplied with, or None for weights that are free real numbers
    value_bits : storage of one value that is kept
    keep : share of the weights that may be non-zero
    group : columns of each group that may keep so many; 0 where the whole row is one
    block : columns that are kept or pruned together
    method, bits : the heading of its records. Contestants with the same `bits` are compared: those at equal storage
        are called `quantization`, `pruning`, …; one that is named has its name for a method and no `bits`.
    """

    name: str
    codes: IntegerBox | Codebook | None
    value_bits: float
    keep: Fraction = Fraction(1)
    group: int = 0
    block: int = 1
    method: str = ""
    bits: int | None = None

    @property
    def scaled(self) -> bool:
        """Whether its set holds codes, which need a scale."""
        return self.codes is not None

    @property
    def heading(self) -> str:
        """How messages call it: `quantization at 4 bits`, or its name."""
        return self.method if self.bits is None else f"{self.method} at {self.bits} bits"

    def feasible(self, columns: int) -> Feasible:
        """The set that a row of so many columns is chosen from, in codes where it is `scaled`."""
        if self.codes is not None:
            if self.keep == 1 or isinstance(self.codes, Codebook):
                return self.codes
            return SparseIntegerBox(self.codes.low, self.codes.high, math.floor(self.keep * columns))
        if self.group:
            return NofM(int(self.keep * self.group), self.group)
        if self.block > 1:
            return BlockSparse(math.floor(self.keep * Fraction(columns, self.block)), self.block)
        return Sparse(math.floor(self.keep * columns))

    def storage(self, columns: int) -> float:
        """Bits a weight for the values of a row; the mask is `mask_bits` more.

        The scale of a tensor, one number, is left out: 32 bits are below 0.01 bits a weight from 3,200 weights on.
        """
        feasible = self.feasible(columns)
        match feasible:
            case NofM():
                kept = Fraction(feasible.n, feasible.m)
            case BlockSparse():
                kept = Fraction(feasible.keep * feasible.size, columns)
            case Sparse() | SparseIntegerBox():
                kept = Fraction(feasible.keep, columns)
            case _:
                kept = Fraction(1)
        return float(self.value_bits * kept)

    @property
    def mask_bits(self) -> float:
        """Bits a weight that say what is kept: ⌈log₂ C(m, n)⌉/m for n of m, else one for each block of a row."""
        if self.group:
            return (math.comb(self.group, int(self.keep * self.group)) - 1).bit_length() / self.group
        return 0.0 if self.keep == 1 else 1.0 / self.block


FLOATS = {
    "fp4": (Codebook.fp4_e2m1, 4),
    "fp6-e2m3": (lambda: Codebook.floating_point(2, 3, 1), 6),
    "fp6-e3m2": (lambda: Codebook.floating_point(3, 2, 3), 6),
    "fp8-e4m3": (Codebook.fp8_e4m3, 8),
    "fp8-e5m2": (Codebook.fp8_e5m2, 8),
    "nf4": (Codebook.nf4, 4),
    "ternary": (Codebook.ternary, 1.6),  # five to a byte
}
ALIASES = {"fp4-e2m1": "fp4", "fp6": "fp6-e2m3", "fp8": "fp8-e4m3", "e4m3": "fp8-e4m3", "e5m2": "fp8-e5m2"}
KNOWN = (
    "int2 … int16, fp4, fp6, fp8, nf4, ternary, prune75 (percent zero), prune75x4 (in blocks of 4), 2:4, int4+prune50"
)


def named(name: str) -> Contestant:
    """The contestant of a name; its own `name` is the canonical one.

    `int4`: integer codes. `fp4`, `fp6` (= `fp6-e2m3`), `fp6-e3m2`, `fp8` (= `fp8-e4m3`), `fp8-e5m2`, `nf4`, `ternary`:
    codebooks. `prune75`: 75 percent of each row zero, rounded up; `prune75x4`: in blocks of 4 columns. `2:4`: two of
    every four. `int4+prune50`: codes of which half are zero.

    Raises
    ------
    InputError
        Another name, or a combination that no set describes.
    """
    text = name.strip().lower()
    parts = [part.strip() for part in text.split("+")]
    if len(parts) == 1:
        found = _single(parts[0])
        if found is None:
            raise InputError(f"no contestant is called {name!r}: known are {KNOWN}")
        return replace(found, method=found.name)
    sides = [_single(part) for part in parts]
    if len(sides) != 2 or None in sides:
        raise InputError(f"no contestant is called {name!r}: known are {KNOWN}")
    codes, pruned = sorted((side for side in sides if side is not None), key=lambda side: not side.scaled)
    if not isinstance(codes.codes, IntegerBox) or pruned.scaled or pruned.group or pruned.block > 1:
        raise InputError(
            f"contestant {name!r}: only integer codes can be pruned as well, and only row by row, "
            "as in int4+prune50: no other set is known to bounds.feasible"
        )
    return _pruned_codes(codes, pruned)


def contestants(names: Iterable[str]) -> tuple[Contestant, ...]:
    """The contestants of several names, in their order.

    Raises
    ------
    InputError
        An unknown name, fewer than two contestants, or one that is named twice.
    """
    found = [named(name) for name in names]
    for place, contestant in enumerate(found):
        if contestant in found[:place]:
            raise InputError(f"contestant {contestant.name} is named twice: name each once")
    if len(found) < 2:
        raise InputError(f"{len(found)} contestants: name at least two, such as int4,prune75")
    return tuple(found)


def at_storage(bits: int, *, mask_cost: int = 0, compound: bool = False) -> tuple[Contestant, ...]:
    """The contestants at the storage of `bits`-bit codes: quantisation, pruning and, if wanted, both at once.

    Pruning keeps ⌊columns · (bits − mask_cost) / 16⌋ weights of 16 bits; the compound keeps ⌊columns · (bits −
    mask_cost) / 2 bits⌋ codes of twice the bits (at most 16). Both are rounded so that they never store more.
    `mask_cost` counts 0 or 1 bit a weight for the mask (*Pruning vs Quantization* §2: 0).

    Raises
    ------
    InputError
        No bit-width, or another mask cost.
    """
    low, high = codes_range(bits)  # refuses what is no bit-width
    bits = int(bits)
    if mask_cost not in MASK_COSTS:
        raise InputError(f"mask_cost = {mask_cost!r} bits a weight: choose 0 (as the paper) or 1")
    width = min(2 * bits, DENSE_BITS)
    values = bits - mask_cost
    quantised = Contestant(f"int{bits}", IntegerBox(low, high), bits, method=Method.QUANTIZATION.value, bits=bits)
    pruned = _pruned(Fraction(values, DENSE_BITS))
    found = [quantised, replace(pruned, method=Method.PRUNING.value, bits=bits)]
    if compound:
        both = _pruned_codes(
            Contestant(f"int{width}", IntegerBox(*codes_range(width)), width), _pruned(Fraction(values, width))
        )
        found.append(replace(both, method=COMPOUND, bits=bits))
    return tuple(found)


def rivals(
    bits: Iterable[int], names: Iterable[str] | None = None, mask_cost: int = 0, compound: bool = False
) -> tuple[Contestant, ...]:
    """All contestants of a run, those of one method together: the named ones, or those at equal storage.

    Raises
    ------
    InputError
        As `contestants` or `at_storage`, no bit-width, or what belongs to equal storage beside names.
    """
    if names is not None:
        if compound or mask_cost:
            raise InputError(
                "compound and mask_cost belong to the comparison at equal storage: name what you mean among the "
                "contestants, such as int4+prune50; the bits of every mask are reported"
            )
        return contestants(names)
    each = [at_storage(width, mask_cost=mask_cost, compound=compound) for width in dict.fromkeys(bits)]
    if not each:
        raise InputError("no bit-widths given: pass at least one, for example bits=(2, 4, 8)")
    return tuple(contestant for method in zip(*each, strict=True) for contestant in method)


def keep_at(bits: int, columns: int) -> int:
    """Weights that pruning may keep in a row of `columns` at the storage of `bits`-bit codes: ⌊columns · bits / 16⌋.

    Dense weights count 16 bits and the mask is free (*Pruning vs Quantization* §2): sparsity 1 − bits/16,
    rounded so that pruning never stores more than quantisation.
    """
    codes_range(bits)  # refuses what is no bit-width
    return columns * bits // DENSE_BITS


def feasible_set(method: Method, bits: int, columns: int) -> Feasible:
    """The set that `method` may choose a row from: codes for quantisation, weights for pruning."""
    quantised, pruned = at_storage(bits)
    return (quantised if method is Method.QUANTIZATION else pruned).feasible(columns)


def _single(text: str) -> Contestant | None:
    text = ALIASES.get(text, text)
    if text in FLOATS:
        make, bits = FLOATS[text]
        return Contestant(text, make(), bits)
    if match := re.fullmatch(r"int(\d{1,2})", text):
        width = int(match[1])
        return Contestant(f"int{width}", IntegerBox(*codes_range(width)), width)
    if match := re.fullmatch(r"prune(\d{1,3}(?:\.\d{1,6}|/\d{1,3})?)(?:x(\d{1,4}))?", text):
        percent, block = Fraction(match[1]) if not match[1].endswith("/0") else Fraction(-1), int(match[2] or 1)
        zero = percent / 100
        if not 0 <= zero <= 1 or block < 1:
            raise InputError(f"contestant {text!r}: prune 0 to 100 percent, in blocks of 1 or more columns")
        return _pruned(1 - zero, block)
    if match := re.fullmatch(r"(\d{1,3}):(\d{1,3})", text):
        n, m = int(match[1]), int(match[2])
        if not 0 < n < m:
            raise InputError(f"contestant {text!r}: keep n of m with 0 < n < m, such as 2:4")
        return Contestant(f"{n}:{m}", None, DENSE_BITS, Fraction(n, m), group=m)
    return None


def _pruned(keep: Fraction, block: int = 1) -> Contestant:
    percent = (1 - keep) * 100
    decimal = f"{float(percent):.6f}".rstrip("0").rstrip(".")
    exact = decimal if Fraction(decimal) == percent else str(percent)
    return Contestant(f"prune{exact}" + (f"x{block}" if block > 1 else ""), None, DENSE_BITS, keep, block=block)


def _pruned_codes(codes: Contestant, pruned: Contestant) -> Contestant:
    name = f"{codes.name}+{pruned.name}"
    return Contestant(name, codes.codes, codes.value_bits, pruned.keep, method=name)
