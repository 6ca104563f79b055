"""What a sample of inputs says about inputs that nobody has seen: everything here is an estimate, and seeded.

Two sides share a Gram matrix, so the advantage of one over the other is a ratio of sums over the parts of the inputs,
10 log₁₀(Σ pruning_f / Σ quantization_f) with the errors of each part f in it. Parts are drawn with replacement, both
sides together. The weights of both sides are held as they are: an optimum over a feasible set is the least of functions
that are linear in the Gram matrix, so to first order it moves as the error of the point that attains it (Danskin's
theorem); what solving anew would change is measured by `python -m benchmarks stability`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from bounds.gram import Array

#: Fewer parts than this say nothing about the spread between parts.
FEWEST = 4


def advantage(quantization: float, pruning: float) -> float | None:
    """Decibels by which quantisation is ahead of pruning, from the errors of both; None where both are zero."""
    if quantization == 0 or pruning == 0:
        return None if quantization == pruning else math.copysign(math.inf, pruning - quantization)
    return 10 * math.log10(pruning / quantization)


@dataclass(frozen=True, eq=False)
class Resamples:
    """`draws` (resamples, parts): how often each part is drawn, each row adding up to the number of parts."""

    draws: NDArray[np.int64]
    level: float

    @classmethod
    def draw(cls, parts: int, count: int, level: float, seed: int) -> Resamples:
        """The same for the same arguments."""
        return cls(np.random.default_rng(seed).multinomial(parts, np.full(parts, 1 / parts), size=count), level)

    def deviations(self, quantization: Array, pruning: Array) -> Array:
        """How far the advantage of each resample is from that of all parts, in dB; resamples of nothing are left out.

        Parameters
        ----------
        quantization, pruning : (parts,) errors in each part, both above zero in total
        """
        whole = 10 * np.log10(pruning.sum() / quantization.sum())
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn = 10 * np.log10((self.draws @ pruning) / (self.draws @ quantization))
        deviations: Array = (drawn - whole)[~np.isnan(drawn)]
        return deviations

    def reach(self, deviations: Array) -> tuple[float, float]:
        """How far below and above the interval reaches, (≤ 0, ≥ 0) mostly.

        Percentiles, taken further out because the spread of few parts is drawn from those parts themselves: at
        `Φ(−√(n/(n−1)) t)` with Student's t of n − 1 degrees of freedom (the expanded percentile interval: Hesterberg,
        *What Teachers Should Know About the Bootstrap*, The American Statistician 69, 2015).
        """
        parts = self.draws.shape[1]
        t = float(stdtrit(parts - 1, (1 - self.level) / 2))
        outside = float(ndtr(math.sqrt(parts / (parts - 1)) * t))
        # an order statistic, never a mean of two: a resample in which one side errs nowhere is infinitely far out
        low, high = np.quantile(deviations, [outside, 1 - outside], method="nearest")
        return float(low), float(high)

    def turned(self, deviations: Array, margin: float) -> float:
        """Chance that as many other inputs turn a margin (> 0, in dB, deviations counted the same way).

        Other inputs deviate from the truth as much as these do: the difference of two resamples, widened by √(n/(n−1)).
        """
        parts = self.draws.shape[1]
        with np.errstate(invalid="ignore"):
            apart = math.sqrt(parts / (parts - 1)) * (deviations - np.roll(deviations, 1))
            return float(np.mean(margin + apart < 0))


def bias(whole: float, splits: Sequence[float | None]) -> float | None:
    """How far the advantage on all inputs is above that on very many, from what it is in disjoint splits.

    A sample is fitted by the optimum. To first order that fades as 1/inputs; on real layers with few inputs it fades
    more slowly, so 1/√inputs is taken, like the spread: the mean over k splits exceeds the whole by √k − 1 times the
    bias.
    """
    if any(split is None or not math.isfinite(split) for split in splits):
        return None
    known = [split for split in splits if split is not None]
    return (fmean(known) - whole) / (math.sqrt(len(known)) - 1)


def needed(inputs: int, margin: float, reach: float) -> int:
    """Inputs at which the interval would just exclude zero, if it shrinks as 1/√inputs; at least `FEWEST`."""
    return max(FEWEST, math.ceil(inputs * (reach / margin) ** 2))
