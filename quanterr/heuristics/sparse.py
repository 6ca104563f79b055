"""Pruning by magnitude, the least-squares refit of a mask, and swaps between kept and pruned weights."""

from __future__ import annotations

import torch
from torch import Tensor

from bounds import Gram

from ..errors import InputError
from .tensors import Matrix, check_keep, live_columns, row_blocks, tensors

IMPROVEMENT = 1e-9


def magnitude(weight: Matrix, gram: Matrix | Gram, keep: int, *, device: str | torch.device | None = None) -> Matrix:
    """The `keep` largest weights of each row stay as they are; arguments and result as for `exact_obs`."""
    w, _, back = tensors(weight, gram, device)
    check_keep(keep, w.shape[1])
    return back(w * _largest(w, keep))


def magnitude_refit(
    weight: Matrix, gram: Matrix | Gram, keep: int, *, device: str | torch.device | None = None
) -> Matrix:
    """The mask of `magnitude` with the least-squares optimal weights on it: the paper's heuristic for pruning.

    Arguments, result and errors as for `exact_obs`.
    """
    w, g, back = tensors(weight, gram, device)
    check_keep(keep, w.shape[1])
    live = live_columns(gram, "the least-squares refit").to(w.device)
    x = w * _largest(w, keep)
    x[:, live] = refit(w[:, live], g[live][:, live], (x != 0)[:, live])
    return back(x)


def swaps(
    weight: Matrix,
    gram: Matrix | Gram,
    keep: int,
    *,
    start: Matrix | None = None,
    rounds: int = 1000,
    device: str | torch.device | None = None,
) -> Matrix:
    """Local search: while it helps, replace one kept weight by one pruned weight, the best pair first; refitted.

    Parameters
    ----------
    start : (rows, columns) with at most `keep` non-zeros a row; default `exact_obs`
    rounds : at most so many swaps a row

    The other arguments, result and errors are those of `exact_obs`. No row is worse than its start.
    """
    from .exact_obs import exact_obs

    w, g, back = tensors(weight, gram, device)
    check_keep(keep, w.shape[1])
    live = live_columns(gram, "swaps").to(w.device)
    first, _, _ = tensors(exact_obs(w, gram, keep) if start is None else start, g, device)
    if first.shape != w.shape or bool(((first != 0).sum(1) > keep).any()):
        raise InputError(f"start {tuple(first.shape)} is not {tuple(w.shape)} with at most {keep} non-zeros a row")
    kept = min(keep, live.numel())
    metric, alive = g[live][:, live], w[:, live]
    mask = _filled((first != 0)[:, live], alive, kept)
    for block in row_blocks(len(w), 8 * 6 * max(1, live.numel()) ** 2):
        mask[block] = _swap(alive[block], metric, mask[block], kept, rounds)
    x = torch.zeros_like(w)
    x[:, live] = refit(alive, metric, mask)
    return back(x)


def refit(w: Tensor, g: Tensor, mask: Tensor) -> Tensor:
    """Least-squares weights on the mask: `x_S = w_S + G_SS⁻¹ G_SP w_P`, for kept S and pruned P; zero elsewhere."""
    x = torch.zeros_like(w)
    pull = (w * ~mask) @ g
    sizes = mask.sum(1)
    for size in torch.unique(sizes).tolist():
        chosen = torch.argwhere(sizes == size).flatten()
        for block in row_blocks(len(chosen) if size else 0, 24 * size * size):
            rows = chosen[block]
            support = torch.argwhere(mask[rows])[:, 1].reshape(len(rows), size)
            factor = torch.linalg.cholesky(g[support[:, :, None], support[:, None, :]])
            shift = torch.cholesky_solve(pull[rows].gather(1, support).unsqueeze(2), factor).squeeze(2)
            x[rows[:, None], support] = w[rows].gather(1, support) + shift
    return x


def _largest(w: Tensor, keep: int) -> Tensor:
    """Mask of the largest magnitudes; among equals the last columns stay, as in `bounds.Sparse.nearest`."""
    pruned = torch.argsort(w.abs(), dim=1, stable=True)[:, : w.shape[1] - keep]
    return torch.ones_like(w, dtype=torch.bool).scatter_(1, pruned, False)


def _filled(mask: Tensor, w: Tensor, keep: int) -> Tensor:
    """Exactly `keep` kept weights a row: the mask, and the largest of the others where it has fewer."""
    return _largest(torch.where(mask, torch.inf, w.abs()), keep)


def _swap(w: Tensor, g: Tensor, mask: Tensor, keep: int, rounds: int) -> Tensor:
    """Best-improvement swaps, rows at once; everything is computed afresh from the mask at each step.

    With `P = G_SS⁻¹`, `C = P G_SN`, `s` the diagonal of `G_NN − G_NS C`, `x` the refit and `r = (G(w − x))_N`, taking i
    out and j in changes the error by `x_i²/P_ii − (r_j + C_ij x_i/P_ii)² / (s_j + C_ij²/P_ii)`.
    """
    columns = w.shape[1]
    if keep == 0 or keep == columns:
        return mask
    mask = mask.clone()
    active = torch.arange(len(w), device=w.device)
    for _ in range(rounds):
        v, m = w[active], mask[active]
        kept = torch.argwhere(m)[:, 1].reshape(-1, keep)
        pruned = torch.argwhere(~m)[:, 1].reshape(-1, columns - keep)
        x = refit(v, g, m)
        step = v - x
        error = ((step @ g) * step).sum(1)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(g[kept[:, :, None], kept[:, None, :]]))
        cross = g[kept[:, :, None], pruned[:, None, :]]
        slope = inverse @ cross
        spread = g.diagonal()[pruned] - (cross * slope).sum(1)
        scale = inverse.diagonal(dim1=1, dim2=2)
        out = x.gather(1, kept) / scale
        residue = (step @ g).gather(1, pruned)[:, None, :] + slope * out[:, :, None]
        room = spread[:, None, :] + slope * slope / scale[:, :, None]
        change = (out * x.gather(1, kept))[:, :, None] - residue * residue / room
        value, place = change.flatten(1).min(1)
        better = value < -IMPROVEMENT * error
        if not bool(better.any()):
            break
        active, place = active[better], place[better]
        mask[active, kept[better].gather(1, (place // (columns - keep))[:, None]).squeeze(1)] = False
        mask[active, pruned[better].gather(1, (place % (columns - keep))[:, None]).squeeze(1)] = True
    return mask
