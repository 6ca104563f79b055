"""Errors of quantised and pruned weights, from sorted weights.

In sorted order the weights of one code are neighbours, so with prefix sums the error of a scale costs one binary search
a code: `Σ w² − 2s·Σ code·w + s²·Σ code²`. That form cancels, so it only picks scales; what is reported is
`Σ (w − s·code)²`, summed weight by weight at the scale that was picked. Few weights are quantised for 32 scales at once
instead, in single precision, likewise to pick a scale.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]
Single = NDArray[np.float32]
BLOCK = 32
LANES = 32
COARSE = 8
FINE = 32
REFITS = 2
SEARCH_COST = 11.0
LARGEST_DIRECT = 32768


@njit(cache=True)
def prefix_sums(x: Array, sums: Array) -> None:
    """(blocks, 2) sums of the weights and of their squares before each block of 32."""
    first = second = 0.0
    for i in range(x.size):
        if i % BLOCK == 0:
            sums[i // BLOCK, 0], sums[i // BLOCK, 1] = first, second
        w = np.float64(x[i])
        first += w
        second += w * w
    sums[-1, 0], sums[-1, 1] = first, second


@njit(cache=True)
def below(x: Array, threshold: float) -> int:
    """How many of the sorted weights lie below the threshold."""
    low, high = 0, x.size
    while low < high:
        middle = (low + high) >> 1
        if x[middle] < threshold:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True)
def first_sum(x: Array, sums: Array, count: int) -> float:
    """Sum of the `count` smallest weights."""
    block = count // BLOCK
    total = sums[block, 0]
    for i in range(block * BLOCK, count):
        total += x[i]
    return total


@njit(cache=True)
def second_sum(x: Array, sums: Array, count: int) -> float:
    """Sum of the squares of the `count` smallest weights."""
    block = count // BLOCK
    total = sums[block, 1]
    for i in range(block * BLOCK, count):
        total += np.float64(x[i]) * x[i]
    return total


@njit(cache=True)
def correlations(x: Array, sums: Array, scale: float, low: int, high: int) -> tuple[float, float]:
    """`Σ code·w` and `Σ code²` by one search a code."""
    along = squares = before = 0.0
    count = 0
    for code in range(low, high + 1):
        end = below(x, scale * (code + 0.5)) if code < high else x.size
        if end > count:
            total = first_sum(x, sums, end)
            along += code * (total - before)
            squares += float(code) * code * (end - count)
            before, count = total, end
    return along, squares


@njit(cache=True)
def search_pays(size: int, levels: int) -> bool:
    """Whether searches cost less than a pass over the weights for 32 scales at once."""
    return SEARCH_COST * levels * (math.log2(size + 1.0) + 7.0) < size


@njit(cache=True)
def searched_errors(x: Array, sums: Array, scales: Array, low: int, high: int, errors: Array) -> None:
    """Squared errors of some scales, with the cancellation of the module's docstring."""
    for i in range(scales.size):
        along, squares = correlations(x, sums, scales[i], low, high)
        errors[i] = sums[-1, 1] - 2.0 * scales[i] * along + scales[i] * scales[i] * squares


@njit(cache=True)
def direct_errors(x: Single, scales: Single, inverse: Single, errors: Single, low: float, high: float) -> None:
    """Squared errors of exactly 32 scales in single precision: a fixed inner loop that becomes vector instructions."""
    bottom, top, half = np.float32(low), np.float32(high), np.float32(0.5)
    for k in range(LANES):
        errors[k] = np.float32(0.0)
    for w in x:
        for k in range(LANES):
            code = min(max(np.floor(w * inverse[k] + half), bottom), top)
            residue = w - scales[k] * code
            errors[k] += residue * residue


