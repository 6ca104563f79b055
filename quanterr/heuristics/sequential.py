"""Sequential compression (OBC A.8): refit the dense weights to the inputs that the compressed network gives."""

from __future__ import annotations

import torch

from bounds import Gram
from bounds.gram import SINGULAR

from ..errors import InputError
from .metric import metric_of
from .tensors import Matrix, tensors


def refit_target(
    weight: Matrix, gram: Matrix | Gram, cross: Matrix, *, device: str | torch.device | None = None
) -> Matrix:
    """The weights whose outputs on the compressed network's inputs y are nearest to the dense layer's on its inputs x.

    They minimise `E‖weight x − target y‖²`: the dense weights plus `(weight (crossᵀ − gram)) gram⁻¹`. With them as
    target every method finds its gradient at zero, and `E‖weight x − x̂ y‖²` is the error of `x̂` against this target
    in the metric `gram` plus a constant, the `irreducible` part.

    Parameters
    ----------
    weight : (rows, columns), the dense layer's
    gram : (columns, columns) mean of `y yᵀ`
    cross : (columns, columns) mean of `y xᵀ`, rows count y
    device : where to compute in float64; default: where the weight is

    Returns
    -------
    (rows, columns), of the kind of `weight`. Inputs y that are always zero keep their weight; where others depend on
    each other the change is the least at unit diagonal, as in `refit`.
    """
    w, g, back = tensors(weight, gram, device)
    c, _, _ = tensors(cross, g, device)
    if c.shape != g.shape:
        raise InputError(f"cross is {tuple(c.shape)}, the Gram matrix {tuple(g.shape)}")
    c = c.to(w.device)
    live = g.diagonal() > 0.0
    pull = w @ (c.T - g)
    root = torch.where(live, g.diagonal(), 1.0).sqrt()
    singular = metric_of(gram, 0.0, w.device).singular
    inner = (g / root / root[:, None])[live][:, live]
    right = (pull / root)[:, live].T
    if singular:
        values, vectors = torch.linalg.eigh(inner)
        usable = values > SINGULAR * len(g)
        shift = vectors[:, usable] @ ((vectors[:, usable].T @ right) / values[usable, None])
    else:
        shift = torch.cholesky_solve(right, torch.linalg.cholesky(inner))
    target = w.clone()
    target[:, live] += shift.T / root[live]
    return back(target)


def irreducible(weight: Matrix, dense_gram: Matrix, target: Matrix, gram: Matrix | Gram) -> Matrix:
    """(rows,) `E‖weight x‖² − E‖target y‖²`: what no weights on the inputs y can make good, in output units squared."""
    w, g, _ = tensors(weight, dense_gram, None)
    t, h, back = tensors(target, gram, w.device)
    return back(((w @ g) * w).sum(1) - ((t @ h) * t).sum(1))
