"""The achieved side of whole layers: what `LocalSearch` adds to the heuristics, how often it is optimal on chunks.

Whole layers: decibels gained (mean of four rows), quantisation over Babai with 2-opt, pruning over greedy elimination
with swaps, with the processor seconds a row of each. Chunks: the leading 36, 48 and 64 columns against exact search;
the share of rows where the optimum was found, and the mean excess of the error over all rows.
"""

from __future__ import annotations

import numpy as np

import bounds
from quanterr.contestants import Method, feasible_set
from quanterr.heuristics import babai, local_search, swaps
from quanterr.scaling import SCALES

from .instances import layers
from .timing import markdown, processor_seconds

ROWS = [1, 9, 17, 25]
BITS = {Method.QUANTIZATION: (2, 3, 4), Method.PRUNING: (2, 4, 8)}
ROUNDS = (0, 10)
WIDEST = 400  # the largest Gram of the tables: wider ones cost the references minutes
CHUNK_ROWS = {36: 20, 48: 10, 64: 2}


def problem(layer: str, method: Method, bits: int, rows: list[int] | range, columns: int | None = None):
    """Some rows of a layer, whole or its leading columns, or None where they don't exist."""
    found = next(each for each in layers() if each.name == layer)
    width = found.gram.shape[0]
    if columns is not None and columns > width:
        return None
    scale = float(SCALES["mse"](found.weight, bits)) if method is Method.QUANTIZATION else 1.0
    gram = bounds.Gram(found.gram[:columns, :columns])
    rows = [row for row in rows if row < found.weight.shape[0]]
    target = found.weight[rows, :columns] / scale
    live = gram.live
    if live.size < gram.columns:
        gram, target = gram.restrict(live), target[:, live]
    return bounds.LeastSquares(gram, target, feasible_set(method, bits, gram.columns))


def reference(task: bounds.LeastSquares) -> np.ndarray:
    """The best point of the heuristics that Babai and ExactOBS start."""
    if isinstance(task.feasible, bounds.IntegerBox):
        low, high = task.feasible.low, task.feasible.high
        start = babai(task.target, task.gram, low, high, order="sorted_qr")
        return local_search(task.target, task.gram, low, high, start=start)
    return swaps(task.target, task.gram, task.feasible.keep)


def run() -> str:
    """Both tables."""
    return "\n\n".join([_whole(), _chunks()])


def _whole() -> str:
    tables = []
    for method, sizes in BITS.items():
        rows = []
        for layer in layers():
            if layer.gram.shape[0] > WIDEST:
                continue
            for bits in sizes:
                task = problem(layer.name, method, bits, ROWS)
                assert task is not None
                bounds.solve(task.restrict(0), bounds.LocalSearch(rounds=1, beam=2))  # compiles
                spent, point = processor_seconds(lambda p=task: reference(p))
                base = task.upper(point)
                cells = [f"{spent / task.rows:.2f}"]
                for rounds in ROUNDS:
                    search = bounds.LocalSearch(rounds=rounds)
                    spent, found = processor_seconds(lambda p=task, m=search: bounds.solve(p, m))
                    gain = 10 * np.log10(base / found.upper).mean()
                    cells.append(f"{gain:+.2f} ({spent / task.rows:.2f})")
                rows.append([layer.name, str(task.columns), str(bits), *cells])
        header = ["layer", "columns", "bits", "reference, s", *(f"{rounds} rounds, dB (s)" for rounds in ROUNDS)]
        tables.append(f"**{method.value}**, {len(ROWS)} rows\n\n" + markdown(header, rows))
    return "\n\n".join(tables)


def _chunks() -> str:
    rows = []
    search = bounds.LocalSearch()
    for method, sizes in BITS.items():
        for columns, count in CHUNK_ROWS.items():
            total, optimal, excess, seconds = 0, 0, [], 0.0
            for layer in layers():
                for bits in sizes:
                    task = problem(layer.name, method, bits, range(count), columns)
                    if task is None:
                        continue
                    spent, found = processor_seconds(lambda p=task: bounds.solve(p, search))
                    exact = bounds.solve(task, bounds.BranchAndBound(time_limit=20.0 * count))
                    known = exact.closed
                    ratio = found.upper[known] / exact.upper[known]
                    assert (found.upper >= exact.lower).all(), (layer.name, method, bits)
                    total += int(known.sum())
                    optimal += int(np.count_nonzero(ratio <= 1.0 + 1e-6))
                    excess.append(ratio - 1.0)
                    seconds += spent / task.rows
            mean = 100 * np.concatenate(excess).mean()
            cell = f"{1000 * seconds / len(excess):.0f}"
            rows.append(
                [method.value, str(columns), str(total), f"{100 * optimal / total:.1f} %", f"{mean:.4f} %", cell]
            )
    header = ["method", "columns", "rows proven", "optimal", "mean excess", "ms a row"]
    return "**Chunks against the exact optimum**, default rounds\n\n" + markdown(header, rows)
