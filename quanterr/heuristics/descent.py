"""Local search on codes: change one code, or two at once, while it helps."""

from __future__ import annotations

import torch
from torch import Tensor

from bounds import Gram

from ..errors import InputError
from .nearest_plane import babai
from .tensors import Matrix, check_box, row_blocks, step_units, tensors

IMPROVEMENT = 1e-9
MOST = 10_000


def local_search(
    target: Matrix,
    gram: Matrix | Gram,
    low: int,
    high: int,
    *,
    start: Matrix | None = None,
    pairs: bool = True,
    rounds: int = MOST,
    scale: Matrix | None = None,
    device: str | torch.device | None = None,
) -> Matrix:
    """Coordinate descent (1-opt), then changes of two codes (2-opt), until nothing helps.

    A single change goes any number of steps, the best first. A pair moves one code by one step and another by its best
    answer; columns take turns for the first, and each change that helps is made at once.

    Parameters
    ----------
    start : (rows, columns) codes in the box; default `babai`, aware of the box
    pairs : False for 1-opt alone
    rounds : at most so many single changes a row before the pairs, and at most so many turns of pairs

    The other arguments, result and errors as for `nearest`. No row is worse than its start. A singular Gram matrix
    needs no care here.
    """
    check_box(low, high)
    t, g, back = tensors(target, gram, device)
    unit = step_units(scale, t)
    first = babai(t, gram, low, high, box_aware=True, scale=scale) if start is None else start
    x, _, _ = tensors(first, g, t.device)
    if x.shape != t.shape or not bool(((x == x.round()) & (x >= low) & (x <= high)).all()):
        raise InputError(f"start {tuple(x.shape)} does not hold codes {low} … {high} of shape {tuple(t.shape)}")
    x = x.clone()
    for block in row_blocks(len(t), 2**7 * t.shape[1]):
        search = Descent(x[block], t[block], g, None if unit is None else unit[block], low, high)
        every = torch.arange(len(search.codes), device=x.device)
        search.singles(every, rounds)
        for _ in range(rounds if pairs else 0):
            every = search.pairs(every)
            if every.numel() == 0:
                break
            search.singles(every, rounds)
        x[block] = search.codes
    return back(x)


class Descent:
    """Codes of some rows with their slopes, half the gradient of the error in code units."""

    def __init__(self, x: Tensor, t: Tensor, g: Tensor, unit: Tensor | None, low: int, high: int) -> None:
        self.codes, self.low, self.high, self.gram, self.unit = x.clone(), low, high, g, unit
        step = x - t if unit is None else (x - t) * unit
        slope = step @ g
        self.needed = -IMPROVEMENT * (slope * step).sum(1)
        self.slope = slope if unit is None else slope * unit
        self.curvature = g.diagonal().expand_as(x) if unit is None else g.diagonal() * unit * unit
        self.inverse = torch.where(self.curvature > 0.0, 1.0 / self.curvature, 0.0)

    def _answer(self, slope: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The integer step of each code that lowers the error most, and by how much it changes it (≤ 0)."""
        codes = self.codes[rows]
        step = torch.floor(0.5 - slope * self.inverse[rows])
        step = torch.minimum(torch.maximum(step, self.low - codes), self.high - codes)
        return step, step * (2.0 * slope + step * self.curvature[rows])

    def _move(self, rows: Tensor, at: Tensor, size: Tensor) -> None:
        """Change the code of column `at` (rows,) by `size` (rows,), in the rows of that index."""
        self.codes[rows, at] += size
        if self.unit is None:
            self.slope[rows] += size[:, None] * self.gram[at]
        else:
            self.slope[rows] += (size * self.unit[rows, at])[:, None] * self.gram[at] * self.unit[rows]

    def singles(self, rows: Tensor, rounds: int = MOST) -> None:
        """The best change of one code, again and again, in the rows of that index."""
        for _ in range(rounds):
            step, change = self._answer(self.slope[rows], rows)
            value, at = change.min(1)
            better = value < self.needed[rows]
            rows, at = rows[better], at[better]
            if rows.numel() == 0:
                return
            self._move(rows, at, step[better].gather(1, at[:, None])[:, 0])

    def pairs(self, rows: Tensor) -> Tensor:
        """Let each column take its turn as the first of a pair; gives the rows where anything helped."""
        helped = torch.zeros_like(rows, dtype=torch.bool)
        for i in range(self.codes.shape[1]):
            line = self.gram[i] if self.unit is None else self.gram[i] * self.unit[rows] * self.unit[rows, i : i + 1]
            for first in (1.0, -1.0):
                slope = self.slope[rows]
                alone = first * (2.0 * slope[:, i] + first * self.curvature[rows, i])
                moved = self.codes[rows, i] + first
                alone = torch.where((moved < self.low) | (moved > self.high), torch.inf, alone)
                step, change = self._answer(slope.add_(line, alpha=first), rows)
                change[:, i] = 0.0
                value, at = change.min(1)
                better = alone + value < self.needed[rows]
                if bool(better.any()):
                    helped |= better
                    which, second = rows[better], at[better]
                    size = step[better].gather(1, second[:, None])[:, 0]
                    self._move(which, torch.full_like(which, i), torch.full_like(size, first))
                    self._move(which, second, size)
        return rows[helped]
