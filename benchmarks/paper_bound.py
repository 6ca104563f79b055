"""The paper's semidefinite bound: our batched interior point against cvxpy with Clarabel, same rows, same values."""

from __future__ import annotations

import numpy as np

import bounds
from quanterr.contestants import Method, feasible_set

from .instances import instances
from .timing import markdown, processor_seconds

BITS = 3
ROWS = 100
REFERENCE_ROWS = 4


def run() -> str:
    """Milliseconds a row of both, their largest difference, and how far each bound is from the optimum."""
    rows = []
    native, reference = bounds.SemidefiniteDual(box=False), bounds.SemidefiniteDual(solver="cvxpy", box=False)
    for instance in instances():
        columns = instance.gram.shape[0]
        feasible = feasible_set(Method.QUANTIZATION, BITS, columns)
        target = instance.codes_target(BITS)
        gram = bounds.Gram(instance.gram)
        many = bounds.LeastSquares(gram, target[:ROWS], feasible)
        few = bounds.LeastSquares(gram, target[:REFERENCE_ROWS], feasible)
        bounds.lower_bound(few, native)
        fast, ours = processor_seconds(lambda p=many: bounds.lower_bound(p, native), 2)
        slow, theirs = processor_seconds(lambda p=few: bounds.lower_bound(p, reference))
        boxed = bounds.lower_bound(many, bounds.SemidefiniteDual())
        optimum = bounds.solve(many, bounds.BranchAndBound()).upper
        fast, slow = fast / many.rows * 1e3, slow / few.rows * 1e3
        difference = np.max(np.abs(ours.value[:REFERENCE_ROWS] / theirs.value - 1))
        rows.append(
            [
                instance.layer,
                str(columns),
                f"{fast:.2f}",
                f"{slow:.0f}",
                f"{slow / fast:,.0f}×",
                f"{difference:.0e}",
                f"{np.mean(ours.value / optimum):.2f}",
                f"{np.mean(boxed.value / optimum):.2f}",
            ]
        )
    header = ["layer", "columns", "ours, ms a row", "cvxpy + Clarabel", "ratio", "largest difference"]
    return f"{BITS} bits\n\n" + markdown([*header, "bound / optimum", "same, box used"], rows)
