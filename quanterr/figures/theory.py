"""Figures 1, 2 and 5 from closed forms alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from ..distributions import Distribution, Gaussian, StudentT
from ..distributions.kernels import Array
from ..expected import (
    decibels,
    matching_sparsity,
    optimal_scale,
    pruning_error,
    pruning_snr,
    pruning_threshold,
    quantization_error,
    quantization_snr,
    snr_limit,
)
from ..grids import IntegerGrid
from ..plots import COLOURS, MARKERS, STYLE
from ..scan.rule import break_even_range

QUANTIZED, PRUNED = COLOURS[0], COLOURS[1]
BITS = (2, 3, 4, 5, 6, 7, 8)
RANGES = np.geomspace(2.0, 400.0, 200)
FREEDOM = 2.0
HALO = withStroke(linewidth=2.0, foreground="white")
#: Vermilion where pruning is better, blue where quantisation is; white where it does not matter.
PREFERENCE = LinearSegmentedColormap.from_list("preference", [PRUNED, "white", QUANTIZED])


def figure_1(dist: Distribution | None = None, bits: int = 4) -> Figure:
    """Quantisation to `bits` against pruning at equal storage, in three panels.

    Left the distributions afterwards, in the middle the squared error weighted by probability (the area is the mean
    squared error), right the SNR at every bit-width with the limit that no code exceeds.
    """
    weights = dist if dist is not None else Gaussian()
    grid = IntegerGrid(bits)
    sparsity = float(matching_sparsity(bits))
    scale = float(optimal_scale(weights, grid))
    threshold = float(pruning_threshold(weights, sparsity))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11.0, 3.5), layout="constrained")
        left, middle, right = figure.subplots(1, 3)
        _distributions(left, weights, grid, scale, threshold, sparsity)
        _weighted_errors(middle, weights, grid, scale, threshold, sparsity)
        _snr_by_bits(right, weights)
    return figure


def _line(dist: Distribution, grid: IntegerGrid, scale: float) -> Array:
    reach = 1.15 * scale * max(-grid.low, grid.high)
    low, high = dist.support
    return np.linspace(max(-reach, low), min(reach, high), 1201)


def _distributions(
    axes: Any, dist: Distribution, grid: IntegerGrid, scale: float, threshold: float, sparsity: float
) -> None:
    w = _line(dist, grid, scale)
    density = dist.pdf(w)
    bars = dist.probabilities(grid.levels, scale) / scale
    axes.bar(scale * grid.levels, bars, 0.82 * scale, color=QUANTIZED, alpha=0.55, label=f"{grid.bits}-bit codes")
    axes.fill_between(w, density, where=np.abs(w) > threshold, color=PRUNED, alpha=0.75, lw=0, label="kept by pruning")
    axes.plot(w, density, color="0.15", lw=1.2, label="weights")
    top = 1.45 * float(density.max())
    axes.annotate("", (0.0, top * 0.97), (0.0, 0.0), arrowprops={"arrowstyle": "-|>", "color": PRUNED, "lw": 2.2})
    axes.text(
        0.03 * (w[-1] - w[0]), top * 0.9, f"{100 * sparsity:g} % pruned to zero", color=PRUNED, fontsize=8, va="center"
    )
    axes.set(xlabel="weight (standard deviations)", ylabel="probability density", ylim=(0.0, top))
    axes.set_title(f"After {grid.bits}-bit quantisation and {100 * sparsity:g} % pruning")
    axes.legend(loc="upper left", fontsize=7, frameon=False)


def _weighted_errors(
    axes: Any, dist: Distribution, grid: IntegerGrid, scale: float, threshold: float, sparsity: float
) -> None:
    w = _line(dist, grid, scale)
    density = dist.pdf(w)
    rounded = scale * np.clip(np.rint(w / scale), grid.low, grid.high)
    power = dist.power()
    quantized, pruned = float(quantization_error(dist, grid, scale)), float(pruning_error(dist, sparsity))
    labels = [
        f"{name}: error {error:.3g}, {float(decibels(power, error)):.2f} dB"
        for name, error in (("quantisation", quantized), ("pruning", pruned))
    ]
    lost = np.where(np.abs(w) <= threshold, w * w * density, 0.0)
    axes.fill_between(w, lost, color=PRUNED, alpha=0.45, lw=0.8, edgecolor=PRUNED, label=labels[1])
    axes.fill_between(w, np.square(w - rounded) * density, color=QUANTIZED, alpha=0.9, lw=0.0, label=labels[0])
    axes.set(
        xlabel="weight (standard deviations)", ylabel="squared error × density", ylim=(0.0, 1.5 * float(lost.max()))
    )
    axes.set_title("Squared error weighted by probability")
    axes.legend(loc="upper center", fontsize=7.5, frameon=False)


def _snr_by_bits(axes: Any, dist: Distribution) -> None:
    bits = np.arange(1, 9)
    axes.plot(bits, snr_limit(dist, bits), ls=":", color="0.3", lw=1.4, label="limit of any code (rate–distortion)")
    quantized = quantization_snr(dist, [IntegerGrid(int(b)) for b in bits])
    axes.plot(bits, quantized, marker=MARKERS[0], color=QUANTIZED, ms=5, label="quantisation to b bits")
    axes.plot(
        bits,
        pruning_snr(dist, matching_sparsity(bits)),
        marker=MARKERS[1],
        color=PRUNED,
        ms=5,
        label="pruning to 1 − b/16",
    )
    axes.set(xlabel="bits a weight, b (share pruned)", ylabel="SNR (dB)", ylim=(0.0, None))
    axes.set_xticks(bits, [f"{b}\n{100 - 6.25 * b:.0f} %" for b in bits])
    axes.set_title("SNR at different compression")
    axes.legend(loc="upper left", fontsize=7.5, frameon=False)


def truncated_student(reach: float, freedom: float = FREEDOM) -> Distribution:
    """Student's t truncated to ±`reach`: the wider, the heavier its outliers (appendix B)."""
    return StudentT(freedom).truncate(reach)


