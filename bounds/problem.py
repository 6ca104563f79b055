"""The one problem: the point of a feasible set nearest to a target in the metric of a Gram matrix."""

from __future__ import annotations

import numpy as np

from .errors import ProblemError
from .feasible.base import Feasible
from .gram import UNIT_ROUNDOFF, Array, Gram, real

UNDERFLOW = 2.0**-1073


class LeastSquares:
    """`min E(x) = (x − target)ᵀ gram (x − target)` over the feasible set, row by row.

    Parameters
    ----------
    gram : Gram or array (columns, columns)
        Pass a `Gram` to share its factorisations between problems.
    target : array (rows, columns) or (columns,)
        Weights in the units of the feasible set: codes (`weight / scale`) for `IntegerBox`, weight
        units for `Sparse`.
    feasible : Feasible
        `IntegerBox`, `Sparse`, …

    Raises
    ------
    ProblemError
        Wrong shapes, entries that are not real numbers, NaN or infinity (with row and column), no feasible set, or one
        that does not fit the columns.
    """

    def __init__(self, gram: Gram | object, target: object, feasible: Feasible) -> None:
        self.gram = gram if isinstance(gram, Gram) else Gram(gram)
        rows = real(target, "the target")
        if rows.ndim == 1:
            rows = rows[None, :]
        if rows.ndim != 2 or rows.shape[1] != self.gram.columns:
            raise ProblemError(
                f"the target has shape {rows.shape}, but the Gram matrix has {self.gram.columns} columns"
            )
        if not np.isfinite(rows).all():
            r, c = np.argwhere(~np.isfinite(rows))[0]
            raise ProblemError(f"the target holds {rows[r, c]} in row {r}, column {c}: repair or drop that row")
        if not isinstance(feasible, Feasible):
            raise ProblemError(f"{feasible!r} is no feasible set: pass one such as IntegerBox(-8, 7) or Sparse(9)")
        feasible.check(self.gram.columns)
        self.target: Array = np.ascontiguousarray(rows)
        self.target.setflags(write=False)
        self.feasible = feasible

    @property
    def rows(self) -> int:
        return int(self.target.shape[0])

    @property
    def columns(self) -> int:
        return int(self.target.shape[1])

    def restrict(self, row: int) -> LeastSquares:
        """The problem of one row."""
        return LeastSquares(self.gram, self.target[row], self.feasible)

    def members(self, points: object, name: str) -> Array:
        """A copy of `points`, one feasible point for each row, (rows, columns); `name` is what messages call them.

        Raises
        ------
        ProblemError
            Another shape than the target's, or a row that is not in the feasible set.
        """
        array = np.array(points, dtype=np.float64, ndmin=2)
        if array.shape != self.target.shape:
            raise ProblemError(f"{name} has shape {array.shape}, the target {self.target.shape}")
        inside = self.feasible.contains(array)
        if not inside.all():
            row = int(np.flatnonzero(~inside)[0])
            raise ProblemError(f"row {row} of {name} is not in {self.feasible}: take feasible.nearest of it")
        return array

    def error(self, x: Array) -> Array:
        """`E(x)` in float64, (rows,), in squared units of the target times the Gram's."""
        step = np.asarray(x, dtype=np.float64) - self.target
        error: Array = np.einsum("ri,ri->r", step @ self.gram.array, step)
        return np.maximum(error, 0.0)

    def upper(self, x: Array) -> Array:
        """A value no smaller than the exact `E(x)` of the stored doubles, (rows,); checks that `x` is feasible.

        The allowance is `γ |step|ᵀ |gram| |step|` for the two products and the subtraction
        (Higham, *Accuracy and Stability of Numerical Algorithms*, §3.5), and what products may lose to underflow.

        Raises
        ------
        ProblemError
            If a row of `x` is not in the feasible set.
        """
        points = self.members(x, "the proposed solution")
        step = np.abs(points - self.target)[:, self.gram.live]
        gram = np.abs(self.gram.array[np.ix_(self.gram.live, self.gram.live)])
        magnitude = np.einsum("ri,ri->r", step @ gram, step)
        operations = 2 * self.columns + 8
        lost = np.where(step.any(axis=1), UNDERFLOW * self.columns * (1.0 + step.sum(axis=1)), 0.0)
        return np.asarray(self.error(points) + operations * UNIT_ROUNDOFF * magnitude + lost)
