"""The slow twin: every member of a small feasible set, in plain numpy, sharing nothing with the searches."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import MethodError
from ..feasible import BlockSparse, Codebook, Feasible, IntegerBox, NofM, Sparse, SparseIntegerBox
from ..gram import UNIT_ROUNDOFF, Array
from ..problem import LeastSquares
from ..result import Solution, Status, solution

BLOCK = 4096


@dataclass(frozen=True)
class Exhaustive:
    """Look at every member: all points of a set of codes, all supports of a set of real weights.

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
            If the set has more than `limit` members to look at, or is of no kind known here.
        """
        feasible, n = problem.feasible, problem.columns
        levels = _levels(feasible)
        if levels is not None:
            members = len(levels) ** n
            candidates = _points(problem, levels)
        else:
            members, supports = _supports(feasible, n)
            candidates = _fits(problem, supports)
        if members > self.limit:
            raise MethodError(
                f"{feasible} has {members} members for {n} columns, more than limit = {self.limit}: use BranchAndBound"
            )
        best = np.full(problem.rows, np.inf)
        lower = np.full(problem.rows, np.inf)
        x = np.zeros(problem.target.shape)
        everyone = np.arange(problem.rows)
        for found, slack in candidates:
            points = found if levels is None else found[feasible.contains(found[:, 0])]
            if len(points) == 0:
                continue
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


def _levels(feasible: Feasible) -> Array | None:
    """The values an entry may take, or None for a set of real weights."""
    if isinstance(feasible, IntegerBox | SparseIntegerBox):
        return np.arange(feasible.low, feasible.high + 1.0)
    return feasible.array if isinstance(feasible, Codebook) else None


def _points(problem: LeastSquares, levels: Array) -> Iterator[tuple[Array, Array]]:
    """All points with entries among the levels in lexicographic order, in blocks (members, 1, columns)."""
    members = len(levels) ** problem.columns
    block = max(1, BLOCK // problem.rows)
    powers = [len(levels) ** (problem.columns - 1 - i) for i in range(problem.columns)]
    for first in range(0, members, block):
        index = np.arange(first, min(first + block, members))
        digits = np.stack([index // p % len(levels) for p in powers], axis=-1)
        yield levels[digits][:, None, :], np.zeros(1)


def _supports(feasible: Feasible, columns: int) -> tuple[int, Iterator[tuple[int, ...]]]:
    """How many supports there are, and each of them as the kept columns."""
    if isinstance(feasible, Sparse):
        return math.comb(columns, feasible.keep), itertools.combinations(range(columns), feasible.keep)
    if isinstance(feasible, BlockSparse):
        size, blocks = feasible.size, columns // feasible.size
        chosen = itertools.combinations(range(blocks), feasible.keep)
        whole = (tuple(b * size + i for b in each for i in range(size)) for each in chosen)
        return math.comb(blocks, feasible.keep), whole
    if isinstance(feasible, NofM):
        starts = range(0, columns, feasible.m)
        groups = [list(itertools.combinations(range(s, s + feasible.m), feasible.n)) for s in starts]
        joined = (tuple(itertools.chain(*each)) for each in itertools.product(*groups))
        return math.comb(feasible.m, feasible.n) ** len(groups), joined
    raise MethodError(f"Exhaustive has no list of the members of {type(feasible).__name__}")


def _fits(problem: LeastSquares, supports: Iterator[tuple[int, ...]]) -> Iterator[tuple[Array, Array]]:
    """The least-squares weights of every support, (members, rows, columns), and how far from minimal they may be."""
    gram, target = problem.gram.array, problem.target
    block = max(1, BLOCK // problem.rows)
    moment = target @ gram
    while chunk := list(itertools.islice(supports, block)):
        index = np.array(chunk, dtype=np.intp).reshape(len(chunk), len(chunk[0]))
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
        places = np.broadcast_to(index[:, None, :], (len(chunk), problem.rows, index.shape[1]))
        np.put_along_axis(points, places, weight.transpose(0, 2, 1), axis=2)
        yield points, slack
