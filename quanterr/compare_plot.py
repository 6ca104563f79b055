"""The figure of `compare`: decibels left on the table, heuristic by heuristic."""

from __future__ import annotations

import math

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .compare import Comparison, Trial, order
from .contestants import Method
from .plots import COLOURS, MARKERS, STYLE

FACES = {True: "chunks: below the exact optimum", False: "whole layers: below a proven limit"}


def left_on_the_table(comparison: Comparison) -> Figure:
    """One panel for each of quantisation and pruning × chunks and whole layers; a mark a layer, the mean over the bits.

    On chunks the distance is what the heuristic loses; on whole layers it is at most that, since the limit is itself
    a bound: only differences between heuristics are theirs.
    """
    layers = list(dict.fromkeys(t.layer for t in comparison.trials))
    kinds = [exact for exact in FACES if any(t.exact is exact for t in comparison.trials)]
    methods = [m for m in Method if any(t.method == m for t in comparison.trials)]
    lines = [len({t.heuristic for t in comparison.trials if t.method == m}) for m in methods]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.6 * len(kinds) + 1.2, 0.27 * sum(lines) + 1.9), layout="constrained")
        axes = figure.subplots(len(methods), len(kinds), squeeze=False, height_ratios=lines)
        for row, method in zip(axes, methods, strict=True):
            names = order([t for t in comparison.trials if t.method == method])
            for panel, exact in zip(row, kinds, strict=True):
                _panel(panel, [t for t in comparison.trials if t.method == method and t.exact is exact], names, layers)
                panel.set_title(f"{'quantisation' if method is Method.QUANTIZATION else 'pruning'}, {FACES[exact]}")
            for panel in row[1:]:
                panel.tick_params(labelleft=False)
        handles = [
            mpl.lines.Line2D([], [], color=COLOURS[i % 8], marker=MARKERS[i % 8], ls="", label=name)
            for i, name in enumerate(layers)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(3, len(layers)), frameon=False)
        if comparison.title:
            figure.suptitle(comparison.title, fontsize=11)
    return figure


def _panel(axes: Axes, trials: list[Trial], names: list[str], layers: list[str]) -> None:
    for i, layer in enumerate(layers):
        for y, name in enumerate(names):
            values = [t.left_db for t in trials if t.layer == layer and t.heuristic == name]
            if values and all(map(math.isfinite, values)):
                axes.plot(
                    float(np.mean(values)), y + 0.5 * (i / max(len(layers) - 1, 1) - 0.5), MARKERS[i % 8],
                    color=COLOURS[i % 8], ms=4.5, mew=0.4, mec="white", clip_on=False,
                )  # fmt: skip
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xscale("symlog", linthresh=0.1, linscale=0.4)
    axes.set_xlim(left=-0.005)
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda v, _: f"{v:g}"))
    axes.set_xlabel("dB left on the table")
