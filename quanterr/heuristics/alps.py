"""ALPS (Meng et al. 2024): the mask by the alternating direction method of multipliers, then its best weights."""

from __future__ import annotations

import torch
from torch import Tensor

from bounds import Gram

from .metric import Metric, metric_of
from .patterns import Keep, LayerSparse, Pattern, largest, pattern_of
from .refit import refitted
from .tensors import Matrix, tensors

#: The first penalty, at unit diagonal, and how fast it grows, by the share of the kept weights that changed in three
#: iterations. The paper (section 3.2) begins at 0.1 and grows by 1.3, 1.2, 1.1: half the time, and on layers of
#: EfficientNet and MiniLM 0.03 to 0.5 dB worse in each of twelve cases.
PENALTY = 0.03
EVERY = 3
GROWTH = ((0.1, 1.1), (0.005, 1.05), (0.0, 1.03))


def alps(
    weight: Matrix,
    gram: Matrix | Gram,
    keep: Keep,
    *,
    rounds: int = 600,
    damping: float = 0.0,
    device: str | torch.device | None = None,
) -> Matrix:
    """Split `min E(x) + pattern(z), x = z`, with a penalty that grows until the mask of z stands still; then refit.

    The Gram matrix is scaled to a unit diagonal and decomposed once; then an iteration is two matrix products for all
    rows. Each row has its own penalty and ends by itself (`LayerSparse`: one for all).

    Parameters
    ----------
    rounds : iterations at most; a mask that still moves is taken as it is

    The other arguments, result and errors are those of `exact_obs`; a singular Gram matrix is no obstacle, dependent
    inputs as for `refit`.
    """
    w, _, back = tensors(weight, gram, device)
    pattern, metric = pattern_of(keep, *w.shape), metric_of(gram, damping, w.device)
    return back(refitted(w, metric.gram, _mask(w, metric, pattern, rounds), metric.singular))


def _mask(w: Tensor, metric: Metric, pattern: Pattern, rounds: int) -> Tensor:
    g = metric.gram
    root = g.diagonal().sqrt()
    safe = torch.where(root > 0.0, root, 1.0)
    values, vectors = torch.linalg.eigh(g / safe / safe[:, None])
    values = values.clamp(min=0.0)
    target = w * root
    pull = (target @ vectors) * values
    together = isinstance(pattern, LayerSparse)

    mask = largest(target * target, pattern)
    z = target * mask
    dual = torch.zeros_like(target)
    penalty = torch.full((len(w), 1), PENALTY, dtype=w.dtype, device=w.device)
    active, before = torch.arange(len(w), device=w.device), mask.clone()
    for count in range(1, rounds + 1):
        rho = penalty[active]
        right = pull[active] + (rho * z[active] - dual[active]) @ vectors
        x = (right / (values + rho)) @ vectors.T
        aim = x + dual[active] / rho
        kept = largest(aim * aim, pattern)
        z[active], mask[active] = aim * kept, kept
        dual[active] += rho * (x - z[active])
        if count % EVERY:
            continue
        changed = (mask ^ before)[active].sum(1, keepdim=True).to(w.dtype)
        if together:
            changed[:] = changed.sum() / len(changed)
        share = changed / mask[active].sum(1, keepdim=True).clamp(min=1).to(w.dtype).mean()
        growth = torch.full_like(share, GROWTH[-1][1])
        for least, factor in reversed(GROWTH[:-1]):
            growth[share >= least] = factor
        penalty[active] *= growth
        before[active] = mask[active]
        active = active[(changed > 0.0).flatten()]
        if active.numel() == 0:
            break
    return mask
