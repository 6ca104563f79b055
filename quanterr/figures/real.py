"""Figure 3 and table 2: the theory beside measured tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ..distributions import Gaussian, Laplace
from ..distributions.kernels import Array
from ..expected import optimal_scale, zero_fraction
from ..grids import IntegerGrid
from ..plots import COLOURS, MARKERS, STYLE
from ..scan.rule import agreement, break_even_range
from .points import Points
from .theory import PREFERENCE, draw_break_even, truncated_student

if TYPE_CHECKING:
    import pandas as pd

KURTOSES = np.geomspace(1.5, 1000.0, 400)
LEAST_TENSORS = 3.0
#: Table 2 as printed, per cent.
PRINTED = {8: 13, 7: 16, 6: 20, 5: 27, 4: 35, 3: 46, 2: 59}


def preference_share(points: Points) -> dict[int, float]:
    """Share of the compared tensors for which quantisation has the higher SNR, by bit-width."""
    better = points.quant_snr_db > points.prune_snr_db
    return {b: float(better[points.compared & (points.bits == b)].mean()) for b in points.widths}


def density_ratio(kurtosis: Array, pruning_better: Array, at: Array) -> tuple[Array, Array]:
    """How likely pruning is better, given the kurtosis, by kernel estimates.

    The density of tensors for which pruning is better, divided by that of all tensors, both with one Gaussian kernel
    over log kurtosis whose width is Silverman's for all tensors.

    Parameters
    ----------
    kurtosis, pruning_better : (tensors,)
    at : (points,) kurtosis to estimate at

    Returns
    -------
    share : (points,) from 0 to 1; above ½ pruning is preferable
    tensors : (points,) how many tensors the estimate rests on (a tensor at the point itself counts 1)
    """
    x, place = np.log(kurtosis), np.log(at)
    quartiles = np.percentile(x, [25, 75])
    spread = min(float(x.std()), float(np.diff(quartiles)[0]) / 1.34) or 0.1
    width = 0.9 * spread * x.size**-0.2
    kernel = np.exp(-0.5 * np.square((place[:, None] - x) / width))
    total = kernel.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return kernel @ pruning_better.astype(np.float64) / total, total


def figure_3_left(points: Points) -> Figure:
    """Quantisation SNR over pruning SNR of every tensor; above the diagonal quantisation is better."""
    share = preference_share(points)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 4.9), layout="constrained")
        axes = figure.subplots()
        number = int(points.compared.sum())
        few = number < 2000
        for i, width in enumerate(points.widths):
            chosen = points.compared & (points.bits == width)
            axes.plot(
                points.prune_snr_db[chosen], points.quant_snr_db[chosen], MARKERS[i % 8], color=COLOURS[i % 8],
                ms=4.0 if few else 2.0, mew=0.3 if few else 0.0, mec="white", alpha=0.8 if few else 0.45,
                rasterized=True, label=f"{width} bits: {share[width]:.1%}",
            )  # fmt: skip
        both = np.concatenate([points.quant_snr_db[points.compared], points.prune_snr_db[points.compared]])
        high = float(np.percentile(both, 99.9)) + 2.0
        axes.axline((0.0, 0.0), slope=1.0, color="0.2", lw=1.0, ls="--")
        axes.set(xlim=(0.0, high), ylim=(0.0, high), aspect="equal", xlabel="pruning SNR (dB)")
        axes.set_ylabel("quantisation SNR (dB)")
        axes.set_title(f"{number:,} tensors × bit-widths ({points.title})", fontsize=9)
        legend = axes.legend(
            fontsize=7.5,
            loc="lower right",
            title="quantisation better for",
            title_fontsize=7.5,
            markerscale=1.0 if few else 2.5,
        )
        for handle in filter(None, legend.legend_handles):
            handle.set_alpha(1.0)
    return figure


def figure_3_right(points: Points) -> Figure:
    """How likely pruning is better at each kurtosis and bit-width, with the closed-form break-even drawn on top."""
    widths = points.widths
    rows = np.full((len(widths), KURTOSES.size), np.nan)
    right = []
    for i, width in enumerate(widths):
        chosen = points.placed & (points.bits == width)
        better = points.prune_snr_db[chosen] > points.quant_snr_db[chosen]
        share, tensors = density_ratio(points.kurtosis[chosen], better, KURTOSES)
        rows[i] = np.where(tensors >= LEAST_TENSORS, share, np.nan)
        names = np.where(better, "pruning", "quantization")
        right.append(agreement(zip(points.kurtosis[chosen], [width] * better.size, names, strict=True)))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.6, 4.3), layout="constrained")
        axes = figure.subplots()
        axes.set_facecolor("0.88")
        edges = np.arange(len(widths) + 1) - 0.5
        shown = axes.pcolormesh(
            KURTOSES, edges, rows[:, :-1], cmap=PREFERENCE.reversed(), norm=Normalize(0.0, 1.0), rasterized=True
        )
        bar = figure.colorbar(shown, ax=axes, pad=0.03, label="density of tensors better pruned / of all tensors")
        bar.ax.axhline(0.5, color="black", lw=1.0)
        _crossings(axes, rows)
        draw_break_even(axes, widths, KURTOSES[0], KURTOSES[-1], digits=1)
        axes.set(xscale="log", xlim=(KURTOSES[0], KURTOSES[-1]), xlabel="sample kurtosis", ylabel="bits")
        axes.set_yticks(range(len(widths)), [str(b) for b in widths])
        beside = axes.secondary_yaxis("right")
        beside.set_yticks(range(len(widths)), [f"{r:.0%}" for r in right], fontsize=7.5)
        beside.set_ylabel("break-even names the winner", fontsize=7.5)
        axes.grid(False)
        axes.set_title(f"Where each is preferable ({points.title})", fontsize=9)
        handles = [
            mpl.lines.Line2D([], [], color="black", lw=2.0, label="closed form, t with ν = 2"),
            mpl.lines.Line2D(
                [],
                [],
                color="black",
                ls="",
                marker="D",
                mfc="white",
                ms=4.5,
                label="measured: as often one as the other",
            ),
            mpl.patches.Patch(color="0.88", label=f"fewer than {LEAST_TENSORS:g} tensors"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=7, frameon=False)
    return figure


def _crossings(axes: Any, rows: Array) -> None:
    """A diamond where the estimate crosses ½."""
    for i, row in enumerate(rows):
        over = row - 0.5
        at = np.flatnonzero(over[1:] * over[:-1] < 0.0)
        axes.plot(
            np.sqrt(KURTOSES[at] * KURTOSES[at + 1]),
            np.full(at.size, i - 0.22),
            "D",
            color="black",
            mfc="white",
            ms=4.5,
        )


def natural_sparsity(
    points: Points | None = None, scanned: Points | None = None, bits: Sequence[int] = tuple(PRINTED)
) -> pd.DataFrame:
    """Table 2: per cent of weights that quantisation rounds to zero, one row a bit-width.

    Columns: `bits`; `paper (printed)`; the mean over `points` and `scanned`, by their titles; and the closed form for a
    Gaussian, a Laplace and a Student-t (ν = 2) truncated where kurtosis is 10.
    """
    import pandas as pd

    heavy = truncated_student(12.3)
    families = {"Gaussian": Gaussian(), "Laplace": Laplace(), f"t, ν = 2, kurtosis {heavy.kurtosis():.1f}": heavy}
    rows = []
    for width in bits:
        grid = IntegerGrid(width)
        row: dict[str, float] = {"bits": width, "paper (printed)": PRINTED.get(width, float("nan"))}
        for some in (points, scanned):
            if some is not None:
                chosen = some.quant_zero_fraction[some.bits == width]
                row[some.title] = 100.0 * float(chosen.mean()) if chosen.size else float("nan")
        for name, dist in families.items():
            row[name] = 100.0 * float(zero_fraction(dist, grid, optimal_scale(dist, grid)))
        rows.append(row)
    return pd.DataFrame(rows).astype({"bits": int})


def natural_sparsity_figure(table: pd.DataFrame) -> Figure:
    """The table of `natural_sparsity` as lines."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.4, 3.7), layout="constrained")
        axes = figure.subplots()
        for i, name in enumerate(table.columns[1:]):
            closed = name.startswith(("Gaussian", "Laplace", "t, "))
            axes.plot(
                table["bits"], table[name], color=COLOURS[i % 8], marker=MARKERS[i % 8], ms=5, lw=1.4,
                ls="--" if closed else "-", label=name + (" (closed form)" if closed else ""),
            )  # fmt: skip
        axes.set(xlabel="bits", ylabel="weights rounded to zero (%)", ylim=(0.0, None))
        axes.set_title("Natural sparsity of quantised tensors")
        axes.legend(frameon=False, fontsize=7.5)
    return figure


def break_even_table(bits: Sequence[int]) -> pd.DataFrame:
    """Break-even kurtosis, truncation range and SNR (dB) at each bit-width."""
    import pandas as pd

    found = [break_even_range(b) for b in bits]
    return pd.DataFrame(
        {
            "bits": list(bits),
            "kurtosis": [f.kurtosis for f in found],
            "range": [f.parameter for f in found],
            "snr_db": [f.snr for f in found],
        }
    )
