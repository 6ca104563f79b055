"""Every heuristic beside what is proven: how many decibels does each leave on the table, and at what time?

Chunks of 36 columns beside the exact optimum, whole layers beside a proven limit, six real layers, one quantisation
scale a tensor. What is lost on a chunk is exact. On a whole layer the limit is a bound: the best heuristic loses at
most that much, and how far the others are behind it is exact again.
"""

from __future__ import annotations

import pandas as pd

import quanterr
from quanterr.models.efficientnet import efficientnet_lite0
from quanterr.models.minilm import minilm_l6

from .timing import markdown

EFFICIENTNET = ("_blocks.2._expand_conv", "_blocks.4._project_conv", "_blocks.9._expand_conv", "_conv_head")
MINILM = ("encoder.layer.2.attention.output.dense", "encoder.layer.0.attention.self.query")
BITS = (2, 3, 4)
ROWS = 24
NAMES = {"quantization": "quantisation", "pruning": "pruning"}


def run() -> str:
    """A table for each side, and the best heuristic of every layer."""
    captured = []
    for preset, names in ((efficientnet_lite0, EFFICIENTNET), (minilm_l6, MINILM)):
        model, batches, _ = preset()
        captured += quanterr.layers.capture(model, batches, list(names))
    quanterr.compare(captured[:3], bits=BITS[:1], rows=1, effort="normal")  # compiles
    found = quanterr.compare(captured, bits=BITS, rows=ROWS, effort="normal")
    assert not found.refused, found.refused
    frame, summary = found.to_frame(), found.summary()
    assert (frame.error_lower <= frame.error).all()
    parts = [_side(summary[summary.method == method], name) for method, name in NAMES.items()]
    return "\n\n".join([*parts, _layers(frame)])


def _side(summary: pd.DataFrame, name: str) -> str:
    rows = [
        [
            line.heuristic,
            f"{line.lost_db:.3f}",
            f"{line.lost_most_db:.2f}",
            f"{line.behind_db:.2f}",
            f"{line.at_most_db:.1f}",
            f"{line.ms_a_row:.2f}",
        ]
        for line in summary.itertuples()
    ]
    header = ["", "lost on chunks, dB", "most", "whole layers: behind the best, dB", "lost at most, dB", "ms a row"]
    title = (
        f"**{name}**, means over six layers and {', '.join(map(str, BITS))} bits, {ROWS} rows of each layer; dB of SNR"
    )
    return f"{title}\n\n{markdown(header, rows)}"


def _layers(frame: pd.DataFrame) -> str:
    """The best heuristic of every layer: how close it is proven to be."""
    rows = []
    for (layer, method), group in frame.groupby(["layer", "method"], sort=False):
        cells = []
        for exact in (True, False):
            mine = group[group.exact == exact]
            if mine.empty:
                cells += ["–", "–"]
                continue
            left = mine.groupby("heuristic", sort=False).left_db.mean()
            cells += [str(left.idxmin()), f"{left.min():.3f}" if exact else f"{left.min():.1f}"]
        rows.append([str(layer), NAMES[str(method)], *cells])
    header = ["layer", "", "best on chunks", "lost, dB", "best on the whole layer", "lost at most, dB"]
    return f"**layer by layer**, means over the bits\n\n{markdown(header, rows)}"
