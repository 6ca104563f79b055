"""What users could pick instead of `bounds`, one adapter each: a problem of one row in, an `Answer` out.

No adapter judges itself. A point is scored by the problem it was found for; "finished" is the tool's own claim.
Models are written the way that suits the tool best (SCIP: triangular factor and one cone instead of a dense
quadratic form, 5–20 times as fast at 12 columns). Big-M constants are proven, not guessed. Building the model counts,
loading the package doesn't.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import bounds

from .timing import processor_seconds

Array = NDArray[np.float64]


class Absent(Exception):
    """The tool can't be used here; the message says why."""


@dataclass(frozen=True)
class Answer:
    """Processor seconds, the error of the point returned (inf without one), and whether optimality was claimed."""

    seconds: float
    error: float
    finished: bool

    def excess(self, optimum: float) -> float:
        """Error above the proven optimum, relative."""
        return self.error / optimum - 1.0


Contender = Callable[[bounds.LeastSquares, float], Answer]


def refit(problem: bounds.LeastSquares, kept: NDArray[np.bool_]) -> Array:
    """Least squares on a support, (1, columns): every tool that picks a support gets the best weights on it."""
    gram, target = problem.gram.array, problem.target[0]
    x: Array = np.zeros_like(target)
    pull = gram[np.ix_(kept, ~kept)] @ target[~kept]
    x[kept] = target[kept] + np.linalg.solve(gram[np.ix_(kept, kept)], pull)
    return x[None]


def reach(problem: bounds.LeastSquares) -> Array:
    """A proven big-M, (columns,): |xⱼ| ≤ |tⱼ| + √(U (gram⁻¹)ⱼⱼ), with U the error of the magnitude mask refitted."""
    kept = problem.feasible.nearest(problem.target)[0] != 0
    upper = problem.upper(refit(problem, kept))[0]
    return np.asarray(np.abs(problem.target[0]) + np.sqrt(upper * problem.gram.inverse.diagonal()) * (1 + 1e-9))


def ours(problem: bounds.LeastSquares, limit: float) -> Answer:
    """`bounds.BranchAndBound` in a call of this row, without what is prepared once for all rows of a Gram."""
    prepare(problem)
    search = bounds.BranchAndBound(time_limit=limit)
    seconds, found = processor_seconds(lambda: bounds.solve(problem, search))
    if seconds < 0.1:
        seconds = min(seconds, processor_seconds(lambda: bounds.solve(problem, search), 5)[0])
    return Answer(seconds, float(problem.error(found.x)[0]), bool(found.closed[0]))


def prepare(problem: bounds.LeastSquares) -> float:
    """Seconds that the first call on a Gram takes more than the next; the Gram keeps what it prepared."""
    root = bounds.BranchAndBound(max_nodes=1)
    first, _ = processor_seconds(lambda: bounds.solve(problem, root))
    return first - processor_seconds(lambda: bounds.solve(problem, root), 2)[0]


def gurobi(problem: bounds.LeastSquares, limit: float) -> Answer:
    """Gurobi under the licence bundled with gurobipy; seconds without the start of its environment."""
    try:
        found = bounds.solve(problem, bounds.Gurobi(time_limit=limit))
    except bounds.MethodError as error:
        raise Absent(str(error)) from error
    return Answer(float(found.stats["seconds"][0]), float(problem.error(found.x)[0]), bool(found.closed[0]))


def scip(problem: bounds.LeastSquares, limit: float) -> Answer:
    """SCIP through pyscipopt, gap 1e-9."""
    try:
        from pyscipopt import Model, quicksum
    except ImportError as error:
        raise Absent(str(error)) from error
    factor, target, unit = _factor(problem)
    n = target.size

    def work() -> tuple[Array | None, bool]:
        model = Model()
        model.hideOutput()
        for name, value in (("limits/time", limit), ("timing/clocktype", 1), ("limits/gap", 1e-9)):
            model.setParam(name, value)
        if isinstance(problem.feasible, bounds.IntegerBox):
            low, high = problem.feasible.low, problem.feasible.high
            x = choice = [model.addVar(vtype="I", lb=low, ub=high) for _ in range(n)]
        else:
            far = reach(problem) / unit
            x = [model.addVar(lb=-m, ub=m) for m in far]
            choice = [model.addVar(vtype="B") for _ in range(n)]
            for v, m, z in zip(x, far, choice, strict=True):
                model.addCons(v <= m * z)
                model.addCons(v >= -m * z)
            model.addCons(quicksum(choice) <= problem.feasible.keep)
        image = [model.addVar(lb=None) for _ in range(n)]
        for i in range(n):
            model.addCons(quicksum(factor[i, j] * (x[j] - target[j]) for j in range(i, n)) == image[i])
        total = model.addVar(lb=0)
        model.addCons(quicksum(u * u for u in image) <= total)
        model.setObjective(total)
        model.optimize()
        point = np.array([model.getVal(v) for v in choice]) if model.getNSols() else None
        return point, model.getStatus() in ("optimal", "gaplimit")

    seconds, (point, finished) = processor_seconds(work)
    return Answer(seconds, _score(problem, point), finished)


