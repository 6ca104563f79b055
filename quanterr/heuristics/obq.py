"""Optimal Brain Quantizer: one code at a time, the cheapest first; the remaining weights adjust exactly."""

from __future__ import annotations

import torch
from torch import Tensor

from bounds import Gram

from .elimination import Elimination, eliminate, first_largest
from .full_rank import FullRank, codes
from .tensors import Matrix


def obq(
    target: Matrix,
    gram: Matrix | Gram,
    low: int,
    high: int,
    *,
    scale: Matrix | None = None,
    damping: float = 0.0,
    device: str | torch.device | None = None,
) -> Matrix:
    """OBQ (Frantar & Alistarh 2022, algorithm 3): the code with the least `(w − q)² / (gram⁻¹)_ii` is fixed next.

    Weights that are exactly on the grid (zeros that are there already) cost nothing and go first. Then, as soon as a
    weight lies more than half a step outside the grid, the one with the largest rounding error (the paper's rule for
    outliers). Ties as in `exact_obs_trace`. Redundant inputs (dead, duplicate, dependent) get their nearest code before
    all others, which make up for it at no cost. Arguments and result as for `nearest`.
    """

    def solve(t: Tensor, metric: FullRank, unit: Tensor | None) -> Tensor:
        weight = t - low if unit is None else (t - low) * unit
        trace = eliminate(weight, metric.inverse(), t.shape[1], lambda state: _next(state, high - low), unit=unit)
        fixed = torch.zeros_like(weight).scatter_(1, trace.order, trace.value)
        return low + (fixed if unit is None else torch.round(fixed / unit))

    return codes(target, gram, low, high, solve, scale=scale, damping=damping, device=device)


def _next(state: Elimination, top: int) -> tuple[Tensor, Tensor]:
    """Where the next code is fixed, and its weight; codes start at 0."""
    unit = state.unit
    weight = state.weight if unit is None else state.weight / unit
    code = weight.clamp(0, top).add_(0.5).floor_()
    error = weight - code
    squared = error * error
    loss = squared if unit is None else squared * (unit * unit)
    at = first_largest(state.diagonal / loss)
    outlying = squared.amax(1) > 0.25
    if bool(outlying.any()):
        outlying &= squared.gather(1, at[:, None])[:, 0] > 0.0
        at = torch.where(outlying, first_largest(squared), at)
    value = (code if unit is None else code * unit).gather(1, at[:, None])[:, 0]
    return at, value
