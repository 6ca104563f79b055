"""Layer-wide pruning of matrices too wide for exact search: good weights, and a bound below every allocation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .allocation import allocate
from .errors import ProblemError
from .exact.layer_subset import LayerSolution, grams_and_rows, judged
from .feasible import Sparse
from .gram import Array, Gram
from .local.local_search import LocalSearch
from .local.traces import traces
from .problem import LeastSquares
from .relaxation.block import BlockSplit
from .relaxation.diagonal import DiagonalSplit
from .relaxation.size_curves import size_curves
from .result import Status

#: Each round looks where the split over the curves before was weak; 0.1 dB are left to gain after three.
ROUNDS = 3
QUICK = LocalSearch(rounds=0)


def bound_layer(
    gram: object,
    weight: object,
    keep: int,
    search: LocalSearch = QUICK,
    relaxation: DiagonalSplit | BlockSplit | None = None,
    rounds: int = ROUNDS,
) -> LayerSolution:
    """Good weights with `keep` non-zeros in the whole matrix, and what no weights of that budget can beat.

    From above: the exact allocation over the rows' elimination traces, then `search` at each row's size. From below:
    lower curves for every size (`relaxation.size_curves`) at the sizes of the last allocation, the best of all rounds,
    and the exact allocation over them.

    Parameters
    ----------
    gram, weight : as in `solve_layer`
    keep : weights kept in the whole matrix
    relaxation : `DiagonalSplit(rounds=60)` by default
    rounds : of lower curves, at least 1

    Returns
    -------
    LayerSolution
        Its status is `UNPROVEN` unless the bounds meet; nothing is counted as searched.

    Raises
    ------
    ProblemError
        Shapes that do not fit, a budget out of range, a singular Gram matrix.
    """
    if rounds < 1:
        raise ProblemError(f"rounds = {rounds}: lower curves take at least one")
    relaxation = relaxation or DiagonalSplit(rounds=60)
    parts = grams_and_rows(gram, weight)
    cuts = np.cumsum([len(rows) for _, rows in parts])[:-1]
    spent = allocate(np.concatenate([traces(*part)[0] for part in parts]), keep).keep
    found = [points(*part, share, search) for part, share in zip(parts, np.split(spent, cuts), strict=True)]
    lower, at, bound = np.zeros(()), spent, 0.0
    for _ in range(rounds):
        shares = zip(parts, np.split(at, cuts), strict=True)
        lower = np.maximum(lower, np.concatenate([size_curves(*part, share, relaxation) for part, share in shares]))
        best = allocate(lower, keep)
        bound, at = best.bound, best.keep
    x, errors = (np.concatenate(both) for both in zip(*found, strict=True))
    return judged(x, errors, spent, bound, Status.UNPROVEN)


def points(gram: Gram, weight: Array, keep: NDArray[np.int64], search: LocalSearch) -> tuple[Array, Array]:
    """The best weights found with `keep` (rows,) non-zeros in each row, (rows, columns), and their safe errors."""
    target = LeastSquares(gram, weight, Sparse(0)).target
    x, errors = np.zeros_like(target), np.zeros(len(target))
    for size in np.unique(keep).tolist():
        rows = np.flatnonzero(keep == size)
        found = search.solve(LeastSquares(gram, target[rows], Sparse(size)), None)
        x[rows], errors[rows] = found.x, found.upper
    return x, errors
