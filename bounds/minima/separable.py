"""The minimum for blocks of one column each: the separable minimum that every feasible set has in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from ..errors import CertificateError
from ..gram import UNIT_ROUNDOFF, Array
from ..rounding import UNDERFLOW, gamma
from .base import Blocks


def safe_minimum(
    feasible: Any, blocks: Blocks, matrices: tuple[Array, ...], g: Array, slack: Array, target: Array
) -> Array:
    """See `base.BlockMinimum`; rounding and `Feasible.reach` as in `certificate`."""
    n = g.shape[-1]
    d, doubt = np.zeros(n), np.zeros_like(g)
    for block, matrix in zip(blocks, matrices, strict=True):
        d[block] = matrix[0]
        doubt[:, block] = slack[:, block]  # of dead columns `g` is zero exactly
    with np.errstate(all="ignore"):
        reach = feasible.reach(d, np.abs(g) + doubt, target)
        lost = 2 * doubt * reach + 4 * gamma(n + 16) * reach * (np.abs(d) * reach + 2 * np.abs(g))
        lost += UNDERFLOW * (1 + reach) * (1 + np.abs(d))
        least, _ = feasible.separable_minimum(d, g, target)
        value = least - 1.01 * lost.sum(axis=-1) - 4 * UNIT_ROUNDOFF * np.abs(least)
    return np.where(np.isfinite(value), value, -np.inf)


def exact_minimum(
    feasible: Any,
    blocks: Blocks,
    matrices: Sequence[list[list[Fraction]]],
    g: list[Fraction],
    target: list[Fraction],
) -> Fraction:
    """See `base.BlockMinimum`."""
    d = np.array([Fraction(0)] * len(g), dtype=object)
    for block, matrix in zip(blocks, matrices, strict=True):
        d[block] = matrix[0]
    least, _ = feasible.separable_minimum(d, np.array([g], dtype=object), np.array([target], dtype=object))
    if least[0] == -np.inf:
        raise CertificateError(f"no finite minimum over {feasible}: every D must be positive")
    return Fraction(least[0])
