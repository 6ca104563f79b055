"""Singular Gram matrices, exactly: some columns can be chosen freely, the others make up for them at no cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg.lapack import dpstrf
from torch import Tensor

from bounds import Gram
from bounds.gram import SINGULAR

from ..errors import InputError
from .tensors import Matrix, check_box, check_fit, rounded, rows_of, step_units

Solver = Callable[[Tensor, "FullRank", Tensor | None], Tensor]


@dataclass(frozen=True)
class FullRank:
    """A largest set of independent columns, and how it makes up for the others.

    A change `d` of the redundant weights costs nothing if the kept ones move by `−d @ spread`: the Schur complement of
    the kept columns is zero. So every method may choose the redundant weights first, in the order given here, and then
    has a problem of full rank: `target[kept] + (target − chosen)[redundant] @ spread` in the metric `gram`.

    Attributes
    ----------
    kept : (k,) ascending columns
    redundant : (r,) dead inputs first, then duplicates and dependent inputs, each ascending
    gram : (k, k) Gram matrix of the kept columns
    spread : (r, k) `gram_rk gram_kk⁻¹`
    """

    kept: Tensor
    redundant: Tensor
    gram: Tensor
    spread: Tensor

    def inverse(self) -> Tensor:
        """(k, k) inverse of the Gram matrix of the kept columns."""
        return torch.cholesky_inverse(torch.linalg.cholesky(self.gram))

    def folded(self, target: Tensor, chosen: Tensor, unit: Tensor | None = None) -> Tensor:
        """(rows, k) target of the kept columns, when the redundant ones (rows, r) have been chosen.

        `unit` (rows, columns): weight units of one unit of target, where they differ within a row.
        """
        kept = target[:, self.kept]
        if len(self.redundant) == 0:
            return kept
        step = target[:, self.redundant] - chosen
        if unit is None:
            return kept + step @ self.spread
        return kept + (step * unit[:, self.redundant]) @ self.spread / unit[:, self.kept]


def full_rank(gram: Matrix | Gram, damping: float, device: torch.device) -> FullRank:
    """Which columns to keep: all, unless the Gram matrix is singular as `bounds.Gram` judges it.

    Then those of a pivoted Cholesky factor of the matrix at unit diagonal, the largest pivot first, until the pivots
    vanish in rounding. Nothing is damped, unless `damping` asks for that share of the mean diagonal on the diagonal.

    Raises
    ------
    InputError
        A negative damping.
    """
    if not 0.0 <= damping < np.inf:
        raise InputError(f"damping = {damping!r}: give a share of the Gram matrix's mean diagonal, 0 or more")
    if not isinstance(gram, Gram):
        gram = Gram(gram.detach().cpu().numpy() if isinstance(gram, Tensor) else gram)
    if damping:
        gram = Gram(gram.array + damping * float(gram.array.diagonal().mean()) * np.eye(gram.columns))
    kept = gram.live
    if gram.singular:
        root = np.sqrt(gram.array.diagonal()[kept])
        scaled = gram.array[np.ix_(kept, kept)] / root / root[:, None]
        _, order, rank, _ = dpstrf(scaled, tol=SINGULAR * gram.columns)
        kept = kept[np.sort(order[:rank] - 1)]
    dead = np.flatnonzero(gram.dead)
    redundant = np.concatenate([dead, np.setdiff1d(gram.live, kept)])
    array = torch.from_numpy(gram.array.copy()).to(device)
    keep = torch.from_numpy(kept.astype(np.int64)).to(device)
    rest = torch.from_numpy(redundant.astype(np.int64)).to(device)
    metric = array[keep][:, keep] if len(rest) else array
    cross = array[keep][:, rest]
    spread = torch.cholesky_solve(cross, torch.linalg.cholesky(metric)).T if len(rest) and len(keep) else cross.T
    return FullRank(keep, rest, metric, spread)


def codes(
    target: Matrix,
    gram: Matrix | Gram,
    low: int,
    high: int,
    solver: Solver,
    *,
    scale: Matrix | None,
    damping: float,
    device: str | torch.device | None,
) -> Matrix:
    """What the quantisers have in common: redundant columns take the nearest code, `solver` the others.

    `solver(target, metric, unit)` gets the kept columns only, in code units, and gives their codes; `unit` is their
    scale (rows, k) where it differs within a row, else None.
    """
    check_box(low, high)
    t, back = rows_of(target, device)
    check_fit(t, gram.array.shape if isinstance(gram, Gram) else gram.shape)
    unit = step_units(scale, t)
    metric = full_rank(gram, damping, t.device)
    x = rounded(t, low, high)
    if len(metric.kept) and len(t):
        folded = metric.folded(t, x[:, metric.redundant], unit)
        x[:, metric.kept] = solver(folded, metric, None if unit is None else unit[:, metric.kept])
    return back(x)
