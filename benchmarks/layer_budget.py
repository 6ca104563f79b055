"""Pruning with one budget for a whole layer: what it gains over budgets of rows, and what its proof costs."""

from __future__ import annotations

import numpy as np

import bounds
from bounds.allocation import allocate
from bounds.gram import Array
from bounds.local.traces import traces
from quanterr.heuristics import LayerSparse, exact_obs, judged

from .instances import Instance, instances, layers
from .timing import markdown, processor_seconds

BITS = (2, 4, 8)
ROWS = 192
WIDE_ROWS = 96
WIDE = ("encoder.layer.2.attention.output.dense", "_blocks.9._expand_conv", "_conv_head")
ALLOCATIONS = ((192, 36), (1280, 320), (4096, 1024), (4096, 4608))


def run() -> str:
    """Four tables; asserts that the lazy search and whole curves agree, and that nobody beats the optimum."""
    gain, cost = [], []
    for instance in instances():
        one, other = _chunk(instance)
        gain.append(one)
        cost.append(other)
    n = "36 columns (24 in one layer)"
    return "\n\n".join(
        (
            f"**gain over budgets of rows**, dB at {', '.join(map(str, BITS))} bits, first {ROWS} rows, {n}",
            markdown(["layer", *(f"{what}, {b} bits" for what in ("ExactOBS", "exact") for b in BITS)], gain),
            "**proof**, the same rows: best subsets searched a row, of columns − 1 that there are; ms a row",
            markdown(
                ["layer", *(f"{b} bits" for b in BITS), "2–8 bits", "time, 4 bits", "time, 2–8 bits", "whole curves",
                 "greedy above optimum, 4 bits"], cost
            ),
            _wide(),
            _allocations(),
        )
    )  # fmt: skip


