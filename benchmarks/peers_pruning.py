"""Exact best subset against Gurobi, SCIP, cvxpy's mixed-integer path, R's leaps, l0bnb and abess.

Same instances (the first rows of 36-column, in one layer 24-column, chunks of real layers), one thread, processor
time, in the same process except R. Ours is the time of a call with those rows only, interpreter included; what is
prepared once for all rows and sizes of a Gram is named below. Everybody gets a proven big-M, and the best weights on
whatever support it picks.
"""

from __future__ import annotations

import numpy as np

import bounds
from quanterr.contestants import Method, feasible_set, keep_at

from .contenders import Absent, Contender, abess, cvxpy_mixed, gurobi, l0bnb, leaps, ours, penalised, prepare, scip
from .instances import Instance, instances
from .peers_integers import AGREE, HEADER, Result, summary
from .timing import markdown, processor_seconds

ALL_BITS = (2, 3, 4, 5, 6, 7, 8)
ROWS = 2
LEAPS_LIMIT = 20.0
LIMIT = 5.0
L0BNB_LIMIT = 3.0

# name: (contender, bits, rows, seconds a row)
CONTENDERS: dict[str, tuple[Contender, tuple[int, ...], int, float]] = {
    "Gurobi": (gurobi, (2, 4, 6, 8), 1, 20.0),
    "cvxpy → Gurobi": (cvxpy_mixed("GUROBI"), (4,), 1, LIMIT),
    "SCIP": (scip, (4,), 1, LIMIT),
    "cvxpy → SCIP": (cvxpy_mixed("SCIP"), (4,), 1, LIMIT),
    "cvxpy → ECOS_BB": (cvxpy_mixed("ECOS_BB"), (4,), 1, LIMIT),
}


def problem(instance: Instance, bits: int, rows: slice, gram: bounds.Gram) -> bounds.LeastSquares:
    return bounds.LeastSquares(gram, instance.weight[rows], feasible_set(Method.PRUNING, bits, gram.columns))


def run() -> str:
    """Four tables; asserts that nobody finds less than the proven optimum."""
    results: dict[str, list[Result]] = {name: [] for name in CONTENDERS}
    refusals: dict[str, str] = {}
    once: list[float] = []
    for instance in instances():
        gram = bounds.Gram(instance.gram)
        ours(problem(instance, 2, slice(1), gram), LIMIT)  # compiles
        once.append(prepare(problem(instance, 2, slice(1), bounds.Gram(instance.gram))))
        for name, (contender, widths, rows, limit) in CONTENDERS.items():
            for bits in widths:
                few = problem(instance, bits, slice(rows), gram)
                fast, exact = processor_seconds(lambda p=few: bounds.solve(p, bounds.BranchAndBound()), 3)
                for row in range(rows):
                    if name in refusals:
                        break
                    try:
                        answer = contender(problem(instance, bits, slice(row, row + 1), gram), limit)
                    except Absent as reason:
                        refusals[name] = str(reason)
                        break
                    optimum = float(exact.upper[row])
                    assert answer.excess(optimum) > -1e-9, (name, instance.layer, bits, row, answer.error, optimum)
                    results[name].append(Result(answer, fast / rows, optimum, gram.columns))
    table = [summary(name, found) for name, found in results.items() if found]
    table.insert(1, summary("Gurobi, 36 columns only", [r for r in results["Gurobi"] if r.columns == 36]))
    return "\n\n".join(
        [
            "**one support size at a time**",
            markdown(HEADER, table),
            f"Preparation of a Gram: {np.median(once) * 1e3:.1f} ms (median).",
            _heuristic_table(),
            "\n".join(f"{name}: “{message}”" for name, message in refusals.items()),
            _leaps_table(),
            _l0bnb_table(),
        ]
    )


