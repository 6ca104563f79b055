"""Block minima of integers in a box: every block is a small exact search of its own.

With `c = t − w`, `w ≈ D_B⁻¹ g`, the term of a block is, for `u = x − t`,

    uᵀD u + 2 gᵀu  =  (x − c)ᵀD (x − c) − wᵀD w + 2 uᵀ(g − D w),

a nearest integer point apart from the last part, which is rounding and at most `2 Σ |uᵢ| |g − Dw|ᵢ` on the box.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from operator import mul

import numpy as np

from ..errors import CertificateError
from ..feasible import IntegerBox
from ..gram import UNIT_ROUNDOFF, Array
from ..kernels.block_multipliers import block_minima
from ..kernels.box import recentre
from ..rational import align, dyadic, why_not_semidefinite
from ..rounding import UNDERFLOW, gamma
from .base import Blocks
from .integer_blocks import IntegerBlock, Packed, prepared

MAX_NODES = 50_000_000
STEP_BITS = 24
MAX_CHECKS = 2_000_000


def safe_minimum(
    feasible: IntegerBox, blocks: Blocks, matrices: tuple[Array, ...], g: Array, slack: Array, target: Array
) -> Array:
    """See `base.BlockMinimum`; −∞ for all rows where a `D_B` is not numerically definite.

    The search returns a lower bound also where it is cut short. What it rests on in float64 is stated in
    `exact.enumeration` (1–3), with the same factor of safety: less than `32 n u A` of the error of the best point, and
    the measured residual of the recentring. All else is counted here.
    """
    total = np.zeros(g.shape[0])
    lost = np.zeros(g.shape[0])
    with np.errstate(all="ignore"):
        for columns, d in zip(blocks, matrices, strict=True):
            block = prepared(d)
            if block is None or block.allowance > 1e-3:
                return np.full(g.shape[0], -np.inf)
            scaled = np.ldexp(d, -block.exponent)
            pull = np.ldexp(g[:, columns], -block.exponent)
            t = target[:, columns]
            inverse = np.empty_like(scaled)
            inverse[np.ix_(block.order, block.order)] = block.inverse
            w = pull @ inverse
            w += (pull - w @ scaled) @ inverse
            centre = t - w
            w = t - centre
            image = w @ scaled
            size = np.abs(w) @ np.abs(scaled)
            reach = np.maximum(np.abs(t - feasible.low), np.abs(feasible.high - t)) * (1 + 4 * UNIT_ROUNDOFF)
            wrong = np.abs(pull - image) * (1 + 4 * UNIT_ROUNDOFF) + gamma(block.width + 4) * size
            wrong += np.ldexp(slack[:, columns], -block.exponent) + UNDERFLOW
            least, allowance = _search(block, feasible, np.ascontiguousarray(centre[:, block.order]))
            shift = (w * image).sum(axis=1)
            value = least - shift
            error = allowance + gamma(2 * block.width + 8) * (np.abs(w) * size).sum(axis=1)
            error += 2 * (reach * wrong).sum(axis=1) + 4 * UNIT_ROUNDOFF * (np.abs(least) + np.abs(shift)) + UNDERFLOW
            total += np.ldexp(value, block.exponent)
            lost += np.ldexp(error, block.exponent) + 2 * len(blocks) * UNIT_ROUNDOFF * np.abs(total) + UNDERFLOW
        value = total - 1.01 * lost
        value -= 4 * UNIT_ROUNDOFF * np.abs(value)
    return np.where(np.isfinite(value), value, -np.inf)


def _search(block: IntegerBlock, box: IntegerBox, centre: Array) -> tuple[Array, Array]:
    """Lower bounds on the least `(x − c)ᵀ D (x − c)` of every row, in search order, and what rounding may cost."""
    packed = Packed([block], block.exponent)
    lower, error, residual = np.zeros((3, len(centre)))
    points = np.zeros_like(centre)
    block_minima(
        packed.shape, packed.arrays, centre, float(box.low), float(box.high), MAX_NODES, lower, error, residual, points
    )
    allowance = block.allowance * np.abs(error) + np.sqrt(residual * np.abs(error) / block.smallest_eigenvalue)
    return lower, allowance


def exact_minimum(
    feasible: IntegerBox,
    blocks: Blocks,
    matrices: Sequence[list[list[Fraction]]],
    g: list[Fraction],
    target: list[Fraction],
) -> Fraction:
    """See `base.BlockMinimum`: the exact sum of the minima, by enumeration in integers.

    The tree and the order of its nodes are proposed by floats. Whatever is left out is left out by the inequality of
    `certificate` in exact arithmetic: `D_k`, the leading block of what is still free, minus a diagonal `d` is proven
    semidefinite once, and for every `y` no point of the node has a value below
    `constant − yᵀ(D_k − d)y + Σᵢ min [ dᵢ uᵢ² + 2 (h + (D_k − d)y)ᵢ uᵢ ]`.
    """
    total = Fraction(0)
    for index, (columns, d) in enumerate(zip(blocks, matrices, strict=True)):
        m = len(d)
        data = np.array([[float(v) for v in line] for line in d]).tobytes()
        block = _exact_block(m, data)
        if block is None:
            raise CertificateError(f"no minimum is proven: D of block {index} is not numerically positive definite")
        search = _Enumeration(block, feasible, [g[c] for c in columns], [target[c] for c in columns])
        total += search.minimum()
    return total


class _ExactBlock:
    """`D_B` in search order as integers over `2^shift`, and the tail diagonals with `D_k − diag(d_k) ⪰ 0` proven."""

    def __init__(self, matrix: Array, block: IntegerBlock) -> None:
        self.block = block
        order = block.order
        m = block.width
        ordered = matrix[np.ix_(order, order)]
        tails = np.ldexp(block.tails.reshape(m + 1, block.padded)[:, :m], block.exponent)
        self.tails: list[list[int]] = []
        d, d_shift = dyadic(ordered.tolist())
        e, e_shift = dyadic(tails.tolist())
        self.shift = max(d_shift, e_shift)
        self.matrix = align(d, self.shift - d_shift)
        proposed = align(e, self.shift - e_shift)
        self.rests: list[list[list[int]]] = []
        for k in range(m + 1):
            tail = proposed[k][:k]
            while True:
                rest = [line[:k] for line in self.matrix[:k]]
                for i in range(k):
                    rest[i][i] -= tail[i]
                if k == 0 or not why_not_semidefinite(rest):
                    break
                if not any(tail):
                    raise CertificateError("a block of D is not positive semidefinite")
                tail = [v // 2 if v > 1 else 0 for v in tail]
            self.tails.append(tail)
            self.rests.append(rest)
        self.coupling = block.coupling.reshape(m + 1, block.padded)[:, :m]
        self.cost = np.ldexp(block.cost, block.exponent)
        self.float_tails = tails


@lru_cache(maxsize=1024)
def _exact_block(width: int, data: bytes) -> _ExactBlock | None:
    matrix = np.frombuffer(data).reshape(width, width)
    block = prepared(matrix)
    return None if block is None else _ExactBlock(matrix, block)


class _Enumeration:
    """The exact minimum of `uᵀD u + 2 gᵀu`, `u = x − t`, over the box, for one block and one row.

    Units: steps `u` are integers over `2^steps`, `D` and the diagonals over `2^shift`, pulls over their product, values
    over `2^(shift + 2 steps)`.
    """

    def __init__(self, exact: _ExactBlock, box: IntegerBox, g: list[Fraction], t: list[Fraction]) -> None:
        order = exact.block.order.tolist()
        self.exact, self.low, self.high = exact, box.low, box.high
        m = len(order)
        bits = [v.denominator.bit_length() - 1 for v in t]
        pull_bits = [v.denominator.bit_length() - 1 - exact.shift for v in g]
        self.steps = max([STEP_BITS, *bits, *pull_bits])
        self.target = [int(t[i] * (1 << self.steps)) for i in order]
        scale = 1 << (exact.shift + self.steps)
        self.pull = [int(g[i] * scale) for i in order]
        self.checks = 0
        # the proposal: a minimiser in floats, and centres conditional on what is fixed
        pulls = np.array([float(g[i]) for i in order])
        self.t = np.array([float(t[i]) for i in order])
        inverse = np.ldexp(exact.block.inverse, -exact.block.exponent)
        place = np.ascontiguousarray(self.t - inverse @ pulls)
        # multipliers of the box, as in the search: without them a centre far outside proves little
        self.centre, multiplier, anchor = np.zeros((3, m))
        side = np.zeros((2, m), dtype=np.int64)
        recentre(
            exact.block.gram, exact.block.inverse, place, float(box.low), float(box.high), self.centre, multiplier,
            anchor, np.zeros((4, m)), side[0], side[1], np.zeros((m, m)),
        )  # fmt: skip
        self.peak = 0.5 * multiplier / exact.block.cost
        packed = Packed([exact.block], exact.block.exponent)
        lower, error, residual = np.zeros((3, 1))
        point = np.zeros((1, m))
        block_minima(
            packed.shape, packed.arrays, place[None], float(box.low), float(box.high), MAX_NODES,
            lower, error, residual, point,
        )  # fmt: skip
        u = [(int(x) << self.steps) - v for x, v in zip(point[0], self.target, strict=True)]
        self.best = self._value(u)

    def _value(self, u: list[int]) -> int:
        image = [sum(map(mul, line, u)) for line in self.exact.matrix]
        value = 0
        for i, p, v in zip(image, self.pull, u, strict=True):
            value += (i + 2 * p) * v
        return value

    def minimum(self) -> Fraction:
        """The exact minimum."""
        m = len(self.target)
        self._prove(m, self.pull, 0, self.centre)
        return Fraction(self.best, 1 << (self.exact.shift + 2 * self.steps))

    def _bound(self, k: int, pull: list[int], constant: int, centre: Array, low: int, high: int) -> int:
        """No point of the node with its last free coordinate in [low, high] has a value below this."""
        self.checks += 1
        if self.checks > MAX_CHECKS:
            raise CertificateError(f"a block minimum takes more than {MAX_CHECKS} exact checks: use narrower blocks")
        t, tail = self.target, self.exact.tails[k]
        aim = float(np.rint(centre[k - 1] - self.peak[k - 1]))
        last = min(max(aim, low), high)
        point = centre[:k]
        if last != aim:
            point = point.copy()
            point[k - 1] = last
            point[: k - 1] -= self.exact.coupling[k - 1, : k - 1] * (last - centre[k - 1])
        y: list[int] = [round(v * 65536.0) << (self.steps - 16) for v in (point - self.t[:k]).tolist()]
        image = [sum(map(mul, line, y)) for line in self.exact.rests[k]]
        bound: int = constant - sum(map(mul, y, image))
        for i in range(k):
            h, d, at = pull[i] + image[i], tail[i], t[i]
            lo, hi = (low, high) if i == k - 1 else (self.low, self.high)
            near = (at * d - h) // d >> self.steps if d > 0 else lo
            ends = (min(max(near, lo), hi), min(max(near + 1, lo), hi)) if d > 0 else (lo, hi)
            bound += min((d * u + 2 * h) * u for u in ((x << self.steps) - at for x in ends))
        return bound

    def _prove(self, k: int, pull: list[int], constant: int, centre: Array) -> None:
        """Every point below this node has a value of at least `best`, which falls if a better one is met."""
        if k == 0:
            self.best = min(self.best, constant)
            return
        if self._bound(k, pull, constant, centre, self.low, self.high) >= self.best:
            return
        j = k - 1
        middle = min(max(int(np.rint(centre[j] - self.peak[j])), self.low), self.high)
        self._child(k, middle, pull, constant, centre)
        for direction, end in ((-1, self.low), (1, self.high)):
            x = middle + direction
            while direction * (end - x) >= 0:
                low, high = (end, x) if direction < 0 else (x, end)
                if self._bound(k, pull, constant, centre, low, high) >= self.best:
                    break
                self._child(k, x, pull, constant, centre)
                x += direction

    def _child(self, k: int, x: int, pull: list[int], constant: int, centre: Array) -> None:
        j = k - 1
        u = (x << self.steps) - self.target[j]
        line = self.exact.matrix[j]
        moved = [p + line[i] * u for i, p in enumerate(pull[:j])]
        below = centre[:j] - self.exact.coupling[j, :j] * (x - centre[j])
        self._prove(j, moved, constant + u * (line[j] * u + 2 * pull[j]), below)
