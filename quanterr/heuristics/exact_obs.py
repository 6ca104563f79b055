"""ExactOBS of *Optimal Brain Compression*: rows, the whole layer, N:M and blocks, and the trace of every step."""

from __future__ import annotations

import torch
from torch import Tensor

from bounds import BlockSparse, Gram, NofM

from .block_obs import block_mask
from .elimination import Elimination, eliminate, first_largest
from .full_rank import full_rank
from .metric import Metric, metric_of
from .patterns import Keep, LayerSparse, filled, pattern_of
from .refit import refitted
from .tensors import Matrix, tensors


def exact_obs(
    weight: Matrix,
    gram: Matrix | Gram,
    keep: Keep,
    *,
    damping: float = 0.0,
    device: str | torch.device | None = None,
) -> Matrix:
    """ExactOBS: greedy backward elimination of the weight with the least `w² / (gram⁻¹)_ii`, the rest adjusts exactly.

    Parameters
    ----------
    weight : (rows, columns), numpy or torch
    gram : (columns, columns), or a `bounds.Gram`
    keep : weights left in each row, or where they may lie
        `LayerSparse(keep)` in the whole layer, `NofM(n, m)`, `BlockSparse(keep, size)`.
    damping : share of the mean diagonal that is added to the diagonal of `gram`
    device : where to compute in float64; default: where the weight is

    Returns
    -------
    (rows, columns) : the least-squares fit on the support that is left, of the kind of `weight`. Dead inputs are
    pruned first, at no cost, then as many as need be of those that depend on others; see `refit` for what is left.

    Raises
    ------
    bounds.ProblemError
        A Gram matrix that is not singular but too ill-conditioned for the elimination.

    *Optimal Brain Compression* section 4: algorithm 1 for rows, algorithm 2 for the layer, "N:M Sparsity",
    "Block-Sparsity" with equation 5. Ties as in `exact_obs_trace`.
    """
    w, _, back = tensors(weight, gram, device)
    pattern, metric = pattern_of(keep, *w.shape), metric_of(gram, damping, w.device)
    v = metric.folded(w)
    match pattern:
        case LayerSparse(count):
            trace = eliminate(v, metric.inner_inverse, v.shape[1], cheapest)
            steps = layer_steps(trace.loss, max(v.numel() - count, 0))
            left = _after(trace.order, steps, v.shape[1])
        case NofM():
            left = _groups(v, metric, pattern)
        case BlockSparse():
            left = block_mask(v, metric, pattern)
        case _:
            order = eliminate(v, metric.inner_inverse, max(v.shape[1] - pattern.keep, 0), cheapest).order
            left = _after(order, torch.full((len(v),), order.shape[1], device=v.device), v.shape[1])
    mask = filled(metric.unfolded(left.double()) > 0.0, w * w * metric.gram.diagonal(), pattern)
    return back(refitted(w, metric.gram, mask, metric.singular))


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


def layer_steps(losses: Tensor, steps: int) -> Tensor:
    """How many weights of each row are among the `steps` cheapest removals, (rows,).

    OBC's algorithm 2: always the row whose *next* removal costs least (among equals the first row). `losses` (rows,
    columns) need not increase, so a removal waits for those before it in its row: they are taken in the order of the
    running maximum, which is what the paper's heap does.
    """
    reached = losses.cummax(dim=1).values.flatten()
    taken = torch.argsort(reached, stable=True)[:steps]
    return torch.bincount(taken // losses.shape[1], minlength=len(losses))


def _after(order: Tensor, steps: Tensor, columns: int) -> Tensor:
    """Mask of what the first `steps` (rows,) removals leave."""
    place = torch.arange(order.shape[1], device=order.device)
    mask = torch.ones(len(order), columns, dtype=torch.bool, device=order.device)
    return mask.scatter_(1, order, place >= steps[:, None])


def _groups(v: Tensor, metric: Metric, pattern: NofM) -> Tensor:
    """Mask of N:M on the basis: the cheapest weight of a group that still has more than n."""
    group = metric.basis // pattern.m
    excess = (torch.bincount(group, minlength=1) - pattern.n).clamp(min=0)
    count = len(metric.gram) // pattern.m

    def choose(state: Elimination) -> tuple[Tensor, float]:
        at = group[state.columns]
        free = (state.diagonal > 0.0).double()
        held = torch.zeros(len(at), count, dtype=free.dtype, device=at.device).scatter_add_(1, at, free)
        value = state.diagonal / (state.weight * state.weight)
        return first_largest(torch.where(held.gather(1, at) > pattern.n, value, -1.0)), 0.0

    order = eliminate(v, metric.inner_inverse, int(excess.sum()), choose).order
    return _after(order, torch.full((len(v),), order.shape[1], device=v.device), v.shape[1])
