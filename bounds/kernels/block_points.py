"""Many near-minimal integer points of a block: what a smoothed bound averages over."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ..gram import Array
from .block_multipliers import WIDTH, search_block
from .enumeration import ANCHOR, HIGH, LOW, ORIGIN, PEAK, PULL, begin_row
from .enumeration_lanes import COST, LANES, PATH, expand


@njit(cache=True)
def near_minima(
    shape: Any,
    arrays: Any,
    index: int,
    centre: Array,
    low: float,
    high: float,
    max_nodes: int,
    list_nodes: int,
    window: float,
    work: Any,
    points: Array,
    errors: Array,
) -> tuple[float, int]:
    """The least `(x − c)ᵀ D_B (x − c)` over the box and the points within `window` of it, all in search order.

    The same tree as `search_row`, with the goal held at the worst of the points listed so far. The best point comes
    first, and once more where the tree meets it. Where there are more points than places in `points` (places ≥ 2,
    width), the best are kept; `list_nodes` may cut the list short.

    Returns
    -------
    the lower bound of `search_block`, and the number of points listed
    """
    starts, padded, squares, tables = shape
    gram, inverse, coupling, cost, tails, vertex = arrays
    n = starts[index + 1] - starts[index]
    m = padded[index]
    lower, best, _, _ = search_block(
        shape, arrays, index, centre, low, high, centre, np.inf, 0.0, max_nodes, work, points[0]
    )
    pool, entries, _, row, scratch, integers, small = work
    square = slice(squares[index], squares[index] + n * n)
    table = slice(tables[index], tables[index] + (n + 1) * m)
    factor, tail, peak = coupling[table], tails[table], vertex[table]
    r2 = cost[starts[index] : starts[index] + n]
    bits = 1
    while 2.0**bits <= high - low:
        bits += 1
    digits = 52 // bits
    words = (n + digits - 1) // digits
    lanes = row[: 8 * m].reshape(8, m)
    begin_row(
        gram[square].reshape(n, n), inverse[square].reshape(n, n), factor, r2, tail, peak, centre[:n], low, high,
        centre[:n], np.inf, points[1, :n], pool, entries[:n], words, WIDTH, lanes, scratch[: 4 * n].reshape(4, n),
        integers, small,
    )  # fmt: skip
    lo, hi, g, b = lanes[LOW], lanes[HIGH], lanes[PULL], lanes[ANCHOR]
    pulled = 0
    for i in range(n):
        if g[i] != 0.0:
            pulled = 1
    goal = best + window
    errors[0] = best
    listed, worst, visited = 1, 0, 0
    highest, k = n - 1, n - 1
    while visited < list_nodes:
        while highest >= 0 and entries[highest] == 0:
            highest -= 1
        if highest < 0:
            break
        while k < highest and entries[k] < LANES:
            k += 1
        if entries[k] < LANES:
            k = highest
        if k > 0:
            entries[k], entries[k - 1], nodes = expand(
                pool, factor, tail, peak, r2, g, b, lo, hi, lanes[PEAK], n, m, words, digits, bits,
                WIDTH, k, entries[k], entries[k - 1], pulled, goal,
            )  # fmt: skip
            visited += nodes
            k -= 1
        for place in range(entries[0]):
            nearest = min(max(np.floor(pool[place] - lanes[PEAK, 0] + 0.5), lo[0]), hi[0])
            # outwards, upwards (nearest + 0, 1, …) and then downwards, until the error reaches the goal
            step, value = 1.0, nearest
            while True:
                e = value - pool[place]
                error = pool[(n + COST) * WIDTH + place] + r2[0] * e * e + g[0] * (value - b[0])
                if value < lo[0] or value > hi[0] or not error < goal:
                    if step < 0.0:
                        break
                    step, value = -1.0, nearest - 1.0
                    continue
                at = worst if listed == errors.size else listed
                listed = min(listed + 1, errors.size)
                errors[at] = error
                points[at, 0] = value + lanes[ORIGIN, 0]
                value += step
                for i in range(1, n):
                    word = np.int64(pool[(n + PATH + i // digits) * WIDTH + place])
                    points[at, i] = float((word >> (bits * (i % digits))) & ((1 << bits) - 1)) + lo[i]
                    points[at, i] += lanes[ORIGIN, i]
                if listed == errors.size:
                    worst = int(np.argmax(errors))
                    goal = errors[worst]
        entries[0] = 0
    return lower, listed
