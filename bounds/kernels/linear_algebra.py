"""Small dense factorisations for matrices of 10–130 columns, without an allocation.

Upper triangles are stored row by row in arrays of shape (columns, stride); `stride` is a multiple of
`LANES` and at least columns + 1, so that a row may be updated in groups of `LANES` doubles that run
over its end. LLVM cannot vectorise such short loops by itself (it must suspect that the rows
overlap), so the two updates that carry all the work name the vector instruction: `subtract_1` and
`subtract_4`. They are plain multiplications, additions and subtractions, rounded one by one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped, unused-ignore]
from numba import njit, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from ..gram import Array

LANES = 4
_VECTOR = ir.VectorType(ir.DoubleType(), LANES)
_INDEX = ir.IntType(32)


def stride(columns: int) -> int:
    """Row length to allocate for `columns` columns and one right-hand side."""
    return (columns + LANES) // LANES * LANES


@intrinsic
def borrow(_: Any, array: Any) -> Any:
    """The same array without a count of references, of which every call with it and every view would change some.

    It must not outlive the original. In a search of short steps the counts, atomic, take a fifth of the time.
    """

    def generate(context: Any, builder: Any, kind: Any, args: Any) -> Any:
        same = make_array(kind.args[0])(context, builder, args[0])
        same.meminfo = ir.Constant(same.meminfo.type, None)
        same.parent = ir.Constant(same.parent.type, None)
        return same._getvalue()

    return array(array), generate


def _subtract(terms: int) -> Any:
    """Code generator of `target[at:at+4] -= Σ_q factor_q · source[start + q·step :][:4]`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target, source = (make_array(signature.args[i])(context, builder, args[i]).data for i in (0, 2))
        offset = args[3]

        def vector(data: Any, index: Any) -> Any:
            return builder.bitcast(builder.gep(data, [index]), _VECTOR.as_pointer())

        total = None
        for factor in args[-terms:]:
            lanes = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), factor, ir.Constant(_INDEX, 0))
            lanes = builder.shuffle_vector(lanes, lanes, ir.Constant(ir.VectorType(_INDEX, LANES), [0] * LANES))
            values = builder.load(vector(source, offset), align=8)
            product = builder.fmul(lanes, values)
            total = product if total is None else builder.fadd(total, product)
            offset = builder.add(offset, args[4]) if terms > 1 else offset
        place = vector(target, args[1])
        builder.store(builder.fsub(builder.load(place, align=8), total), place, align=8)
        return context.get_dummy_value()

    return generate


@intrinsic
def subtract_1(_: Any, target: Any, at: Any, source: Any, start: Any, f: Any) -> Any:
    """`target[at:at+4] -= f · source[start:start+4]` on flat indices."""
    return types.void(target, types.int64, source, types.int64, types.float64), _subtract(1)


@intrinsic
def subtract_4(
    _: Any, target: Any, at: Any, source: Any, start: Any, step: Any, f0: Any, f1: Any, f2: Any, f3: Any
) -> Any:
    """`target[at:at+4] -= f0 · source[start:][:4] + f1 · source[start + step:][:4] + …` on flat indices."""
    integer, real = types.int64, types.float64
    return types.void(target, integer, source, integer, integer, real, real, real, real), _subtract(4)


@njit(cache=True)
def cholesky(a: Array, m: int, width: int, reciprocal: Array) -> bool:
    """Overwrite the upper triangle of the leading m × m block by `U` with `UᵀU = a`; False if not definite.

    Columns m … width − 1 hold right-hand sides `b` and become `U⁻ᵀ b`. `reciprocal` receives `1 / Uᵢᵢ`.
    Right-looking with four pivots at a time.
    """
    row = a.shape[1]
    j = 0
    while j < m:
        end = min(j + 4, m)
        for p in range(j, end):
            pivot = a[p, p]
            if not pivot > 0.0:
                return False
            r = 1.0 / np.sqrt(pivot)
            reciprocal[p] = r
            for c in range(p, width):
                a[p, c] *= r
            for i in range(p + 1, end):
                f = a[p, i]
                for c in range(j, width, 4):
                    subtract_1(a, i * row + c, a, p * row + c, f)
        for i in range(end, m):
            f0, f1, f2, f3 = a[j, i], a[j + 1, i], a[j + 2, i], a[j + 3, i]
            for c in range(i // 4 * 4, width, 4):
                subtract_4(a, i * row + c, a, j * row + c, row, f0, f1, f2, f3)
        j = end
    return True


@njit(cache=True)
def back_substitute(u: Array, m: int, reciprocal: Array, x: Array) -> None:
    """`x ← U⁻¹ x` for the factor made by `cholesky`; four sums run side by side."""
    for i in range(m - 1, -1, -1):
        s0, s1, s2, s3 = x[i], 0.0, 0.0, 0.0
        c = i + 1
        while c + 3 < m:
            s0 -= u[i, c] * x[c]
            s1 -= u[i, c + 1] * x[c + 1]
            s2 -= u[i, c + 2] * x[c + 2]
            s3 -= u[i, c + 3] * x[c + 3]
            c += 4
        while c < m:
            s0 -= u[i, c] * x[c]
            c += 1
        x[i] = ((s0 + s1) + (s2 + s3)) * reciprocal[i]


@njit(cache=True)
def inverse_from_factor(u: Array, m: int, reciprocal: Array, root: Array, inverse: Array) -> None:
    """Upper triangle of `(UᵀU)⁻¹` into `inverse`; `root` is workspace and receives `U⁻ᵀ` (lower)."""
    row = u.shape[1]
    width = (m + 3) // 4 * 4
    for i in range(m):
        for c in range(width):
            root[i, c] = 0.0
            inverse[i, c] = 0.0
        root[i, i] = 1.0
        k = 0
        while k + 3 < i:
            f0, f1, f2, f3 = u[k, i], u[k + 1, i], u[k + 2, i], u[k + 3, i]
            for c in range(0, k + 4, 4):
                subtract_4(root, i * row + c, root, k * row + c, row, f0, f1, f2, f3)
            k += 4
        while k < i:
            for c in range(0, k + 1, 4):
                subtract_1(root, i * row + c, root, k * row + c, u[k, i])
            k += 1
        for c in range(i + 1):
            root[i, c] *= reciprocal[i]
    for i in range(m):
        k = i
        while k + 3 < m:
            f0, f1, f2, f3 = -root[k, i], -root[k + 1, i], -root[k + 2, i], -root[k + 3, i]
            for c in range(i // 4 * 4, k + 4, 4):
                subtract_4(inverse, i * row + c, root, k * row + c, row, f0, f1, f2, f3)
            k += 4
        while k < m:
            for c in range(i // 4 * 4, k + 1, 4):
                subtract_1(inverse, i * row + c, root, k * row + c, -root[k, i])
            k += 1
