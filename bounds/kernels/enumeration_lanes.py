"""The inner pass of the enumeration on explicit vectors of eight lanes.

Numba vectorises a sum only if it may reorder it (`fastmath`), which a proof does not allow. Here the order is
fixed in the intermediate code: lane by lane, then a tree over the lanes. The result is the same on every processor.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8


@intrinsic
def two_tails(
    typingctx: Any,
    coupling: Any,
    tail: Any,
    vertex: Any,
    g: Any,
    b: Any,
    low: Any,
    high: Any,
    centres: Any,
    shared: Any,
    source: Any,
    first: Any,
    second: Any,
    e: Any,
    f: Any,
    blocks: Any,
) -> Any:
    """Centres and tail bounds of two siblings, steps `e` and `f` of one coordinate away from its centre.

    For each i of `blocks` times eight, `w = centre − coupling·e` is stored and the sum of
    `tail·(w − q)² + g·(q − b)` at its minimiser `q` in [low, high] accumulated; likewise for `f`.

    Arguments
    ---------
    coupling, tail, vertex : flat (levels × padded); the pass starts at element `shared`; `vertex` is 1 / 2·tail
    g, b, low, high : (padded,)
    centres : flat; rows start at `source` (read), `first` and `second` (written)
    """
    array = types.Array(types.float64, 1, "C")
    pair = types.UniTuple(types.float64, 2)
    signature = pair(*[array] * 8, *[types.int64] * 4, types.float64, types.float64, types.int64)

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        double, index = ir.DoubleType(), ir.IntType(64)
        vector = ir.VectorType(double, LANES)
        floor = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector]), f"llvm.floor.v{LANES}f64"
        )
        data = [context.make_array(array)(context, builder, value=a).data for a in args[:8]]
        p_coupling, p_tail, p_vertex, p_g, p_b, p_low, p_high, p_centres = data
        start, origin, *outputs = args[8:12]

        def place(pointer: Any, offset: Any) -> Any:
            return builder.bitcast(builder.gep(pointer, [offset]), vector.as_pointer())

        def load(pointer: Any, offset: Any) -> Any:
            return builder.load(place(pointer, offset), align=8)

        def spread(value: Any) -> Any:
            single = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
            return builder.shuffle_vector(single, ir.Constant(vector, ir.Undefined), zeros)

        steps = [spread(value) for value in args[12:14]]
        half = ir.Constant(vector, [0.5] * LANES)
        zero = ir.Constant(vector, [0.0] * LANES)
        sums = [cgutils.alloca_once_value(builder, zero) for _ in steps]
        with cgutils.for_range(builder, args[14], intp=index) as loop:
            i = builder.mul(loop.index, ir.Constant(index, LANES))
            shared_i = builder.add(start, i)
            centre = load(p_centres, builder.add(origin, i))
            slope, weight = load(p_coupling, shared_i), load(p_tail, shared_i)
            bottom, top, pull, anchor = (load(p, i) for p in (p_low, p_high, p_g, p_b))
            offset = builder.fsub(half, builder.fmul(pull, load(p_vertex, shared_i)))
            for step, total, output in zip(steps, sums, outputs, strict=True):
                w = builder.fsub(centre, builder.fmul(slope, step))
                builder.store(w, place(p_centres, builder.add(output, i)), align=8)
                q = builder.call(floor, [builder.fadd(w, offset)])
                q = builder.select(builder.fcmp_ordered(">", q, bottom), q, bottom)
                q = builder.select(builder.fcmp_ordered("<", q, top), q, top)
                d = builder.fsub(w, q)
                curved = builder.fmul(weight, builder.fmul(d, d))
                linear = builder.fmul(pull, builder.fsub(q, anchor))
                builder.store(builder.fadd(builder.load(total), builder.fadd(curved, linear)), total)

        results = []
        for total in sums:
            value = builder.load(total)
            lane = [builder.extract_element(value, ir.Constant(ir.IntType(32), j)) for j in range(LANES)]
            while len(lane) > 1:
                reach = len(lane) // 2
                lane = [builder.fadd(lane[j], lane[j + reach]) for j in range(reach)]
            results.append(lane[0])
        return context.make_tuple(builder, sig.return_type, results)

    return signature, build
