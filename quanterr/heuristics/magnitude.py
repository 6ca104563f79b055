"""Masks from a score of each weight by itself: magnitude, and magnitude times the norm of its input (Wanda)."""

from __future__ import annotations

import torch

from bounds import Gram

from .metric import metric_of
from .patterns import Keep, largest, pattern_of
from .refit import refitted
from .tensors import Matrix, tensors


def magnitude(weight: Matrix, gram: Matrix | Gram, keep: Keep, *, device: str | torch.device | None = None) -> Matrix:
    """The largest weights stay as they are; arguments and result as for `exact_obs`."""
    w, _, back = tensors(weight, gram, device)
    return back(w * largest(w * w, pattern_of(keep, *w.shape)))


def wanda(weight: Matrix, gram: Matrix | Gram, keep: Keep, *, device: str | torch.device | None = None) -> Matrix:
    """The weights with the largest `w² gram_ii` stay as they are (Sun et al. 2023); arguments as for `exact_obs`.

    The optimum if inputs are uncorrelated. The paper compares within each row; `LayerSparse` within the layer.
    """
    w, g, back = tensors(weight, gram, device)
    return back(w * largest(w * w * g.diagonal(), pattern_of(keep, *w.shape)))


def magnitude_refit(
    weight: Matrix,
    gram: Matrix | Gram,
    keep: Keep,
    *,
    damping: float = 0.0,
    device: str | torch.device | None = None,
) -> Matrix:
    """The mask of `magnitude` with the least-squares optimal weights on it: the paper's heuristic for pruning.

    Arguments, result and errors as for `exact_obs`; dependent inputs as for `refit`.
    """
    w, _, back = tensors(weight, gram, device)
    metric = metric_of(gram, damping, w.device)
    return back(refitted(w, metric.gram, largest(w * w, pattern_of(keep, *w.shape)), metric.singular))
