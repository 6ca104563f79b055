"""The weights themselves as a distribution."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import betainc

from .base import Distribution
from .checks import count, finite, fraction, positive
from .kernels import Array


class Empirical(Distribution):
    """Every value with the same probability; all results are plain float64 means over the values.

    Parameters
    ----------
    values : array of any shape
        A weight tensor; flattened and copied to float64.

    Raises
    ------
    ValueError
        No values, or a value that is NaN or infinite.
    """

    def __init__(self, values: Any) -> None:
        array = np.array(values, dtype=np.float64).ravel()
        if array.size == 0:
            raise ValueError("Empirical(values) got no values: give at least one weight")
        if not np.isfinite(array).all():
            bad = int(np.flatnonzero(~np.isfinite(array))[0])
            raise ValueError(f"values[{bad}] (flattened) is {array[bad]}: repair or drop it")
        self.values: Array = array
        self.values.setflags(write=False)
        self._total = array.size

    @classmethod
    def _part(cls, values: Array, total: int) -> Empirical:
        """Some of the values, each still with probability `1 / total`."""
        part = cls.__new__(cls)
        part.values, part._total = values, total
        return part

    def __repr__(self) -> str:
        return f"Empirical({self.values.size} values)"

    def _mean(self, terms: Array) -> float:
        return float(np.sum(terms) / self._total)

    @cached_property
    def _sorted(self) -> Array:
        return np.sort(self.values)

    @cached_property
    def _magnitudes(self) -> Array:
        return np.sort(np.abs(self.values))

    @property
    def support(self) -> tuple[float, float]:
        return float(self.values.min()), float(self.values.max())

    def pdf(self, w: Any) -> Array:
        raise ValueError("Empirical has no density: fit a family, or use its cdf")

    def moment(self, k: int, a: Any = -np.inf, b: Any = np.inf, *, about: Any = 0.0) -> Array:
        """Mean of `(value − about)ᵏ` over `a ≤ value ≤ b`, counting the others as zero."""
        count("k", k, 0, "give the order of the moment, 0, 1, 2, …")
        start, stop, center = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (a, b, about)))
        out = np.empty(start.size)
        for i, (first, last, middle) in enumerate(zip(start.flat, stop.flat, center.flat, strict=True)):
            chosen = self.values[(self.values >= first) & (self.values <= last)]
            out[i] = self._mean((chosen - middle) ** k)
        return out.reshape(start.shape)

    def sf(self, w: Any) -> Array:
        return 1.0 - self.cdf(w)

    def ppf(self, probability: Any) -> Array:
        return np.asarray(np.quantile(self.values, fraction("probability", probability), method="inverted_cdf"))

    def pruned_count(self, sparsity: Any) -> Any:
        """How many values are pruned: all but `floor((1 − sparsity) · values)`, so that the budget is kept."""
        kept = np.floor((1.0 - fraction("sparsity", sparsity)) * self.values.size + 1e-9)
        return (self.values.size - kept).astype(np.intp)

    def magnitude_quantile(self, sparsity: Any) -> Array:
        """The largest pruned magnitude (0 where nothing is pruned)."""
        pruned = self.pruned_count(sparsity)
        return np.asarray(np.where(pruned > 0, self._magnitudes[np.maximum(pruned - 1, 0)], 0.0))

    def sample(self, n: int, rng: np.random.Generator | int | None = None) -> Array:
        number = count("n", n, 0, "give the number of draws")
        return np.asarray(np.random.default_rng(rng).choice(self.values, size=number))

    def truncate(self, low: float, high: float | None = None) -> Empirical:
        if high is None:
            positive("r", low, "truncate(r) keeps ±r; for other limits give truncate(low, high)")
        first, last = (-float(low), float(low)) if high is None else (float(low), float(high))
        chosen = self.values[(self.values >= first) & (self.values <= last)]
        if chosen.size == 0:
            raise ValueError(f"no value lies in [{first}, {last}]: choose wider limits")
        return Empirical(chosen)

    def transform(self, factor: float, offset: float) -> Empirical:
        return Empirical(self.values * finite("factor", factor) + finite("offset", offset))

    def _codes(self, levels: Array, scale: float) -> Any:
        """Index of the nearest level of each value."""
        middles = 0.5 * (levels[1:] + levels[:-1])
        return np.searchsorted(middles, self.values / scale)

    def _error(self, levels: Array, scale: float, clipped: bool) -> float:
        outside = (self.values < scale * levels[0]) | (self.values > scale * levels[-1])
        errors = np.square(self.values - scale * levels[self._codes(levels, scale)])
        return self._mean(errors[outside] if clipped else errors[~outside])

    def rounding(self, levels: Array, scale: float) -> float:
        return self._error(levels, scale, clipped=False)

    def clipping(self, levels: Array, scale: float) -> float:
        return self._error(levels, scale, clipped=True)

    def slope(self, levels: Array, scale: float) -> float:
        chosen = levels[self._codes(levels, scale)]
        return self._mean(2.0 * chosen * (scale * chosen - self.values))

    def probabilities(self, levels: Array, scale: float) -> Array:
        return np.bincount(self._codes(levels, scale), minlength=levels.size) / self._total

    def survivors(self, threshold: float) -> Empirical:
        """Values above the threshold in magnitude; ties with it count as pruned."""
        return Empirical._part(self.values[np.abs(self.values) > threshold], self._total)

    def pruned_power(self, threshold: float, sparsity: float) -> float:
        pruned = int(self.pruned_count(sparsity))
        return self._mean(np.square(np.partition(np.abs(self.values), max(pruned - 1, 0))[:pruned]))

    def ranked_power(self, lost: int, group: int) -> float:
        """Exact for draws with replacement: the order statistics of magnitudes are Beta distributed in rank."""
        rank = np.arange(self.values.size + 1) / self.values.size
        share = np.zeros(rank.size)
        for j in range(1, lost + 1):
            share += betainc(j, group - j + 1, rank)
        return float(np.sum(np.diff(share) * np.square(self._magnitudes))) / group

    def entropy(self) -> float:
        raise ValueError("Empirical has no differential entropy: fit a family with a density first")
