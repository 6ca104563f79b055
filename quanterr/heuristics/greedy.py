"""Optimal Brain Compression (Frantar & Alistarh 2022): one weight at a time, the rest adjusts exactly."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bounds import Gram

from .tensors import Matrix, check_box, live_columns, rounded, row_blocks, tensors

Choice = Callable[[Tensor, Tensor, Tensor], Tensor]


def obq(
    target: Matrix, gram: Matrix | Gram, low: int, high: int, *, device: str | torch.device | None = None
) -> Matrix:
    """OBQ: the code with the least `(w − q)² / (gram⁻¹)_ii` is fixed next; all rows at once, each in its own order.

    As soon as a remaining weight lies more than half a step outside the grid, the weight with the largest
    rounding error goes first (the paper's rule for outliers). Arguments and result as for `nearest`.

    Raises
    ------
    bounds.ProblemError
        A singular Gram matrix.
    """
    check_box(low, high)
    t, g, back = tensors(target, gram, device)
    x = rounded(t, low, high)
    live = live_columns(gram, "OBQ").to(t.device)

    def choose(w: Tensor, goal: Tensor, diagonal: Tensor) -> Tensor:
        error = (w - goal).abs()
        outlying = (error * (diagonal < torch.inf)).masked_fill((w >= low - 0.5) & (w <= high + 0.5), 0.0).amax(1) > 0.0
        score = error * error / diagonal
        score[diagonal == torch.inf] = torch.inf
        last = error.masked_fill(diagonal == torch.inf, -1.0)
        return torch.where(outlying, last.argmax(1), score.argmin(1))

    fixed = _eliminate(t[:, live], g[live][:, live], live.numel(), lambda w: rounded(w, low, high), choose)
    x[:, live] = fixed
    return back(x)


def exact_obs_trace(weight: Tensor, gram: Tensor, *, device: str | torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Stand-in."""
    w, g, _ = tensors(weight, gram, device)
    inverse0 = torch.cholesky_inverse(torch.linalg.cholesky(g))
    order = torch.zeros(w.shape, dtype=torch.int64, device=w.device)
    losses = torch.zeros_like(w)
    for block in row_blocks(len(w), 16 * w.shape[1] ** 2):
        v = w[block].clone()
        inverse = inverse0.expand(len(v), -1, -1).clone()
        fixed = torch.zeros_like(v, dtype=torch.bool)
        every = torch.arange(len(v), device=w.device)
        for step in range(w.shape[1]):
            diagonal = inverse.diagonal(dim1=1, dim2=2).masked_fill(fixed, 1.0)
            score = (v * v / diagonal).masked_fill(fixed, torch.inf)
            loss, at = score.min(1)
            order[block, step], losses[block, step] = at, loss
            _fix(v, inverse, torch.zeros_like(v), every, at)
            fixed[every, at] = True
    return order, losses


def _eliminate(
    t: Tensor, g: Tensor, steps: int, goals: Callable[[Tensor], Tensor], choose: Choice, keep_mask: bool = False
) -> Tensor:
    """Fix `steps` weights of every row at their goals, in the order that `choose` gives.

    `choose(w, goal, diagonal)` sees the inverse's diagonal, infinite where a weight is already fixed. Returns
    the weights, or with `keep_mask` 1.0 where a weight was not fixed.
    """
    rows, columns = t.shape
    result = torch.ones_like(t) if keep_mask else t.clone()
    if steps == 0 or rows == 0:
        return result
    start = torch.cholesky_inverse(torch.linalg.cholesky(g))
    for block in row_blocks(rows, 16 * columns * columns):
        w = t[block].clone()
        inverse = start.expand(len(w), -1, -1).clone()
        fixed = torch.zeros_like(w, dtype=torch.bool)
        every = torch.arange(len(w), device=w.device)
        for _ in range(steps):
            goal = goals(w)
            diagonal = inverse.diagonal(dim1=1, dim2=2).masked_fill(fixed, torch.inf)
            at = choose(w, goal, diagonal)
            _fix(w, inverse, goal, every, at)
            fixed[every, at] = True
        result[block] = (~fixed).double() if keep_mask else w
    return result


def _fix(w: Tensor, inverse: Tensor, goal: Tensor, every: Tensor, at: Tensor) -> None:
    """Lemma 1: the inverse without row and column `at` is one rank-one step; the other weights move along that row."""
    row = inverse[every, at]
    pivot = row[every, at][:, None]
    w -= (w[every, at] - goal[every, at])[:, None] / pivot * row
    w[every, at] = goal[every, at]
    inverse.baddbmm_(row.unsqueeze(2), (row / pivot).unsqueeze(1), alpha=-1.0)
    inverse[every, at] = 0.0
    inverse[every, :, at] = 0.0
