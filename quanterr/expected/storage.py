"""What compressed weights weigh, in bits a weight."""

from __future__ import annotations

from math import comb, log2
from typing import Any

import numpy as np

from ..distributions import checks
from ..distributions.kernels import Array

FULL_BITS = 16.0


def matching_sparsity(bits: Any) -> Array:
    """`1 − bits/16`: the sparsity at which FP16 weights without a mask are as small as `bits`-bit codes (section 2)."""
    width = np.asarray(bits, dtype=np.float64)
    if not ((width >= 0.0) & (width <= FULL_BITS)).all():
        raise ValueError(f"bits = {bits!r} is not in [0, 16]: pruning is compared at a fraction of 16 bits")
    return np.asarray(1.0 - width / FULL_BITS)


def mask_bits(sparsity: Any, *, entropy_coded: bool = False) -> Array:
    """Cost of the pruning mask in bits a weight: 1, or its entropy `−s log₂ s − (1−s) log₂(1−s)`."""
    s = checks.fraction("sparsity", sparsity)
    if not entropy_coded:
        return np.ones(s.shape)
    terms = [np.where(p > 0.0, -p * np.log2(np.where(p > 0.0, p, 1.0)), 0.0) for p in (s, 1.0 - s)]
    return np.asarray(terms[0] + terms[1])


def nofm_mask_bits(keep: int, group: int) -> float:
    """`log₂ C(group, keep) / group`: the cost of saying which `keep` of `group` are kept."""
    size = checks.count("group", group, 1, "give the group size m of n:m")
    kept = checks.count("keep", keep, 0, "give the number kept in each group")
    if kept > size:
        raise ValueError(f"keep = {kept} exceeds group = {size}: keep at most all of them")
    return log2(comb(size, kept)) / size


def pruned_bits(sparsity: Any, *, value_bits: float = FULL_BITS, mask: Any = 0.0) -> Array:
    """Size of a pruned tensor: survivors at `value_bits` each, plus `mask` bits a weight (see `mask_bits`)."""
    s = checks.fraction("sparsity", sparsity)
    return np.asarray((1.0 - s) * checks.positive("value_bits", value_bits) + np.asarray(mask, dtype=np.float64))
