"""The metric a local search walks in: the Gram's, made definite."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy.linalg import cho_factor, cho_solve, lapack

from ..gram import Array, Gram

DEFINITE = 1e-10


class SearchMetric:
    """A Gram in which a dead column is one of its own with unit diagonal: give it a target that costs nothing.

    If `scaled`, every column is brought near unit diagonal by a power of two (2^−power). A matrix whose smallest
    eigenvalue (at unit diagonal) is below 1e-10 is lifted to that by a share of its diagonal: only the search sees
    it, every error that is reported is measured in the Gram itself.
    """

    def __init__(self, gram: Gram, scaled: bool) -> None:
        exponent = np.frexp(gram.array.diagonal())[1]
        common = int(exponent[gram.live].max(initial=0))
        self.power = np.where(gram.dead, 0, exponent // 2) if scaled else np.full(gram.columns, common // 2)
        self.gram: Array = np.ascontiguousarray(np.ldexp(np.ldexp(gram.array, -self.power), -self.power[:, None]))
        if gram.smallest_eigenvalue < DEFINITE:
            self.gram[np.diag_indices_from(self.gram)] *= 1.0 + DEFINITE - min(gram.smallest_eigenvalue, 0.0)
        self.gram[gram.dead, gram.dead] = 1.0

    def solve(self, right: Array) -> Array:
        """`gram⁻¹ right`, (columns,) or (columns, several)."""
        return np.asarray(cho_solve(self._factor, right))

    @cached_property
    def _factor(self) -> tuple[Array, bool]:
        factor, lower = cho_factor(self.gram, lower=True)
        return np.asarray(factor), bool(lower)

    @cached_property
    def inverse_diagonal(self) -> Array:
        """Diagonal of the inverse, (columns,), without the rest."""
        root = np.tril(lapack.dtrtri(self._factor[0], lower=1)[0])
        return np.asarray(np.einsum("ij,ij->j", root, root))

    @cached_property
    def inverse(self) -> Array:
        inverse = self.solve(np.eye(self.power.size))
        return np.ascontiguousarray(inverse / 2 + inverse.T / 2)
