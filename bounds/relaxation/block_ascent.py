"""Ascent on the bound itself: a smoothed bound, quasi-Newton steps, exact blocks in between.

With `g = My` the bound of a row is `−gᵀM⁻¹g + Σ_B min_u [ uᵀD_B u + 2 g_Bᵀu ]`, jointly concave in `(D, g)`. For a list
of near-minimal points of each block the minimum becomes `−ε log Σ exp(−·/ε)`, and `log det M`, `log det D_B` keep both
definite: a smooth function, which limited-memory BFGS raises in coordinates where the curvature of the barrier is one
on each block. A few steps, then all blocks are searched again: their points are what the smoothed bound rests on.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..gram import Array
from .inverse import definite_inverse

MEMORY = 40
ARMIJO = 1e-4
BACKTRACK = 0.4
TRIES = 25
DEFINITE = 0.1  # weight of the mean of log det D_B by column


@dataclass
class Place:
    """`D` and the `g` of every row, (rows, columns)."""

    matrices: list[Array]
    g: Array

    def moved(self, length: float, by: Place) -> Place:
        return Place([d + length * e for d, e in zip(self.matrices, by.matrices, strict=True)], self.g + length * by.g)


@dataclass
class Smoothed:
    """The smoothed mean bound of some rows, in units of each row's `upper`.

    Attributes
    ----------
    gram : (columns, columns) of the live columns
    blocks : columns of each block
    upper : (rows,)
    points : for each row, for each block, (count, width) steps `x − target`
    softness, barrier : `ε` as a share of a row's upper by block, `μ` as a share of it by column
    """

    gram: Array
    blocks: list[NDArray[np.int64]]
    upper: Array
    points: list[list[Array]]
    softness: float = 0.0
    barrier: float = 0.0

    def rest(self, place: Place) -> Array:
        """`M`."""
        rest = self.gram.copy()
        for block, d in zip(self.blocks, place.matrices, strict=True):
            rest[np.ix_(block, block)] -= d
        return rest

    def __call__(self, place: Place) -> tuple[float, Place, Array] | None:
        """Value, gradient and `M⁻¹`, or None where `M` or a `D_B` is not definite."""
        columns, rows = len(self.gram), len(self.upper)
        mu, nu, eps = self.barrier / columns, DEFINITE / columns, self.softness / len(self.blocks)
        found = definite_inverse(self.rest(place))
        if found is None:
            return None
        inverse, volume = found
        value = mu * volume
        share = 1 / (rows * self.upper)
        y = place.g @ inverse
        value -= float(share @ np.einsum("ri,ri->r", place.g, y))
        mean, slopes = np.empty_like(place.g), []
        for index, (block, d) in enumerate(zip(self.blocks, place.matrices, strict=True)):
            own = definite_inverse(d)
            if own is None:
                return None
            value += nu * own[1]
            slope = nu * own[0] - mu * inverse[np.ix_(block, block)]
            for row in range(rows):
                u = self.points[row][index]
                errors = np.einsum("ki,ki->k", u @ d, u) + 2 * (u @ place.g[row, block])
                least, width = errors.min(), eps * self.upper[row]
                weight = np.exp((least - errors) / width)
                total = weight.sum()
                value += share[row] * (least - width * np.log(total))
                weight *= share[row] / total
                mean[row, block] = weight @ u
                slope += (u * weight[:, None]).T @ u - share[row] * np.outer(y[row, block], y[row, block])
            slopes.append((slope + slope.T) / 2)
        return value, Place(slopes, 2 * (mean - share[:, None] * y)), inverse


@dataclass
class Climber:
    """Limited-memory BFGS (Liu and Nocedal 1989) from one place on; its memory outlives new points."""

    smoothed: Smoothed
    roots: list[Array] = field(default_factory=list)
    factor: Array = field(default_factory=lambda: np.zeros((0, 0)))
    memory: deque[tuple[Array, Array, float]] = field(default_factory=lambda: deque(maxlen=MEMORY))

    def restart(self) -> None:
        """Forget everything: the function is another one."""
        self.roots = []
        self.memory.clear()

    def frame(self, place: Place, inverse: Array) -> None:
        """Coordinates: `D_B = R S Rᵀ`, `R Rᵀ ≈ ((M⁻¹)_BB)⁻¹ / √μ`, and `g = L z`, `L Lᵀ ∝ M`."""
        mu = self.smoothed.barrier / len(inverse)
        self.roots = []
        for block, d in zip(self.smoothed.blocks, place.matrices, strict=True):
            own = inverse[np.ix_(block, block)] + DEFINITE / self.smoothed.barrier * np.linalg.inv(d)
            self.roots.append(np.linalg.inv(np.linalg.cholesky(own)).T / mu**0.25)
        self.factor = np.linalg.cholesky(self.smoothed.rest(place)) / np.sqrt(2)

    def flat(self, slope: Place) -> Array:
        """A gradient in the coordinates."""
        parts = [(root.T @ d @ root).ravel() for root, d in zip(self.roots, slope.matrices, strict=True)]
        scale = np.sqrt(len(slope.g) * self.smoothed.upper)[:, None]
        return np.concatenate([*parts, (scale * (slope.g @ self.factor)).ravel()])

    def step(self, vector: Array) -> Place:
        """A step given in the coordinates."""
        matrices, at = [], 0
        for root in self.roots:
            size = root.size
            d = root @ vector[at : at + size].reshape(root.shape) @ root.T
            matrices.append((d + d.T) / 2)
            at += size
        scale = np.sqrt(len(self.smoothed.upper) * self.smoothed.upper)[:, None]
        return Place(matrices, scale * (vector[at:].reshape(len(scale), -1) @ self.factor.T))

    def direction(self, slope: Array) -> Array:
        q, lengths = slope.copy(), []
        for step, bend, weight in reversed(self.memory):
            lengths.append(weight * (step @ q))
            q -= lengths[-1] * bend
        if self.memory:
            _, bend, weight = self.memory[-1]
            q /= weight * (bend @ bend)
        for (step, bend, weight), length in zip(self.memory, reversed(lengths), strict=True):
            q += step * (length - weight * (bend @ q))
        return q

    def climb(self, place: Place, steps: int) -> Place:
        """At most `steps` steps upwards."""
        found = self.smoothed(place)
        if found is None:
            return place
        value, gradient, inverse = found
        if not self.roots:
            self.frame(place, inverse)
        slope = self.flat(gradient)
        for _ in range(steps):
            way = self.direction(slope)
            if not way @ slope > 0:
                self.memory.clear()
                way = slope.copy()
            promise, length = float(way @ slope), 1.0
            by = self.step(way)
            for _ in range(TRIES):
                trial = place.moved(length, by)
                found = self.smoothed(trial)
                if found is not None and found[0] >= value + ARMIJO * length * promise:
                    break
                length *= BACKTRACK
            else:
                break
            value, gradient, _ = found
            place, before = trial, slope
            slope = self.flat(gradient)
            bend, taken = before - slope, length * way
            if taken @ bend > 0:
                self.memory.append((taken, bend, 1 / float(taken @ bend)))
        return place
