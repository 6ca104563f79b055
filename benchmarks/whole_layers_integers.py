"""Whole layers of integers: how far is each proven bound from the best point found, and what does it cost?

Gap in decibels, mean of four rows that the tuning of `D` has not seen, against `LocalSearch`. The paper's dual ignores
the box; ours are a diagonal `D`; exact blocks, one `D` tuned on other rows of the layer and reused, with intervals
where a near-null direction is at work; and exact blocks with a `D` of each row's own. Seconds are of the processor:
once a layer and size, then a row. *Random shift* is an estimate, no bound: how far the best point found lies above the
error that a random target, recentred on the box, exceeds with a probability of one half at least. What our gap has more
than that is the bound's, not the search's; nor is all of it the search's, for the estimate is low: it takes the
expected number of points for the chance of one, and lies 0.3 to 1.1 dB under the optimum of 48 columns with uniform
targets.
cvxpy with SCS gets the paper's programme for one row, where it takes a minute at most; its printed value is set against
what its multipliers prove.
"""

from __future__ import annotations

import tracemalloc

import cvxpy
import numpy as np
from scipy.optimize import lsq_linear
from scipy.special import gammaln

import bounds
from quanterr.scaling import SCALES

from .instances import layers
from .timing import markdown, processor_seconds

BITS = (2, 3, 4)
LAYERS = {
    "_blocks.9._expand_conv": (38, False),
    "encoder.layer.2.attention.output.dense": (32, False),
    "_conv_head": (32, False),
    "encoder.layer.0.attention.self.query": (32, True),
}
SAMPLE = 6
ROWS = 4
SECONDS = 15.0
ROW_ROUNDS = 24
SCS_COLUMNS = 112
GROWTH = (96, 192, 384, 768)
GROWTH_ROWS = (1, 4, 16)


