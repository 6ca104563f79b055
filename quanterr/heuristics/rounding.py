"""Rounding each weight by itself: the Gram matrix has no influence, or only chooses among random draws."""

from __future__ import annotations

import torch
from torch import Tensor

from bounds import Gram

from .full_rank import FullRank, codes
from .tensors import Best, Matrix, check_box, check_draws, rounded, step_units, tensors


def nearest(
    target: Matrix,
    gram: Matrix | Gram,
    low: int,
    high: int,
    *,
    scale: Matrix | None = None,
    device: str | torch.device | None = None,
) -> Matrix:
    """Each weight to its nearest code; the Gram matrix has no influence.

    Parameters
    ----------
    target : (rows, columns) in code units (`weight / scale`, plus the zero point where codes have one), numpy or torch
    gram : (columns, columns), or a `bounds.Gram`
    low, high : first and last code
    scale : stretches to (rows, columns): weight units of a code step. Matters only where it differs within a row
        (one scale for each group of columns): the error is `(scale ∘ (x − t))ᵀ gram (scale ∘ (x − t))`
    device : where to compute in float64; default: where the target is

    Returns
    -------
    (rows, columns) codes, float64, of the kind of `target`

    Raises
    ------
    InputError
        Shapes that do not fit, NaN or infinity, a box that is none, scales that are not positive.
    """
    check_box(low, high)
    t, _, back = tensors(target, gram, device)
    step_units(scale, t)
    return back(rounded(t, low, high))


def stochastic(
    target: Matrix,
    gram: Matrix | Gram,
    low: int,
    high: int,
    *,
    draws: int = 1,
    seed: int = 0,
    scale: Matrix | None = None,
    damping: float = 0.0,
    device: str | torch.device | None = None,
) -> Matrix:
    """Up with a probability equal to the fraction, so that inside the box the codes are the target on average.

    Parameters
    ----------
    draws : of so many, the one with the least error in each row
    seed : of the generator (on the CPU, so that every device gets the same codes)
    damping : share of the mean diagonal that is added to the diagonal of `gram`; here it only weighs the draws

    The other arguments, result and errors as for `nearest`.
    """
    check_draws(draws)
    generator = torch.Generator().manual_seed(seed)

    def solve(t: Tensor, metric: FullRank, unit: Tensor | None) -> Tensor:
        best = Best(t, metric.gram, unit)
        for _ in range(draws):
            uniform = torch.rand(t.shape, generator=generator, dtype=t.dtype).to(t.device)
            best.offer(torch.floor(t + uniform).clamp_(low, high))
        return best.codes

    return codes(target, gram, low, high, solve, scale=scale, damping=damping, device=device)
