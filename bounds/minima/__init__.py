"""The least value of the inequality's right side with a block-diagonal `D`, one file a feasible set.

Each file has two functions with the same arguments: `safe_minimum` in float64, less a proven allowance, and
`exact_minimum` in rational arithmetic. `block_certificate` knows nothing else about a set. They are loaded when first
asked for, since they bring kernels with them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from ..errors import MethodError
from ..feasible import IntegerBox, Sparse
from ..feasible.base import Feasible

if TYPE_CHECKING:
    from .base import BlockMinimum, Blocks

MINIMA = {IntegerBox: "integers", Sparse: "sparse"}


def of(feasible: Feasible, blocks: Blocks) -> BlockMinimum:
    """The functions of a set: blocks of one column each, a diagonal `D`, need its separable minimum only.

    Raises
    ------
    MethodError
        A set without minima of wider blocks, by name.
    """
    if all(block.size == 1 for block in blocks):
        return cast("BlockMinimum", import_module(".separable", __name__))
    if type(feasible) not in MINIMA:
        names = " or ".join(kind.__name__ for kind in MINIMA)
        raise MethodError(
            f"block certificates are for {names}, not {type(feasible).__name__}; use DiagonalSplit for this set"
        )
    return cast("BlockMinimum", import_module(f".{MINIMA[type(feasible)]}", __name__))
