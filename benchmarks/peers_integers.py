"""Boxed integer least squares against Gurobi, SCIP, cvxpy's mixed-integer path, and the paper's own rectangle.

Same instances (the first rows of 36-column, in one layer 24-column, chunks of real layers), same process, one thread,
processor time. Ours is the time of a call with those rows only, interpreter included, and the mean over a call with 160
rows; what is prepared once for a Gram, for all its rows and bit-widths, is a column of its own.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import bounds
from quanterr.contestants import Method, feasible_set

from .contenders import Absent, Answer, Contender, cvxpy_mixed, gurobi, prepare, scip
from .instances import Instance, instances
from .timing import markdown, processor_seconds

Array = NDArray[np.float64]

BITS = (2, 3, 4)
MANY = 160
ROWS = 3
LIMIT = 5.0
AGREE = 1e-5
PAPER_BITS = 3
PAPER_ROWS = 2

CONTENDERS: dict[str, tuple[Contender, int]] = {
    "Gurobi": (gurobi, ROWS),
    "cvxpy → Gurobi": (cvxpy_mixed("GUROBI"), 1),
    "SCIP": (scip, 1),
    "cvxpy → SCIP": (cvxpy_mixed("SCIP"), 1),
    "cvxpy → ECOS_BB": (cvxpy_mixed("ECOS_BB"), 1),
    "cvxpy → HiGHS": (cvxpy_mixed("HIGHS"), 1),
    "cvxpy → scipy (HiGHS)": (cvxpy_mixed("SCIPY"), 1),
}
SPARED = ("cvxpy → Gurobi", "cvxpy → SCIP", "cvxpy → ECOS_BB")
SPARED_BITS = 3


@dataclass(frozen=True)
class Result:
    """One answer beside our processor seconds and the proven optimum of the same row."""

    answer: Answer
    ours: float
    optimum: float
    columns: int


def summary(name: str, results: list[Result]) -> list[str]:
    """A line of the table. Where the limit cut a run short, times and ratios are lower bounds."""
    finished = np.array([r.answer.finished for r in results])
    excess = np.array([r.answer.excess(r.optimum) for r in results])
    seconds, ours = np.array([r.answer.seconds for r in results]), np.array([r.ours for r in results])
    at_least = "" if finished.all() else "≥ "
    return [
        name,
        str(len(results)),
        f"{finished.sum()}",
        f"{(finished & (excess > AGREE)).sum()}",
        f"{excess.max():.1%}" if excess.max() > AGREE else "0",
        f"{'' if np.median(finished) == 1 else '≥ '}{np.median(seconds):.2f} s",
        f"{at_least}{seconds.sum() / ours.sum():,.0f}×",
        f"{at_least}{np.median(seconds / ours):,.0f}×",
    ]


HEADER = ["", "rows", "finished", "of these wrong", "largest excess error", "median", "total ÷ ours", "median ÷ ours"]


def problem(instance: Instance, bits: int, rows: slice, gram: bounds.Gram) -> bounds.LeastSquares:
    feasible = feasible_set(Method.QUANTIZATION, bits, instance.gram.shape[0])
    return bounds.LeastSquares(gram, instance.codes_target(bits)[rows], feasible)


def run() -> str:
    """Four tables; asserts that nobody finds less than the proven optimum."""
    results: dict[str, list[Result]] = {name: [] for name in CONTENDERS}
    refusals: dict[str, str] = {}
    speed, batch = [], []
    for instance in instances():
        gram = bounds.Gram(instance.gram)
        search = bounds.BranchAndBound()
        bounds.solve(problem(instance, 2, slice(1), gram), search)  # compiles
        once = prepare(problem(instance, 2, slice(1), bounds.Gram(instance.gram)))
        cells = []
        for bits in BITS:
            many = problem(instance, bits, slice(MANY), gram)
            spent, solution = processor_seconds(lambda p=many, s=search: bounds.solve(p, s), 2)
            assert solution.closed.all(), (instance.layer, bits)
            few = problem(instance, bits, slice(ROWS), gram)
            fast = processor_seconds(lambda p=few, s=search: bounds.solve(p, s), 5)[0] / ROWS
            cells += [spent / MANY * 1e6, fast * 1e6]
            for name, (contender, rows) in CONTENDERS.items():
                if name in refusals or (name in SPARED and bits != SPARED_BITS):
                    continue
                for row in range(rows):
                    try:
                        answer = contender(problem(instance, bits, slice(row, row + 1), gram), LIMIT)
                    except Absent as reason:
                        refusals[name] = str(reason)
                        break
                    optimum = float(solution.upper[row])
                    assert answer.excess(optimum) > -1e-9, (name, instance.layer, bits, row, answer.error, optimum)
                    results[name].append(Result(answer, fast, optimum, gram.columns))
                    if name == "Gurobi" and row == 0:
                        batch.append((answer.seconds, spent / MANY))
        speed.append([instance.layer, str(gram.columns), *(f"{c:,.0f}" for c in cells), f"{once * 1e3:.1f}"])
    table = [summary(name, found) for name, found in results.items() if found]
    table.insert(1, summary("Gurobi, 36 columns only", [r for r in results["Gurobi"] if r.columns == 36]))
    shared = np.array(batch)
    ratio = np.median(shared[:, 0] / shared[:, 1])
    return "\n\n".join(
        [
            f"**ours**, µs a row in a call of {MANY} rows | of {ROWS} rows; preparation of the Gram in ms",
            markdown(
                ["layer", "columns", *(f"{b} bits, {n} rows" for b in BITS for n in (MANY, ROWS)), "prepare"], speed
            ),
            f"**against solvers**, at most {LIMIT:.0f} s a row; {SPARED_BITS} bits only for cvxpy",
            markdown(HEADER, table),
            f"Gurobi's first row of each chunk and width ÷ our mean of {MANY} rows: {ratio:,.0f}× (median).",
            "\n".join(f"{name}: “{message}”" for name, message in refusals.items()),
            _bound_table(),
            _paper_table(),
        ]
    )


def semidefinite(problem: bounds.LeastSquares, solver: str) -> tuple[float, Array, Array, Array]:
    """The paper's programme for one row by cvxpy: the value printed, `λ`, and the primal mean and second moment.

    Eq. (6) of *Pruning vs Quantization*, with its errata: the origin moved to `floor(target)`, no box.
    """
    import cvxpy

    gram = problem.gram.array / problem.gram.array.diagonal().mean()
    tau = problem.target[0] - np.floor(problem.target[0])
    n = tau.size
    multiplier, gamma = cvxpy.Variable(n, nonneg=True), cvxpy.Variable((1, 1))
    column = cvxpy.reshape(multiplier / 2 - gram @ tau, (n, 1), order="C")
    block = cvxpy.bmat([[gram - cvxpy.diag(multiplier), column], [column.T, gamma]])
    programme = cvxpy.Problem(cvxpy.Minimize(gamma[0, 0]), [block >> 0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        programme.solve(solver=solver)
    value = (tau @ gram @ tau - float(programme.value)) * problem.gram.array.diagonal().mean()
    lifted = np.asarray(programme.constraints[0].dual_value)
    lifted = lifted / lifted[n, n]
    return value, np.maximum(multiplier.value, 0.0), lifted[:n, n], lifted[:n, :n]


def randomised_rounding(problem: bounds.LeastSquares, mean: Array, moment: Array, seed: int = 0) -> Array:
    """Park and Boyd's heuristic: round Gaussian samples of the relaxed solution, descend one coordinate at a time.

    *A semidefinite programming method for integer convex quadratic minimization*, Optim. Lett. 2018, §4, with its
    3·columns samples; each sample is clipped to the box as in *Pruning vs Quantization* §4.3, and so is every step of
    the descent, so that the point returned is feasible.
    """
    rng = np.random.default_rng(seed)
    box, gram, target = problem.feasible, problem.gram.array, problem.target[0]
    spread, vectors = np.linalg.eigh(moment - np.outer(mean, mean))
    root = vectors * np.sqrt(np.maximum(spread, 0.0))
    best, least = np.zeros_like(target), np.inf
    for _ in range(3 * target.size):
        sample = np.floor(target) + mean + root @ rng.standard_normal(target.size)
        x = np.clip(np.rint(sample), box.low, box.high)
        slope = gram @ (x - target)
        while True:
            step = np.clip(x - np.rint(slope / gram.diagonal()), box.low, box.high) - x
            gain = step * (2 * slope + step * gram.diagonal())
            best_column = int(gain.argmin())
            if not gain[best_column] < 0:
                break
            x[best_column] += step[best_column]
            slope = slope + step[best_column] * gram[best_column]
        error = float((x - target) @ slope)
        if error < least:
            best, least = x, error
    return best[None]


def _bound_table() -> str:
    """cvxpy with two conic solvers against our interior point, same dual."""
    rows = []
    native = bounds.SemidefiniteDual(box=False)
    for solver in ("CLARABEL", "SCS"):
        seconds, mine, above, below = [], [], [], []
        for instance in instances():
            gram = bounds.Gram(instance.gram)
            many = problem(instance, PAPER_BITS, slice(MANY), gram)
            bounds.lower_bound(many, native)
            spent, bound = processor_seconds(lambda p=many: bounds.lower_bound(p, native), 2)
            one = problem(instance, PAPER_BITS, slice(1), gram)
            slow, (value, *_) = processor_seconds(lambda p=one, s=solver: semidefinite(p, s))
            seconds.append(slow)
            mine.append(spent / MANY)
            above.append(value / bound.value[0] - 1)
            below.append(1 - value / bound.value[0])
        rows.append(
            [
                f"cvxpy + {'Clarabel' if solver == 'CLARABEL' else solver}",
                f"{np.median(seconds) * 1e3:.0f}",
                f"{np.median(mine) * 1e3:.2f}",
                f"{np.sum(seconds) / np.sum(mine):,.0f}×",
                f"{np.median(np.array(seconds) / mine):,.0f}×",
                f"{max(above):+.0e}",
                f"{max(below):+.0e}",
            ]
        )
    header = ["", "ms a row", "ours", "in total", "median", "printed value above ours, at most", "below, at most"]
    return (
        f"**the paper's semidefinite bound**, {PAPER_BITS} bits, no box; ours is proven, theirs printed\n\n"
        + markdown(header, rows)
    )


def _paper_table() -> str:
    """The paper's rectangle (randomised rounding above, the dual below) and the exact search on the same rows."""
    rows = []
    for bits in BITS:
        slow, low, high, fast = [], [], [], []
        for instance in instances():
            gram = bounds.Gram(instance.gram)
            few = problem(instance, bits, slice(PAPER_ROWS), gram)
            spent, exact = processor_seconds(lambda p=few: bounds.solve(p, bounds.BranchAndBound()), 3)
            fast.append(spent / PAPER_ROWS)
            for row in range(PAPER_ROWS):
                one = problem(instance, bits, slice(row, row + 1), gram)

                def rectangle(p: bounds.LeastSquares = one) -> tuple[float, float]:
                    value, _, mean, moment = semidefinite(p, "CLARABEL")
                    return value, float(p.error(randomised_rounding(p, mean, moment))[0])

                seconds, (value, error) = processor_seconds(rectangle)
                assert error >= exact.lower[row], (instance.layer, bits, row)
                slow.append(seconds)
                low.append(value / exact.upper[row])
                high.append(error / exact.upper[row])
        share = np.mean(np.array(high) < 1 + AGREE)
        rows.append(
            [
                str(bits),
                f"{np.median(slow) * 1e3:.0f}",
                f"{np.median(fast) * 1e6:,.0f}",
                f"{np.sum(slow) / (np.sum(fast) * PAPER_ROWS):,.0f}×",
                f"{np.mean(low):.2f}",
                f"{10 * np.log10(np.mean(high)):.2f} dB",
                f"{share:.0%}",
                f"{np.mean(10 * np.log10(np.array(high) / low)):.1f} dB",
            ]
        )
    header = ["bits", "theirs, ms a row", "ours, µs", "ratio", "bound / optimum", "heuristic above optimum"]
    return (
        "**the paper's rectangle** (cvxpy + Clarabel, then 3·columns clipped roundings) and the optimum\n\n"
        + markdown([*header, "heuristic optimal", "height of the rectangle"], rows)
    )
