"""Block-OBS: blocks of columns go together (OBC section 4, "Block-Sparsity")."""

from __future__ import annotations

import torch
from torch import Tensor

from bounds import BlockSparse

from .metric import Metric
from .tensors import row_blocks


def block_mask(v: Tensor, metric: Metric, pattern: BlockSparse) -> Tensor:
    """Mask on the basis: take out the block P with the least `w_Pᵀ ((gram⁻¹)_P)⁻¹ w_P` (equation 5)."""
    mask = metric.unfolded(torch.ones_like(v)) != 0
    columns, size = mask.shape[1], pattern.size
    if v.numel() == 0:
        return mask[:, metric.basis]
    used = mask[0].reshape(-1, size).any(1)
    start = metric.unfolded(metric.unfolded(metric.inner_inverse).T.contiguous())
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
    return mask[:, metric.basis]
