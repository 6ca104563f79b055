"""SparseGPT (Frantar and Alistarh 2023): one sweep over the columns, masks chosen on the way, errors passed on."""

from __future__ import annotations

import torch
from torch import Tensor

from bounds import Gram, NofM

from ..errors import InputError
from .metric import Metric, metric_of
from .patterns import Keep, Pattern, grain, largest, pattern_of, portion
from .tensors import Matrix, tensors


def sparse_gpt(
    weight: Matrix,
    gram: Matrix | Gram,
    keep: Keep,
    *,
    block: int = 128,
    damping: float = 0.0,
    device: str | torch.device | None = None,
) -> Matrix:
    """Sweep over blocks of columns: prune what costs least by OBS among the columns to come, and let those make up.

    Each block gets the same share of the budget, chosen within each row (`LayerSparse`: within the block); N:M is
    chosen group by group.

    Parameters
    ----------
    block : columns whose mask is chosen at once, rounded up to whole groups

    Returns
    -------
    as `exact_obs`, but not the best weights on their mask: `refit(weight, gram, result)` improves them.

    The other arguments and errors are those of `exact_obs`. No damping is added (the paper adds 1 %): of inputs that
    depend on each other only `Metric.basis` is kept, at no cost.
    """
    if isinstance(block, bool) or block != int(block) or block < 1:
        raise InputError(f"block = {block!r} is not a positive number of columns")
    w, _, back = tensors(weight, gram, device)
    pattern = pattern_of(keep, *w.shape)
    width = grain(pattern) if isinstance(pattern, NofM) else -(-int(block) // grain(pattern)) * grain(pattern)
    return back(_sweep(w, metric_of(gram, damping, w.device), pattern, width))


def _sweep(w: Tensor, metric: Metric, pattern: Pattern, width: int) -> Tensor:
    """With `UᵀU = gram⁻¹`, U upper triangular: `U_kk²` is the inverse's diagonal once those before k are fixed."""
    rows, columns = w.shape
    if metric.basis.numel() == 0:
        return torch.zeros_like(w)
    v = metric.folded(w)
    factor = torch.linalg.cholesky(metric.inner_inverse, upper=True)
    for first in range(0, columns, width):
        last = min(first + width, columns)
        low, high = (int(i) for i in torch.searchsorted(metric.basis, torch.tensor([first, last]).to(w.device)))
        here = metric.basis[low:high] - first
        score = torch.zeros_like(w[:, first:last])
        score[:, here] = (v[:, low:high] / factor.diagonal()[low:high]) ** 2
        kept = largest(score, portion(pattern, rows, columns, first, last))[:, here]
        error = torch.zeros_like(v[:, low:high])
        for k in range(low, high):
            error[:, k - low] = torch.where(kept[:, k - low], 0.0, v[:, k]) / factor[k, k]
            v[:, k:high] -= error[:, k - low, None] * factor[k, k:high]
        v[:, high:] -= error @ factor[low:high, high:]
        v[:, low:high] *= kept
    return metric.unfolded(v)
