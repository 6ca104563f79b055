"""The figure of `certify`: quantisation against pruning."""

from __future__ import annotations

import math
import textwrap
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from ..contestants import Method
from ..results.report import SPELT, Duel, Report
from .style import COLOURS, MARKERS, STYLE

#: More layers than this are told apart in the table, not in a legend.
LEGEND_LAYERS = 12
#: Characters of a name that fit into the legend of an empty panel; inches that a longer one takes beside all panels.
PANEL_CHARACTERS, CHARACTER = 28, 0.075


def figure_4(report: Report) -> Figure:
    """Quantisation SNR against pruning SNR, one panel a bit-width (*Pruning vs Quantization*, figure 4).

    Each chunk is a rectangle from the achieved SNR to the limit on both axes, drawn as a point where both sides
    are exact; above the diagonal the one on the vertical axis is better. Contestants that were named get one panel for
    every two of them, others at equal storage one beside those of the two methods.
    """
    panels: dict[tuple[int | None, str, str], list[Duel]] = {}
    for duel in report.pairs():
        panels.setdefault((duel.first.bits, duel.first.method, duel.second.method), []).append(duel)
    places = sorted(panels, key=lambda place: place[0] or 0)
    layers = list(dict.fromkeys(r.layer for r in report.records))
    one_pair = {place[1:] for place in places} == {(Method.QUANTIZATION.value, Method.PRUNING.value)}
    across = max(1, min(4, len(places)))
    down = max(1, math.ceil(len(places) / across))
    longest = max(map(len, layers), default=0)
    inside = len(places) < across * down and longest <= PANEL_CHARACTERS
    beside = 0.0 if inside or len(layers) > LEGEND_LAYERS else 0.4 + CHARACTER * longest
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.7 * across + 0.4 + beside, 2.75 * down + 0.9), layout="constrained")
        axes = figure.subplots(down, across, squeeze=False).ravel()
        for panel, place in zip(axes, places, strict=False):
            bits, *names = place
            first, second = (SPELT.get(name, name) for name in names)
            _panel(panel, panels[place], layers, (first, second))
            if one_pair and bits is not None:
                panel.set_title(f"{bits} bits · {100 - 6.25 * bits:g} % pruned")
                continue
            panel.set_title(f"{first} · {second}" if bits is None else f"{bits} bits: {first} · {second}", fontsize=8)
            panel.set_xlabel(second, fontsize=8)
            panel.set_ylabel(first, fontsize=8)
        for panel in axes[len(places) :]:
            panel.set_axis_off()
        handles = [
            mpl.lines.Line2D([], [], color=COLOURS[i % 8], marker=MARKERS[i % 8], ls="", label=name)
            for i, name in enumerate(layers)
        ]
        if len(layers) > LEGEND_LAYERS:
            figure.text(0.99, 0.01, f"{len(layers)} layers", ha="right", color="0.35")
        elif inside:
            axes[-1].legend(handles=handles, loc="center", frameon=False)
        else:
            figure.legend(handles=handles, loc="outside right center", frameon=False)
        figure.supxlabel("pruning SNR (dB)" if one_pair else "SNR (dB)", fontsize=10)
        figure.supylabel("quantisation SNR (dB)" if one_pair else "SNR (dB)", fontsize=10)
        if report.title:
            figure.suptitle(textwrap.fill(report.title, 36 * across), fontsize=11)
    return figure


def _panel(axes: mpl.axes.Axes, duels: list[Duel], layers: list[str], names: tuple[str, str]) -> None:
    """The first contestant upwards, the second one to the right."""
    ends: list[float] = []
    for duel in duels:
        q, p = duel.first, duel.second
        layer = q.layer
        corners = (p.snr_db, q.snr_db, p.snr_limit_db, q.snr_limit_db)
        if not all(map(math.isfinite, corners)):
            continue
        ends += corners
        i = layers.index(layer) % 8
        if q.open_rows or p.open_rows:
            size = (corners[2] - corners[0], corners[3] - corners[1])
            axes.add_patch(Rectangle(corners[:2], *size, facecolor=COLOURS[i], edgecolor=COLOURS[i], alpha=0.35))
            axes.plot(*corners[:2], MARKERS[i], color=COLOURS[i], ms=4.5, mew=0.8, mfc="none")
        else:
            axes.plot(*corners[:2], MARKERS[i], color=COLOURS[i], ms=4.5, mew=0.4, mec="white")
    if ends:
        low, high = min(ends), max(ends)
        pad = 0.06 * (high - low) + 0.5
        axes.set(xlim=(low - pad, high + pad), ylim=(low - pad, high + pad), aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True))
    axes.axline((0, 0), slope=1, color="0.35", lw=0.9, ls="--", zorder=0)
    along: Any = {"transform": axes.transAxes, "rotation": 45, "ha": "center", "va": "center", "color": "0.35"}
    axes.text(0.68, 0.74, f"{names[0]} better", fontsize=7, zorder=0, **along)
    axes.text(0.74, 0.68, f"{names[1]} better", fontsize=7, zorder=0, **along)
