"""A second opinion from Gurobi, for small problems."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MethodError, ProblemError
from ..feasible import IntegerBox, Sparse
from ..gram import Array
from ..problem import LeastSquares
from ..result import Solution, Status, solution

OF_ERROR = 5e-7
OF_ENERGY = 1e-11
TOLERANCES = {"MIPGap": 0.0, "MIPGapAbs": 0.0, "IntFeasTol": 1e-9, "FeasibilityTol": 1e-9, "OptimalityTol": 1e-9}


@dataclass(frozen=True)
class Gurobi:
    """Mixed-integer quadratic programming by Gurobi (`pip install quanterr[gurobi]`), one thread, gap 0.

    `IntegerBox` becomes integer variables with bounds; `Sparse` becomes binaries with
    `|xⱼ| ≤ (|tⱼ| + √(U (gram⁻¹)ⱼⱼ)) zⱼ`, which every point of error at most `U` satisfies, where `U` is the error
    of `start` (an empirical box, as in eq. (8) of *Pruning vs Quantization* (2023), could cut off the optimum).

    The result's `upper` is recomputed from `x` by the problem. Its `lower` is **not proven**: it is the outside
    solver's float claim (`ObjBound`), reduced by 5e-7 of itself and 1e-11 of the target's energy for its
    tolerances. A claim above `upper` by more than that allowance raises.

    Parameters
    ----------
    time_limit : float
        Seconds for each row.
    """

    time_limit: float = 60.0

    def __post_init__(self) -> None:
        if not self.time_limit > 0:
            raise ProblemError(f"time_limit = {self.time_limit} s leaves no time: use a positive number or math.inf")

    def solve(self, problem: LeastSquares, start: Array | None = None) -> Solution:
        """Solve every row; see `bounds.solve`. `start` defaults to the nearest member of the set.

        Raises
        ------
        MethodError
            Without gurobipy, for other sets, or beyond the size that the licence allows.
        ProblemError
            A singular Gram matrix with `Sparse`, whose weights cannot be bounded; a start not in the set.
        BoundsDisagree
            If Gurobi's bound exceeds the error of the best solution by more than the allowance.
        """
        if not isinstance(problem.feasible, (IntegerBox, Sparse)):
            raise MethodError(f"Gurobi treats IntegerBox and Sparse, not {type(problem.feasible).__name__}")
        try:
            import gurobipy
        except ImportError as error:
            raise MethodError("Gurobi needs gurobipy: pip install quanterr[gurobi], or use BranchAndBound") from error
        x = np.array(problem.feasible.nearest(problem.target) if start is None else start, dtype=np.float64)
        x = x.reshape(problem.target.shape)
        upper = problem.upper(x)
        lower = np.zeros(problem.rows)
        stopped = np.full(problem.rows, Status.CLOSED, dtype=object)
        nodes = np.zeros(problem.rows, dtype=np.int64)
        seconds = np.zeros(problem.rows)
        try:
            with gurobipy.Env(params={"OutputFlag": 0, "Threads": 1, "TimeLimit": self.time_limit}) as env:
                for name, value in TOLERANCES.items():
                    env.setParam(name, value)
                for row in range(problem.rows):
                    began = time.process_time()
                    single = LeastSquares(problem.gram, problem.target[row], problem.feasible)
                    with gurobipy.Model(env=env) as model:
                        point, lower[row] = _optimise(gurobipy, model, single, x[row], float(upper[row]))
                        nodes[row] = int(model.NodeCount)
                        if model.Status == gurobipy.GRB.TIME_LIMIT:
                            stopped[row] = Status.TIME_LIMIT
                    seconds[row] = time.process_time() - began
                    found = single.upper(point[None])[0]
                    if found < upper[row]:
                        x[row], upper[row] = point, found
        except gurobipy.GurobiError as error:
            raise MethodError(
                f"Gurobi refused {problem.columns} columns ({error}); the licence bundled with gurobipy allows 200 "
                "variables in quadratic models: use BranchAndBound, fewer columns, or a full licence"
            ) from error
        return solution(x, problem.upper(x), lower, stopped, {"nodes": nodes, "seconds": seconds})


def _optimise(gurobipy: Any, model: Any, problem: LeastSquares, start: Array, upper: float) -> tuple[Array, float]:
    """The point (columns,) and the claimed lower bound of one row. Powers of two bring both units near one."""
    feasible, target = problem.feasible, problem.target[0]
    exponent = int(np.frexp(problem.gram.array.diagonal().max())[1])
    gram = np.ldexp(problem.gram.array, -exponent)
    unit, scale = float(np.ldexp(1.0, exponent)), 1.0
    if isinstance(feasible, Sparse) and np.any(target):
        scale = float(np.ldexp(1.0, int(np.frexp(np.abs(target).max())[1])))
    t = target / scale
    energy = float(t @ gram @ t)
    if isinstance(feasible, IntegerBox):
        variable = model.addMVar(t.size, lb=feasible.low, ub=feasible.high, vtype="I")
        choice = variable
        choice.Start = start
    elif isinstance(feasible, Sparse):
        reach = np.abs(target) + np.sqrt(upper * problem.gram.inverse.diagonal())
        limit = reach / scale * (1 + 1e-9)
        variable = model.addMVar(t.size, lb=-limit, ub=limit)
        choice = model.addMVar(t.size, vtype="B")
        model.addConstr(variable <= limit * choice)
        model.addConstr(variable >= -limit * choice)
        model.addConstr(choice.sum() <= feasible.keep)
        choice.Start = (start != 0).astype(float)
    else:
        raise MethodError(f"no model for {type(feasible).__name__}")
    model.setObjective(variable @ gram @ variable - 2 * (gram @ t) @ variable + energy)
    model.optimize()
    claim = unit * scale * scale * (model.ObjBound - OF_ERROR * abs(model.ObjBound) - OF_ENERGY * energy)
    if model.SolCount == 0:
        return start, claim
    if isinstance(feasible, IntegerBox):
        return np.asarray(np.clip(np.rint(variable.X), feasible.low, feasible.high)), claim
    return _refit(problem, np.asarray(choice.X > 0.5)), claim


def _refit(problem: LeastSquares, kept: NDArray[np.bool_]) -> Array:
    """Least squares on the chosen columns: the others' weights move onto them."""
    gram, target = problem.gram.array, problem.target[0]
    x: Array = np.zeros_like(target)
    if kept.any():
        pull = gram[np.ix_(kept, ~kept)] @ target[~kept]
        x[kept] = target[kept] + np.linalg.solve(gram[np.ix_(kept, kept)], pull)
    return x
