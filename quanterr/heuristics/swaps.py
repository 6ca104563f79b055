"""Local search on masks: exchange a kept and a pruned weight while that helps."""

from __future__ import annotations

import torch
from torch import Tensor

from bounds import BlockSparse, Gram, NofM

from ..errors import InputError
from .alps import alps
from .exact_obs import exact_obs
from .metric import Metric, metric_of
from .patterns import Keep, LayerSparse, allows, filled, pattern_of
from .refit import refitted, submatrices, supports
from .tensors import Matrix, row_blocks, tensors

IMPROVEMENT = 1e-9
CANDIDATES = 16


def swaps(
    weight: Matrix,
    gram: Matrix | Gram,
    keep: Keep,
    *,
    start: Matrix | None = None,
    rounds: int = 1000,
    damping: float = 0.0,
    device: str | torch.device | None = None,
) -> Matrix:
    """While it helps, replace one kept weight by one pruned weight of its row, the best pair first; refitted.

    Parameters
    ----------
    keep : for N:M both weights lie in one group; for `LayerSparse` each row keeps as many as its start
    start : (rows, columns) within the budget; default `exact_obs`
    rounds : at most so many swaps a row

    The other arguments, result and errors are those of `exact_obs`. No row is worse than its start. Of inputs that
    depend on each other only `Metric.basis` takes part; a row whose start is better than that stays as it is.

    Raises
    ------
    InputError
        A start outside the budget, or `BlockSparse`.
    """
    w, _, back = tensors(weight, gram, device)
    pattern, metric = pattern_of(keep, *w.shape), metric_of(gram, damping, w.device)
    if isinstance(pattern, BlockSparse):
        raise InputError(f"swaps exchanges single weights, {pattern} prunes blocks: use exact_obs")
    g = metric.gram
    first, _, _ = tensors(exact_obs(w, metric.source, pattern) if start is None else start, g, device)
    if first.shape != w.shape or not allows(first, pattern):
        raise InputError(f"start {tuple(first.shape)} is not {tuple(w.shape)} with non-zeros as {pattern} allows")
    group = pattern.m if isinstance(pattern, NofM) else 0
    mask = (first != 0) if isinstance(pattern, LayerSparse) else filled(first != 0, w * w * g.diagonal(), pattern)
    mask = mask[:, metric.basis]
    v = metric.folded(w)
    best = metric.unfolded(refitted(v, metric.inner, _searched(v, metric, mask, group, rounds)))
    worse = _error(best - w, g) >= _error(first - w, g)
    return back(torch.where(worse[:, None], first, best))


def swaps_from_alps(
    weight: Matrix,
    gram: Matrix | Gram,
    keep: Keep,
    *,
    damping: float = 0.0,
    device: str | torch.device | None = None,
) -> Matrix:
    """`swaps` that begin where `alps` ends: the strongest pruner here. Arguments, result and errors as for `swaps`."""
    start = alps(weight, gram, keep, damping=damping, device=device)
    return swaps(weight, gram, keep, start=start, damping=damping, device=device)


def _error(step: Tensor, g: Tensor) -> Tensor:
    return ((step @ g) * step).sum(1)


def _searched(v: Tensor, metric: Metric, mask: Tensor, group: int, rounds: int) -> Tensor:
    """Masks where no swap helps. Rows of similar size share a batch."""
    found = mask.clone()
    sizes, order = mask.sum(1).sort()
    order = order[(sizes > 0) & (sizes < mask.shape[1])]
    if order.numel():
        widest = int(mask[order].sum(1).max())
        for block in row_blocks(len(order), 8 * (4 * widest * widest + 16 * v.shape[1])):
            rows = order[block]
            groups = metric.basis // group if group else torch.zeros_like(metric.basis)
            found[rows] = _Search(v[rows], metric.inner, mask[rows], groups).run(rounds)
    return found


