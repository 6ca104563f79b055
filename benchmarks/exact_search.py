"""Microseconds a row of the exact searches on real chunks of 36 (24) columns, and the ratio to Gurobi's MIQP."""

from __future__ import annotations

import numpy as np

import bounds
from quanterr.contestants import Method, feasible_set

from .instances import Instance, instances
from .timing import markdown, processor_seconds

BITS = {Method.QUANTIZATION: (2, 3, 4, 6, 8), Method.PRUNING: (2, 3, 4, 5, 6, 7, 8)}
ROWS = 160
GUROBI_ROWS = 3


def problem(instance: Instance, method: Method, bits: int, rows: slice) -> bounds.LeastSquares:
    target = instance.codes_target(bits) if method is Method.QUANTIZATION else instance.weight
    return bounds.LeastSquares(instance.gram, target[rows], feasible_set(method, bits, instance.gram.shape[0]))


def run() -> str:
    """Both tables; asserts that Gurobi and the search agree on every shared instance."""
    ours, theirs, ratios = [], [], {method: [] for method in Method}
    seconds = {method: np.zeros(2) for method in Method}
    gurobi = bounds.Gurobi(time_limit=120.0)
    for instance in instances():
        for method in Method:
            cells = []
            for bits in BITS[method]:
                many = problem(instance, method, bits, slice(ROWS))
                bounds.solve(many, bounds.BranchAndBound())  # compiles once, and warms the caches of both
                spent, solution = processor_seconds(lambda p=many: bounds.solve(p, bounds.BranchAndBound()), 2)
                assert solution.closed.all(), (instance.layer, method, bits)
                cells.append(spent / many.rows * 1e6)
                if bits > 4 and method is Method.QUANTIZATION:
                    continue
                few = problem(instance, method, bits, slice(GUROBI_ROWS))
                fast, mine = processor_seconds(lambda p=few: bounds.solve(p, bounds.BranchAndBound()), 3)
                slow, other = processor_seconds(lambda p=few: bounds.solve(p, gurobi))
                done = other.closed
                np.testing.assert_allclose(mine.upper[done], other.upper[done], rtol=1e-6)
                seconds[method] += (fast, slow)
                ratios[method].append(slow / fast)
            ours.append([instance.layer, str(instance.gram.shape[0]), method.value, *(f"{c:,.0f}" for c in cells)])
    for method in Method:
        fast, slow = seconds[method]
        theirs.append(
            [
                method.value,
                f"{len(ratios[method]) * GUROBI_ROWS}",
                f"{1e3 * fast:,.1f} ms",
                f"{slow:.1f} s",
                f"{slow / fast:,.0f}×",
                f"{np.median(ratios[method]):,.0f}×",
            ]
        )
    tables = []
    for method in Method:
        rows = [row[:2] + row[3:] for row in ours if row[2] == method.value]
        extra = []
        if method is Method.PRUNING:
            extra = ["all seven"]
            rows = [[*row, f"{sum(float(c.replace(',', '')) for c in row[2:]) / 1000:.1f} ms"] for row in rows]
        tables.append(
            f"**{method.value}**, µs a row (processor time, {ROWS} rows)\n\n"
            + markdown(["layer", "columns", *(f"{b} bits" for b in BITS[method]), *extra], rows)
        )
    tables.append(
        "**against Gurobi's MIQP**, one thread each, same instances, all optima agree\n\n"
        + markdown(["method", "row problems", "quanterr", "Gurobi", "in total", "median"], theirs)
    )
    return "\n\n".join(tables)