def _chunk(instance: Instance) -> tuple[list[str], list[str]]:
    gram, weight = bounds.Gram(instance.gram), instance.weight[:ROWS]
    rows, n = weight.shape
    bounds.solve_layer(gram, weight[:2], [n])  # compiles
    curve_seconds, curve = processor_seconds(lambda: _whole_curves(gram, weight))
    seven = [rows * n * b // 16 for b in range(2, 9)]
    all_seconds, found = processor_seconds(lambda: bounds.solve_layer(gram, weight, seven))
    for keep, solution in zip(seven, found, strict=True):
        best = allocate(curve, keep)
        assert solution.status is bounds.Status.CLOSED
        assert abs(solution.upper / best.value - 1) < 1e-6
    exact, greedy, searches, seconds, above = [], [], [], [], []
    for b in BITS:
        keep = rows * n * b // 16
        spent, (alone,) = processor_seconds(lambda k=keep: bounds.solve_layer(gram, weight, [k]))
        pattern = LayerSparse(keep)
        obs = judged(weight, gram, np.asarray(exact_obs(weight, gram, pattern)), pattern).sum()
        by_row = curve[:, n * b // 16].sum()
        assert obs >= alone.lower
        exact.append(f"{10 * np.log10(by_row / alone.upper):.2f}")
        greedy.append(f"{10 * np.log10(by_row / obs):.2f}")
        searches.append(f"{alone.searches / rows:.1f}")
        seconds.append(spent)
        above.append(obs / alone.upper - 1)
    times = [f"{t / rows * 1e3:.2f}" for t in (seconds[1], all_seconds, curve_seconds)]
    cost = [instance.layer, *searches, f"{found[0].searches / rows:.1f}", *times, f"{above[1]:.2%}"]
    return [instance.layer, *greedy, *exact], cost


def _whole_curves(gram: bounds.Gram, weight: Array) -> Array:
    """Every best subset of every row, (rows, columns + 1)."""
    curve = np.zeros((len(weight), gram.columns + 1))
    for keep in range(gram.columns):
        found = bounds.solve(bounds.LeastSquares(gram, weight, bounds.Sparse(keep)), bounds.BranchAndBound())
        curve[:, keep] = found.upper
    return np.minimum.accumulate(curve, axis=1)


def _wide() -> str:
    """Whole layers: gain of the best weights found, and the gap to the bound."""
    lines = []
    for layer in layers():
        if layer.name not in WIDE:
            continue
        gram, weight = bounds.Gram(layer.gram), layer.weight[:WIDE_ROWS]
        rows, n = weight.shape
        seconds, (curve, _) = processor_seconds(lambda g=gram, w=weight: traces(g, w))
        gains, gaps, row_gaps, times = [], [], [], []
        for b in BITS:
            keep = n * b // 16
            one = bounds.LeastSquares(gram, weight, bounds.Sparse(keep))
            upper = bounds.solve(one, bounds.LocalSearch(rounds=0)).upper.sum()
            lower = bounds.lower_bound(one, bounds.DiagonalSplit(rounds=60)).value.sum()
            spent, found = processor_seconds(lambda g=gram, w=weight, k=rows * keep: bounds.bound_layer(g, w, k))
            gains.append(f"{10 * np.log10(upper / found.upper):.2f}")
            gaps.append(f"{10 * np.log10(found.upper / found.lower):.2f}")
            row_gaps.append(f"{10 * np.log10(upper / lower):.2f}")
            times.append(spent)
        # OBC's greedy on the same traces, in the order of the running maximum
        losses = np.maximum.accumulate(-np.diff(curve, axis=1)[:, ::-1], axis=1)
        left = rows * n - rows * n // 4
        taken = np.bincount(np.argsort(losses, axis=None, kind="stable")[:left] // n, minlength=rows)
        greedy = curve[np.arange(rows), n - taken].sum()
        excess = greedy / allocate(curve, rows * n // 4).value - 1
        each = [f"{seconds / rows * 1e3:.1f}", f"{max(times) / rows * 1e3:.0f}"]
        lines.append(
            [layer.name, str(n), *(" / ".join(part) for part in (gains, gaps, row_gaps)), *each, f"{excess:.2%}"]
        )
    header = ["layer", "columns", "gain, dB", "gap, dB", "gap by row, dB", "traces, ms", "all, ms a row",
              "OBC's greedy above exact split of traces"]  # fmt: skip
    return f"**whole layers**, {WIDE_ROWS} rows, diagonal `D`, at {', '.join(map(str, BITS))} bits\n\n" + markdown(
        header, lines
    )


def _allocations() -> str:
    """The allocation alone, on synthetic curves that are nearly convex, against the plain min-plus product."""
    lines = []
    rng = np.random.default_rng(0)
    for rows, columns in ALLOCATIONS:
        drops = np.sort(rng.exponential(size=(rows, columns)), axis=1)[:, ::-1] * rng.lognormal(size=(rows, 1))
        drops *= rng.uniform(0.6, 1.4, size=drops.shape)
        curve = np.concatenate([drops[:, ::-1].cumsum(axis=1)[:, ::-1], np.zeros((rows, 1))], axis=1)
        keep = rows * columns // 4
        seconds, found = processor_seconds(lambda c=curve, k=keep: allocate(c, k, tolerance=0.0))
        plain = "–"
        if rows * columns < 10_000:
            slow, least = processor_seconds(lambda c=curve, k=keep: _plain(c, k))
            assert abs(found.value / least - 1) < 1e-12
            plain = f"{slow:.1f} s"
        gap = (found.value - found.relaxed) / found.value
        lines.append([f"{rows:,} × {columns:,}", f"{seconds:.3f} s", plain, f"{gap:.0e}"])
    return "**allocation alone**, synthetic curves, a quarter kept\n\n" + markdown(
        ["rows × columns", "exact", "plain min-plus product", "gap of the price alone"], lines
    )


def _plain(curve: Array, keep: int) -> float:
    best = np.full(keep + 1, np.inf)
    best[0] = 0.0
    for line in curve:
        after = np.full(keep + 1, np.inf)
        for k in range(min(line.size - 1, keep) + 1):
            after[k:] = np.minimum(after[k:], best[: keep + 1 - k] + line[k])
        best = after
    return float(best[keep])
