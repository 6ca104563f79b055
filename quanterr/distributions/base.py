"""What every distribution of weights can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from .kernels import Array


class Distribution(ABC):
    """A distribution of weights: a family, a mixture, or the weights themselves.

    Final methods are built on the abstract ones; all of them accept arrays and broadcast. Errors and powers
    are in squared weight units.
    """

    # Abstract ----------------------------------------------------------------------------------

    @property
    @abstractmethod
    def support(self) -> tuple[float, float]:
        """The smallest interval that holds all weights (may be infinite)."""

    @abstractmethod
    def pdf(self, w: Any) -> Array:
        """Probability density at `w`."""

    @abstractmethod
    def moment(self, k: int, a: Any = -np.inf, b: Any = np.inf, *, about: Any = 0.0) -> Array:
        """Partial moment `∫ₐᵇ (w − about)ᵏ p(w) dw`; the paper's I(a, b, w₀), eq. (13), for `k = 2`.

        Infinite where the integral diverges to infinity.
        """

    @abstractmethod
    def ppf(self, probability: Any) -> Array:
        """Inverse of `cdf`."""

    @abstractmethod
    def magnitude_quantile(self, sparsity: Any) -> Array:
        """The threshold `t` with `P(|W| ≤ t) = sparsity`."""

    @abstractmethod
    def sample(self, n: int, rng: np.random.Generator | int | None = None) -> Array:
        """`n` independent draws, (n,). `rng`: a generator or a seed."""

    @abstractmethod
    def truncate(self, low: float, high: float | None = None) -> Distribution:
        """Condition on `low ≤ W ≤ high`; `truncate(r)` means `truncate(-r, r)`."""

    @abstractmethod
    def transform(self, factor: float, offset: float) -> Distribution:
        """The distribution of `factor · W + offset`."""

    @abstractmethod
    def rounding(self, levels: Array, scale: float) -> float:
        """Mean squared rounding error on `scale · levels` (eq. (10))."""

    @abstractmethod
    def clipping(self, levels: Array, scale: float) -> float:
        """Mean squared clipping error on `scale · levels` (eq. (11))."""

    @abstractmethod
    def slope(self, levels: Array, scale: float) -> float:
        """Derivative of `rounding + clipping` by the scale."""

    @abstractmethod
    def probabilities(self, levels: Array, scale: float) -> Array:
        """Probability of each level, (levels,)."""

    @abstractmethod
    def survivors(self, threshold: float) -> Distribution:
        """The measure restricted to `|w| > threshold`, *not* renormalised."""

    @abstractmethod
    def pruned_power(self, threshold: float, sparsity: float) -> float:
        """Mean squared error when the `sparsity` smallest magnitudes, those up to `threshold`, become zero."""

    @abstractmethod
    def ranked_power(self, lost: int, group: int) -> float:
        """Mean squared error a weight when `lost` of every `group` draws, the smallest magnitudes, become zero."""

    @abstractmethod
    def entropy(self) -> float:
        """Differential entropy in bits."""

    # Final -------------------------------------------------------------------------------------

    def scaled(self, factor: float) -> Distribution:
        """The distribution of `factor · W`."""
        return self.transform(factor, 0.0)

    def shifted(self, offset: float) -> Distribution:
        """The distribution of `W + offset`."""
        return self.transform(1.0, offset)

    def cdf(self, w: Any) -> Array:
        """`P(W ≤ w)`; accurate in relative terms in the lower tail."""
        return self.moment(0, -np.inf, w)

    def sf(self, w: Any) -> Array:
        """`P(W > w)`; accurate in relative terms in the upper tail."""
        return self.moment(0, w, np.inf)

    def power(self) -> float:
        """`E[W²]`, the numerator of every SNR; infinite for a Student-t with `df ≤ 2` that is not truncated."""
        return float(self.moment(2))

    def mean(self) -> float:
        """`E[W]`.

        Raises
        ------
        ValueError
            If the mean does not exist.
        """
        mean = float(self.moment(1))
        if not np.isfinite(mean):
            raise ValueError(f"{self!r} has no mean: truncate it, e.g. .truncate(100.0)")
        return mean

    def variance(self) -> float:
        """`E[(W − mean)²]`; may be infinite."""
        return float(self.moment(2, about=self.mean()))

    def kurtosis(self) -> float:
        """`E[(W − mean)⁴] / variance²` (3 for a Gaussian, not the excess); infinite if only that moment is.

        Raises
        ------
        ValueError
            If the variance is zero or infinite.
        """
        variance = self.variance()
        if not 0.0 < variance < np.inf:
            raise ValueError(
                f"{self!r} has variance {variance}, so no kurtosis: truncate it, e.g. .truncate(100.0), "
                "or give weights that differ"
            )
        return float(self.moment(4, about=self.mean())) / variance**2