@njit(cache=True)
def clipped(x: Array, sums: Array, low: float, high: float) -> float:
    """Squared error of the weights outside [low, high]."""
    left, right = below(x, low), below(x, high)
    beyond = x.size - right
    first = sums[-1, 0] - first_sum(x, sums, right)
    second = sums[-1, 1] - second_sum(x, sums, right)
    error = second - 2.0 * high * first + high * high * beyond
    first, second = first_sum(x, sums, left), second_sum(x, sums, left)
    return error + second - 2.0 * low * first + low * low * left


@njit(cache=True)
def zeroed(x: Array, sums: Array, limit: float) -> float:
    """Squared error of the weights within ±limit when they become zero."""
    return second_sum(x, sums, below(x, limit)) - second_sum(x, sums, below(x, -limit))


@njit(cache=True)
def best_by_search(x: Array, sums: Array, low: int, high: int, steps: int) -> float:
    """The best scale of many weights: a grid, then between the neighbours of its best, then a least-squares refit.

    Scales whose clipped weights, or whose weights rounded to zero, alone cost more than a scale already seen are
    skipped: the first error only falls with the scale, the second only rises.
    """
    unit = max(abs(np.float64(x[0])), abs(np.float64(x[-1]))) / max(high, 1) / steps
    errors = np.empty(max(steps, FINE))
    scales = unit * np.arange(steps, 0, -COARSE)
    searched_errors(x, sums, scales, low, high, errors)
    best = int(np.argmin(errors[: scales.size]))
    least, chosen = errors[best], scales[best]
    first, last = 1, steps
    while first < last:
        middle = (first + last) // 2
        if clipped(x, sums, unit * middle * low, unit * middle * high) > least:
            first = middle + 1
        else:
            last = middle
    start, last = first, steps
    while start < last:
        middle = (start + last + 1) // 2
        if zeroed(x, sums, 0.5 * unit * middle) > least:
            last = middle - 1
        else:
            start = middle
    left = np.arange(first, last + 1)
    for scales in (unit * left[(steps - left) % COARSE != 0], np.empty(0)):
        if scales.size == 0:
            scales = chosen + unit * (np.arange(1, FINE) * 2.0 / FINE - 1.0)
            scales = scales[scales > 0.0]
        searched_errors(x, sums, scales, low, high, errors)
        best = int(np.argmin(errors[: scales.size]))
        if errors[best] < least:
            least, chosen = errors[best], scales[best]
    for _ in range(REFITS):
        along, squares = correlations(x, sums, chosen, low, high)
        if squares > 0.0 and along > 0.0:
            chosen = along / squares
    return chosen


@njit(cache=True)
def best_directly(x: Single, low: int, high: int, steps: int, lanes: Single) -> float:
    """The same for few weights: every scale of the grid, then 32 between the neighbours of the best.

    `lanes` is (3, 32) scratch space: scales, inverses and errors.
    """
    unit = max(abs(np.float64(x[0])), abs(np.float64(x[-1]))) / max(high, 1) / steps
    least, chosen = np.inf, unit * steps
    for start in range(0, steps, LANES):
        for k in range(LANES):
            lanes[0, k] = unit * max(steps - start - k, 1)
            lanes[1, k] = 1.0 / lanes[0, k]
        direct_errors(x, lanes[0], lanes[1], lanes[2], low, high)
        best = int(np.argmin(lanes[2]))
        if lanes[2, best] < least:
            least, chosen = lanes[2, best], unit * max(steps - start - best, 1)
    for k in range(LANES):
        lanes[0, k] = max(chosen + unit * (2.0 * (k + 0.5) / LANES - 1.0), 0.01 * unit)
        lanes[1, k] = 1.0 / lanes[0, k]
    direct_errors(x, lanes[0], lanes[1], lanes[2], low, high)
    best = int(np.argmin(lanes[2]))
    return float(lanes[0, best]) if lanes[2, best] < least else chosen


