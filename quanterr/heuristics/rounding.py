"""Rounding to codes: each weight by itself, or one column after the other with feedback (Babai, GPTQ)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bounds import Gram

from ..errors import InputError
from .tensors import Matrix, check_box, live_columns, rounded, tensors


def nearest(
    target: Matrix, gram: Matrix | Gram, low: int, high: int, *, device: str | torch.device | None = None
) -> Matrix:
    """Each weight to its nearest code; the Gram matrix has no influence.

    Parameters
    ----------
    target : (rows, columns) in code units (`weight / scale`), numpy or torch
    gram : (columns, columns), or a `bounds.Gram`
    low, high : first and last code
    device : where to compute in float64; default: where the target is

    Returns
    -------
    (rows, columns) codes, float64, of the kind of `target`
    """
    check_box(low, high)
    t, _, back = tensors(target, gram, device)
    return back(rounded(t, low, high))


def babai(
    target: Matrix,
    gram: Matrix | Gram,
    low: int,
    high: int,
    *,
    order: str = "sorted_qr",
    device: str | torch.device | None = None,
) -> Matrix:
    """Babai's nearest plane with codes clipped to the box: the same codes as GPTQ in the same order of columns.

    Each code is rounded at the centre that the codes before it leave: with `RᵀR = gram` in the chosen order,
    `c_k = t_k + Σ_{j>k} r_kj / r_kk (t_j − x_j)`, last column first.

    Parameters
    ----------
    order : which columns are rounded first
        `natural` (0, 1, 2, …), `activation` (largest diagonal first, GPTQ's act-order), or `sorted_qr` (Wübben et al.
        2001: the factor's columns by smallest remaining norm, so that the firmest are rounded first).

    The other arguments, and the result, are those of `nearest`. Inputs that are always zero get the nearest code.

    Raises
    ------
    bounds.ProblemError
        A singular Gram matrix: it is never damped silently.
    """
    check_box(low, high)
    if order not in ORDERS:
        raise InputError(f"order = {order!r}: choose one of {', '.join(ORDERS)}")
    t, g, back = tensors(target, gram, device)
    x = rounded(t, low, high)
    live = live_columns(gram, "Babai rounding").to(t.device)
    if live.numel():
        columns = live[ORDERS[order](g[live][:, live])]
        x[:, columns] = _nearest_plane(t[:, columns], g[columns][:, columns], low, high)
    return back(x)


def _nearest_plane(t: Tensor, g: Tensor, low: int, high: int) -> Tensor:
    """Round the first column first."""
    factor = torch.linalg.cholesky(g.flip(0, 1)).flip(0, 1)
    step = torch.zeros_like(t)
    x = torch.empty_like(t)
    for k in range(t.shape[1]):
        centre = t[:, k] + step[:, :k] @ (factor[:k, k] / factor[k, k])
        x[:, k] = rounded(centre, low, high)
        step[:, k] = t[:, k] - x[:, k]
    return x


def _natural(g: Tensor) -> Tensor:
    return torch.arange(len(g), device=g.device)


def _activation(g: Tensor) -> Tensor:
    return torch.argsort(-g.diagonal(), stable=True)


def _sorted_qr(g: Tensor) -> Tensor:
    """Pivoted Cholesky with the smallest pivot first; rounding starts at its last column."""
    rest = g.clone()
    left = torch.ones(len(g), dtype=torch.bool, device=g.device)
    order = []
    for _ in range(len(g)):
        pivot = int(torch.where(left, rest.diagonal(), torch.inf).argmin())
        order.append(pivot)
        left[pivot] = False
        column = rest[pivot].clone()
        rest -= torch.outer(column, column / column[pivot])
    return torch.tensor(order[::-1], device=g.device)


ORDERS: dict[str, Callable[[Tensor], Tensor]] = {
    "natural": _natural,
    "activation": _activation,
    "sorted_qr": _sorted_qr,
}
