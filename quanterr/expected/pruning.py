"""Expected error of magnitude pruning, alone and before quantisation, in squared weight units.

`dist` and `grid` are one object each or arrays of them, numbers are numbers or arrays; all broadcast.
`sparsity` is the fraction of weights set to zero, in [0, 1]; other values raise ValueError.
"""

from __future__ import annotations

from typing import Any

from ..distributions import checks
from ..distributions.kernels import Array
from .sweep import distributions, each, grids


def pruning_threshold(dist: Any, sparsity: Any) -> Array:
    """The magnitude `t` with `P(|W| ≤ t) = sparsity`, in weight units."""
    wanted = checks.fraction("sparsity", sparsity)
    return each(lambda d, s: float(d.magnitude_quantile(s)), distributions(dist), wanted)


def pruning_error(dist: Any, sparsity: Any) -> Array:
    """`∫ w² p(w) dw` over `|w| ≤ t`. Erratum: the lower limit of eq. (3) is −t, not −1.

    Relative error at most 1e-12 down to the smallest normal double.
    """
    wanted = checks.fraction("sparsity", sparsity)
    return each(
        lambda d, s: d.pruned_power(float(d.magnitude_quantile(s)), s) if s < 1.0 else d.power(),
        distributions(dist),
        wanted,
    )


def joint_error(dist: Any, grid: Any, sparsity: Any, scale: Any) -> Array:
    """Prune the smallest magnitudes to zero, then quantise the survivors (which may be rounded to zero as well)."""

    def error(d: Any, g: Any, s: float, step: float) -> float:
        if s == 1.0:
            return float(d.power())
        threshold = float(d.magnitude_quantile(s))
        rest = d.survivors(threshold) if s > 0.0 else d
        lost = d.pruned_power(threshold, s) if s > 0.0 else 0.0
        return float(lost + rest.rounding(g.levels, step) + rest.clipping(g.levels, step))

    wanted = checks.fraction("sparsity", sparsity)
    return each(error, distributions(dist), grids(grid), wanted, checks.scales(scale))


def nofm_pruning_error(dist: Any, keep: int, group: int) -> Array:
    """Keep the `keep` largest magnitudes of every `group` independent weights (2:4 is `keep=2, group=4`).

    The mean of the squared order statistics that are lost, divided by `group`.

    Raises
    ------
    ValueError
        Unless `0 ≤ keep ≤ group` and `1 ≤ group ≤ 256`.
    """
    size = checks.count("group", group, 1, "give the group size m of n:m, from 1 to 256")
    kept = checks.count("keep", keep, 0, "give the number kept in each group")
    if kept > size or size > 256:
        raise ValueError(f"keep = {kept} of group = {size}: give keep ≤ group ≤ 256")
    if kept == size:
        return each(lambda d: 0.0, distributions(dist))
    return each(lambda d: d.power() if kept == 0 else d.ranked_power(size - kept, size), distributions(dist))