def problems(gram: bounds.Gram, weight: np.ndarray, bits: int) -> tuple[bounds.LeastSquares, bounds.LeastSquares]:
    """Rows to tune on, and others, evenly spread over the layer."""
    target = weight / float(SCALES["mse"](weight, bits))
    rows = np.linspace(0, len(weight) - 1, SAMPLE + ROWS).astype(int)
    unseen = np.linspace(1, SAMPLE + ROWS - 2, ROWS).astype(int)
    box = bounds.IntegerBox(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    sample = bounds.LeastSquares(gram, target[np.delete(rows, unseen)], box)
    return sample, bounds.LeastSquares(gram, target[rows[unseen]], box)


def scs(problem: bounds.LeastSquares) -> tuple[float, float, float]:
    """Seconds, printed value and proven value of the paper's dual by cvxpy with SCS, one row."""
    gram, t = problem.gram.array, problem.target[0]
    tau, n = t - np.floor(t), problem.columns
    multiplier, gamma = cvxpy.Variable(n, nonneg=True), cvxpy.Variable((1, 1))
    column = -(gram @ tau)[:, None] + cvxpy.reshape(multiplier, (n, 1), order="C") / 2
    block = cvxpy.bmat([[gram - cvxpy.diag(multiplier), column], [column.T, gamma]])
    programme = cvxpy.Problem(cvxpy.Minimize(gamma[0, 0]), [block >> 0])
    seconds, _ = processor_seconds(lambda: programme.solve(solver=cvxpy.SCS, time_limit_secs=60.0))
    if multiplier.value is None:
        return seconds, np.nan, np.nan
    found = np.maximum(multiplier.value, 0.0)
    while np.linalg.eigvalsh(gram - np.diag(found))[0] <= 0:
        found = found * 0.99
    y = np.linalg.solve(gram - np.diag(found), found * (tau - 0.5))
    free = bounds.LeastSquares(problem.gram, t, bounds.IntegerBox(-(2**20), 2**20))
    return (
        seconds,
        float(tau @ gram @ tau - programme.value),
        bounds.safe_value(free, bounds.Certificate(found, y[None]))[0],
    )


def random_shift(problem: bounds.LeastSquares) -> np.ndarray:
    """An estimate of each row's optimum, (rows,): no bound. The median least error of a random shift, box recentred.

    The box programme over the reals, plus the `c` where the ellipsoid `uᵀ gram u ≤ c` has half the volume of a cell: a
    target uniform modulo 1 has a point inside with a probability of at most one half.
    """
    n, gram = problem.columns, problem.gram.array
    box = problem.feasible
    ball = n / 2 * np.log(np.pi) - gammaln(n / 2 + 1)
    shift = np.exp(2 / n * (np.log(0.5) + np.linalg.slogdet(gram)[1] / 2 - ball))
    root = np.linalg.cholesky(gram).T
    fits = [lsq_linear(root, root @ t, (box.low, box.high)) for t in problem.target]
    return np.array([2 * fit.cost + shift for fit in fits])


def gap(value: np.ndarray, upper: np.ndarray) -> str:
    """Mean decibels between the two; a bound of zero has none."""
    return f"{np.mean(10 * np.log10(upper / value)):.2f}" if (value > 0).all() else "∞"


def own(problem: bounds.LeastSquares, upper: np.ndarray, split: bounds.BlockDiagonal) -> list[str]:
    """Gap and seconds a row with a `D` of each row's own, from the shared one."""
    method = bounds.BlockSplit(split=split, row_rounds=ROW_ROUNDS)
    seconds, bound = processor_seconds(lambda: bounds.lower_bound(problem, method))
    if (bound.value > upper).any():
        raise bounds.BoundsDisagree("a bound exceeds a point")
    return [gap(bound.value, upper), f"{seconds / ROWS:.1f}"]


def run() -> str:
    """Gaps and times, cvxpy with SCS, growth with columns and rows."""
    rows, notes = [], []
    _compile()
    for layer in layers():
        if layer.name not in LAYERS:
            continue
        width, branch = LAYERS[layer.name]
        gram = bounds.Gram(layer.gram / layer.gram.diagonal().mean())
        for bits in BITS:
            sample, unseen = problems(gram, layer.weight, bits)
            upper = bounds.solve(unseen, bounds.LocalSearch()).upper
            cells = []
            for method in (bounds.SemidefiniteDual(box=False), bounds.DiagonalSplit()):
                seconds, bound = processor_seconds(lambda m=method, p=unseen: bounds.lower_bound(p, m))
                cells += [gap(bound.value, upper), f"{seconds / ROWS:.2f}"]
            kind = bounds.IntervalSplit if branch else bounds.BlockSplit
            once, split = processor_seconds(
                lambda k=kind, p=sample, w=width: k(width=w, rounds=100, seconds=SECONDS).tune(p)
            )
            final = kind(width=width, split=split)
            seconds, bound = processor_seconds(lambda m=final, p=unseen: bounds.lower_bound(p, m))
            if (bound.value > upper).any():
                raise bounds.BoundsDisagree(f"{layer.name}, {bits} bits: a bound exceeds a point")
            cells += [gap(bound.value, upper), f"{once:.0f} + {seconds / ROWS:.3f}"]
            cells += own(unseen, upper, split) if not branch else ["–", "–"]
            cells.append(gap(random_shift(unseen), upper))
            rows.append([f"`{layer.name}`" + (", intervals" if branch else ""), str(gram.columns), str(bits), *cells])
            if gram.columns <= SCS_COLUMNS:
                seconds, printed, proven = scs(unseen.restrict(0))
                notes.append(
                    f"- cvxpy + SCS, `{layer.name}`, {bits} bits: {seconds:.0f} s a row; prints {printed:.6g}, "
                    f"its multipliers prove {proven:.6g}"
                )
    header = ["layer", "columns", "bits", "paper's dual, dB", "s a row", "diagonal, dB", "s a row"]
    header += ["exact blocks, dB", "s once + a row", "own blocks, dB", "s a row", "random shift (estimate), dB"]
    table = markdown(header, rows)
    return "\n\n".join([table, "\n".join(notes), _growth()])


def _compile() -> None:
    """Every kernel once, on a problem that takes no time."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(200, 40))
    problem = bounds.LeastSquares(bounds.Gram(inputs.T @ inputs), rng.normal(size=(2, 40)), bounds.IntegerBox(-2, 1))
    for method in (bounds.SemidefiniteDual(box=False), bounds.DiagonalSplit(), *(
        kind(width=8, rounds=2, row_rounds=2) for kind in (bounds.BlockSplit, bounds.IntervalSplit)
    )):  # fmt: skip
        bounds.lower_bound(problem, method)
    bounds.solve(problem, bounds.LocalSearch(rounds=1))


def _growth() -> str:
    """Leading columns of the widest layer at 3 bits: processor seconds and the largest extra memory."""
    layer = next(each for each in layers() if each.name == "encoder.layer.4.output.dense")
    lines = []
    for columns in GROWTH:
        gram = bounds.Gram(layer.gram[:columns, :columns] / layer.gram.diagonal().mean())
        sample, _ = problems(gram, layer.weight[:, :columns], 3)
        once, split = processor_seconds(lambda p=sample: bounds.BlockSplit(width=32, rounds=1).tune(p))
        cells = []
        for count in GROWTH_ROWS:
            some = bounds.LeastSquares(gram, np.resize(sample.target, (count, columns)), sample.feasible)
            tracemalloc.start()
            seconds, _ = processor_seconds(lambda p=some, s=split: bounds.lower_bound(p, bounds.BlockSplit(split=s)))
            peak = tracemalloc.get_traced_memory()[1] / 2**20
            tracemalloc.stop()
            cells.append(f"{seconds:.2f} s, {peak:.0f} MiB")
        lines.append([str(columns), f"{once:.1f} s", *cells])
    return markdown(["columns", "`D`, one round", *(f"{count} rows" for count in GROWTH_ROWS)], lines)
