"""Lower error curves of whole rows: a `(D, y)` sought for one size of each row proves something for every size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..block_certificate import BlockCertificate, BlockDiagonal, provable_split
from ..certificate import Certificate, provable, safe_curve
from ..errors import MethodError
from ..feasible import Sparse
from ..gram import Array, Gram
from ..problem import LeastSquares
from .block import BlockSplit
from .block_sparse import crude_error, reweighted, solve_row
from .diagonal import SOFT_ROUNDS, DiagonalSplit, own_split, shared_diagonal, tuned
from .soft_minimum import SoftMinimum
from .softened import ascend


def size_curves(gram: Gram, weight: Array, keep: NDArray[np.int64], method: DiagonalSplit | BlockSplit) -> Array:
    """Proven lower bounds of each row's error with 0, 1, … kept columns, (rows, columns + 1), non-increasing.

    Parameters
    ----------
    gram : of full rank on its live columns
    weight : (rows, columns)
    keep : (rows,) the size at which the bound of each row should be best
    method : `DiagonalSplit`, or `BlockSplit`; where they tune a `D`, it is for the mean size

    Raises
    ------
    MethodError
        Another relaxation.
    ProblemError
        A singular Gram matrix, by column.
    """
    gram.require_definite("a lower curve of pruning")
    live, target = gram.live, LeastSquares(gram, weight, Sparse(0)).target
    sizes = np.clip(np.asarray(keep, dtype=np.int64), 1, max(live.size - 1, 1))
    problem = LeastSquares(gram, target, Sparse(int(sizes.mean())))
    if isinstance(method, DiagonalSplit):
        curve = _by_diagonal(problem, sizes, method)
    elif isinstance(method, BlockSplit):
        curve = _by_blocks(problem, sizes, method)
    else:
        raise MethodError(f"{type(method).__name__} has no curves: use DiagonalSplit or BlockSplit")
    nothing = np.zeros_like(target)
    curve[:, 0] = np.maximum(curve[:, 0], 2.0 * problem.error(nothing) - problem.upper(nothing))
    return curve


def _by_diagonal(problem: LeastSquares, sizes: NDArray[np.int64], method: DiagonalSplit) -> Array:
    gram, live = problem.gram, problem.gram.live
    diagonal = shared_diagonal(gram, method.floor)
    if method.tune:
        diagonal = tuned(problem, diagonal, method.tune)
    diagonal = provable(gram, diagonal)
    y = np.zeros_like(problem.target)
    if live.size > 1 and method.rounds:
        part, target = gram.array[np.ix_(live, live)], problem.target[:, live]
        y[:, live] = ascend(part, diagonal[live], target, sizes, y[:, live], min(method.rounds, SOFT_ROUNDS))
    curve = safe_curve(problem, Certificate(diagonal, y))
    if method.row_rounds:
        for row, size in enumerate(sizes.tolist()):
            single = LeastSquares(gram, problem.target[row], Sparse(size))
            found, step = own_split(single, diagonal, y[row : row + 1], method.row_rounds, method.rounds)
            own = safe_curve(single, Certificate(provable(gram, found), step))
            curve[row] = np.maximum(curve[row], own[0])
    return curve


def _by_blocks(problem: LeastSquares, sizes: NDArray[np.int64], method: BlockSplit) -> Array:
    gram = problem.gram
    split = method.tune(problem) if method.split is None else method.split
    split = provable_split(gram, split)
    soft = SoftMinimum(gram.array, split, 1)
    y = np.zeros_like(problem.target)
    curve = np.zeros((problem.rows, problem.columns + 1))
    for row, (target, size) in enumerate(zip(problem.target, sizes.tolist(), strict=True)):
        if np.count_nonzero(target) <= size:
            continue  # its error is zero there
        single = LeastSquares(gram, target, Sparse(size))
        soft.keep = size
        y[row, soft.order] = solve_row(soft, target[soft.order], None, float(crude_error(single)[0]))[0]
        if method.row_rounds:
            found, tuned = reweighted(single, split, method.row_rounds, None, y[row : row + 1])
            found = provable_split(gram, found)
            curve[row] = safe_curve(single, _certificate(found, tuned))[0]
    shared = safe_curve(problem, _certificate(split, y))
    return np.asarray(np.maximum(curve, shared))


def _certificate(split: BlockDiagonal, y: Array) -> BlockCertificate:
    return BlockCertificate(split.blocks, split.matrices, y)
