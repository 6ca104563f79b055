"""The slow twin: every member of a small feasible set, in plain numpy, sharing nothing with the searches."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import MethodError
from ..feasible import IntegerBox, Sparse
from ..gram import UNIT_ROUNDOFF, Array
from ..problem import LeastSquares
from ..result import Solution, Status, solution

BLOCK = 4096


@dataclass(frozen=True)
class Exhaustive:
    """Look at every member: all points of an `IntegerBox`, all supports of a `Sparse` set.

    It needs no inverse, so singular Gram matrices are welcome.

    Parameters
    ----------
    limit : int
        Largest number of members (of one row) it agrees to look at.
    """

    limit: int = 2**22

    def solve(self, problem: LeastSquares, start: Array | None = None) -> Solution:
        """The optimum of every row; `start` is not used.

        Raises
        ------
        MethodError
            If the set has more than `limit` members, or is neither an `IntegerBox` nor `Sparse`.
        """
        feasible, n = problem.feasible, problem.columns
        if isinstance(feasible, IntegerBox):
            members = (feasible.high - feasible.low + 1) ** n
            candidates = _integer_points(problem, feasible)
        elif isinstance(feasible, Sparse):
            members = math.comb(n, feasible.keep)
            candidates = _supports(problem, feasible)
        else:
            raise MethodError(f"Exhaustive enumerates IntegerBox and Sparse, not {type(feasible).__name__}")
        if members > self.limit:
            raise MethodError(
                f"{feasible} has {members} members for {n} columns, more than limit = {self.limit}: use BranchAndBound"
            )
        best = np.full(problem.rows, np.inf)
        lower = np.full(problem.rows, np.inf)
        x = np.zeros(problem.target.shape)
        everyone = np.arange(problem.rows)
        for points, slack in candidates:
            value, rounding = _error(problem, points)
            lower = np.minimum(lower, (value - rounding - slack).min(axis=0))
            first = value.argmin(axis=0)
            better = value[first, everyone] < best
            best = np.where(better, value[first, everyone], best)
            chosen = points[first, everyone if points.shape[1] > 1 else 0]
            x = np.where(better[:, None], chosen, x)
        upper = problem.upper(x)
        stats = {"nodes": np.full(problem.rows, members)}
        return solution(x, upper, lower, np.full(problem.rows, Status.CLOSED, dtype=object), stats)


def _error(problem: LeastSquares, points: Array) -> tuple[Array, Array]:
    """`E` of (members, rows or 1, columns) points for every row, and the rounding it may contain."""
    gram, n = problem.gram.array, problem.columns
    step = points - problem.target
    value = np.einsum("mri,mri->mr", step @ gram, step)
    size = np.abs(step)
    magnitude = np.einsum("mri,mri->mr", size @ np.abs(gram), size)
    return value, (2 * n + 8) * UNIT_ROUNDOFF * magnitude


def _integer_points(problem: LeastSquares, box: IntegerBox) -> Iterator[tuple[Array, Array]]:
    """All points of the box in lexicographic order, in blocks (members, 1, columns)."""
    levels = box.high - box.low + 1
    members = levels**problem.columns
    block = max(1, BLOCK // problem.rows)
    powers = [levels ** (problem.columns - 1 - i) for i in range(problem.columns)]
    for first in range(0, members, block):
        index = np.arange(first, min(first + block, members))
        digits = np.stack([index // p % levels for p in powers], axis=-1)
        yield (digits + float(box.low))[:, None, :], np.zeros(1)


def _supports(problem: LeastSquares, feasible: Sparse) -> Iterator[tuple[Array, Array]]:
    """The least-squares weights of every support, (members, rows, columns), and how far from minimal they may be."""
    gram, target = problem.gram.array, problem.target
    block = max(1, BLOCK // problem.rows)
    moment = target @ gram
    supports = itertools.combinations(range(problem.columns), feasible.keep)
    while chunk := list(itertools.islice(supports, block)):
        index = np.array(chunk, dtype=np.intp).reshape(len(chunk), feasible.keep)
        part = gram[index[:, :, None], index[:, None, :]]
        inverse = np.linalg.pinv(part, rcond=2.0**-44, hermitian=True)
        right = moment.T[index]
        weight = inverse @ right
        for _ in range(2):
            left = right - part @ weight
            weight = weight + inverse @ left
        # E exceeds its minimum by leftᵀ part⁻¹ left; what rounding may hide in `left` is added to it
        hidden = (problem.columns + 4) * UNIT_ROUNDOFF * (np.abs(right) + np.abs(part) @ np.abs(weight))
        left = np.abs(right - part @ weight) + hidden
        slack = 4 * np.einsum("mkr,mkr->mr", left, np.abs(inverse) @ left)
        points = np.zeros((len(chunk), *target.shape))
        places = np.broadcast_to(index[:, None, :], (len(chunk), problem.rows, feasible.keep))
        np.put_along_axis(points, places, weight.transpose(0, 2, 1), axis=2)
        yield points, slack
