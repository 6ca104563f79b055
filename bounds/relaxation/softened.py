"""The best `y` of pruning for a given diagonal `D`: all rows together, matrix products only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..gram import Array
from ..kernels.shares import fill_shares
from .inverse import definite_inverse

MOMENTUM = 0.9
HOT, COLD = 0.3, 0.003
#: How much faster than its value the soft minimiser turns: a share of the curvature that keeps steps from overshooting.
TURNING = 16.0
#: Of the derivative with respect to `D`, as a share of the bound over √columns: 0.01 is nearest to the derivative, 0.05
#: is better for steps, which go far.
TEMPERATURE = 0.05


def ascend(
    gram: Array,
    diagonal: Array,
    target: Array,
    keep: int | NDArray[np.int64],
    y: Array,
    rounds: int,
    hot: float = HOT,
) -> Array:
    """Accelerated ascent on the softened bound, preconditioned once for all rows.

    The minimiser `u` keeps the columns of largest gain `(Dt − g)²/D`; a share `z` of each column, `Σz = keep`, at a
    falling temperature makes it smooth. In the metric of `M` the gradient of the bound is `ū − y`,
    and its curvature is at most about `I + (z/D) M` plus what the turning of `z` adds; one factor `(I + c D⁻¹ M)⁻¹`,
    `c = 16`, serves all rows and all temperatures. Momentum as in Nesterov, *Introductory Lectures on Convex
    Optimization*, §2.2. Sixty rounds come nearer to the best `y` than 1,500 Frank–Wolfe steps at 100 columns and more.

    Parameters
    ----------
    gram, diagonal : (columns, columns), (columns,) positive, `gram − D ⪰ 0`
    target, y : (rows, columns); `y` is where to start
    keep : of all rows, or (rows,) of each; between 1 and columns − 1
    hot : the first temperature, as a share of the bound over √columns; low for a `y` that is nearly right

    Returns
    -------
    (rows, columns) the `y` with the best (unsoftened) bound among all that were visited, the start included
    """
    n = target.shape[1]
    # powers of two, so that nothing overflows and no bit changes, and coordinates in which D = I
    unit = -np.frexp(gram.diagonal().max())[1]
    gram, root = np.ldexp(gram, unit), np.sqrt(np.ldexp(diagonal, unit))
    rest = gram / root
    rest /= root[:, None]
    rest[np.diag_indices(n)] -= 1.0
    metric = TURNING * rest
    metric[np.diag_indices(n)] += 1.0
    found = definite_inverse(metric)
    assert found is not None, "gram − D ⪰ 0"
    towards, _ = found
    size = np.frexp(np.abs(root * target).max(axis=1, keepdims=True))[1]
    start, target, y = y, np.ldexp(root * target, -size), np.ldexp(root * y, -size)
    floor = 1e-3 * np.einsum("ri,ri->r", target, target) / np.sqrt(n)
    best, best_value, kept = y, np.full(len(target), -np.inf), np.ones(len(target), dtype=np.bool_)
    drift = np.zeros_like(y)
    level = np.full(len(target), np.nan)
    for index in range(rounds + 1):
        ahead = y + MOMENTUM * drift
        g = ahead @ rest
        away = target - g
        gain = away * away
        value = _dropped(gain, keep) - np.einsum("ri,ri->r", g, g + ahead)
        better = value > best_value
        best = np.where(better[:, None], ahead, best)
        best_value = np.where(better, value, best_value)
        kept &= ~better | (index == 0)
        if index == rounds:
            break
        heat = hot * (COLD / hot) ** (index / rounds)
        share = shares(gain, keep, heat * np.maximum(best_value / np.sqrt(n), floor), level)
        step = share * away - target - ahead
        moved = ahead + step @ towards
        y, drift = moved, moved - y
    return np.where(kept[:, None], start, np.ldexp(best, size) / root)


def _dropped(gain: Array, keep: int | NDArray[np.int64]) -> Array:
    """(rows,) the sum of all but the `keep` largest."""
    n = gain.shape[1]
    if isinstance(keep, int):
        return np.asarray(np.partition(gain, n - keep, axis=1)[:, : n - keep].sum(axis=1))
    least = np.sort(gain, axis=1).cumsum(axis=1)
    return np.asarray(least[np.arange(len(least)), n - 1 - keep])


def slopes(gram: Array, diagonal: Array, target: Array, keep: int, y: Array) -> tuple[Array, Array]:
    """The bound at `y` (rows,), and its softened derivative with respect to each `Dᵢ` (rows, columns): `Var uᵢ`."""
    g = y @ gram - diagonal * y
    gain = (diagonal * target - g) ** 2 / diagonal
    base = (diagonal * target * target - 2 * g * target).sum(axis=1)
    columns = target.shape[1]
    value = base - np.partition(gain, columns - keep, axis=1)[:, columns - keep :].sum(axis=1)
    value -= np.einsum("ri,ri->r", y, g)
    level = np.maximum(value, 1e-3 * np.abs(value).max()) / np.sqrt(columns)
    share = shares(gain, keep, TEMPERATURE * level)
    return value, share * (1 - share) * gain / diagonal


def shares(gain: Array, keep: int | NDArray[np.int64], temperature: Array, level: Array | None = None) -> Array:
    """Shares of each column that rise with its gain, (rows, columns), and sum to `keep`: see `fill_shares`.

    `level` (rows,) has a first guess of each `μ`, NaN for none, and is given the one that was found.
    """
    rows = len(gain)
    share = np.empty_like(gain)
    fill_shares(
        np.ascontiguousarray(gain),
        np.broadcast_to(np.asarray(keep, dtype=np.float64), rows).copy(),
        np.maximum(temperature, np.finfo(np.float64).tiny),
        np.full(rows, np.nan) if level is None else level,
        share,
    )
    return share
