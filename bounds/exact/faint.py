"""Inputs so faint that float64 cannot weigh them against the others: searched without them, at a price that is known.

With the rows and columns of the faint inputs `F` at zero the Gram matrix `G` is semidefinite still. Its error differs
from that of `G` by what they add, `d = x − t`:

    E(x)  ≥  E_rest(x) − 2 Σ_F |dᵢ| Σⱼ |gᵢⱼ| |dⱼ| .

Bounded sets bound the differences. In a chunk of MiniLM's pooler, with a diagonal 1e-49 of the largest, that is 1e-24
of an error: nothing that a double could show.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ..gram import UNIT_ROUNDOFF, Gram
from ..problem import LeastSquares
from ..result import Solution, solution
from .dependent import values_of

#: Share of the largest diagonal entry below which an input is faint.
FAINTEST = 2.0**-160

_rest: WeakKeyDictionary[Gram, Gram] = WeakKeyDictionary()


def faint(gram: Gram) -> NDArray[np.intp]:
    """Indices of the inputs that are not dead, but nearly."""
    diagonal = gram.array.diagonal()
    return np.flatnonzero((diagonal > 0) & (diagonal < FAINTEST * diagonal.max()))


def solve(problem: LeastSquares, search: Callable[[LeastSquares], Solution]) -> Solution:
    """What a search finds of bounded rows as if faint inputs were dead, and what that proves of them as they are."""
    columns = faint(problem.gram)
    if problem.gram not in _rest:
        matrix = problem.gram.array.copy()
        matrix[columns] = matrix[:, columns] = 0.0
        _rest[problem.gram] = Gram(matrix)
    found = search(LeastSquares(_rest[problem.gram], problem.target, problem.feasible))
    values = values_of(problem.feasible)
    assert values is not None
    farthest = np.maximum(np.abs(problem.target - values[0]), np.abs(values[-1] - problem.target))
    cross = np.einsum("rf,rf->r", farthest[:, columns], farthest @ np.abs(problem.gram.array[:, columns]))
    lost = 2 * cross * (1 + 4 * problem.columns * UNIT_ROUNDOFF)
    lower = np.maximum(np.nextafter(found.lower - lost, -np.inf), 0.0)
    return solution(found.x, problem.upper(found.x), lower, found.status, found.stats)
