"""The least-squares weights of a given mask, all rows at once, each with its own mask."""

from __future__ import annotations

import torch
from torch import Tensor

from bounds import Gram
from bounds.gram import SINGULAR

from ..errors import InputError
from .metric import metric_of
from .tensors import Matrix, row_blocks, tensors


def refit(
    weight: Matrix,
    gram: Matrix | Gram,
    mask: Matrix,
    *,
    damping: float = 0.0,
    device: str | torch.device | None = None,
) -> Matrix:
    """The best weights where `mask` is not zero: `x_S = w_S + G_SS⁻¹ G_SP w_P` for kept S and pruned P, else zero.

    The group update of OBS (OBC section 4, "group OBS formula") written for the kept side. Dead inputs get zero. Where
    kept inputs depend on each other the answer with the least `Σ gram_ii (x_i − w_i)²` is taken: the pseudo-inverse
    at unit diagonal, of eigenvalues above 2⁻⁴³ · columns.

    Parameters
    ----------
    mask : (rows, columns), e.g. what another method pruned

    The other arguments and the result are those of `exact_obs`.

    Raises
    ------
    InputError
        A mask of another shape.
    """
    w, g, back = tensors(weight, gram, device)
    m, _, _ = tensors(mask, g, device)
    if m.shape != w.shape:
        raise InputError(f"the mask is {tuple(m.shape)}, the weight {tuple(w.shape)}")
    metric = metric_of(gram, damping, w.device)
    return back(refitted(w, metric.gram, m.to(w.device) != 0, metric.singular))


def refitted(w: Tensor, g: Tensor, mask: Tensor, singular: bool = False) -> Tensor:
    """`refit` between tensors. Rows of similar size share a batch; work space stays near 128 MB."""
    mask = mask & (g.diagonal() > 0.0)
    x = torch.where(mask, w, 0.0)
    pull = (w - x) @ g
    sizes, order = mask.sum(1).sort()
    unmoved = int((sizes == 0).sum())
    order = order[unmoved:]
    widest = int(sizes[-1]) if len(sizes) else 0
    for block in row_blocks(len(order), 24 * widest * widest):
        rows = order[block]
        support, real = supports(mask[rows])
        inner = submatrices(g, support, real)
        right = torch.where(real, pull[rows].gather(1, support), 0.0).unsqueeze(2)
        shift = _least_change(inner, right, len(g)) if singular else _solved(inner, right)
        x[rows] += torch.zeros_like(w[rows]).scatter_add_(1, support, torch.where(real, shift.squeeze(2), 0.0))
    return x


def supports(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Columns of the True entries of each row, (rows, largest count), ascending, and which of them are no padding."""
    widest = int(mask.sum(1).max())
    columns = torch.argsort((~mask).to(torch.uint8), dim=1, stable=True)[:, :widest]
    return columns, mask.gather(1, columns)


def submatrices(g: Tensor, support: Tensor, real: Tensor) -> Tensor:
    """`g[S, S]` of every row, (rows, count, count); padding is the identity."""
    inner = g[support[:, :, None], support[:, None, :]]
    inner *= real[:, :, None] & real[:, None, :]
    inner.diagonal(dim1=1, dim2=2).add_((~real).double())
    return inner


def _solved(inner: Tensor, right: Tensor) -> Tensor:
    return torch.cholesky_solve(right, torch.linalg.cholesky(inner))


def _least_change(inner: Tensor, right: Tensor, columns: int) -> Tensor:
    root = inner.diagonal(dim1=1, dim2=2).sqrt()[:, :, None]
    values, vectors = torch.linalg.eigh(inner / root / root.mT)
    inverse = torch.where(values > SINGULAR * columns, 1.0 / values, 0.0)
    shift: Tensor = vectors @ (inverse[:, :, None] * (vectors.mT @ (right / root))) / root
    return shift
