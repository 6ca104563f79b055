"""What a checker computes about rows of weights, in Python integers: nothing here rounds up and no solver is used.

Every double is an integer times a power of two. Each row keeps its own power, so that all rows of a Gram matrix share
one product of integers. Errors are in squared output units per sample, as exact fractions.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bounds.feasible import Feasible, IntegerBox, Sparse
from bounds.gram import Array
from bounds.rational import Integers, product, why_not_semidefinite


def dyadic_rows(array: NDArray[Any]) -> tuple[Integers, list[int]]:
    """(rows, n) integers and one `shift` a row with `value = integer · 2^−shift` exactly."""
    mantissa, exponent = np.frexp(np.asarray(array, dtype=np.float64))
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    zeros = np.frexp((whole & -whole).astype(np.float64))[1] - 1
    zeros = np.where(whole == 0, 0, zeros)
    power = exponent.astype(np.int64) - 53 + zeros
    lowest = np.where(whole == 0, 0, power).min(axis=1, keepdims=True, initial=0)
    shifts = np.where(whole == 0, 0, power - lowest).astype(object)
    return (whole >> zeros).astype(object) << shifts, [-int(v) for v in lowest[:, 0]]


def achieved(gram: Array, weight: Array, scale: Array | None, x: NDArray[Any]) -> list[Fraction]:
    """The error `(scale·x − weight)ᵀ gram (scale·x − weight)` of each row, exactly."""
    metric, metric_shift = _dyadic_matrix(gram)
    step, shifts = _steps(weight, scale, x)
    numerators = (product(step, metric) * step).sum(axis=1)
    return [_fraction(value, metric_shift + 2 * a) for value, a in zip(numerators, shifts, strict=True)]


def why_not_proven(gram: Array, diagonal: Array) -> str:
    """The empty string if `gram − diag(diagonal) ⪰ 0` holds exactly, else the reason."""
    both, _ = dyadic_rows(np.concatenate([gram.ravel(), diagonal])[None, :])
    n = len(diagonal)
    matrix = both[0, : n * n].reshape(n, n)
    matrix[np.diag_indices(n)] -= both[0, n * n :]
    return why_not_semidefinite(matrix.tolist())


def dual_values(
    gram: Array, diagonal: Array, y: NDArray[Any], weight: Array, scale: Array | None, feasible: Feasible
) -> list[Fraction | None]:
    """What `(D, y)` prove about each row once `gram − D ⪰ 0` is known: no member of the set has a smaller error.

    For `Sparse` every quotient is rounded down at a unit far below the last digit of a double. None: no bound.

    Parameters
    ----------
    gram : (columns, columns)
    diagonal : (columns,) or (rows, columns)
    y, weight : (rows, columns), y in the units of the set: codes where there is a scale
    scale : (rows,) weight units a code step, None for sets of weights
    """
    shape = weight.shape
    metric, metric_shift = _dyadic_matrix(gram)
    d, (d_shift,) = dyadic_rows(diagonal.reshape(1, -1))
    d = np.broadcast_to(d.reshape(diagonal.shape), shape)
    shift = max(metric_shift, d_shift)
    metric, d = metric << (shift - metric_shift), d << (shift - d_shift)
    steps, y_shifts = dyadic_rows(y)
    g = product(steps, metric) - d * steps
    if not isinstance(feasible, IntegerBox | Sparse) or (isinstance(feasible, Sparse) and scale is not None):
        return _any_set(shift, d, g, steps, y_shifts, weight, scale, feasible)
    ones = np.ones(shape[0]) if scale is None else scale
    target, shifts = dyadic_rows(np.column_stack([weight, ones]))
    c, a = (np.array(v, dtype=object)[:, None] for v in (y_shifts, shifts))
    if isinstance(feasible, IntegerBox):
        unit, target = target[:, -1:], target[:, :-1]
        least: list[Any] = list(_least_codes(feasible, d << (2 * c), (g * unit) << c, target, unit).sum(axis=1))
        g, steps = g * unit, steps * unit
    else:
        least = _least_sparse(feasible, d << (2 * c), g << (a + c), target[:, :-1], a)
        steps = steps << a
        g = g << a
    inner = (g * steps).sum(axis=1)
    return [
        None if low is None else _fraction(low - rest, shift + 2 * (p + q))
        for low, rest, p, q in zip(least, inner, shifts, y_shifts, strict=True)
    ]


def _least_codes(box: IntegerBox, d: Integers, g: Integers, target: Integers, unit: Integers) -> Integers:
    """Entry by entry `min d u² + 2 g u`, `u = unit·x − target`, over integers `x` in the box."""
    curved: Any = d > 0
    slope = np.where(curved, d, 1)
    vertex = (target * slope - g) // (slope * unit)
    ends = np.full(vertex.shape, box.low, dtype=object), np.full(vertex.shape, box.high, dtype=object)
    first = np.where(curved, np.minimum(np.maximum(vertex, box.low), box.high), ends[0])
    second = np.where(curved, np.minimum(np.maximum(vertex + 1, box.low), box.high), ends[1])
    first, second = unit * first - target, unit * second - target
    return np.asarray(np.minimum(first * (d * first + 2 * g), second * (d * second + 2 * g)))


def _least_sparse(sparse: Sparse, d: Integers, g: Integers, target: Integers, a: Integers) -> list[int | None]:
    """Row by row `min Σ d u² + 2 g u` over rows with few non-zeros; None where there is no minimum.

    `target` and `u` are integers over `2^a`, and so is `g`, which makes a kept entry cost `−g²/d`, rounded down.
    """
    pruned: Any = target * (d * target - 2 * g)
    if sparse.keep == 0:
        return list(pruned.sum(axis=1))
    flat: Any = d <= 0
    kept = np.where(flat, 0, -(g * g) // np.where(flat, 1, d))
    bottomless = (flat & ((d < 0) | (g != 0))).any(axis=1)
    removed = target.shape[1] - sparse.keep
    least = [
        sum(k) + sum(sorted(e)[:removed]) for k, e in zip(kept, np.where(flat, pruned, pruned - kept), strict=True)
    ]
    return [None if none else value for none, value in zip(bottomless, least, strict=True)]


def _any_set(
    shift: int, d: Integers, g: Integers, steps: Integers, y_shifts: list[int], weight: Array, scale: Array | None,
    feasible: Feasible,
) -> list[Fraction | None]:  # fmt: skip
    """The same by fractions, for every other set: slower, by the set's own minimum."""
    values: list[Fraction | None] = []
    for row, c in enumerate(y_shifts):
        unit = Fraction(1) if scale is None else Fraction(float(scale[row]))
        gradient = [_fraction(v, shift + c) for v in g[row]]
        least, _ = feasible.separable_minimum(
            np.array([_fraction(v, shift) for v in d[row]], dtype=object),
            np.array([gradient], dtype=object),
            np.array([[Fraction(float(v)) / unit for v in weight[row]]], dtype=object),
        )
        inner = sum((p * _fraction(q, c) for p, q in zip(gradient, steps[row], strict=True)), Fraction(0))
        values.append(None if least[0] == -np.inf else unit * unit * (Fraction(least[0]) - inner))
    return values


def _dyadic_matrix(matrix: Array) -> tuple[Integers, int]:
    flat, (shift,) = dyadic_rows(matrix.reshape(1, -1))
    return flat.reshape(matrix.shape), shift


def _steps(weight: Array, scale: Array | None, x: NDArray[Any]) -> tuple[Integers, list[int]]:
    """`scale·x − weight` as integers, and the shift of each row."""
    ones = np.ones(len(weight)) if scale is None else scale
    target, shifts = dyadic_rows(np.column_stack([weight, ones]))
    points, x_shifts = dyadic_rows(x)
    step = target[:, -1:] * points - (target[:, :-1] << np.array(x_shifts, dtype=object)[:, None])
    return step, [a + b for a, b in zip(shifts, x_shifts, strict=True)]


def _fraction(numerator: int, shift: int) -> Fraction:
    return Fraction(int(numerator), 1 << shift)
