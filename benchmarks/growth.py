"""Growth with the columns, 12 to 128: our searches and the solvers, the same rows, one thread, at most 10 s of each.

The first row of the leading columns of three layers, at 3 bits and with a quarter of the weights kept. Whoever leaves
most of the rows of a size open isn't asked for larger ones; an open row counts with the whole limit. What ours prepares
once for all rows of a Gram has a line of its own. A call from Python takes 0.1 ms, which is most of our time up
to 36 columns. The figure is `figures/growth.png`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

import bounds
from quanterr.contestants import Method, feasible_set
from quanterr.scaling import SCALES

from .contenders import Absent, Answer, gurobi, l0bnb, leaps, ours, penalised, prepare, scip
from .instances import layers
from .timing import markdown

COLUMNS = (12, 24, 36, 48, 64, 96, 128)
LAYERS = ("_conv_head", "encoder.layer.2.attention.output.dense", "encoder.layer.4.output.dense")
BITS = {Method.QUANTIZATION: 3, Method.PRUNING: 4}
LIMIT = 10.0
FIGURE = Path(__file__).parent / "figures" / "growth"

Racer = Callable[[bounds.LeastSquares], Answer]


def _leaps(problem: bounds.LeastSquares) -> Answer:
    return leaps(problem, LIMIT)[-1]


def _l0bnb(problem: bounds.LeastSquares) -> Answer:
    aim = penalised(problem, problem.feasible.keep)
    if aim is None:
        raise Absent("no penalty leads to this size")
    return l0bnb(problem, aim, LIMIT)


RACERS: dict[Method, dict[str, Racer]] = {
    Method.QUANTIZATION: {
        "quanterr": lambda p: ours(p, LIMIT),
        "Gurobi": lambda p: gurobi(p, LIMIT),
        "SCIP": lambda p: scip(p, LIMIT),
    },
    Method.PRUNING: {
        "quanterr": lambda p: ours(p, LIMIT),
        "Gurobi": lambda p: gurobi(p, LIMIT),
        "SCIP": lambda p: scip(p, LIMIT),
        "leaps (R)": _leaps,
        "l0bnb (penalised)": _l0bnb,
    },
}


def problems(method: Method, columns: int) -> list[bounds.LeastSquares]:
    """One row of each layer, the leading columns."""
    found = []
    for layer in layers():
        if layer.name not in LAYERS:
            continue
        gram = layer.gram[:columns, :columns]
        scale = float(SCALES["mse"](layer.weight, BITS[method])) if method is Method.QUANTIZATION else 1.0
        feasible = feasible_set(method, BITS[method], columns)
        found.append(bounds.LeastSquares(gram, layer.weight[0, :columns] / scale, feasible))
    return found


def run() -> str:
    """Both tables and the figure."""
    for method in RACERS:
        prepare(problems(method, COLUMNS[0])[0])  # compiles
    times: dict[Method, dict[str, dict[int, list[Answer]]]] = {}
    once: dict[Method, dict[int, float]] = {method: {} for method in RACERS}
    notes: list[str] = []
    for method, racers in RACERS.items():
        times[method] = {name: {} for name in racers}
        retired: set[str] = set()
        for columns in COLUMNS:
            once[method][columns] = float(np.median([prepare(problem) for problem in problems(method, columns)]))
            for name, racer in racers.items():
                if name in retired:
                    continue
                answers = []
                for problem in problems(method, columns):
                    try:
                        answers.append(racer(problem))
                    except Absent as reason:
                        notes.append(f"{name}, {method.value}, {columns} columns: “{reason}”")
                if answers:
                    times[method][name][columns] = answers
                if sum(a.finished for a in answers) * 2 <= len(LAYERS):
                    retired.add(name)
    _draw(times)
    tables = []
    for method, racers in RACERS.items():
        rows = [[name, *(_cell(times[method][name].get(c)) for c in COLUMNS)] for name in racers]
        rows.append(["quanterr, once a Gram", *(f"{once[method][c]:.2g}" for c in COLUMNS)])
        title = f"**{method.value}**, median seconds of {len(LAYERS)} rows (how many finished)"
        tables.append(f"{title}\n\n" + markdown(["columns", *map(str, COLUMNS)], rows))
    caption = "Line: median row; band: range over the rows; hollow: some rows are open at the limit."
    return "\n\n".join([*tables, "\n".join(notes), "![Growth with the columns](figures/growth.png)", caption])


def _seconds(answers: list[Answer]) -> np.ndarray:
    return np.array([a.seconds if a.finished else LIMIT for a in answers])


def _cell(answers: list[Answer] | None) -> str:
    if not answers:
        return "–"
    finished = sum(a.finished for a in answers)
    if finished * 2 <= len(answers):
        return f"> {LIMIT:.0f} ({finished})"
    return f"{np.median(_seconds(answers)):.2g} ({finished})"


def _draw(times: dict[Method, dict[str, dict[int, list[Answer]]]]) -> None:
    """Median time, range over the rows; a hollow mark where some rows hit the limit."""
    colours = dict(zip(RACERS[Method.PRUNING], ("C0", "C3", "C1", "C2", "C4"), strict=True))
    with matplotlib.rc_context({"svg.hashsalt": "quanterr", "font.size": 9}):
        figure = Figure(figsize=(9.0, 3.8), layout="constrained")
        for axes, method in zip(figure.subplots(1, 2, sharey=True), RACERS, strict=True):
            for name, sizes in times[method].items():
                x = np.array(list(sizes))
                each = [np.minimum(_seconds(answers), LIMIT) for answers in sizes.values()]
                middle = np.array([np.median(e) for e in each])
                done = np.array([all(a.finished for a in answers) for answers in sizes.values()])
                low, high = (np.array([f(e) for e in each]) for f in (np.min, np.max))
                axes.plot(x, middle, color=colours[name], label=name, linewidth=2.2 if name == "quanterr" else 1.3)
                axes.fill_between(x, low, high, color=colours[name], alpha=0.15, linewidth=0)
                axes.plot(x[done], middle[done], "o", color=colours[name], markersize=4)
                axes.plot(x[~done], middle[~done], "o", color=colours[name], markersize=5, markerfacecolor="white")
            axes.axhline(LIMIT, color="0.6", linewidth=0.8, linestyle=":")
            detail = "3 bits" if method is Method.QUANTIZATION else "a quarter kept"
            axes.set(yscale="log", xticks=COLUMNS, xlabel="columns", title=f"{method.value}, {detail}")
            axes.grid(alpha=0.25)
            axes.legend(frameon=False, loc="lower right")
        figure.axes[0].set_ylabel("processor seconds a row, until proven")
        FIGURE.parent.mkdir(exist_ok=True)
        figure.savefig(FIGURE.with_suffix(".png"), dpi=160)
        figure.savefig(FIGURE.with_suffix(".svg"), metadata={"Date": None})