@lru_cache
def _swept(bits: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """Kurtosis (ranges,), quantisation and pruning SNR (ranges, bits)."""
    dists = np.array([truncated_student(float(r)) for r in RANGES], dtype=object)
    grids = [IntegerGrid(b) for b in bits]
    kurtosis = np.array([d.kurtosis() for d in dists])
    return kurtosis, quantization_snr(dists[:, None], grids), pruning_snr(dists[:, None], matching_sparsity(bits))


def figure_2(bits: Sequence[int] = BITS) -> Figure:
    """Pruning, quantisation and which of them is better, over the kurtosis of a truncated Student-t (ν = 2).

    The numbers in the right panel are the break-even kurtosis at each bit-width, from `break_even_range`.
    """
    kurtosis, quantized, pruned = _swept(tuple(bits))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11.0, 3.7), layout="constrained")
        left, middle, right = figure.subplots(1, 3)
        for axes, snr, title in ((left, pruned, "Pruning"), (middle, quantized, "Quantisation")):
            for i, width in enumerate(bits):
                axes.plot(
                    kurtosis, snr[:, i], color=COLOURS[i % 8], marker=MARKERS[i % 8], markevery=(5 * i, 45), ms=4,
                    label=f"{width} bits" if snr is quantized else f"{100 - 6.25 * width:g} % pruned",
                )  # fmt: skip
            axes.set(xscale="log", xlabel="kurtosis", ylabel=f"{title.lower()} SNR (dB)", title=f"{title} SNR")
            axes.set_ylim(0.0, max(quantized.max(), pruned.max()) * 1.03)
        left.legend(fontsize=7, frameon=False, ncols=2, loc="upper left")
        middle.legend(fontsize=7, frameon=False, ncols=2, loc="upper right")
        _regions(figure, right, kurtosis, (quantized - pruned).T, bits)
    return figure


def _regions(figure: Figure, axes: Any, kurtosis: Array, margin: Array, bits: Sequence[int]) -> None:
    edges = np.arange(len(bits) + 1) - 0.5
    steps = np.sqrt(kurtosis[1:] * kurtosis[:-1])
    sides = np.concatenate([[kurtosis[0]], steps, [kurtosis[-1]]])
    shown = axes.pcolormesh(sides, edges, margin, cmap=PREFERENCE, norm=TwoSlopeNorm(0.0, -12.0, 12.0), rasterized=True)
    figure.colorbar(shown, ax=axes, label="quantisation − pruning (dB)", extend="both", pad=0.02)
    draw_break_even(axes, bits, kurtosis[0], kurtosis[-1])
    axes.set(xscale="log", xlabel="kurtosis", ylabel="bits", title="Which is better", xlim=(kurtosis[0], kurtosis[-1]))
    axes.set_yticks(range(len(bits)), [str(b) for b in bits])
    axes.grid(False)
    axes.text(0.03, 0.96, "quantisation", transform=axes.transAxes, va="top", fontsize=9, color="white", weight="bold")
    axes.text(0.97, 0.04, "pruning", transform=axes.transAxes, ha="right", fontsize=9, color="black", weight="bold")


def draw_break_even(axes: Any, bits: Sequence[int], low: float, high: float, digits: int = 3) -> None:
    """The closed-form break-even kurtosis as a vertical stroke in the row of each bit-width, with its value."""
    for row, width in enumerate(bits):
        value = break_even_range(width).kurtosis
        if low <= value <= high:
            axes.plot([value, value], [row - 0.5, row + 0.5], color="black", lw=2.0, solid_capstyle="butt")
            axes.annotate(
                f"{value:.{digits}f}",
                (value, row + 0.22),
                (-3, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=7,
                path_effects=[HALO],
            )


def figure_5(freedoms: Sequence[float] = (1.0, 2.0, 3.0, 5.0)) -> Figure:
    """Kurtosis of Student's t truncated to ±r, over r, with the ranges where pruning draws level for ν = 2."""
    reaches = np.geomspace(0.5, 1000.0, 200)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 3.9), layout="constrained")
        axes = figure.subplots()
        for i, freedom in enumerate(freedoms):
            kurtosis = [truncated_student(float(r), freedom).kurtosis() for r in reaches]
            axes.plot(
                reaches,
                kurtosis,
                color=COLOURS[i % 8],
                ls=("-", "--", "-.", ":")[i % 4],
                lw=1.6,
                label=f"ν = {freedom:g}",
            )
        for width in BITS:
            even = break_even_range(width)
            axes.plot(even.parameter, even.kurtosis, "o", color="black", ms=4, zorder=4)
            axes.annotate(
                f"{width} bits: {even.kurtosis:.1f}", (even.parameter, even.kurtosis), (-6, 3), fontsize=7,
                textcoords="offset points", ha="right",
            )  # fmt: skip
        axes.axhline(3.0, color="0.4", lw=0.8, ls=":")
        axes.text(0.52, 3.1, "Gaussian", fontsize=7, color="0.3", va="bottom")
        axes.set(xscale="log", yscale="log", xlabel="truncation range r (scale 1)", ylabel="kurtosis")
        axes.set_title("Kurtosis of a truncated Student-t; dots: pruning draws level")
        axes.legend(frameon=False, fontsize=8, loc="upper left")
    return figure