@njit(cache=True)
def refit(x: Array, scale: float, low: int, high: int, codes: Array) -> float:
    """The least-squares scale for the nearest codes of `scale`: its error is not larger."""
    inverse = 1.0 / scale
    bottom, top = float(low), float(high)
    for i in range(x.size):
        codes[i] = min(max(np.floor(x[i] * inverse + 0.5), bottom), top)
    along = squares = 0.0
    for i in range(x.size):
        along += codes[i] * x[i]
        squares += codes[i] * codes[i]
    return along / squares if squares > 0.0 and along > 0.0 else scale


@njit(cache=True)
def exact_error(x: Array, scale: float, low: int, high: int, codes: Array) -> tuple[float, int]:
    """`Σ (w − scale·code)²` and how many codes are zero, weight by weight; `codes` is scratch space, any length."""
    inverse = 1.0 / scale
    bottom, top = float(low), float(high)
    total = 0.0
    zeros = 0
    for start in range(0, x.size, codes.size):
        part = x[start : start + codes.size]
        for i in range(part.size):
            codes[i] = min(max(np.floor(part[i] * inverse + 0.5), bottom), top)
        for i in range(part.size):
            zeros += codes[i] == 0.0
        for i in range(part.size):
            residue = part[i] - scale * codes[i]
            codes[i] = residue * residue
        for i in range(part.size):
            total += codes[i]
    return total, zeros


@njit(cache=True)
def quantize_rows(rows: Array, lows: NDArray[np.int64], highs: NDArray[np.int64], steps: int, out: Array) -> None:
    """(widths, 3): error, zeros, and the last row's scale, with one best scale for each sorted row."""
    columns = rows.shape[1]
    sums = np.empty(((columns + BLOCK - 1) // BLOCK + 1, 2))
    lanes = np.empty((3, LANES), dtype=np.float32)
    codes = np.empty(min(columns, LARGEST_DIRECT))
    single = np.empty(min(columns, LARGEST_DIRECT), dtype=np.float32)
    out[:] = 0.0
    for r in range(rows.shape[0]):
        x = rows[r]
        if x[0] == 0.0 and x[-1] == 0.0:
            out[:, 1] += columns
            continue
        prepared = copied = False
        top = 1.0
        for b in range(lows.size):
            low, high = lows[b], highs[b]
            if columns > codes.size or search_pays(columns, high - low + 1):
                if not prepared:
                    prefix_sums(x, sums)
                    prepared = True
                scale = best_by_search(x, sums, low, high, steps)
            else:
                if not copied:
                    top = max(abs(np.float64(x[0])), abs(np.float64(x[-1])))
                    for i in range(columns):  # relative to the row, so that no square underflows
                        single[i] = x[i] / top
                    copied = True
                scale = refit(x, top * best_directly(single, low, high, steps, lanes), low, high, codes)
            error, zeros = exact_error(x, scale, low, high, codes)
            out[b, 0] += error
            out[b, 1] += zeros
            out[b, 2] = scale


@njit(cache=True)
def prune(x: Array, removed: NDArray[np.int64], out: Array) -> None:
    """Squared error of zeroing the `removed` (ascending counts) smallest magnitudes of sorted weights."""
    right = below(x, 0.0)
    left = right - 1
    total = 0.0
    done = 0
    for i in range(removed.size):
        while done < removed[i]:
            if right >= x.size or (left >= 0 and -x[left] < x[right]):
                total += np.float64(x[left]) * x[left]
                left -= 1
            else:
                total += np.float64(x[right]) * x[right]
                right += 1
            done += 1
        out[i] = total


@njit(cache=True)
def moments(x: Array) -> tuple[float, float, float, float]:
    """Mean, and mean square, second and fourth central moments (divided by the number of weights)."""
    total = power = 0.0
    for single in x:
        w = np.float64(single)  # numba's float() would stay single
        total += w
        power += w * w
    mean = total / x.size
    second = fourth = 0.0
    for single in x:
        d = np.float64(single) - mean
        d *= d
        second += d
        fourth += d * d
    return mean, power / x.size, second / x.size, fourth / x.size
