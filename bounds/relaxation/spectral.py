"""The textbook bound: one eigenvalue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..certificate import certify
from ..problem import LeastSquares
from ..result import Bound


@dataclass(frozen=True)
class Spectral:
    """`E(x) ≥ λ_min ‖x − target‖²`: the inequality of `certificate` with `D = λ_min(gram)·I`, `y = 0`.

    λ_min is that of the columns that are not dead. Any feasible set; the weakest bound here, and the cheapest.
    """

    def lower_bound(self, problem: LeastSquares) -> Bound:
        gram = problem.gram
        diagonal = np.zeros(gram.columns)
        if gram.live.size:
            diagonal[gram.live] = np.linalg.eigvalsh(gram.array[np.ix_(gram.live, gram.live)])[0]
        return certify(problem, diagonal, np.zeros_like(problem.target))
