"""ExactOBS of *Optimal Brain Compression* for every pattern: rows, the whole layer, N:M and blocks."""

from __future__ import annotations

import torch
from torch import Tensor

from bounds import BlockSparse, Gram, NofM, Sparse

from .greedy import exact_obs_trace
from .metric import Metric, metric_of
from .patterns import Keep, LayerSparse, filled, pattern_of
from .refit import refitted
from .tensors import Matrix, row_blocks, tensors


def exact_obs(weight: Matrix, gram: Matrix | Gram, keep: Keep, *, device: str | torch.device | None = None) -> Matrix:
    """ExactOBS: greedy backward elimination of the weight with the least `w² / (gram⁻¹)_ii`, the rest adjusts exactly.

    Parameters
    ----------
    weight : (rows, columns), numpy or torch
    gram : (columns, columns), or a `bounds.Gram`
    keep : weights left in each row, or where they may lie
        `LayerSparse(keep)` in the whole layer, `NofM(n, m)`, `BlockSparse(keep, size)`.
    device : where to compute in float64; default: where the weight is

    Returns
    -------
    (rows, columns) : the least-squares fit on the support that is left, of the kind of `weight`. Inputs that are always
    zero are pruned first, at no cost, then as many as need be of those that depend on `Metric.basis`.

    *Optimal Brain Compression* section 4: algorithm 1 for rows, algorithm 2 for the layer, "N:M Sparsity",
    "Block-Sparsity" with equation 5.
    """
    w, g, back = tensors(weight, gram, device)
    pattern, metric = pattern_of(keep, *w.shape), metric_of(gram, g)
    v = metric.folded(w)
    if isinstance(pattern, NofM):
        mask = _groups(v, metric, pattern)
    elif isinstance(pattern, BlockSparse):
        mask = _blocks(v, metric, pattern)
    else:
        order, losses = exact_obs_trace(v, metric.inner)
        mask = metric.unfolded(_traced(order, losses, pattern)) != 0
    mask = filled(mask, w * w * g.diagonal(), pattern)
    return back(refitted(w, g, mask, metric.singular))


def layer_steps(losses: Tensor, steps: int) -> Tensor:
    """How many weights of each row are among the `steps` cheapest removals, (rows,).

    OBC's algorithm 2: always the row whose *next* removal costs least (among equals the first row). `losses` (rows,
    columns) need not increase, so a removal waits for those before it in its row: they are taken in the order of the
    running maximum, which is what the paper's heap does.
    """
    reached = losses.cummax(dim=1).values.flatten()
    taken = torch.argsort(reached, stable=True)[:steps]
    return torch.bincount(taken // losses.shape[1], minlength=len(losses))


def _traced(order: Tensor, losses: Tensor, pattern: Sparse | LayerSparse) -> Tensor:
    """1.0 where a weight is left of what the traces of all rows take out."""
    rows, columns = order.shape
    if isinstance(pattern, LayerSparse):
        steps = layer_steps(losses, max(rows * columns - pattern.keep, 0))
    else:
        steps = torch.full((rows,), max(columns - pattern.keep, 0), device=order.device)
    place = torch.arange(columns, device=order.device).expand(rows, -1)
    return torch.ones_like(losses).scatter_(1, order, (place >= steps[:, None]).to(losses.dtype))


def _whole_inverse(metric: Metric) -> Tensor:
    """The inverse on the basis, with zero rows and columns elsewhere."""
    inner = torch.cholesky_inverse(torch.linalg.cholesky(metric.inner))
    return metric.unfolded(metric.unfolded(inner).T.contiguous())


def _groups(v: Tensor, metric: Metric, pattern: NofM) -> Tensor:
    """Mask of N:M: the cheapest weight in a group that still has more than n."""
    mask = metric.unfolded(torch.ones_like(v)) != 0
    columns, m = mask.shape[1], pattern.m
    if len(metric.basis) == 0:
        return mask
    excess = (mask[0].reshape(-1, m).sum(1) - pattern.n).clamp(min=0)
    start = _whole_inverse(metric)
    for block in row_blocks(len(v), 16 * columns * columns):
        w, left = metric.unfolded(v[block]), mask[block]
        inverse = start.expand(len(w), -1, -1).clone()
        every = torch.arange(len(w), device=w.device)
        room = excess.expand(len(w), -1).clone()
        for _ in range(int(excess.sum())):
            open_ = left & (room > 0).repeat_interleave(m, dim=1)
            diagonal = inverse.diagonal(dim1=1, dim2=2)
            at = torch.where(open_, w * w / torch.where(open_, diagonal, 1.0), torch.inf).argmin(1)
            row = inverse[every, at]
            pivot = row[every, at][:, None]
            w -= w[every, at][:, None] / pivot * row
            w[every, at] = 0.0
            inverse.baddbmm_(row.unsqueeze(2), (row / pivot).unsqueeze(1), alpha=-1.0)
            left[every, at] = False
            room[every, at // m] -= 1
    return mask


def _blocks(v: Tensor, metric: Metric, pattern: BlockSparse) -> Tensor:
    """Mask of blocks: take out the block P with the least `w_Pᵀ ((gram⁻¹)_P)⁻¹ w_P` (equation 5)."""
    mask = metric.unfolded(torch.ones_like(v)) != 0
    columns, size = mask.shape[1], pattern.size
    used = mask[0].reshape(-1, size).any(1)
    if len(metric.basis) == 0:
        return mask
    start = _whole_inverse(metric)
    members = torch.arange(columns, device=v.device).reshape(-1, size)
    empty = (~mask[0]).double().reshape(-1, size)
    for part in row_blocks(len(v), 16 * columns * columns):
        w = metric.unfolded(v[part])
        inverse = start.expand(len(w), -1, -1).clone()
        every = torch.arange(len(w), device=w.device)
        left = used.expand(len(w), -1).clone()
        for _ in range(max(int(used.sum()) - pattern.keep, 0)):
            inner = inverse[:, members[:, :, None], members[:, None, :]]
            inner.diagonal(dim1=2, dim2=3).add_(torch.where(left[:, :, None], empty, 1.0))
            values = w.reshape(len(w), -1, size, 1)
            force = torch.cholesky_solve(values, torch.linalg.cholesky(inner))
            cost = (values * force).sum((2, 3)).masked_fill(~left, torch.inf)
            at = cost.argmin(1)
            across = inverse[every[:, None], members[at]]
            w -= (force[every, at].mT @ across).squeeze(1)
            w[every[:, None], members[at]] = 0.0
            inverse.baddbmm_(across.mT, torch.cholesky_solve(across, torch.linalg.cholesky(inner[every, at])), alpha=-1)
            inverse[every[:, None], members[at]] = 0.0
            inverse[every[:, None], :, members[at]] = 0.0
            left[every, at] = False
        mask[part] &= left.repeat_interleave(size, dim=1)
    return mask
