"""ExactOBS: greedy backward elimination, the weight whose removal costs least first."""

from __future__ import annotations

import torch
from torch import Tensor

from bounds import Gram

from .elimination import Elimination, eliminate, first_largest
from .full_rank import full_rank
from .sparse import refit
from .tensors import Matrix, check_keep, tensors


def exact_obs(
    weight: Matrix,
    gram: Matrix | Gram,
    keep: int,
    *,
    damping: float = 0.0,
    device: str | torch.device | None = None,
) -> Matrix:
    """The first `columns − keep` removals of `exact_obs_trace`, and the least-squares fit on what is left.

    Parameters
    ----------
    weight : (rows, columns), numpy or torch
    gram : (columns, columns), or a `bounds.Gram`
    keep : weights left in each row
    damping : share of the mean diagonal that is added to the diagonal of `gram`
    device : where to compute in float64; default: where the weight is

    Returns
    -------
    (rows, columns) with at most `keep` non-zeros a row, of the kind of `weight`
    """
    w, _, back = tensors(weight, gram, device)
    check_keep(keep, w.shape[1])
    metric = full_rank(gram, damping, w.device)
    x = w.clone()
    gone = metric.redundant[: w.shape[1] - keep]
    chosen = w[:, metric.redundant]
    chosen[:, : len(gone)] = 0.0
    x[:, metric.redundant] = chosen
    x[:, metric.kept] = metric.folded(w, chosen)
    if len(gone) == len(metric.redundant):
        removed = eliminate(x[:, metric.kept], metric.inverse(), len(metric.kept) - keep, cheapest).order
        mask = torch.ones(len(w), len(metric.kept), dtype=torch.bool, device=w.device).scatter_(1, removed, False)
        x[:, metric.kept] = refit(x[:, metric.kept], metric.gram, mask)
    return back(x)


def exact_obs_trace(
    weight: Matrix, gram: Matrix | Gram, *, damping: float = 0.0, device: str | torch.device | None = None
) -> tuple[Matrix, Matrix]:
    """Every step of Optimal Brain Surgeon down to nothing: algorithm 1 of Optimal Brain Compression, losses recorded.

    Each step removes the weight with the least loss `w² / (gram⁻¹)_ii`; losses within 1e-10 of the least are ties, and
    the first column of them goes. Weights that are zero, and columns whose removal the others make up for (dead,
    duplicate or dependent inputs), cost nothing: the latter go before all, in the order of `FullRank.redundant`.

    Returns
    -------
    order : (rows, columns) int64, the columns in the order of their removal
    losses : (rows, columns), by how much each removal raises the row's least error; they need not ascend

    The arguments are those of `exact_obs`; memory does not grow as rows · columns².
    """
    w, _, back = tensors(weight, gram, device)
    metric = full_rank(gram, damping, w.device)
    alive = metric.folded(w, torch.zeros_like(w[:, metric.redundant]))
    trace = eliminate(alive, metric.inverse(), len(metric.kept), cheapest)
    order = torch.cat([metric.redundant.expand(len(w), -1), metric.kept[trace.order]], dim=1)
    losses = torch.cat([torch.zeros_like(w[:, metric.redundant]), trace.loss], dim=1)
    return back(order), back(losses)


def cheapest(state: Elimination) -> tuple[Tensor, float]:
    """The weight whose removal costs least."""
    return first_largest(state.diagonal / (state.weight * state.weight)), 0.0
