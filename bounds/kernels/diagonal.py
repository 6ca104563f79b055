"""Coordinate descent for the best `y` of a given diagonal over an integer box."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..gram import Array


@njit(cache=True)
def envelope(d: float, v: float, target: float, low: float, high: float) -> float:
    """Convex envelope of `d (x − target)²` on the integers of the box, at the real `v` in the box."""
    if d < 0.0:
        slope = d * (low + high - 2.0 * target)
        return d * (low - target) * (low - target) + slope * (v - low)
    k = math.floor(v)
    part = v - k
    return d * ((v - target) * (v - target) + part * (1.0 - part))


@njit(cache=True)
def descend(
    gram: Array,
    diagonal: Array,
    target: Array,
    low: float,
    high: float,
    rounds: int,
    tol: float,
    y: Array,
    used: NDArray[np.int64],
) -> None:
    """Minimise `Σ cᵢ(vᵢ) + (v − t)ᵀ M (v − t)` over the box, `cᵢ` the envelope: the dual of the best bound in `y`.

    At the minimum `y = v − t` is the best `y` of the inequality (strong duality). Each coordinate is
    minimised in closed form; the best bound seen is kept.

    Parameters
    ----------
    gram (n, n), diagonal (1 or rows, n), target (rows, n)
    rounds : sweeps over the coordinates; a row stops early once its gap is below `tol` of its value
    y (rows, n) : in, a first proposal; out, the best one
    used (rows,) : out, sweeps
    """
    rows, n = target.shape
    u = np.zeros(n)
    r = np.zeros(n)
    for row in range(rows):
        d = diagonal[min(row, diagonal.shape[0] - 1)]
        t = target[row]
        u[:] = y[row]
        inside = False
        best = -np.inf
        for sweep in range(rounds + 1):
            # judge: r = M u afresh, the bound at y = u, and its gap to the convex value at v
            upper = 0.0
            bound = 0.0
            for i in range(n):
                s = 0.0
                for j in range(n):
                    s += gram[i, j] * u[j]
                r[i] = s - d[i] * u[i]
            for i in range(n):
                upper += envelope(d[i], u[i] + t[i], t[i], low, high) + u[i] * r[i]
                x = low
                if d[i] > 0.0:
                    x = min(max(math.floor(t[i] - r[i] / d[i] + 0.5), low), high)
                elif (d[i] * (low - t[i]) + 2.0 * r[i]) * (low - t[i]) > (d[i] * (high - t[i]) + 2.0 * r[i]) * (
                    high - t[i]
                ):
                    x = high
                bound += (x - t[i]) * (d[i] * (x - t[i]) + 2.0 * r[i]) - u[i] * r[i]
            if bound > best:
                best = bound
                y[row] = u
            used[row] = sweep
            if sweep == rounds or (inside and upper - bound <= tol * abs(upper)):
                break
            for i in range(n):
                m = gram[i, i] - d[i]
                if not m > 0.0:
                    u[i] = min(max(u[i] + t[i], low), high) - t[i]
                    continue
                v = u[i] + t[i]
                if d[i] > 0.0:
                    s = (m * v - r[i] + d[i] * t[i]) / (m + d[i])
                    k = math.floor(s)
                    free = s + d[i] * (s - k - 0.5) / m
                    new = min(free, k + 1.0) if s - k >= 0.5 else max(free, k)
                else:
                    new = v - (r[i] + d[i] * (0.5 * (low + high) - t[i])) / m
                move = min(max(new, low), high) - v  # also brings a first proposal into the box
                if move != 0.0:
                    u[i] += move
                    for j in range(n):
                        r[j] += gram[i, j] * move
                    r[i] -= d[i] * move
            inside = True
