"""What is done to a layer, in words: `exact-obs,sparsity=0.5` or `alps+swaps+obq,pattern=2:4,bits=4`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from math import ceil, comb, log2
from typing import Any

import numpy as np

from bounds import BlockSparse, NofM, Sparse
from bounds.gram import Array

from ..code_grid import EVERY, SEARCHES
from ..contestants import DENSE_BITS, codes_range
from ..errors import InputError
from ..heuristics import PRUNERS, QUANTIZERS, LayerSparse
from ..heuristics.patterns import Pattern

#: Quantisers that leave a zero where pruning put one.
ZERO_KEEPING = ("nearest", "obq")
#: Steps that do not look at the inputs.
BLIND = ("keep", "magnitude", "nearest")
SCALE_BITS = 32


@dataclass(frozen=True)
class Recipe:
    """How one layer is compressed.

    Attributes
    ----------
    method : str
        Steps joined by `+`: a pruner, then `refit` or `swaps` to improve its mask, then a quantiser; any of them may be
        left out. `keep` leaves the layer as it is.
    bits : int or None
        Codes of a quantiser have so many bits.
    sparsity : float or None
        Share of weights that a pruner removes, rounded down to whole weights of a row (a layer, blocks of a row).
    pattern : str
        `row`, `layer` (within each group of a grouped convolution), `N:M` such as `2:4`, or `block:SIZE`. N:M has its
        sparsity by itself.
    scale : str
        Search of the quantisation step: `mse`, `max`, `lp` or `gram`, as `quanterr.code_grid.code_grid` says.
    axis : str
        What shares a step: `channel`, `tensor`, or a number of columns, such as `32`, of a row.
    symmetric : bool
        Codes −2^(b−1) … 2^(b−1)−1 without a zero point; else 0 … 2^b−1 and a zero point beside each step.
    damping : float
        Share of the mean Gram diagonal that the method sees on the diagonal. Errors are judged without it.
    """

    method: str
    bits: int | None = None
    sparsity: float | None = None
    pattern: str = "row"
    scale: str = "mse"
    axis: str = "channel"
    symmetric: bool = False
    damping: float = 0.01

    def __post_init__(self) -> None:
        object.__setattr__(self, "method", self.method.replace("-", "_"))
        known = (*PRUNERS, "refit", *QUANTIZERS, "keep")
        for step in self.steps:
            if step not in known:
                raise InputError(f"method {self.method!r}: {step!r} is none of {', '.join(known)}")
        last = self.steps[-1]
        for step in self.steps[:-1]:
            if step in QUANTIZERS or step == "keep":
                raise InputError(f"method {self.method!r}: {step} can only come last")
        if self.pruner is None and ("refit" in self.steps or (last in QUANTIZERS and len(self.steps) > 1)):
            raise InputError(f"method {self.method!r}: begin with a pruner ({', '.join(PRUNERS)})")
        if last in QUANTIZERS:
            if self.bits is None:
                raise InputError(f"method {self.method!r} quantises: say to how many bits, such as bits=4 (--bits 4)")
            codes_range(self.bits)
            if len(self.steps) > 1 and last not in ZERO_KEEPING:
                raise InputError(
                    f"{last} would fill pruned weights again: use {' or '.join(ZERO_KEEPING)} after pruning"
                )
        if self.pruner is not None:
            self._check_pattern()
        if self.scale not in SEARCHES or not (self.axis in EVERY or (self.axis.isdecimal() and int(self.axis) > 0)):
            raise InputError(
                f"scale {self.scale!r} of {self.axis!r}: one of {', '.join(SEARCHES)}, of channel or tensor "
                "or a number of columns"
            )

    @property
    def steps(self) -> list[str]:
        return self.method.split("+")

    @property
    def per(self) -> str | int:
        """`axis` as `code_grid` takes it."""
        return self.axis if self.axis in EVERY else int(self.axis)

    @property
    def uses_gram(self) -> bool:
        """Whether the weights depend on the inputs, so that too few of them mislead."""
        return self.scale == "gram" or any(step not in BLIND for step in self.steps)

    @property
    def pruner(self) -> str | None:
        return self.steps[0] if self.steps[0] in PRUNERS else None

    @property
    def quantizer(self) -> str | None:
        return self.steps[-1] if self.steps[-1] in QUANTIZERS else None

    def words(self) -> str:
        """The recipe as a reader wants it: `exact_obs 50 % row`, `obq 4 bits`."""
        parts = [self.method]
        if self.pruner is not None:
            parts.append(self.pattern if self.pattern[0].isdigit() else f"{self.sparsity:.0%} {self.pattern}")
        if self.quantizer is not None:
            each = {"tensor": "a tensor", "channel": "a channel"}.get(self.axis, f"{self.axis} columns")
            parts.append(f"{self.bits} bits, scale {each}{'' if self.symmetric else ' + zero'}")
        if self.damping and self.uses_gram:
            parts.append(f"damping {self.damping:g}")
        return " ".join(parts)

    def keep(self, rows: int, columns: int) -> Pattern:
        """The budget of a weight matrix of that shape."""
        kind, _, second = self.pattern.partition(":")
        if kind.isdigit():
            return NofM(int(kind), int(second))
        left = 1.0 - (self.sparsity or 0.0)
        if kind == "block":
            return BlockSparse(_whole(columns // int(second) * left), int(second))
        return LayerSparse(_whole(rows * columns * left)) if kind == "layer" else Sparse(_whole(columns * left))

    def stored_bits(self, weight: Array) -> float:
        """Bits of the compressed weight: codes or 16-bit values, where they lie, 32 bits a scale.

        A zero point counts as a code. Unstructured masks count one bit a weight, N:M the fewest whole bits a group,
        blocks one bit a block.
        """
        rows = len(weight)
        each = self.bits if self.quantizer is not None and self.bits is not None else DENSE_BITS
        steps = {"tensor": 1, "channel": rows}.get(self.axis)
        if steps is None:
            steps = rows * ceil(weight.shape[1] / int(self.axis))
        scales = 0 if self.quantizer is None else steps * (SCALE_BITS + (0 if self.symmetric else each))
        if self.pruner is None:
            return weight.size * each + scales
        kind, _, second = self.pattern.partition(":")
        if kind.isdigit():
            groups = weight.size // int(second)
            return groups * (int(kind) * each + ceil(log2(comb(int(second), int(kind))))) + scales
        if kind == "block":
            used = (weight.reshape(rows, -1, int(second)) != 0).any(axis=2)
            return float(int(used.sum()) * int(second) * each + used.size + scales)
        return float(int(np.count_nonzero(weight)) * each + weight.size + scales)

    def _check_pattern(self) -> None:
        kind, _, second = self.pattern.partition(":")
        if kind.isdigit() and second.isdigit() and 0 < int(kind) <= int(second):
            return
        if not (self.pattern in ("row", "layer") or (kind == "block" and second.isdigit() and int(second) > 0)):
            raise InputError(f"pattern {self.pattern!r}: row, layer, N:M such as 2:4, or block:4")
        if self.sparsity is None or not 0.0 <= self.sparsity <= 1.0:
            raise InputError(f"method {self.method!r} prunes: say how much, sparsity from 0 to 1 (got {self.sparsity})")


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


KINDS: dict[str, Any] = {"bits": int, "sparsity": float, "damping": float, "symmetric": _truth}


def parse_recipe(text: str, default: Recipe | None = None) -> Recipe:
    """`METHOD,name=value,…`; what is not said is taken from `default`.

    Raises
    ------
    InputError
        Unknown names and values that do not fit.
    """
    method, *rest = (part.strip() for part in text.split(","))
    names = {f.name for f in fields(Recipe)} - {"method"}
    values: dict[str, Any] = {}
    for part in rest:
        name, _, value = part.partition("=")
        if name not in names or not value:
            raise InputError(f"{text!r}: {part!r} is no option: write {', '.join(f'{n}=…' for n in sorted(names))}")
        try:
            values[name] = KINDS.get(name, str)(value)
        except ValueError:
            raise InputError(f"{text!r}: {value!r} is no value for {name}") from None
    return Recipe(method, **values) if default is None else replace(default, method=method, **values)


def recipe_for(name: str, recipes: Mapping[str, Recipe]) -> Recipe | None:
    """The recipe of the last glob that matches the layer's name."""
    found = [recipe for glob, recipe in recipes.items() if fnmatchcase(name, glob)]
    return found[-1] if found else None


def _whole(count: float) -> int:
    """Whole weights, after a share such as 1 − 0.9 lost its last digits."""
    return int(count + 1e-9 * max(count, 1.0))
