"""The figure of `stability`: every comparison on all inputs, in each split, and the interval for other inputs."""

from __future__ import annotations

import math
import textwrap

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..results.spread import Spread, Stability
from .style import COLOURS, STYLE

ON_ALL, HELD_OUT = "0.1", COLOURS[1]
SPLIT = COLOURS[0]


def draw(stability: Stability) -> Figure:
    """One line a chunk, one panel a bit-width; right of zero quantisation is better, left of it pruning.

    The bar is the interval, the diamond all inputs, circles the splits, crosses their weights on the others.
    """
    bits = sorted({spread.bits for spread in stability.spreads})
    places = list(dict.fromkeys((spread.layer, spread.chunk) for spread in stability.spreads))
    chunks = {layer: sum(place[0] == layer for place in places) for layer, _ in places}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.1 * len(bits) + 2.2, 0.26 * len(places) + 2.0), layout="constrained")
        axes = figure.subplots(1, len(bits), squeeze=False, sharey=True)[0]
        for panel, width in zip(axes, bits, strict=True):
            mine = {(s.layer, s.chunk): s for s in stability.spreads if s.bits == width}
            for y, place in enumerate(places):
                if place in mine:
                    _line(panel, y, mine[place])
            panel.axvline(0, color="0.4", lw=0.9, zorder=1)
            panel.set_title(f"{width} bits · {100 - 6.25 * width:g} % pruned")
            panel.grid(visible=False, axis="y")
            panel.margins(x=0.04)
            panel.set_xlabel("← pruning better · dB · quantisation better →")
            panel.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda v, _: f"{v:g}".replace("-", "−")))
        names = [layer if chunks[layer] == 1 else f"{layer} · {chunk}" for layer, chunk in places]
        axes[0].set_yticks(range(len(places)), names)
        axes[0].set_ylim(len(places) - 0.5, -0.5)
        for panel in axes:
            panel.tick_params(length=0, axis="y")
        handles = [
            Line2D([], [], color="0.75", lw=6, label=f"other inputs, {100 * stability.level:g} % interval (estimate)"),
            Line2D([], [], color=ON_ALL, marker="D", ls="", ms=5, label="all inputs"),
            Line2D(
                [], [], color=SPLIT, marker="o", ls="", ms=5, mfc="none", label=f"each of {stability.splits} splits"
            ),
            Line2D([], [], color=HELD_OUT, marker="x", ls="", ms=5, label="weights of a split on the others"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
        if stability.title:
            figure.suptitle(textwrap.fill(stability.title, 45 * len(bits)), fontsize=11)
    return figure


def _line(axes: Axes, y: int, spread: Spread) -> None:
    low, high = spread.low_db, spread.high_db
    if low is not None and high is not None and math.isfinite(low) and math.isfinite(high):
        axes.plot([low, high], [y, y], color="0.75", lw=6, solid_capstyle="butt", zorder=2)
    marks = ((spread.held_out_db, "x", HELD_OUT, 4.2), (spread.split_db, "o", SPLIT, 4.6))
    for values, marker, colour, size in marks:
        known = [value for value in values if value is not None and math.isfinite(value)]
        axes.plot(known, [y] * len(known), marker, color=colour, ms=size, mew=1.0, mfc="none", zorder=3)
    if spread.advantage_db is not None and math.isfinite(spread.advantage_db):
        axes.plot(spread.advantage_db, y, "D", color=ON_ALL, ms=4, mec="white", mew=0.5, zorder=4)
