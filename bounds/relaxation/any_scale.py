"""A lower bound that holds whatever scale the codes are multiplied with."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ProblemError
from ..feasible import AnyScale, Codebook, IntegerBox
from ..gram import Array, Gram
from ..problem import LeastSquares
from ..result import Bound
from .diagonal import DiagonalSplit

if TYPE_CHECKING:
    from ..verbs import Relaxation


@dataclass(frozen=True)
class ScaleFreeBound:
    """A bound of each row over all scales of an interval, and the parts that prove it.

    Attributes
    ----------
    value : (rows,)
        Smallest bound over the parts, in weight units.
    parts : list of (LeastSquares, Bound)
        One problem over `AnyScale` for each part of the interval; `verify(problem, bound.certificate)` rechecks it.
    """

    value: Array
    parts: list[tuple[LeastSquares, Bound]]


def scale_free_bound(
    gram: Gram | object,
    weight: object,
    codes: IntegerBox | Codebook,
    smallest: float,
    largest: float,
    method: Relaxation | None = None,
    parts: int = 32,
) -> ScaleFreeBound:
    """`E(s · c) ≥ value` for all codes `c` and every `s` in [smallest, largest].

    The interval is cut into `parts` of equal ratio, each relaxed to `AnyScale` (every entry may choose its own scale
    of the part). With ever more parts the bound tends to the smallest bound at any fixed scale.

    Parameters
    ----------
    gram : (columns, columns), weight : (rows, columns), in weight units
    method : a relaxation for any set, `DiagonalSplit()` by default
    """
    if parts < 1 or not 0 < smallest <= largest < np.inf:
        raise ProblemError(f"{parts} parts of scales {smallest} … {largest}: use 1 or more, and 0 < smallest ≤ largest")
    matrix = gram if isinstance(gram, Gram) else Gram(gram)
    relaxation = DiagonalSplit() if method is None else method
    edges = np.geomspace(smallest, largest, parts + 1)
    edges[0], edges[-1] = smallest, largest
    proofs = []
    for low, high in pairwise(edges):
        problem = LeastSquares(matrix, weight, AnyScale(codes, float(low), float(high)))
        proofs.append((problem, relaxation.lower_bound(problem)))
    return ScaleFreeBound(np.min([bound.value for _, bound in proofs], axis=0), proofs)
