"""Scale and codes together: the best scales for the codes, then the codes for the scales, while it helps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from bounds import Gram
from bounds.gram import Array

from ..code_grid import CodeGrid
from .obq import obq
from .tensors import Matrix, errors, row_blocks, tensors

ROUNDS = 8


def alternate(
    weight: Array,
    gram: Matrix | Gram,
    grid: CodeGrid,
    *,
    quantizer: Callable[..., Matrix] = obq,
    rounds: int = ROUNDS,
    device: str | torch.device | None = None,
) -> tuple[CodeGrid, Array]:
    """Improve a grid's scales with the codes they get; zero points stay.

    For given codes the least-squares scales solve one small linear system a row, `(dᵍ)ᵀ gram dʰ` over its groups with
    `d = codes − zero` (one equation for the tensor, if it has one scale). A row (the tensor) keeps the best it had.

    Parameters
    ----------
    weight : (rows, columns) in weight units
    gram : (columns, columns), or a `bounds.Gram`
    grid : where to start, from `code_grid`
    quantizer : any of this package; it is called at every round
    rounds : at most so many

    Returns
    -------
    CodeGrid, and (rows, columns) codes: never worse than `quantizer` on `grid`
    """
    w, g, _ = tensors(weight, gram, device)
    best_scale = torch.from_numpy(grid.scale.copy()).to(w.device)
    best_codes, least = torch.zeros_like(w), torch.full_like(w[:, 0], torch.inf)
    for _ in range(1 + max(rounds, 0)):
        target = torch.from_numpy(grid.target(weight))
        found = quantizer(target, gram, grid.low, grid.high, scale=torch.from_numpy(grid.step()), device=w.device)
        x = torch.as_tensor(found, device=w.device)
        offset = torch.from_numpy(grid.weight(np.asarray(x.cpu()))).to(w.device)
        step = torch.from_numpy(grid.step()).to(w.device)
        direction = offset / step
        scale = torch.from_numpy(grid.scale.copy()).to(w.device)
        fitted = _fitted(w, g, direction, grid, scale)
        trial = torch.repeat_interleave(fitted, grid.group, dim=1)[:, : grid.columns] * direction
        error = errors(trial - w, g)
        better = error < least if len(scale) == len(w) else (error.sum() < least.sum()).expand(len(w))
        if not bool(better.any()):
            break
        least = torch.where(better, error, least)
        best_codes = torch.where(better[:, None], x, best_codes)
        best_scale = torch.where(better[: len(scale), None], fitted, best_scale)
        grid = grid.scaled(best_scale.cpu().numpy())
    return grid, np.asarray(best_codes.cpu().numpy())


def _fitted(w: Tensor, g: Tensor, direction: Tensor, grid: CodeGrid, scale: Tensor) -> Tensor:
    """Least-squares scales of the codes, (rows or 1, groups); a row that none positive would serve keeps its own."""
    rows, columns = w.shape
    groups = scale.shape[1]
    member = torch.arange(columns, device=w.device) // grid.group
    part = torch.nn.functional.one_hot(member, groups).T.to(w.dtype)
    left = w.new_empty(rows, groups, groups)
    right = w.new_empty(rows, groups)
    for block in row_blocks(rows, 16 * groups * columns):
        split = direction[block, None] * part
        pulled = split @ g
        left[block] = pulled @ split.mT
        right[block] = (pulled @ w[block, :, None])[:, :, 0]
    if len(scale) < rows:
        left, right = left.sum(0, keepdim=True), right.sum(0, keepdim=True)
    fitted = (torch.linalg.pinv(left, hermitian=True) @ right[:, :, None])[:, :, 0]
    unused = left.diagonal(dim1=1, dim2=2) == 0.0
    fitted = torch.where(unused, scale, fitted)
    return torch.where((fitted > 0.0).all(1, keepdim=True), fitted, scale)
