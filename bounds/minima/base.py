"""What a block certificate must know about a feasible set."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..gram import Array

Blocks = tuple[NDArray[np.intp], ...]


class BlockMinimum(Protocol):
    """Two functions of a module, one for float64, one for rationals."""

    def safe_minimum(
        self, feasible: Any, blocks: Blocks, matrices: tuple[Array, ...], g: Array, slack: Array, target: Array
    ) -> Array:
        """A value proven no larger than `min Σ_B u_Bᵀ D_B u_B + 2 hᵀu`, `u = x − target`, for every `|h − g| ≤ slack`.

        The minimum is over all feasible `x`, the sums over the columns of the blocks.

        Parameters
        ----------
        blocks, matrices : the columns of each block and its `D_B`, symmetric
        g, slack, target : (rows, columns)

        Returns
        -------
        (rows,) −∞ where nothing is proven (an enumeration that was cut short, a `D_B` that is not definite)
        """

    def exact_minimum(
        self,
        feasible: Any,
        blocks: Blocks,
        matrices: Sequence[list[list[Fraction]]],
        g: list[Fraction],
        target: list[Fraction],
    ) -> Fraction:
        """The same for one row in rational arithmetic; a value below the minimum is as good as the minimum.

        Raises
        ------
        CertificateError
            Where there is no finite minimum.
        """
