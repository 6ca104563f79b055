"""What a compression format must be able to do to be bounded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..gram import Array


class Feasible(ABC):
    """A set of weight rows. Adding a format means writing these five methods.

    `separable_minimum` is written with operations that hold for float64 and for object arrays of
    `fractions.Fraction` alike: the search for bounds uses the first, `verify` the second.
    """

    @abstractmethod
    def check(self, columns: int) -> None:
        """Raise ProblemError if the set has no member with that many columns."""

    @abstractmethod
    def contains(self, x: Array) -> NDArray[np.bool_]:
        """(rows,) whether each row of `x` (rows, columns) is a member."""

    @abstractmethod
    def nearest(self, target: Array) -> Array:
        """The member nearest to each row of `target` in the plain Euclidean norm, (rows, columns)."""

    @abstractmethod
    def separable_minimum(self, d: Any, g: Any, target: Any) -> tuple[Any, Any]:
        """Minimise `Σᵢ dᵢ uᵢ² + 2 gᵢ uᵢ`, `u = x − target`, over the set.

        Parameters
        ----------
        d : (columns,) or (rows, columns)
        g, target : (rows, columns)

        Returns
        -------
        value : (rows,) exact minimum up to the arithmetic of the arguments
            −∞ where there is none. In float64 its error must stay below
            `4 γ Σ (|d| reach² + 2 |g| reach)`, `γ = (columns + 16) · 2⁻⁵³`, plus underflow.
        x : (rows, columns) a minimiser
        """

    @abstractmethod
    def reach(self, d: Array, g: Array, target: Array) -> Array:
        """(rows, columns) a bound on `|xᵢ − targetᵢ|` at a minimiser of `separable_minimum`.

        It must hold for every `g'` with `|g'| ≤ |g|`, so that an error `η` in `g` is known to change
        the minimum by at most `2 Σ |ηᵢ| reachᵢ`. It changes by no more than the target does. Infinite where
        nothing can be promised.
        """