class _Search:
    """Rows at once. Row r keeps the columns `kept[r]`, with `inverse[r]` the inverse of their Gram matrix.

    With `P` that inverse, `C = P G_Sj`, `s_j = G_jj − G_jS C`, `x` the weights and `r = G(w − x)`, taking i out, j in,
    changes the error by `x_i²/P_ii − (r_j + C_ij x_i/P_ii)² / (s_j + C_ij²/P_ii)`. By Cauchy's inequality that is at
    least `−r_j²/s_j`: so columns j are tried in the order of `r_j²/s_j`, until the best swap found beats all the rest.
    A swap puts j in i's place: two rank-one steps on P, and products with G for `r` and `s`.
    """

    def __init__(self, w: Tensor, g: Tensor, mask: Tensor, groups: Tensor) -> None:
        self.w, self.g, self.groups = w, g, groups
        self.mask = mask.clone()
        self.kept, self.real = supports(mask)
        inner = submatrices(g, self.kept, self.real)
        self.inverse = torch.cholesky_inverse(torch.linalg.cholesky(inner))
        x = refitted(w, g, mask)
        self.residual = (w - x) @ g
        across = g[self.kept] * self.real[:, :, None]
        self.spread = g.diagonal() - (across * (self.inverse @ across)).sum(1)
        self.x = torch.where(self.real, x.gather(1, self.kept), 0.0)
        self.error = ((w - x) * self.residual).sum(1)

    def run(self, rounds: int) -> Tensor:
        active = torch.arange(len(self.w), device=self.w.device)
        for _ in range(rounds):
            change, out, new = self._best(active)
            better = change < -IMPROVEMENT * self.error[active]
            active, out, new = active[better], out[better], new[better]
            if active.numel() == 0:
                break
            self._exchange(active, out, new, change[better])
        return self.mask

    def _best(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The best swap of each row: change of the error, the place in `kept` that goes, the column that comes."""
        possible = (~self.mask[rows]) & (self.spread[rows] > 0.0)
        promise = torch.where(possible, self.residual[rows] ** 2 / self.spread[rows].clamp(min=1e-300), -torch.inf)
        promise, columns = promise.sort(dim=1, descending=True, stable=True)
        change = torch.zeros(len(rows), dtype=self.w.dtype, device=self.w.device)
        out, new = torch.zeros_like(rows), torch.zeros_like(rows)
        left = torch.arange(len(rows), device=self.w.device)
        for first in range(0, columns.shape[1], CANDIDATES):
            left = left[promise[left, first] > -change[left]]
            if left.numel() == 0:
                break
            some = columns[left, first : first + CANDIDATES]
            value, place, which = self._pairs(rows[left], some, promise[left, first : first + CANDIDATES] > -torch.inf)
            better = value < change[left]
            at = left[better]
            change[at], out[at] = value[better], place[better]
            new[at] = some[better].gather(1, which[better][:, None]).squeeze(1)
        return change, out, new

    def _pairs(self, rows: Tensor, columns: Tensor, possible: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        kept, inverse, x = self.kept[rows], self.inverse[rows], self.x[rows]
        across = self.g[kept[:, :, None], columns[:, None, :]] * self.real[rows][:, :, None]
        slope = inverse @ across
        scale = inverse.diagonal(dim1=1, dim2=2)
        rate = x / scale
        residue = self.residual[rows].gather(1, columns)[:, None, :] + slope * rate[:, :, None]
        room = self.spread[rows].gather(1, columns)[:, None, :] + slope * slope / scale[:, :, None]
        change = (rate * x)[:, :, None] - residue * residue / room
        together = self.groups[kept][:, :, None] == self.groups[columns][:, None, :]
        change.masked_fill_(~(together & self.real[rows][:, :, None] & possible[:, None, :]), torch.inf)
        value, place = change.flatten(1).min(1)
        return value, place // columns.shape[1], place % columns.shape[1]

    def _exchange(self, rows: Tensor, out: Tensor, new: Tensor, change: Tensor) -> None:
        """Take place `out` from `kept`, put column `new` there."""
        every = torch.arange(len(rows), device=rows.device)
        inverse, kept, x = self.inverse[rows], self.kept[rows], self.x[rows]
        old = kept[every, out]

        lost = inverse[every, out]
        pivot = lost[every, out]
        inverse.baddbmm_(lost.unsqueeze(2), (lost / pivot[:, None]).unsqueeze(1), alpha=-1.0)
        inverse[every, out] = 0.0
        inverse[every, :, out] = 0.0
        x = x - (x[every, out] / pivot)[:, None] * lost
        x[every, out] = 0.0
        moved = self._image(kept, self.real[rows], lost)
        self.spread[rows] += moved * moved / pivot[:, None]
        self.residual[rows] += moved * (self.x[rows, out] / pivot)[:, None]

        across = self.g[new].gather(1, kept) * self.real[rows]
        across[every, out] = 0.0
        slope = (inverse @ across.unsqueeze(2)).squeeze(2)
        room = self.g[new, new] - (across * slope).sum(1)
        gain = self.residual[rows, new] / room
        slope[every, out] = -1.0
        x -= gain[:, None] * slope
        kept[every, out] = new
        inverse.baddbmm_(slope.unsqueeze(2), (slope / room[:, None]).unsqueeze(1))
        moved = self._image(kept, self.real[rows], slope)
        self.spread[rows] -= moved * moved / room[:, None]
        self.residual[rows] += moved * gain[:, None]

        self.inverse[rows], self.kept[rows], self.x[rows] = inverse, kept, x
        self.mask[rows, old], self.mask[rows, new] = False, True
        self.error[rows] += change

    def _image(self, kept: Tensor, real: Tensor, values: Tensor) -> Tensor:
        """`G_{:,S} values`, (rows, columns)."""
        spread = torch.zeros(len(values), len(self.g), dtype=values.dtype, device=values.device)
        return spread.scatter_add_(1, kept, values * real) @ self.g
