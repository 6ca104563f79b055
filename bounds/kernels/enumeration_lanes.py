"""One step of the enumeration on explicit vectors: eight nodes of a level at a time, one a lane.

Numba vectorises a sum only if it may reorder it (`fastmath`), which a proof does not allow. Across nodes nothing has
to be reordered: every lane adds up its own tail bound, column after column. The result is the same on every processor;
those with AVX-512 pack survivors in one instruction, with AVX2 alone the search takes two to three times as long.

A level is a block of rows of `width` places. An entry, one place of each row, is a node not yet expanded: its
conditional centres (a row for each column, used up to the level's own), cost, bound, the next integers to try
downwards and upwards, and the integers fixed so far as digits above the box's lower end, several to a double.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8
COST, BOUND, DOWN, UP, PATH = range(5)

_DOUBLE, _INDEX, _BIT = ir.DoubleType(), ir.IntType(64), ir.IntType(1)
_VECTOR, _BITS = ir.VectorType(_DOUBLE, LANES), ir.VectorType(_BIT, LANES)


def _constant(value: float) -> Any:
    return ir.Constant(_VECTOR, [value] * LANES)


class _Writer:
    """The few vector operations that the step needs, on top of an llvmlite builder."""

    def __init__(self, builder: Any, width: Any) -> None:
        self.builder = builder
        self.width = width
        byte = ir.IntType(LANES)
        self.round_function = self._function("rint", f"v{LANES}f64", _VECTOR, [_VECTOR])
        self.fused_function = self._function("fma", f"v{LANES}f64", _VECTOR, [_VECTOR] * 3)
        self.pack_function = self._function(
            "experimental.vector.compress", f"v{LANES}f64", _VECTOR, [_VECTOR, _BITS, _VECTOR]
        )
        self.count_function = self._function("ctpop", f"i{LANES}", byte, [byte])

    def _function(self, name: str, kind: str, result: Any, arguments: list[Any]) -> Any:
        return cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(result, arguments), f"llvm.{name}.{kind}"
        )

    def spread(self, value: Any) -> Any:
        undefined = ir.Constant(_VECTOR, ir.Undefined)
        single = self.builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
        return self.builder.shuffle_vector(single, undefined, ir.Constant(ir.VectorType(ir.IntType(32), LANES), None))

    def at(self, base: Any, *offsets: Any) -> Any:
        for offset in offsets:
            base = self.builder.add(base, offset)
        return base

    def row(self, index: Any, row: Any) -> Any:
        return self.builder.add(index, self.builder.mul(row, self.width))

    def load(self, pointer: Any, index: Any) -> Any:
        place = self.builder.gep(pointer, [index])
        return self.builder.load(self.builder.bitcast(place, _VECTOR.as_pointer()), align=8)

    def store(self, value: Any, pointer: Any, index: Any) -> None:
        place = self.builder.gep(pointer, [index])
        self.builder.store(value, self.builder.bitcast(place, _VECTOR.as_pointer()), align=8)

    def scalar(self, pointer: Any, index: Any) -> Any:
        return self.builder.load(self.builder.gep(pointer, [index]))

    def round(self, x: Any) -> Any:
        return self.builder.call(self.round_function, [x])

    def fused(self, x: Any, y: Any, z: Any) -> Any:
        """x·y + z, rounded once."""
        return self.builder.call(self.fused_function, [x, y, z])

    def larger(self, x: Any, y: Any) -> Any:
        return self.builder.select(self.builder.fcmp_ordered(">", x, y), x, y)

    def smaller(self, x: Any, y: Any) -> Any:
        return self.builder.select(self.builder.fcmp_ordered("<", x, y), x, y)

    def count(self, mask: Any) -> Any:
        return self.builder.zext(
            self.builder.call(self.count_function, [self.builder.bitcast(mask, ir.IntType(LANES))]), _INDEX
        )

    def pack(self, x: Any, mask: Any) -> Any:
        return self.builder.call(self.pack_function, [x, mask, ir.Constant(_VECTOR, ir.Undefined)])

    def rows(self, first: Any, end: Any, body: Callable[[Any], None]) -> None:
        with cgutils.for_range_slice(self.builder, first, end, ir.Constant(_INDEX, 1), intp=_INDEX) as (i, _):
            body(i)


@intrinsic
def expand(
    typingctx: Any, pool: Any, coupling: Any, tail: Any, vertex: Any, r2: Any, g: Any, b: Any, low: Any,
    high: Any, pull: Any, n: Any, m: Any, words: Any, digits: Any, bits: Any, width: Any, k: Any, here: Any, below: Any,
    pulled: Any, goal: Any,
) -> Any:  # fmt: skip
    """Try the next two integers of the last eight entries of level `k`; survivors become entries of level `k − 1`.

    Arguments
    ---------
    pool : flat (columns × (columns + PATH + words) × width)
    coupling, tail, vertex : flat (levels × m); `vertex` is 1 / 2·tail
    r2, g, b, low, high, pull : (columns,) at least
    n, m, words : columns, padded columns, doubles that hold a path
    digits, bits : integers to a double, and bits of each
    width : places of a row
    k : the level, not 0
    here, below : entries of levels k and k − 1; `below` must leave 2 · LANES places
    pulled : 0 if all of `g` is zero

    Returns
    -------
    The new numbers of entries, and the nodes visited (partial points whose cost is below `goal`).
    """
    array = types.Array(types.float64, 1, "C")
    triple = types.UniTuple(types.int64, 3)
    signature = triple(*[array] * 10, *[types.int64] * 10, types.float64)

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = [context.make_array(array)(context, builder, value=a).data for a in args[:10]]
        p_pool, p_coupling, p_tail, p_vertex, p_r2, p_g, p_b, p_low, p_high, p_pull = data
        n, m, words, digits, bits, width, k, here, below, pulled, goal_value = args[10:]
        write = _Writer(builder, width)
        zero, one = ir.Constant(_INDEX, 0), ir.Constant(_INDEX, 1)
        eight = ir.Constant(_INDEX, LANES)
        rows = builder.add(builder.add(n, ir.Constant(_INDEX, PATH)), words)
        level = builder.mul(rows, width)
        first = builder.select(builder.icmp_signed(">", here, eight), builder.sub(here, eight), zero)
        source = builder.add(builder.mul(k, level), first)
        down_level = builder.sub(k, one)
        target = builder.add(builder.mul(down_level, level), below)

        def extra(which: int) -> Any:
            return builder.add(n, ir.Constant(_INDEX, which))

        def spread(pointer: Any, index: Any) -> Any:
            return write.spread(write.scalar(pointer, index))

        goal = write.spread(goal_value)
        infinity = _constant(float("inf"))
        numbers = ir.Constant(_VECTOR, [float(i) for i in range(LANES)])
        lanes = builder.sitofp(builder.sub(here, first), _DOUBLE)
        live = builder.fcmp_ordered("<", numbers, write.spread(lanes))
        centre = write.load(p_pool, write.row(source, k))
        cost = write.load(p_pool, write.row(source, extra(COST)))
        bound = write.load(p_pool, write.row(source, extra(BOUND)))
        down = write.load(p_pool, write.row(source, extra(DOWN)))
        up = write.load(p_pool, write.row(source, extra(UP)))
        live = builder.and_(live, builder.fcmp_ordered("<", bound, goal))
        curvature, slope, anchor = spread(p_r2, k), spread(p_g, k), spread(p_b, k)
        bottom, top = spread(p_low, k), spread(p_high, k)
        unit = _constant(1.0)

        def spent(value: Any) -> Any:
            e = builder.fsub(value, centre)
            total = builder.fadd(cost, builder.fmul(curvature, builder.fmul(e, e)))
            total = builder.fadd(total, builder.fmul(slope, builder.fsub(value, anchor)))
            inside = builder.and_(builder.fcmp_ordered(">=", value, bottom), builder.fcmp_ordered("<=", value, top))
            return builder.select(inside, total, infinity)

        values, steps, costs, tried = [], [], [], []
        for _ in range(2):
            s_down, s_up = spent(down), spent(up)
            take = builder.fcmp_ordered("<=", s_down, s_up)
            value = builder.select(take, down, up)
            values.append(value)
            costs.append(builder.select(take, s_down, s_up))
            tried.append(builder.and_(live, builder.fcmp_ordered("<", costs[-1], goal)))
            steps.append(builder.fsub(centre, value))
            down = builder.select(take, builder.fsub(down, unit), down)
            up = builder.select(take, up, builder.fadd(up, unit))
        more = write.smaller(spent(down), spent(up))
        rest = builder.and_(tried[1], builder.fcmp_ordered("<", more, goal))
        nodes = builder.add(write.count(tried[0]), write.count(tried[1]))

        sums = [cgutils.alloca_once_value(builder, _constant(0.0)) for _ in steps]
        shared = builder.mul(k, m)

        def centre_rows(i: Any) -> list[Any]:
            c, factor = write.load(p_pool, write.row(source, i)), spread(p_coupling, builder.add(shared, i))
            return [write.fused(factor, step, c) for step in steps]

        def evaluate(i: Any, with_pull: bool) -> None:
            j = builder.add(shared, i)
            weight, bottom_i, top_i = spread(p_tail, j), spread(p_low, i), spread(p_high, i)
            if with_pull:
                pull_i, anchor_i = spread(p_g, i), spread(p_b, i)
                offset = builder.fmul(pull_i, spread(p_vertex, j))
            for w, total in zip(centre_rows(i), sums, strict=True):
                q = write.round(builder.fsub(w, offset) if with_pull else w)
                q = write.smaller(write.larger(q, bottom_i), top_i)
                d = builder.fsub(w, q)
                added = write.fused(builder.fmul(weight, d), d, builder.load(total))
                if with_pull:
                    added = write.fused(pull_i, builder.fsub(q, anchor_i), added)
                builder.store(added, total)

        with builder.if_else(builder.icmp_signed("==", pulled, zero)) as (free, bound_by_box):
            with free:
                write.rows(zero, k, lambda i: evaluate(i, False))
            with bound_by_box:
                write.rows(zero, k, lambda i: evaluate(i, True))
        bounds, kept = [], []
        for s in range(2):
            total = builder.fadd(costs[s], builder.load(sums[s]))
            kept.append(builder.and_(tried[s], builder.fcmp_ordered("<", total, goal)))
            bounds.append(write.larger(total, bound))
        counts = [write.count(mask) for mask in kept]
        survivors = builder.add(*counts)
        # twins first, so that the nearer siblings are the next to be expanded
        places = [builder.add(target, counts[1]), target]

        def put(row: Any, first_value: Any, twin_value: Any) -> None:
            for s, value in ((1, twin_value), (0, first_value)):
                write.store(write.pack(value, kept[s]), p_pool, write.row(places[s], row))

        with builder.if_then(builder.icmp_signed(">", survivors, zero)):
            put(extra(COST), *costs)
            put(extra(BOUND), *bounds)
            bottom_k, top_k = spread(p_low, down_level), spread(p_high, down_level)
            shift = spread(p_pull, down_level)
            starts = [write.round(builder.fsub(w, shift)) for w in centre_rows(down_level)]
            starts = [write.smaller(write.larger(value, bottom_k), top_k) for value in starts]
            put(extra(DOWN), *starts)
            put(extra(UP), *[builder.fadd(value, unit) for value in starts])

            def path(i: Any) -> None:
                value = write.load(p_pool, write.row(source, i))
                put(i, value, value)

            write.rows(zero, k, lambda i: put(i, *centre_rows(i)))
            write.rows(extra(PATH), rows, path)
            word = builder.add(extra(PATH), builder.udiv(k, digits))
            exponent = builder.mul(bits, builder.urem(k, digits))
            power = write.spread(builder.sitofp(builder.shl(one, exponent), _DOUBLE))
            before = write.load(p_pool, write.row(source, word))
            put(word, *[builder.fadd(before, builder.fmul(power, builder.fsub(v, bottom))) for v in values])

        remaining = write.count(rest)
        with builder.if_then(builder.icmp_signed(">", remaining, zero)):

            def keep(i: Any) -> None:
                place = write.row(source, i)
                write.store(write.pack(write.load(p_pool, place), rest), p_pool, place)

            write.rows(zero, builder.add(k, one), keep)
            write.rows(extra(PATH), rows, keep)
            for which, value in ((COST, cost), (BOUND, write.larger(bound, more)), (DOWN, down), (UP, up)):
                write.store(write.pack(value, rest), p_pool, write.row(source, extra(which)))

        results = [builder.add(first, remaining), builder.add(below, survivors), nodes]
        return context.make_tuple(builder, sig.return_type, results)

    return signature, build
