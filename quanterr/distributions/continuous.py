"""Distributions with a density: tables of components, closed under truncation, scaling, shifting and mixing."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np

from . import cells, kernels, quantiles
from .base import Distribution
from .checks import count, finite, fraction, positive
from .kernels import COEFFICIENT, HIGH, LOCATION, LOW, SCALE, Array
from .panels import entropy, ranked_power
from .sampling import draw


class Continuous(Distribution):
    """A sum of component densities (see `kernels`); use `Gaussian`, `StudentT`, `Mixture`, … to make one.

    Accuracy, measured against 50 digits: masses, partial moments of even order and every error built on them
    carry a relative error of at most 1e-12, deep tails included, as long as the result is a normal double
    (above 2.3e-308; smaller ones lose digits and then vanish). The one limit is that of the input: where the
    density falls by a factor e over a relative change `η` of the weight, half a unit in the last place of a
    scale or limit is already worth 1e-16/η.
    """

    def __init__(self, table: Array, name: str) -> None:
        self.table: Array = np.ascontiguousarray(table, dtype=np.float64)
        self.table.setflags(write=False)
        self.name = name

    def __repr__(self) -> str:
        return self.name

    @property
    def support(self) -> tuple[float, float]:
        return float(self.table[:, LOW].min()), float(self.table[:, HIGH].max())

    def pdf(self, w: Any) -> Array:
        points = np.asarray(w, dtype=np.float64)
        out = np.empty(points.size)
        kernels.densities(self.table, np.ascontiguousarray(points.ravel()), out)
        return out.reshape(points.shape)

    def moment(self, k: int, a: Any = -np.inf, b: Any = np.inf, *, about: Any = 0.0) -> Array:
        count("k", k, 0, "give the order of the moment, 0, 1, 2, …")
        start, stop, center = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (a, b, about)))
        if np.isnan(start).any() or np.isnan(stop).any() or not np.isfinite(center).all():
            raise ValueError("a or b is NaN, or about is not finite: give numbers (a, b may be infinite)")
        out = np.empty(start.size)
        flat = [np.ascontiguousarray(v.ravel()) for v in (center, start - center, stop - center)]
        kernels.moments(self.table, flat[0], int(k), flat[1], flat[2], out)
        return out.reshape(start.shape)

    def ppf(self, probability: Any) -> Array:
        wanted = fraction("probability", probability)
        low, high = self.support
        out = np.empty(wanted.size)
        for i, p in enumerate(wanted.flat):
            if p in (0.0, 1.0):
                out[i] = low if p == 0.0 else high
            else:
                side, target = (quantiles.LOWER, p) if p <= 0.5 else (quantiles.UPPER, 1.0 - p)
                out[i] = quantiles.solve(self.table, side, target, low, high, self._middle)
        return out.reshape(wanted.shape)

    @cached_property
    def _middle(self) -> float:
        """Some point in the support, for the first step of a search."""
        low, high = self.support
        return float(np.clip(self.table[:, LOCATION].mean(), low, high))

    def magnitude_quantile(self, sparsity: Any) -> Array:
        wanted = fraction("sparsity", sparsity)
        low, high = self.support
        smallest = 0.0 if low <= 0.0 <= high else min(abs(low), abs(high))
        largest = max(abs(low), abs(high))
        start = max(float(self.table[:, SCALE].min()), smallest)
        out = np.empty(wanted.size)
        for i, s in enumerate(wanted.flat):
            if s in (0.0, 1.0):
                out[i] = smallest if s == 0.0 else largest
            else:
                side, target = (quantiles.INSIDE, s) if s <= 0.5 else (quantiles.OUTSIDE, 1.0 - s)
                out[i] = quantiles.solve(self.table, side, target, smallest, largest, start)
        return out.reshape(wanted.shape)

    def sample(self, n: int, rng: np.random.Generator | int | None = None) -> Array:
        return draw(self.table, count("n", n, 0, "give the number of draws"), np.random.default_rng(rng))

    def truncate(self, low: float, high: float | None = None) -> Continuous:
        """Condition on `low ≤ W ≤ high`; `truncate(r)` means `truncate(-r, r)`.

        Raises
        ------
        ValueError
            Limits that are not in order, or that hold no mass in float64.
        """
        if high is None:
            positive("r", low, "truncate(r) keeps ±r; for other limits give truncate(low, high)")
        first, last = (-float(low), float(low)) if high is None else (float(low), float(high))
        if not first < last:
            raise ValueError(f"truncation limits {first!r}, {last!r}: low must be below high")
        table = np.array(self.table)
        table[:, LOW] = np.maximum(table[:, LOW], first)
        table[:, HIGH] = np.minimum(table[:, HIGH], last)
        table = table[table[:, LOW] < table[:, HIGH]]
        mass = kernels.moment(table, 0.0, 0.0, 0, -math.inf, math.inf) if table.size else 0.0
        if mass < np.finfo(np.float64).tiny:
            raise ValueError(f"{self!r} has mass {mass} in [{first}, {last}]: choose limits nearer to its bulk")
        table[:, COEFFICIENT] /= mass
        limits = f"{last!r}" if high is None else f"{first!r}, {last!r}"
        return Continuous(table, f"{self.name}.truncate({limits})")

    def transform(self, factor: float, offset: float) -> Continuous:
        ratio, step = finite("factor", factor), finite("offset", offset)
        if ratio == 0.0:
            raise ValueError("factor = 0 leaves no density: give a non-zero factor")
        table = np.array(self.table)
        limits = self.table[:, [LOW, HIGH]] * ratio + step
        table[:, COEFFICIENT] /= abs(ratio)
        table[:, LOCATION] = self.table[:, LOCATION] * ratio + step
        table[:, SCALE] *= abs(ratio)
        table[:, LOW], table[:, HIGH] = limits.min(axis=1), limits.max(axis=1)
        name = self.name + (f".scaled({ratio!r})" if ratio != 1.0 else "") + (f".shifted({step!r})" if step else "")
        return Continuous(table, name)

    def rounding(self, levels: Array, scale: float) -> float:
        return float(cells.rounding(self.table, levels, scale))

    def clipping(self, levels: Array, scale: float) -> float:
        return float(cells.clipping(self.table, levels, scale))

    def slope(self, levels: Array, scale: float) -> float:
        return float(cells.slope(self.table, levels, scale))

    def probabilities(self, levels: Array, scale: float) -> Array:
        out = np.empty(levels.size)
        cells.probabilities(self.table, levels, scale, out)
        return out

    def survivors(self, threshold: float) -> Continuous:
        left, right = np.array(self.table), np.array(self.table)
        left[:, HIGH] = np.minimum(left[:, HIGH], -threshold)
        right[:, LOW] = np.maximum(right[:, LOW], threshold)
        table = np.concatenate([left, right])
        return Continuous(table[table[:, LOW] < table[:, HIGH]], f"{self.name}.survivors({threshold!r})")

    def pruned_power(self, threshold: float, sparsity: float) -> float:
        return float(kernels.moment(self.table, 0.0, 0.0, 2, -threshold, threshold))

    def ranked_power(self, lost: int, group: int) -> float:
        return ranked_power(self.table, lost, group)

    def entropy(self) -> float:
        return entropy(self.table)