def cvxpy_mixed(solver: str) -> Contender:
    """cvxpy's mixed-integer path to GUROBI, SCIP, ECOS_BB; the others it knows refuse a quadratic objective."""

    def contender(problem: bounds.LeastSquares, limit: float) -> Answer:
        try:
            import cvxpy
        except ImportError as error:
            raise Absent(str(error)) from error
        factor, target, unit = _factor(problem)
        options: dict[str, dict[str, object]] = {
            "GUROBI": {"TimeLimit": limit, "Threads": 1, "MIPGap": 0.0, "MIPGapAbs": 0.0},
            "SCIP": {"scip_params": {"limits/time": limit, "timing/clocktype": 1, "limits/gap": 1e-9}},
        }

        def work() -> tuple[Array | None, bool]:
            if isinstance(problem.feasible, bounds.IntegerBox):
                x = choice = cvxpy.Variable(target.size, integer=True)
                limits = [x >= problem.feasible.low, x <= problem.feasible.high]
            else:
                x, choice = cvxpy.Variable(target.size), cvxpy.Variable(target.size, boolean=True)
                far = cvxpy.multiply(reach(problem) / unit, choice)
                limits = [x <= far, x >= -far, cvxpy.sum(choice) <= problem.feasible.keep]
            image = factor @ (x - target)
            objective = cvxpy.norm(image) if solver == "ECOS_BB" else cvxpy.sum_squares(image)
            programme = cvxpy.Problem(cvxpy.Minimize(objective), limits)
            programme.solve(solver=solver, **options.get(solver, {}))
            return choice.value, programme.status == "optimal"

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                seconds, (point, finished) = processor_seconds(work)
        except cvxpy.SolverError as error:
            raise Absent(str(error).splitlines()[0]) from error
        return Answer(seconds, _score(problem, point), finished)

    return contender


def abess(problem: bounds.LeastSquares, limit: float) -> Answer:
    """The splicing heuristic of abess; it claims no optimum.

    Given the path of sizes up to this one, which warms its starts: over four times as often optimal as one size
    alone. The data are mirrored to have mean zero.
    """
    try:
        from abess import LinearRegression
    except ImportError as error:
        raise Absent(str(error)) from error
    factor, target, _ = _factor(problem)
    inputs = np.vstack([factor, -factor])
    sizes = list(range(1, problem.feasible.keep + 1))
    model = LinearRegression(support_size=sizes, ic_coef=0.0, fit_intercept=False, thread=1)
    seconds, _ = processor_seconds(lambda: model.fit(inputs, inputs @ target), 3)
    return Answer(seconds, _score(problem, (model.coef_ != 0).astype(float)), False)


def leaps(problem: bounds.LeastSquares, limit: float) -> list[Answer]:
    """R's leaps, exhaustive: one tree for every size up to `keep`; an `Answer` of each (seconds of the whole tree).

    `X` is the triangular factor of the Gram and `y = X w`, no intercept. Processor time by `proc.time` inside R; its
    search can't be interrupted, so that the process is ended at the limit and nothing is known of the best so far.
    """
    if shutil.which("Rscript") is None:
        raise Absent("Rscript is not installed: apt-get install r-base-core r-cran-leaps")
    keep = problem.feasible.keep
    program = f"""
        library(leaps); x <- as.matrix(read.table("x")); dimnames(x) <- NULL; w <- scan("w", quiet = TRUE)
        y <- as.vector(x %*% w); began <- proc.time()
        found <- regsubsets(x, y, intercept = FALSE, nvmax = {keep}, really.big = TRUE)
        spent <- proc.time() - began
        cat(spent[["user.self"]] + spent[["sys.self"]], format(found$ress[, 1], digits = 17))
    """
    with tempfile.TemporaryDirectory() as folder:
        np.savetxt(Path(folder) / "x", np.linalg.cholesky(problem.gram.array).T, fmt="%.17g")
        np.savetxt(Path(folder) / "w", problem.target[0], fmt="%.17g")
        try:
            done = subprocess.run(
                ["Rscript", "-e", program], cwd=folder, capture_output=True, text=True, timeout=limit + 1.0
            )
        except subprocess.TimeoutExpired:
            return [Answer(limit, np.inf, False)] * keep
    if done.returncode != 0:
        raise Absent(done.stderr.strip().splitlines()[0])
    seconds, *errors = (float(word) for word in done.stdout.split())
    return [Answer(seconds, error, True) for error in errors]


