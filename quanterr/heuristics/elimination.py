"""Optimal Brain Compression's inner loop, all rows at once: fix one weight, let the others adjust, shrink the inverse.

Frantar & Alistarh 2022, lemma 1: the inverse of a Gram matrix without row and column p is the inverse minus one
rank-one term. The terms are collected: a row of the current inverse is the stored row minus its share of them, and only
every few dozen steps are they taken off the stored matrix, in one product, without the columns fixed since. All rows
start from one inverse, so the first terms need no matrix per row. The work falls from `rows · columns³` of rank-one
updates, which wait for memory, to less than half of that in matrix products; the rows in flight bound the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from bounds import ProblemError

#: Losses closer than this to the least, relative to it, are ties, and the first column of them goes. Wider than
#: rounding, so that the order depends neither on the rows in flight nor on the device.
TIE = 1e-10
FIRST_TERMS = 96
TERMS = 48
SHRINK = 0.7
CACHED_ROWS = 64
MEMORY_BYTES = 2**30


class Elimination:
    """Weights of some rows, and for each the inverse Gram matrix of the columns that are still free.

    Attributes
    ----------
    weight : (rows, stored) current weights; 0 where fixed, but for rounding
    diagonal : (rows, stored) diagonal of the inverse; −1 where a weight is fixed
    columns : (rows, stored) which columns these are, ascending
    unit : (rows, stored) the attribute of the columns given at the start, or None
    free : how many weights of each row are not fixed
    """

    def __init__(
        self,
        weight: Tensor,
        inverse: Tensor,
        *,
        unit: Tensor | None = None,
        space: Space | None = None,
    ) -> None:
        """Start from `weight` (rows, columns) and `inverse` (columns, columns), shared by the rows."""
        rows, self.free = weight.shape
        self.weight = weight.clone()
        self.diagonal = inverse.diagonal().expand_as(weight).clone()
        self.columns = torch.arange(self.free, device=weight.device).expand(rows, -1)
        self.unit = unit
        self._fixed = torch.zeros_like(weight, dtype=torch.bool)
        self._space = space or Space(weight)
        self._stored, self._shared = inverse, True
        self._first = torch.zeros(rows, dtype=torch.int64, device=weight.device)
        self._terms = self._space.take("terms", rows, min(FIRST_TERMS, self.free), self.free)
        self._count = 0

    def fix(self, at: Tensor, value: Tensor | float) -> Tensor:
        """Set the weight at position `at` (rows,) of each row to `value` (rows,); the free ones adjust.

        Returns the losses, (rows,): by how much the least error rises, `(weight − value)² / diagonal`. Positions may
        have changed afterwards: `columns` tells.
        """
        place = at[:, None]
        row = self._stored.index_select(0, at + self._first)
        if self._count:
            earlier = self._terms[:, : self._count]
            share = earlier.gather(2, place[:, None].expand(-1, self._count, 1)).transpose(1, 2)
            row = row[:, None].baddbmm_(share, earlier, alpha=-1.0)[:, 0]
        root = row.gather(1, place).sqrt_()
        term = torch.div(row, root, out=self._terms[:, self._count])
        goal = value[:, None] if isinstance(value, Tensor) else value
        step = (self.weight.gather(1, place) - goal) / root
        self.weight.addcmul_(term, step, value=-1.0).scatter_(1, place, 0.0)
        self.diagonal.addcmul_(term, term, value=-1.0).scatter_(1, place, -1.0)
        self._fixed.scatter_(1, place, True)
        self._count += 1
        self.free -= 1
        if self._count == self._terms.shape[1] and self.free:
            self._apply()
        return (step * step)[:, 0]

    def _apply(self) -> None:
        """Take the terms off the stored inverses; drop the fixed columns if many, or if nothing is stored yet."""
        rows, width = self.weight.shape
        terms = self._terms
        if self._shared or self.free <= SHRINK * width:
            left = torch.argwhere(~self._fixed)[:, 1].reshape(rows, self.free)
            terms = terms.gather(2, left[:, None].expand(-1, self._count, -1))
            chosen = self._space.take("rows", rows * self.free, width)
            torch.index_select(self._stored, 0, (left + self._first[:, None]).flatten(), out=chosen)
            self._stored = self._space.take("inverse", rows * self.free, self.free)
            wide, narrow = (s.view(rows, self.free, -1) for s in (chosen, self._stored))
            torch.gather(wide, 2, left[:, None].expand(-1, self.free, -1), out=narrow)
            self._shared = False
            self._first = torch.arange(0, rows * self.free, self.free, device=left.device)
            self.weight, self.diagonal = self.weight.gather(1, left), self.diagonal.gather(1, left)
            self.columns = self.columns.gather(1, left)
            self.unit = None if self.unit is None else self.unit.gather(1, left)
            self._fixed = torch.zeros_like(left, dtype=torch.bool)
            self._terms = self._space.take("terms", rows, min(TERMS, self.free), self.free)
        self._stored.view(rows, -1, terms.shape[2]).baddbmm_(terms.transpose(1, 2), terms, alpha=-1.0)
        self._count = 0


class Space:
    """Work space that is used again: fresh pages for each block of rows would cost as much as the arithmetic."""

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._held: dict[str, Tensor] = {}

    def take(self, name: str, *shape: int) -> Tensor:
        """A contiguous tensor of that shape, uninitialised; the one taken before under this name is lost."""
        size = prod(shape)
        if name not in self._held or self._held[name].numel() < size:
            self._held.pop(name, None)
            self._held[name] = self._like.new_empty(size)
        return self._held[name][:size].view(shape)


Choice = Callable[[Elimination], tuple[Tensor, Tensor | float]]


class Trace(NamedTuple):
    """What happened to each row, step by step, (rows, steps): the column, the value it was fixed at, the loss."""

    order: Tensor
    value: Tensor
    loss: Tensor


def eliminate(weight: Tensor, inverse: Tensor, steps: int, choose: Choice, *, unit: Tensor | None = None) -> Trace:
    """Fix `steps` weights of every row, one at a time; `choose` says where and at what value.

    Raises
    ------
    bounds.ProblemError
        A Gram matrix so ill-conditioned that a pivot is not positive.
    """
    rows, _ = weight.shape
    order = torch.zeros(rows, steps, dtype=torch.int64, device=weight.device)
    trace = Trace(order, torch.zeros_like(order, dtype=weight.dtype), torch.zeros_like(order, dtype=weight.dtype))
    space = Space(weight)
    for block in blocks(weight):
        state = Elimination(weight[block], inverse, unit=None if unit is None else unit[block], space=space)
        for step in range(steps):
            at, value = choose(state)
            trace.order[block, step] = state.columns.gather(1, at[:, None])[:, 0]
            trace.value[block, step] = value
            trace.loss[block, step] = state.fix(at, value)
    if not bool(torch.isfinite(trace.loss).all()):
        row = int(torch.argwhere(~torch.isfinite(trace.loss))[0, 0])
        raise ProblemError(
            f"the elimination of row {row} met a pivot that is not positive: the Gram matrix is too ill-conditioned "
            "for float64; give more calibration samples, or ask for damping explicitly"
        )
    return trace


def first_largest(score: Tensor) -> Tensor:
    """(rows,) the first position whose score is within `TIE` of the row's largest; the largest may be infinite."""
    return (score >= score.amax(1, keepdim=True) * (1.0 - TIE)).view(torch.uint8).argmax(1)


def blocks(weight: Tensor) -> Iterator[slice]:
    """Rows that are eliminated at the same time: they fit the cache on a CPU, and the memory everywhere."""
    rows, columns = weight.shape
    height = max(1, MEMORY_BYTES // max(1, 16 * columns * columns))
    if weight.device.type == "cpu":
        height = min(height, CACHED_ROWS)
    for first in range(0, rows, height):
        yield slice(first, min(first + height, rows))
