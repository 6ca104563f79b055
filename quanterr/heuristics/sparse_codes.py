"""Few codes that are not zero: prune, then quantise what is left; and a local search on both at once."""

from __future__ import annotations

import torch
from torch import Tensor

from bounds import Gram, NofM, Sparse

from ..errors import InputError
from .alps import alps
from .obq import obq
from .patterns import Keep, allows, pattern_of
from .swaps import swaps
from .tensors import Matrix, check_box, row_blocks, tensors

IMPROVEMENT = 1e-9


def prune_then_quantize(
    target: Matrix,
    gram: Matrix | Gram,
    keep: Keep,
    low: int,
    high: int,
    *,
    pruned: Matrix | None = None,
    damping: float = 0.0,
    device: str | torch.device | None = None,
) -> Matrix:
    """OBC's compound compression: the pruned weights, least-squares fitted, then OBQ on those that are left.

    OBQ fixes what is zero first, at no loss, and the pruned weights have no gradient on their support: what it
    minimises is the error of both steps together.

    Parameters
    ----------
    target : (rows, columns) in code units; `LayerSparse` compares rows in these units
    keep, low, high : the budget, and the box, which holds zero
    pruned : (rows, columns) within the budget, fitted to `target`; default `swaps` from `alps`

    The other arguments are those of `obq`. Returns codes within the budget.

    Raises
    ------
    InputError
        A box without zero, or `pruned` outside the budget.
    """
    check_box(low, high)
    _check_zero(low, high)
    t, g, back = tensors(target, gram, device)
    pattern = pattern_of(keep, *t.shape)
    if pruned is None:
        pruned = alps(t, gram, pattern, damping=damping)
        if isinstance(pattern, (Sparse, NofM)):
            pruned = swaps(t, gram, pattern, start=pruned, damping=damping)
    x, _, _ = tensors(pruned, g, device)
    if x.shape != t.shape or not allows(x, pattern):
        raise InputError(f"pruned {tuple(x.shape)} is not {tuple(t.shape)} with non-zeros as {pattern} allows")
    codes, _, _ = tensors(obq(x, gram, low, high, damping=damping), g, device)
    return back(torch.where(x != 0.0, codes, 0.0))


def exchange_codes(
    target: Matrix,
    gram: Matrix | Gram,
    keep: int | Sparse | NofM,
    low: int,
    high: int,
    *,
    start: Matrix | None = None,
    rounds: int = 10_000,
    device: str | torch.device | None = None,
) -> Matrix:
    """Joint local search: change a code, or take one to zero and another from zero, the best first, while it helps.

    Parameters
    ----------
    keep : so many non-zero codes in each row, or N:M, where both codes lie in one group
    start : (rows, columns) codes within box and budget; default `prune_then_quantize`
    rounds : at most so many changes a row

    The other arguments, result and errors are those of `prune_then_quantize`. No row is worse than its start. The
    judge is `bounds.SparseIntegerBox`.
    """
    check_box(low, high)
    _check_zero(low, high)
    t, g, back = tensors(target, gram, device)
    pattern = pattern_of(keep, *t.shape)
    if not isinstance(pattern, (Sparse, NofM)):
        raise InputError(f"exchange_codes keeps so many codes in each row, or N:M; {pattern} is neither")
    given = prune_then_quantize(t, gram, pattern, low, high) if start is None else start
    x, _, _ = tensors(given, g, device)
    x = x.clone()
    if x.shape != t.shape or not bool(((x == x.round()) & (x >= low) & (x <= high)).all()) or not allows(x, pattern):
        raise InputError(
            f"start {tuple(x.shape)} does not hold codes {low} … {high} with non-zeros as {pattern} allows"
        )
    width, room = (t.shape[1], pattern.keep) if isinstance(pattern, Sparse) else (pattern.m, pattern.n)
    for block in row_blocks(len(t), 8 * 5 * t.shape[1] ** 2):
        _search(x[block], t[block], g, (low, high), (width, room), rounds)
    return back(x)


def _search(x: Tensor, t: Tensor, g: Tensor, box: tuple[int, int], budget: tuple[int, int], rounds: int) -> None:
    active = torch.arange(len(x), device=x.device)
    group = torch.arange(x.shape[1], device=x.device) // budget[0]
    for _ in range(rounds):
        if active.numel() == 0:
            break
        codes, step = x[active], x[active] - t[active]
        slope = step @ g
        needed = -IMPROVEMENT * (slope * step).sum(1)
        value, move = _single(codes, slope, g, box, group, budget[1])
        other, exchange = _exchange(codes, slope, g, box, group)
        better = other < value
        value = torch.where(better, other, value)
        move = torch.where(better[:, None], exchange, move)
        helps = value < needed
        active = active[helps]
        x[active] += move[helps]


def _best(slope: Tensor, curvature: Tensor, codes: Tensor | float, box: tuple[int, int]) -> Tensor:
    """The step within the box that minimises `2 a slope + a² curvature`; 0 without curvature."""
    step = torch.floor(0.5 - slope / torch.where(curvature > 0, curvature, 1.0))
    step = torch.clamp(step + codes, box[0], box[1]) - codes
    return torch.where(curvature > 0, step, 0.0)


def _single(
    codes: Tensor, slope: Tensor, g: Tensor, box: tuple[int, int], group: Tensor, room: int
) -> tuple[Tensor, Tensor]:
    """The best change of one code: of one that is not zero, or of a zero where the budget has room."""
    curvature = g.diagonal()
    step = _best(slope, curvature, codes, box)
    used = torch.zeros(len(codes), int(group[-1]) + 1, dtype=codes.dtype, device=codes.device)
    used.scatter_add_(1, group.expand(len(codes), -1), (codes != 0).double())
    free = (codes != 0) | (used.gather(1, group.expand(len(codes), -1)) < room)
    change = torch.where(free, step * (2 * slope + step * curvature), 0.0)
    value, at = change.min(1, keepdim=True)
    return value[:, 0], torch.zeros_like(codes).scatter_(1, at, step.gather(1, at))


def _exchange(codes: Tensor, slope: Tensor, g: Tensor, box: tuple[int, int], group: Tensor) -> tuple[Tensor, Tensor]:
    """The best exchange: code i goes to zero, code j of the same group from zero to its best value."""
    curvature = g.diagonal()
    gone = -codes
    first = gone * (2 * slope + gone * curvature)
    tilted = slope[:, None, :] + gone[:, :, None] * g
    answer = _best(tilted, curvature, 0.0, box)
    change = first[:, :, None] + answer * (2 * tilted + answer * curvature)
    possible = (codes != 0)[:, :, None] & (codes == 0)[:, None, :] & (group[:, None] == group)
    value, at = change.masked_fill_(~possible, torch.inf).flatten(1).min(1)
    i, j = (at // codes.shape[1])[:, None], (at % codes.shape[1])[:, None]
    move = torch.zeros_like(codes).scatter_(1, i, gone.gather(1, i))
    return value, move.scatter_(1, j, answer.flatten(1).gather(1, at[:, None]))


def _check_zero(low: int, high: int) -> None:
    if not low <= 0 <= high:
        raise InputError(f"codes {low} … {high} have no zero to prune to: include 0 in the box")