@dataclass(frozen=True)
class Penalised:
    """`½E(x) + λ‖x‖₀`, whose optimum has error `error` at `keep` non-zeros: a corner of the convex hull of E(keep)."""

    keep: int
    error: float
    penalty: float

    @property
    def optimum(self) -> float:
        return self.error / 2 + self.penalty * self.keep


def penalised(problem: bounds.LeastSquares, keep: int) -> Penalised | None:
    """The penalty in the middle of those for which the exact optimum keeps `keep`, or None if there is none.

    `problem` is any sparse problem of one row; the whole curve of exact errors is computed here.
    """
    sizes = np.arange(problem.columns + 1)
    each = [bounds.LeastSquares(problem.gram, problem.target, bounds.Sparse(int(k))) for k in sizes]
    curve = np.array([bounds.solve(p, bounds.BranchAndBound()).upper[0] for p in each])
    least = float(np.max((curve[keep] - curve[keep + 1 :]) / (sizes[keep + 1 :] - keep)))
    most = float(np.min((curve[:keep] - curve[keep]) / (keep - sizes[:keep])))
    return Penalised(keep, float(curve[keep]), (least + most) / 4) if least < most else None


def l0bnb(problem: bounds.LeastSquares, aim: Penalised, limit: float) -> Answer:
    """l0bnb on the penalised form, no ridge, gap 1e-5; `error` is the penalised objective (optimum: `aim.optimum`).

    A tree that ends before the limit is finished: the gap it prints isn't updated when the last nodes are closed.
    """
    vars(np).setdefault("Inf", np.inf)  # l0bnb 1.0.0 needs the name that numpy 2 dropped
    try:
        import numba
        from l0bnb import BNBTree
    except ImportError as error:
        raise Absent(str(error)) from error
    numba.set_num_threads(1)
    factor, target, unit = _factor(problem)
    power = float(problem.gram.array.diagonal().mean()) * unit**2
    far = float(reach(problem).max()) / unit

    def work() -> object:
        tree = BNBTree(factor, factor @ target, rel_tol=1e-6)
        return tree.solve(aim.penalty / power, 0.0, far, gap_tol=1e-5, time_limit=limit)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seconds, found = processor_seconds(work)
    kept = np.zeros(problem.columns, dtype=np.bool_)
    kept[np.flatnonzero(found.beta)] = True
    squared = float(problem.error(refit(problem, kept))[0])
    return Answer(seconds, squared / 2 + aim.penalty * int(kept.sum()), bool(found.sol_time < limit))


def _factor(problem: bounds.LeastSquares) -> tuple[Array, Array, float]:
    """`R` with `RᵀR` = Gram / mean diagonal, the target over its unit (1 for integers), and that unit."""
    gram, target = problem.gram.array, problem.target[0]
    unit = 1.0 if isinstance(problem.feasible, bounds.IntegerBox) else float(np.abs(target).max())
    return np.linalg.cholesky(gram / gram.diagonal().mean()).T, target / unit, unit


def _score(problem: bounds.LeastSquares, choice: Array | None) -> float:
    """Error of the codes chosen, or of the best weights on the support chosen."""
    if choice is None or not np.isfinite(choice).all():
        return float("inf")
    if isinstance(problem.feasible, bounds.IntegerBox):
        x = np.clip(np.rint(choice), problem.feasible.low, problem.feasible.high)[None]
    else:
        x = refit(problem, choice > 0.5)
    return float(problem.error(x)[0])
