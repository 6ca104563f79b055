"""AdaPrune (Hubara et al. 2021): mask by a score, refit; in several steps as Frantar and Alistarh (2022) iterate it."""

from __future__ import annotations

import torch

from bounds import Gram

from ..errors import InputError
from .metric import metric_of
from .patterns import Keep, largest, partly, pattern_of
from .refit import refitted
from .tensors import Matrix, tensors

SCORES = ("magnitude", "wanda")


def ada_prune(
    weight: Matrix,
    gram: Matrix | Gram,
    keep: Keep,
    *,
    steps: int = 8,
    score: str = "magnitude",
    damping: float = 0.0,
    device: str | torch.device | None = None,
) -> Matrix:
    """Prune in `steps` that each keep the same fraction; after each the least-squares weights of what is left.

    Parameters
    ----------
    steps : 1 with `magnitude` is `magnitude_refit`; OBC's table 8 goes to 16
    score : `magnitude`, or `wanda` (times the root mean square of the input), of the weights refitted so far

    The other arguments, result and errors are those of `exact_obs`. The refit is solved exactly, where the paper
    descends along the gradient.
    """
    if isinstance(steps, bool) or steps != int(steps) or steps < 1:
        raise InputError(f"steps = {steps!r}: pruning takes at least one")
    if score not in SCORES:
        raise InputError(f"score = {score!r}: choose one of {', '.join(SCORES)}")
    w, _, back = tensors(weight, gram, device)
    pattern, metric = pattern_of(keep, *w.shape), metric_of(gram, damping, w.device)
    value = metric.gram.diagonal() if score == "wanda" else torch.ones_like(metric.gram.diagonal())
    x, (rows, columns) = w, w.shape
    for step in range(int(steps)):
        mask = largest(x * x * value, partly(pattern, rows, columns, (step + 1) / steps)) & (x != 0.0)
        x = refitted(w, metric.gram, mask, metric.singular)
    return back(x)
