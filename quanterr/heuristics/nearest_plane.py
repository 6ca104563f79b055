"""Babai's nearest plane, which is GPTQ: one column after the other, its rounding error fed to those that follow."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bounds import Gram

from ..errors import InputError
from .elimination import Elimination, eliminate, first_largest
from .full_rank import FullRank, codes
from .tensors import Matrix, rounded

BLOCK = 64
#: ADMM for the minimiser over the box: most steps, over-relaxation, and how still (in codes) it must stand to stop.
ADMM_STEPS, RELAXATION, STILL = 1000, 1.6, 1e-2

#: Codes for column k at the centres (rows,), both in code units.
Rounder = Callable[[int, Tensor], Tensor]


def babai(
    target: Matrix,
    gram: Matrix | Gram,
    low: int,
    high: int,
    *,
    order: str = "sorted_qr",
    box_aware: bool = False,
    scale: Matrix | None = None,
    damping: float = 0.0,
    device: str | torch.device | None = None,
) -> Matrix:
    """Babai's nearest plane with codes clipped to the box: the same codes as GPTQ in the same order of columns.

    Each code is rounded at the centre that the codes before it leave: with `R Rᵀ = gram` in the chosen order and R
    upper triangular, `c_k = t_k + Σ_{j<k} (t_j − x_j) r_jk / r_kk`, first column first.

    Parameters
    ----------
    order : which columns are rounded first
        `natural` (0, 1, 2, …), `activation` (largest diagonal first, GPTQ's act-order), or `sorted_qr` (Wübben et al.
        2001: the factor's columns by smallest remaining norm, so that the firmest are rounded first). All rows share
        it: scales within a row do not change it.
    box_aware : bool
        Move the centre to where the box's real minimiser has it, and charge each code for the multiplier of the bound
        it leaves: the same error up to a constant, but the columns rounded first know that later ones will be clipped.
    damping : share of the mean diagonal that is added to the diagonal of `gram`, to choose codes by. A nearly singular
        Gram matrix needs it (0.01, as in GPTQ): else clipped codes run away along directions that cost nothing.

    The other arguments, result and errors as for `nearest`. Redundant inputs (dead, duplicate, dependent) get their
    nearest code before all others, which make up for it at no cost.
    """
    if order not in ORDERS:
        raise InputError(f"order = {order!r}: choose one of {', '.join(ORDERS)}")

    def solve(t: Tensor, metric: FullRank, unit: Tensor | None) -> Tensor:
        plane = Plane(t, metric.gram, unit, order, (low, high) if box_aware else None)
        return plane.back(plane.walk(lambda k, centre: rounded(centre, low, high)))

    return codes(target, gram, low, high, solve, scale=scale, damping=damping, device=device)


class Plane:
    """Targets in the order of rounding, one column after the other in memory, and the factor they share.

    Attributes
    ----------
    firmness : (columns,) `r_kk²`, by which an error at column k costs once all earlier codes are fixed; weight units
    factor : (columns, columns) upper triangular R: `r_jk / r_kk` is what an error at column j moves the centre of
        column k by
    target, unit : (columns, rows) in weight units; unit is None where all are 1
    charge : (columns, rows) how far centres move down for the multipliers of the box, or None
    """

    def __init__(self, t: Tensor, gram: Tensor, unit: Tensor | None, order: str, box: tuple[int, int] | None = None):
        self.order = ORDERS[order](gram)
        metric = gram.index_select(0, self.order).index_select(1, self.order)
        self.factor = upper_factor(metric)
        self.firmness = self.factor.diagonal().square()
        self.unit = None if unit is None else unit[:, self.order].T.contiguous()
        weight = t[:, self.order].T.contiguous()
        self.target = weight if self.unit is None else weight * self.unit
        self.charge: Tensor | None = None
        if box is not None:
            slope = box_multipliers(self.target, metric, self.unit, *box)
            half = torch.linalg.solve_triangular(self.factor, slope, upper=True)
            self.target = self.target + torch.linalg.solve_triangular(self.factor.T, half, upper=False)
            self.charge = slope / self.firmness[:, None]

    def walk(self, choose: Rounder) -> Tensor:
        """(columns, rows) codes in the order of rounding."""
        columns, _ = self.target.shape
        x = torch.empty_like(self.target)
        step = torch.empty_like(self.target)
        for first in range(0, columns, BLOCK):
            block = slice(first, min(first + BLOCK, columns))
            scale = self.factor.diagonal()[block]
            moved = self.factor[:first, block].T @ step[:first]
            centres = torch.addcdiv(self.target[block], moved, scale[:, None])
            if self.charge is not None:
                centres -= self.charge[block]
            inner = self.factor[block, block].T / scale[:, None]
            for i in range(len(centres)):
                k = first + i
                centre = torch.addmv(centres[i], step[first:k].T, inner[i, :i])
                x[k] = choose(k, centre if self.unit is None else centre / self.unit[k])
                torch.sub(self.target[k], x[k] if self.unit is None else x[k] * self.unit[k], out=step[k])
        return x

    def back(self, x: Tensor) -> Tensor:
        """(rows, columns) in the natural order, from (columns, rows) in the order of rounding."""
        natural = torch.empty_like(x)
        natural[self.order] = x
        return natural.T


def box_multipliers(target: Tensor, gram: Tensor, unit: Tensor | None, low: int, high: int) -> Tensor:
    """(columns, rows) half the gradient of the error at its minimiser over the box, where that lies on the bound.

    ADMM on all rows with one factor. However far it has converged, the multipliers sit on bounds and have the right
    sign; they only steer the rounding, so nothing rests on their accuracy.
    """
    root = gram.diagonal().sqrt()
    spectrum = torch.linalg.eigvalsh(gram / root / root[:, None])
    weight = float((spectrum[0].clamp_min(1e-6) * spectrum[-1]).sqrt()) * gram.diagonal()[:, None]
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram + torch.diag(weight[:, 0])))
    pull = gram @ target
    size = torch.ones_like(target) if unit is None else unit
    bottom, top = low * size, high * size
    z = torch.clamp(target, bottom, top)
    dual = torch.zeros_like(target)
    for count in range(ADMM_STEPS):
        v = inverse @ torch.addcmul(pull, weight, z - dual)
        v = v.mul_(RELAXATION).add_(z, alpha=1.0 - RELAXATION).add_(dual)
        before, z = z, torch.clamp(v, bottom, top)
        before_dual, dual = dual, v - z
        if count % 10 == 9 and bool(((z - before).abs() + (dual - before_dual).abs() < STILL * size).all()):
            break
    return -weight * dual


def upper_factor(gram: Tensor) -> Tensor:
    """Upper triangular R with `R Rᵀ = gram`: a Cholesky factor from the last column to the first."""
    lower: Tensor = torch.linalg.cholesky(gram.flip(0, 1))
    return lower.flip(0, 1)


def _natural(g: Tensor) -> Tensor:
    return torch.arange(len(g), device=g.device)


def _activation(g: Tensor) -> Tensor:
    return torch.argsort(-g.diagonal(), stable=True)


def _sorted_qr(g: Tensor) -> Tensor:
    """Pivoted Cholesky with the smallest pivot first; rounding starts at its last column."""

    def smallest(state: Elimination) -> tuple[Tensor, float]:
        return first_largest(1.0 / state.diagonal), 0.0

    return eliminate(g.new_zeros(1, len(g)), g, len(g), smallest).order[0].flip(0)


ORDERS: dict[str, Callable[[Tensor], Tensor]] = {
    "natural": _natural,
    "activation": _activation,
    "sorted_qr": _sorted_qr,
}
