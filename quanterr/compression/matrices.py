"""A recipe applied to one weight matrix and judged by `bounds`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from bounds import Gram, IntegerBox, LeastSquares, Sparse
from bounds.gram import Array

from ..code_grid import code_grid
from ..heuristics import PRUNERS, QUANTIZERS, damped, judged, refit, swaps
from .recipe import Recipe


@dataclass(frozen=True, eq=False)
class Compressed:
    """Weights as they will be stored, and `(rows,)` upper bounds of their errors in the undamped metric."""

    weight: Array
    error_upper: Array


def compress_matrix(
    target: Array, gram: Array, recipe: Recipe, dtype: torch.dtype, device: str | torch.device | None = None
) -> Compressed:
    """Compress `target` (rows, columns), in the metric `gram`, to numbers of `dtype`.

    The errors are those of the rounded numbers, so rounding to float32 or less is included.

    Raises
    ------
    InputError, bounds.ProblemError
        What the methods refuse.
    """
    metric = Gram(gram)
    if recipe.method == "keep":
        x = target
    else:
        x = _pruned(target, damped(metric, recipe.damping), metric, recipe, device)
        if recipe.quantizer is not None:
            x = _quantised(x, damped(metric, recipe.damping), recipe, device)
    stored = np.asarray(torch.from_numpy(x).to(dtype).double().numpy())
    return Compressed(stored, LeastSquares(metric, target, Sparse(target.shape[1])).upper(stored))


def _pruned(target: Array, seen: Gram, metric: Gram, recipe: Recipe, device: str | torch.device | None) -> Array:
    if recipe.pruner is None:
        return target
    keep = recipe.keep(*target.shape)
    x = np.asarray(PRUNERS[recipe.pruner](target, seen, keep, device=device))
    for step in recipe.steps[1:]:
        if step == "refit":
            x = np.asarray(refit(target, seen, x, device=device))
        elif step == "swaps":
            x = np.asarray(swaps(target, seen, keep, start=x, device=device))
    judged(target, metric, x, keep)
    return x


def _quantised(x: Array, seen: Gram, recipe: Recipe, device: str | torch.device | None) -> Array:
    """Codes as weights; what was pruned stays zero."""
    assert recipe.bits is not None
    assert recipe.quantizer is not None
    grid = code_grid(
        x, recipe.bits, per=recipe.per, symmetric=recipe.symmetric, search=recipe.scale,
        gram=seen.array if recipe.scale == "gram" else None,
    )  # fmt: skip
    codes = np.asarray(
        QUANTIZERS[recipe.quantizer](grid.target(x), seen, grid.low, grid.high, scale=grid.step(), device=device)
    )
    IntegerBox(grid.low, grid.high).check(codes.shape[1])
    stored = grid.weight(codes)
    if recipe.pruner is not None and np.any(stored[x == 0.0] != 0.0):
        raise AssertionError(f"{recipe.quantizer} filled weights that {recipe.pruner} had removed")
    return stored
