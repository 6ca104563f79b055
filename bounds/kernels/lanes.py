"""Eight doubles as one value in compiled code: the same step of eight problems at a time, one in each lane.

Numba vectorises a sum only if it may reorder it (`fastmath`), which a proof does not allow, and short triangular loops
not at all. Across problems nothing has to be reordered. Arrays of lanes are flat: element i of lane q is at
`LANES · i + q`. The operators are plain multiplications, additions, subtractions and divisions, rounded one by one, so
that a lane holds the same bits on every processor and whatever the other lanes hold.
"""

from __future__ import annotations

import operator
from typing import Any, ClassVar

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing import signature
from numba.core.typing.templates import ConcreteTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, models, register_model

from ..gram import Array

LANES = 8
_VECTOR = ir.VectorType(ir.DoubleType(), LANES)


class Lanes(types.Type):  # type: ignore[misc, unused-ignore]
    """The type of such a value."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


_LANES = Lanes()


@register_model(Lanes)
class _Model(models.PrimitiveModel):  # type: ignore[misc, unused-ignore]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


class _Arithmetic(ConcreteTemplate):  # type: ignore[misc, unused-ignore]
    cases: ClassVar = [signature(_LANES, _LANES, _LANES)]


def _define(symbol: Any, instruction: str) -> None:
    infer_global(symbol)(type(instruction, (_Arithmetic,), {}))

    @lower_builtin(symbol, Lanes, Lanes)  # type: ignore[untyped-decorator, unused-ignore]
    def build(context: Any, builder: Any, kind: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args)


for _symbol, _instruction in (
    (operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul"), (operator.truediv, "fdiv")
):  # fmt: skip
    _define(_symbol, _instruction)


def aligned(size: int) -> Array:
    """Zeros for `size` elements, in whole cache lines."""
    space = np.zeros((size + 1) * LANES)
    skip = -(space.ctypes.data // 8) % LANES
    return space[skip : skip + size * LANES]


def _place(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    start = builder.mul(index, ir.Constant(ir.IntType(64), LANES))
    return builder.bitcast(builder.gep(data, [start]), _VECTOR.as_pointer())


@intrinsic
def load(_: Any, array: Any, index: Any) -> Any:
    """Element `index` of all lanes."""

    def build(context: Any, builder: Any, kind: Any, args: Any) -> Any:
        return builder.load(_place(context, builder, kind.args[0], *args), align=8)

    return _LANES(array, types.int64), build


@intrinsic
def window(_: Any, array: Any, at: Any) -> Any:
    """Elements at … at + 7 of an array in the usual order, flat, one in each lane: what lies beyond the end is read."""

    def build(context: Any, builder: Any, kind: Any, args: Any) -> Any:
        data = context.make_array(kind.args[0])(context, builder, args[0]).data
        return builder.load(builder.bitcast(builder.gep(data, [args[1]]), _VECTOR.as_pointer()), align=8)

    return _LANES(array, types.int64), build


@intrinsic
def put(_: Any, array: Any, at: Any, value: Any) -> Any:
    """Write what `window` reads: beyond the end, too."""

    def build(context: Any, builder: Any, kind: Any, args: Any) -> Any:
        data = context.make_array(kind.args[0])(context, builder, args[0]).data
        builder.store(args[2], builder.bitcast(builder.gep(data, [args[1]]), _VECTOR.as_pointer()), align=8)
        return context.get_dummy_value()

    return types.void(array, types.int64, _LANES), build


@intrinsic
def store(_: Any, array: Any, index: Any, value: Any) -> Any:
    """`array[index] = value` in all lanes."""

    def build(context: Any, builder: Any, kind: Any, args: Any) -> Any:
        builder.store(args[2], _place(context, builder, kind.args[0], *args[:2]), align=8)
        return context.get_dummy_value()

    return types.void(array, types.int64, _LANES), build


@intrinsic
def spread(_: Any, value: Any) -> Any:
    """The same number in all lanes."""

    def build(context: Any, builder: Any, kind: Any, args: Any) -> Any:
        single = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), args[0], ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(single, single, ir.Constant(ir.VectorType(ir.IntType(32), LANES), None))

    return _LANES(types.float64), build


@intrinsic
def ramp(_: Any) -> Any:
    """0, 1, …, 7."""

    def build(context: Any, builder: Any, kind: Any, args: Any) -> Any:
        return ir.Constant(_VECTOR, [float(q) for q in range(LANES)])

    return _LANES(), build


@intrinsic
def any_positive(_: Any, value: Any) -> Any:
    """Whether some lane is above zero."""

    def build(context: Any, builder: Any, kind: Any, args: Any) -> Any:
        above = builder.fcmp_ordered(">", args[0], ir.Constant(_VECTOR, [0.0] * LANES))
        byte = ir.IntType(LANES)
        return builder.icmp_unsigned("!=", builder.bitcast(above, byte), ir.Constant(byte, 0))

    return types.boolean(_LANES), build


@intrinsic
def root(_: Any, value: Any) -> Any:
    """Square roots."""

    def build(context: Any, builder: Any, kind: Any, args: Any) -> Any:
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_VECTOR, [_VECTOR]), f"llvm.sqrt.v{LANES}f64"
        )
        return builder.call(function, args)

    return _LANES(_LANES), build


@intrinsic
def where_less(_: Any, x: Any, y: Any, yes: Any, no: Any) -> Any:
    """`yes` in the lanes where x < y, `no` in the others, and where either is not a number."""

    def build(context: Any, builder: Any, kind: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", *args[:2]), *args[2:])

    return _LANES(_LANES, _LANES, _LANES, _LANES), build
