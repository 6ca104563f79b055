"""Whole layers, pruning: how far the proven bound stays below the best point known, and at what cost.

Four whole layers with the full Gram, keep = floor(columns · bits / 16). `D` is tuned on 32 rows (blocks on eight) and
judged on four others; the gap is 10 log10(Σ upper / Σ lower), the upper side from `LocalSearch`. *trace*:
`DiagonalSplit`, one diagonal of largest trace, the kind of bound that is usual for such problems. *quick* and *normal*:
as those efforts have it, one diagonal tuned to all rows and a diagonal of each row's own, with intervals on the layer
with a near-null direction (`DiagonalIntervals`). *blocks*: `BlockSplit`, one tuned `D` of 8-column blocks for all rows.
*own blocks*: a `D` of 10-column blocks of each row's own, as `--effort thorough` has it, which takes *intervals*
(`IntervalSplit`, its own blocks too) on the layer with a near-null direction. Seconds are processor time, one thread,
without the compilation. Then 1,536 columns, two rows. Growth: leading columns of one layer; memory is the peak of what
numpy allocates in tuning and bounding.
"""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np

import bounds
from quanterr.contestants import Method, feasible_set
from quanterr.efforts import NORMAL, QUICK

from .instances import layers
from .timing import markdown, processor_seconds

LAYERS = (
    "_blocks.9._expand_conv",
    "encoder.layer.2.attention.output.dense",
    "_conv_head",
    "encoder.layer.0.attention.self.query",
)
FLAT = "encoder.layer.0.attention.self.query"
GROWING = "encoder.layer.4.output.dense"
BITS = (2, 4, 8)
MANY, TUNED = range(0, 384, 12), range(0, 384, 48)
JUDGED = (33, 41, 49, 57)
COLUMNS = (96, 192, 384, 768, 1536)
ROUNDS = 10
OWN = bounds.BlockSplit(width=10, rounds=12, row_rounds=50)
OWN_INTERVALS = bounds.IntervalSplit(rounds=12, row_rounds=40, loss=0.002)
WIDE = bounds.DiagonalSplit(rounds=60, tune=6)


def problem(layer: str, bits: int, rows: list[int], columns: int | None = None) -> bounds.LeastSquares:
    """Some rows of a layer, its live inputs (or the leading ones)."""
    found = next(each for each in layers() if each.name == layer)
    rows = [row for row in rows if row < found.weight.shape[0]]
    gram = bounds.Gram(found.gram[:columns, :columns])
    live = gram.live
    feasible = feasible_set(Method.PRUNING, bits, gram.columns)
    return bounds.LeastSquares(gram.restrict(live), found.weight[rows][:, live], feasible)


def gap(upper: np.ndarray, lower: np.ndarray) -> float:
    """Decibels; a lower bound above an upper one is a defect and raises."""
    if np.any(lower > upper):
        raise bounds.BoundsDisagree(f"lower {lower} exceeds upper {upper}")
    return float(10 * np.log10(upper.sum() / lower.sum()))


def measured(method: Any, sample: bounds.LeastSquares, judged: bounds.LeastSquares, upper: np.ndarray) -> str:
    """Gap, seconds of tuning, seconds a row."""
    tuning, ready = processor_seconds(lambda: method.settled(sample))
    seconds, bound = processor_seconds(lambda: bounds.lower_bound(judged, ready))
    return f"{gap(upper, bound.value):.2f} ({tuning:.1f} + {seconds / judged.rows:.2f})"


def judge(layer: str, bits: int) -> list[str]:
    """One line of the table."""
    many, sample, judged = (problem(layer, bits, list(rows)) for rows in (MANY, TUNED, JUDGED))
    upper = bounds.solve(judged, bounds.LocalSearch()).upper
    efforts = [effort.relaxation[Method.PRUNING] for effort in (QUICK, NORMAL)]
    diagonals = [measured(one, many, judged, upper) for one in (bounds.DiagonalSplit(), *efforts)]
    blocks = [bounds.BlockSplit(rounds=ROUNDS), OWN, *([OWN_INTERVALS] if layer == FLAT else [])]
    cells = [layer, str(judged.columns), str(bits), *diagonals, *(measured(b, sample, judged, upper) for b in blocks)]
    return [*cells, *(["–"] if layer != FLAT else [])]


def wide(bits: int) -> list[str]:
    """A line of 1,536 columns."""
    sample, judged = problem(GROWING, bits, list(MANY)), problem(GROWING, bits, list(JUDGED)[:2])
    upper = bounds.solve(judged, bounds.LocalSearch(rounds=3)).upper
    methods = (WIDE, replace(WIDE, row_rounds=3))
    return [GROWING, str(judged.columns), str(bits), *(measured(one, sample, judged, upper) for one in methods)]


def grow(columns: int) -> list[str]:
    """Tuning, time a row and memory at a number of columns, a quarter kept."""
    sample, judged = problem(GROWING, 4, list(TUNED)[:4], columns), problem(GROWING, 4, list(JUDGED)[:2], columns)
    method = bounds.BlockSplit(rounds=4)
    tracemalloc.start()
    tuning, split = processor_seconds(lambda: method.tune(sample))
    seconds, bound = processor_seconds(lambda: bounds.lower_bound(judged, replace(method, split=split)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    upper = bounds.solve(judged, bounds.LocalSearch(rounds=0)).upper
    return [
        str(columns),
        f"{tuning:.1f}",
        f"{seconds / judged.rows:.3f}",
        f"{peak / 2**20:.0f}",
        f"{gap(upper, bound.value):.2f}",
    ]


def run() -> str:
    """Both tables."""
    warm = problem(LAYERS[0], 4, [0, 1], 24)
    intervals = bounds.IntervalSplit(rounds=1), bounds.DiagonalIntervals(row_rounds=1)
    for method in (bounds.BlockSplit(rounds=1), *intervals, bounds.DiagonalSplit(tune=1, row_rounds=1)):
        bounds.lower_bound(warm, method)
    bounds.solve(warm, bounds.LocalSearch(rounds=1))
    header = ["layer", "columns", "bits", "trace", "quick", "normal", "blocks", "own blocks", "intervals"]
    table = markdown(header, [judge(layer, bits) for layer in LAYERS for bits in BITS])
    widest = markdown([*header[:3], "tuned diagonal", "own diagonal"], [wide(bits) for bits in BITS])
    growth = markdown(
        ["columns", "tuning, s", "seconds a row", "MiB", "gap, dB"], [grow(columns) for columns in COLUMNS]
    )
    return f"Gap in dB (seconds a layer and size + a row)\n\n{table}\n\n{widest}\n\n{growth}"
