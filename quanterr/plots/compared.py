"""The figure of `compare`: decibels left on the table, heuristic by heuristic."""

from __future__ import annotations

import math
import textwrap

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..compare import Comparison, Trial, behind, order
from ..contestants import Method
from .style import COLOURS, MARKERS, STYLE

#: Title of a column, name of its line of zero or of the limit, label of its axis; by `Trial.exact`.
FACES = {
    True: ("chunks beside the exact optimum", "optimum", "dB below the optimum"),
    False: ("whole layers beside a proven limit", "proven limit", "dB below the best of them; left: above it"),
}
NAMES = {Method.QUANTIZATION: "quantisation", Method.PRUNING: "pruning"}
#: The axis is linear up to so many dB, logarithmic beyond.
LINEAR = {True: 0.01, False: 0.1}


def left_on_the_table(comparison: Comparison) -> Figure:
    """One panel for each of quantisation and pruning × chunks and whole layers; a mark a layer, the mean over the bits.

    On chunks the distance is what the heuristic loses. On whole layers it is the distance to the best heuristic of all,
    and the hollow marks of the top line say how far above that one the proven limit is: at most so much is lost by it.
    """
    trials = comparison.trials
    layers = list(dict.fromkeys(t.layer for t in trials))
    kinds = [exact for exact in FACES if any(t.exact is exact for t in trials)]
    methods = [m for m in Method if any(t.method == m for t in trials)]
    names = {m: order(t for t in trials if t.method == m) for m in methods}
    with mpl.rc_context(STYLE):
        heights = [len(names[m]) + 1 for m in methods]
        figure = Figure(figsize=(4.4 * len(kinds) + 1.4, 0.27 * sum(heights) + 2.1), layout="constrained")
        axes = figure.subplots(len(methods), len(kinds), squeeze=False, height_ratios=heights, sharex="col")
        for row, method in zip(axes, methods, strict=True):
            for panel, exact in zip(row, kinds, strict=True):
                found = [t for t in trials if t.method == method and t.exact is exact]
                _panel(panel, found, names[method], layers, exact)
                panel.set_title(f"{NAMES[method]}: {FACES[exact][0]}")
        for panel, exact in zip(axes[-1], kinds, strict=True):
            panel.set_xlabel(FACES[exact][2])
        handles = [
            mpl.lines.Line2D([], [], color=COLOURS[i % 8], marker=MARKERS[i % 8], ls="", label=name)
            for i, name in enumerate(layers)
        ]
        handles.append(mpl.lines.Line2D([], [], color="0.25", marker="|", ms=10, mew=1.2, ls="", label="mean"))
        figure.legend(handles=handles, loc="outside lower center", ncols=min(3, len(handles)), frameon=False)
        if comparison.title:
            figure.suptitle(textwrap.fill(comparison.title, 45 * len(kinds)), fontsize=11)
    return figure


def _panel(axes: Axes, trials: list[Trial], names: list[str], layers: list[str], exact: bool) -> None:
    """The best heuristic on top, below the line of what is proven."""
    below: dict[tuple[str, str], list[float]] = {}
    for trial, distance in zip(trials, behind(trials), strict=True):
        below.setdefault((trial.layer, trial.heuristic), []).append(trial.left_db if exact else distance)
        if distance == 0 and not exact:
            below.setdefault((trial.layer, ""), []).append(-trial.left_db)
    axes.axvline(0, color="0.4", lw=0.9, zorder=1)
    for y, name in enumerate([*names, ""]):
        if y % 2 == 0:
            axes.axhspan(y - 0.5, y + 0.5, color="0.955", lw=0, zorder=0)
        drawn = []
        for i, layer in enumerate(layers):
            values = below.get((layer, name), [math.nan])
            mean = sum(values) / len(values)
            if math.isfinite(mean):
                drawn.append(mean)
                axes.plot(
                    mean, y - 0.56 * (i / max(len(layers) - 1, 1) - 0.5), MARKERS[i % 8], color=COLOURS[i % 8], ms=4.6,
                    mfc=COLOURS[i % 8] if name else "white", mec="white" if name else COLOURS[i % 8],
                    mew=0.4 if name else 1.1, clip_on=False, zorder=3,
                )  # fmt: skip
        if drawn and name:
            axes.plot(sum(drawn) / len(drawn), y, "|", color="0.25", ms=13, mew=1.2, zorder=2)
    axes.set_yticks(range(len(names) + 1), [*names, FACES[exact][1]])
    axes.set_ylim(-0.5, len(names) + 0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xscale("symlog", linthresh=LINEAR[exact], linscale=0.4)
    axes.margins(x=0.04)
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda v, _: f"{v:g}".replace("-", "−")))
    axes.tick_params(length=0, axis="y")
