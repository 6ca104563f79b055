"""The metric a local search walks in: live columns, lifted where it is singular."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from ..gram import Array, Gram

DEFINITE = 1e-10


class SearchMetric:
    """The live columns of a Gram, if `scaled` brought near unit diagonal by powers of two (2^−power).

    A matrix whose smallest eigenvalue (at unit diagonal) is below 1e-10 is lifted to that by a share of its diagonal:
    only the search sees it, every error that is reported is measured in the Gram itself.
    """

    def __init__(self, gram: Gram, scaled: bool) -> None:
        self.live = gram.live
        block = gram.array[np.ix_(self.live, self.live)]
        exponent = np.frexp(block.diagonal())[1]
        self.power = exponent // 2 if scaled else np.full(self.live.size, int(exponent.max(initial=0)) // 2)
        self.gram: Array = np.ascontiguousarray(np.ldexp(np.ldexp(block, -self.power), -self.power[:, None]))
        if self.live.size and gram.smallest_eigenvalue < DEFINITE:
            self.gram[np.diag_indices_from(self.gram)] *= 1.0 + DEFINITE - min(gram.smallest_eigenvalue, 0.0)

    def solve(self, right: Array) -> Array:
        """`gram⁻¹ right`, (columns,) or (columns, several)."""
        return np.asarray(cho_solve(self._factor, right))

    @cached_property
    def _factor(self) -> tuple[Array, bool]:
        factor, lower = cho_factor(self.gram, lower=True)
        return np.asarray(factor), bool(lower)

    @cached_property
    def inverse(self) -> Array:
        inverse = self.solve(np.eye(self.live.size))
        return np.ascontiguousarray(inverse / 2 + inverse.T / 2)