def _heuristic_table() -> str:
    """abess, our greedy start with swaps, and the exact search, on the same rows."""
    names = ("abess", "our start (greedy and swaps)", "our search, with proof")
    excess: dict[str, list[float]] = {name: [] for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for instance in instances():
        gram = bounds.Gram(instance.gram)
        for bits in ALL_BITS:
            few = problem(instance, bits, slice(3 * ROWS), gram)
            fast, exact = processor_seconds(lambda p=few: bounds.solve(p, bounds.BranchAndBound()), 3)
            excess[names[1]] += list(exact.stats["start_error"] / exact.upper - 1)
            excess[names[2]] += [0.0] * few.rows
            seconds[names[2]] += [fast / few.rows] * few.rows
            for row in range(few.rows):
                try:
                    answer = abess(problem(instance, bits, slice(row, row + 1), gram), LIMIT)
                except Absent as reason:
                    return f"abess: “{reason}”"
                excess[names[0]].append(answer.excess(float(exact.upper[row])))
                seconds[names[0]].append(answer.seconds)
    rows = []
    for name in names:
        found = np.array(excess[name])
        assert found.min() > -1e-6, name
        each = f"{np.mean(seconds[name]) * 1e3:.2f}" if seconds[name] else "part of the next"
        rows.append(
            [name, str(found.size), f"{np.mean(found < AGREE):.0%}", f"{found.mean():.1%}", f"{found.max():.0%}", each]
        )
    header = ["", "row problems", "optimal", "mean excess error", "largest", "mean ms"]
    return "**heuristics**, sizes of 2 … 8 bits\n\n" + markdown(header, rows)


def _leaps_table() -> str:
    """One exhaustive tree of leaps for all sizes against seven of our searches, row by row."""
    lines, every, mine = [], [], []
    for instance in instances():
        gram = bounds.Gram(instance.gram)
        seconds, worst, finished, sizes, fast = [], 0.0, True, [keep_at(b, gram.columns) for b in ALL_BITS], []
        for row in range(ROWS):
            each = [bounds.LeastSquares(gram, instance.weight[row], bounds.Sparse(k)) for k in sizes]
            spent, exact = processor_seconds(lambda e=each: [bounds.solve(p, bounds.BranchAndBound()) for p in e], 3)
            try:
                answers = leaps(each[-1], LEAPS_LIMIT)
            except Absent as reason:
                return f"leaps: “{reason}”"
            seconds.append(answers[0].seconds)
            fast.append(spent)
            finished &= answers[0].finished
            if answers[0].finished:
                worst = max(abs(answers[k - 1].excess(float(s.upper[0]))) for k, s in zip(sizes, exact, strict=True))
        if gram.columns == 36:
            every += seconds
            mine += fast
        lines.append(
            [
                instance.layer,
                str(gram.columns),
                f"{'' if finished else '≥ '}{np.mean(seconds):.2f} s",
                f"{np.mean(fast) * 1e3:.1f} ms",
                f"{'' if finished else '≥ '}{np.sum(seconds) / np.sum(fast):,.0f}×",
                f"{worst:.0e}",
            ]
        )
    ratios = np.array(every) / mine
    lines.append(
        [
            "36 columns, total",
            "",
            f"{np.sum(every):.0f} s",
            f"{np.sum(mine) * 1e3:.0f} ms",
            f"{np.sum(every) / np.sum(mine):,.0f}×",
            "",
        ]
    )
    lines.append(["36 columns, median", "", "", "", f"{np.median(ratios):,.0f}×", ""])
    header = ["layer", "columns", "leaps, a row", "ours, a row", "ratio", "largest difference"]
    return (
        f"**R's leaps**, all seven sizes of a row (mean of {ROWS}); leaps finds them in one tree, ours in seven\n\n"
        + markdown(header, lines)
    )


def _l0bnb_table() -> str:
    """l0bnb solves the penalised form: same row, the penalty at which the optimum keeps a quarter of the weights."""
    lines = []
    for instance in instances():
        for columns in (12, instance.gram.shape[0]):
            gram = bounds.Gram(instance.gram[:columns, :columns])
            one = bounds.LeastSquares(gram, instance.weight[0, :columns], bounds.Sparse(keep_at(4, columns)))
            aim = penalised(one, one.feasible.keep)
            if aim is None:
                lines.append([instance.layer, str(columns), "–", "–", "–", "no penalty leads to this size"])
                continue
            try:
                l0bnb(one, aim, 0.1)  # compiles
                answer = l0bnb(one, aim, L0BNB_LIMIT)
            except Absent as reason:
                return f"l0bnb: “{reason}”"
            fast, excess = ours(one, LIMIT), answer.excess(aim.optimum)
            assert excess > -1e-6, (instance.layer, columns, excess)
            lines.append(
                [
                    instance.layer,
                    str(columns),
                    f"{answer.seconds:.2f} s",
                    f"{fast.seconds * 1e3:.2f} ms",
                    "yes" if answer.finished else "no",
                    f"{excess:.1%}" if excess > AGREE else "0",
                ]
            )
    header = [
        "layer",
        "columns",
        f"l0bnb, limit {L0BNB_LIMIT:.0f} s",
        "ours, same size",
        "finished",
        "objective above optimum",
    ]
    return "**l0bnb**, ½E + λ‖x‖₀ with the λ whose optimum keeps a quarter\n\n" + markdown(header, lines)
