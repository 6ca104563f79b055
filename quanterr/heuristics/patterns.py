"""Where non-zeros may lie: a budget for each row, for the whole layer, for groups (N:M) or for blocks of columns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bounds import BlockSparse, LeastSquares, NofM, Sparse
from bounds.gram import Array

from ..errors import InputError
from .tensors import check_keep


@dataclass(frozen=True)
class LayerSparse:
    """At most `keep` non-zeros in the whole matrix, in whichever rows they are worth most."""

    keep: int


Pattern = Sparse | NofM | BlockSparse | LayerSparse
#: What every pruner takes as its budget: an integer is short for `Sparse`, so many weights in each row.
Keep = int | Pattern


def pattern_of(keep: Keep, rows: int, columns: int) -> Pattern:
    """The pattern that a caller means, checked against the shape of the weight.

    Raises
    ------
    InputError
        A count that is none, or too large.
    bounds.ProblemError
        Columns that do not divide into the groups or blocks.
    """
    if isinstance(keep, LayerSparse):
        if isinstance(keep.keep, bool) or keep.keep != int(keep.keep) or not 0 <= keep.keep <= rows * columns:
            raise InputError(f"keep = {keep.keep!r} is not a number of weights from 0 to {rows} × {columns}")
        return LayerSparse(int(keep.keep))
    if isinstance(keep, (Sparse, NofM, BlockSparse)):
        keep.check(columns)
        return keep
    check_keep(keep, columns)
    return Sparse(int(keep))


def largest(score: Tensor, pattern: Pattern) -> Tensor:
    """Mask (True = kept) of the largest sum of scores that the pattern allows; among equals the last ones stay.

    For `Sparse` and `NofM` and scores `w²` that is the mask of `bounds`' `nearest`.
    """
    match pattern:
        case Sparse(keep):
            return _top(score, keep)
        case LayerSparse(keep):
            return _top(score.reshape(1, -1), keep).reshape(score.shape)
        case NofM(n, m):
            return _top(score.reshape(-1, m), n).reshape(score.shape)
        case BlockSparse(keep, size):
            blocks = score.reshape(len(score), score.shape[1] // size, size).sum(2)
            return _top(blocks, keep).repeat_interleave(size, dim=1)


def filled(mask: Tensor, score: Tensor, pattern: Pattern) -> Tensor:
    """The mask, and where the pattern has room for more the others with the largest positive scores."""
    return largest(torch.where(mask, torch.inf, score), pattern) & (mask | (score > 0.0))


def allows(mask: Tensor, pattern: Pattern) -> bool:
    """Whether the non-zeros, or the True entries, of a matrix lie as the pattern wants."""
    used = mask != 0
    match pattern:
        case Sparse(keep):
            return bool((used.sum(1) <= keep).all())
        case LayerSparse(keep):
            return int(used.sum()) <= keep
        case NofM(n, m):
            return bool((used.reshape(-1, m).sum(1) <= n).all())
        case BlockSparse(keep, size):
            return bool((used.reshape(len(used), used.shape[1] // size, size).any(2).sum(1) <= keep).all())


def partly(pattern: Pattern, rows: int, columns: int, part: float) -> Pattern:
    """The pattern on the way there: after `part` of the steps, each of which keeps the same fraction (OBC eq. 10)."""

    def count(keep: int, of: int) -> int:
        return keep if part >= 1.0 or of == 0 else max(keep, round(of * (keep / of) ** part))

    match pattern:
        case Sparse(keep):
            return Sparse(count(keep, columns))
        case LayerSparse(keep):
            return LayerSparse(count(keep, rows * columns))
        case NofM(n, m):
            return NofM(count(n, m), m)
        case BlockSparse(keep, size):
            return BlockSparse(count(keep, columns // size), size)


def portion(pattern: Pattern, rows: int, columns: int, first: int, last: int) -> Pattern:
    """The budget of columns `first … last − 1` when it is spread evenly; the parts add up to the whole."""

    def share(keep: int, of: int, low: int, high: int) -> int:
        return keep * high // of - keep * low // of

    match pattern:
        case Sparse(keep):
            return Sparse(share(keep, columns, first, last))
        case LayerSparse(keep):
            return LayerSparse(share(keep, columns, first, last))
        case NofM():
            return pattern
        case BlockSparse(keep, size):
            return BlockSparse(share(keep, columns // size, first // size, last // size), size)


def grain(pattern: Pattern) -> int:
    """Columns that belong together: a sweep may not cut between them."""
    match pattern:
        case NofM(_, m):
            return m
        case BlockSparse(_, size):
            return size
        case _:
            return 1


def judged(weight: Array, gram: object, pruned: Array, keep: Keep) -> Array:
    """(rows,) upper bounds of the exact errors of `pruned`, from `bounds.LeastSquares.upper`, after its pattern.

    Raises
    ------
    InputError, bounds.ProblemError
        Non-zeros where the pattern has none.
    """
    pattern = pattern_of(keep, *weight.shape)
    if isinstance(pattern, LayerSparse):
        if not allows(torch.from_numpy(pruned), pattern):
            raise InputError(f"{int((pruned != 0).sum())} non-zeros, {pattern} allows {pattern.keep}")
        pattern = Sparse(weight.shape[1])
    return LeastSquares(gram, weight, pattern).upper(pruned)


def _top(score: Tensor, keep: int) -> Tensor:
    pruned = torch.argsort(score, dim=1, stable=True)[:, : score.shape[1] - keep]
    return torch.ones_like(score, dtype=torch.bool).scatter_(1, pruned, False)
