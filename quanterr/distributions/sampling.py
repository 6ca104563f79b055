"""Independent draws by inversion of each component's tail, so that deep truncations cost no rejections."""

from __future__ import annotations

import numpy as np
from scipy import special

from . import kernels
from .kernels import (
    COEFFICIENT,
    CONSTANT,
    GAUSSIAN,
    GENERALIZED,
    HIGH,
    KIND,
    LAPLACE,
    LOCATION,
    LOGISTIC,
    LOW,
    SCALE,
    SHAPE,
    Array,
)


def tail(kind: int, shape: float, x: Array) -> Array:
    """`P(X > x)` of the standard member, `x ≥ 0`."""
    if kind == GAUSSIAN:
        return np.asarray(special.ndtr(-x))
    if kind == LAPLACE:
        return np.asarray(0.5 * np.exp(-x))
    if kind == LOGISTIC:
        return np.asarray(special.expit(-x))
    if kind == GENERALIZED:
        return np.asarray(0.5 * special.gammaincc(1.0 / shape, x**shape))
    return np.asarray(special.stdtr(shape, -x))


def inverse_tail(kind: int, shape: float, q: Array) -> Array:
    """The `x` with `tail(x) = q ≤ ½`."""
    if kind == GAUSSIAN:
        return np.asarray(-special.ndtri(q))
    if kind == LAPLACE:
        return np.asarray(-np.log(2.0 * q))
    if kind == LOGISTIC:
        return np.asarray(np.log1p(-q) - np.log(q))
    if kind == GENERALIZED:
        return np.asarray(special.gammainccinv(1.0 / shape, 2.0 * q) ** (1.0 / shape))
    return np.asarray(-special.stdtrit(shape, q))


def draw(table: Array, n: int, rng: np.random.Generator) -> Array:
    """`n` draws from a table of components."""
    share = np.array([kernels.moment(table[j : j + 1], 0.0, 0.0, 0, -np.inf, np.inf) for j in range(len(table))])
    which = rng.choice(len(table), size=n, p=share / share.sum()) if len(table) > 1 else np.zeros(n, dtype=np.intp)
    out = np.empty(n)
    for j, row in enumerate(table):
        chosen = which == j
        out[chosen] = draw_component(row, int(chosen.sum()), rng)
    return out


def draw_component(row: Array, n: int, rng: np.random.Generator) -> Array:
    """Draws from one truncated component: first the side of its centre, then the magnitude."""
    low, high = float(row[LOW]), float(row[HIGH])
    uniform = rng.random(n)
    kind, shape = int(row[KIND]), float(row[SHAPE])
    if kind == CONSTANT:
        return np.asarray(low + (high - low) * uniform)
    a, b = (low - row[LOCATION]) / row[SCALE], (high - row[LOCATION]) / row[SCALE]
    table = np.array(row)[None, :]
    table[0, COEFFICIENT] = 1.0
    above = kernels.moment(table, float(row[LOCATION]), 0.0, 0, 0.0, np.inf)
    below = kernels.moment(table, float(row[LOCATION]), 0.0, 0, -np.inf, 0.0)
    positive = rng.random(n) * (above + below) < above
    near = np.where(positive, max(a, 0.0), max(-b, 0.0))
    far = np.where(positive, max(b, 0.0), max(-a, 0.0))
    top, bottom = tail(kind, shape, near), tail(kind, shape, far)
    magnitude = np.clip(inverse_tail(kind, shape, bottom + (top - bottom) * (1.0 - uniform)), near, far)
    signed = np.where(positive, magnitude, -magnitude)
    return np.asarray(np.clip(row[LOCATION] + row[SCALE] * signed, low, high))
