"""Local search on codes: change one code, or two at once, while it helps."""

from __future__ import annotations

import torch
from torch import Tensor

from bounds import Gram

from ..errors import InputError
from .rounding import babai
from .tensors import Matrix, check_box, row_blocks, tensors

IMPROVEMENT = 1e-9


def local_search(
    target: Matrix,
    gram: Matrix | Gram,
    low: int,
    high: int,
    *,
    start: Matrix | None = None,
    pairs: bool = True,
    rounds: int = 10_000,
    device: str | torch.device | None = None,
) -> Matrix:
    """The best single change (1-opt), and where there is none the best change of two codes (2-opt), until none helps.

    A single change goes any number of steps, a pair moves one code by one step and the other by its best answer.

    Parameters
    ----------
    start : (rows, columns) codes in the box; default `babai`
    pairs : False for 1-opt alone
    rounds : at most so many changes a row

    The other arguments, and the result, are those of `nearest`. No row is worse than its start. A singular
    Gram matrix is an error only in the default start.
    """
    check_box(low, high)
    t, g, back = tensors(target, gram, device)
    x, _, _ = tensors(babai(t, gram, low, high) if start is None else start, g, device)
    if x.shape != t.shape or not bool(((x == x.round()) & (x >= low) & (x <= high)).all()):
        raise InputError(f"start {tuple(x.shape)} does not hold codes {low} … {high} of shape {tuple(t.shape)}")
    x = x.clone()
    for block in row_blocks(len(t), 8 * 6 * t.shape[1] ** 2 if pairs else 64 * t.shape[1]):
        x[block] = _descend(x[block], t[block], g, low, high, pairs, rounds)
    return back(x)


def _descend(x: Tensor, t: Tensor, g: Tensor, low: int, high: int, pairs: bool, rounds: int) -> Tensor:
    x = x.clone()
    active = torch.arange(len(x), device=x.device)
    for _ in range(rounds):
        codes, step = x[active], x[active] - t[active]
        slope = step @ g
        needed = -IMPROVEMENT * (slope * step).sum(1)
        value, move = _single(codes, slope, g, low, high)
        better = value < needed
        if pairs and not bool(better.all()):
            stuck = torch.argwhere(~better).flatten()
            value, move[stuck] = _pair(codes[stuck], slope[stuck], g, low, high)
            better[stuck] = value < needed[stuck]
        active = active[better]
        if active.numel() == 0:
            break
        x[active] += move[better]
    return x


def _best_step(slope: Tensor, curvature: Tensor, codes: Tensor, low: int, high: int) -> Tensor:
    """Integer `a` with `codes + a` in the box that minimises `2 a slope + a² curvature`; 0 where nothing changes."""
    step = torch.floor(0.5 - slope / torch.where(curvature > 0, curvature, 1.0))
    step = torch.minimum(torch.maximum(step, low - codes), high - codes)
    return torch.where(curvature > 0, step, 0.0)


def _single(codes: Tensor, slope: Tensor, g: Tensor, low: int, high: int) -> tuple[Tensor, Tensor]:
    """Change of the error by the best single move, (rows,), and that move, (rows, columns)."""
    curvature = g.diagonal().expand_as(slope)
    step = _best_step(slope, curvature, codes, low, high)
    value, at = (step * (2 * slope + step * curvature)).min(1)
    at = at[:, None]
    return value, torch.zeros_like(codes).scatter_(1, at, step.gather(1, at))


def _pair(codes: Tensor, slope: Tensor, g: Tensor, low: int, high: int) -> tuple[Tensor, Tensor]:
    """The same for the best pair: code i moves by ±1, code j by its best answer."""
    rows, columns = codes.shape
    best = torch.full((rows,), torch.inf, dtype=codes.dtype, device=codes.device)
    move = torch.zeros_like(codes)
    for a in (1.0, -1.0):
        first = a * (2 * slope + a * g.diagonal())
        first[(codes + a < low) | (codes + a > high)] = torch.inf
        tilted = slope[:, None, :] + a * g
        answer = _best_step(tilted, g.diagonal().expand_as(tilted), codes[:, None, :], low, high)
        change = answer * (2 * tilted + answer * g.diagonal())
        change.diagonal(dim1=1, dim2=2).fill_(0.0)
        value, at = (first[:, :, None] + change).flatten(1).min(1)
        i, j = (at // columns)[:, None], (at % columns)[:, None]
        size = answer.flatten(1).gather(1, at[:, None])
        trial = torch.zeros_like(codes).scatter_(1, j, size).scatter_(1, i, a)
        better = value < best
        best = torch.where(better, value, best)
        move = torch.where(better[:, None], trial, move)
    return best, move
