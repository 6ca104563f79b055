"""What the sets of free real weights share: the cost of keeping and of pruning each column."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..gram import Array


def keep_or_prune(d: Any, g: Any, target: Any) -> tuple[Any, Any, Any, NDArray[np.bool_]]:
    """Kept columns cost `−g²/d` at `x = target − g/d`; pruning one adds `d·(target − g/d)²`.

    A column with `d < 0`, or `d = 0` and `g ≠ 0`, has no minimum if it may be kept.

    Returns
    -------
    x, kept, extra : of the shape of `g`
    bottomless : where keeping has no minimum; there `extra` is the whole cost of pruning
    """
    flat = d <= 0
    step = -g / np.where(flat, 1, d)
    kept = np.where(flat, 0, g * step)
    extra = np.where(flat, target * (d * target - 2 * g), d * (target + step) * (target + step))
    x = np.where(flat, target, target + step)
    return x, kept, extra, np.asarray(flat & ((d < 0) | (g != 0)), dtype=bool)


def pruned_value(d: Any, g: Any, target: Any) -> Any:
    """The cost of zero everywhere, (rows,)."""
    return (target * (d * target - 2 * g)).sum(axis=-1)


def real_reach(d: Array, g: Array, target: Array) -> Array:
    """Kept columns move by `g/d`, pruned ones by the target; nothing limits a kept column without curvature."""
    limited = np.where(d > 0, np.abs(g) / np.where(d > 0, d, 1.0), np.where((d == 0) & (g == 0), 0.0, np.inf))
    return np.asarray(np.maximum(np.abs(target), limited))


def drop_cheapest(cost: Any, drop: int) -> tuple[Any, Any]:
    """The sum of the `drop` smallest along the last axis, and their places."""
    places = np.argsort(cost, axis=-1, kind="stable")[..., :drop]
    return np.take_along_axis(cost, places, axis=-1).sum(axis=-1), places
