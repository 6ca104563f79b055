"""Search over the scales: a bound for codes that no choice of scale undercuts."""

from __future__ import annotations

import hashlib
import heapq
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, cast

import numpy as np

from bounds import BatchSearch, Gram, ProblemError
from bounds.feasible import Codebook, Feasible, IntegerBox, Sparse, SparseIntegerBox
from bounds.gram import UNIT_ROUNDOFF, Array
from bounds.rounding import proves_semidefinite
from bounds.verbs import Relaxation, Search

from .any_scale import Surroundings, bound_for_every_scale, surroundings, tent
from .efforts import QUICK
from .errors import ChunkRefused
from .grams import shared_gram
from .layers.layer import Piece
from .units import DIAGONAL, Unit, solve_rows

#: Once the goal is proven, the search goes on for a proven margin: to this share of the best error found …
TOLERANCE = 0.1
#: … but not beyond so many scales; and it gives up on a goal after the second number.
ENOUGH, MOST = 48, 160
#: Of wide problems only the bounds are of use, and the goal has to do.
WIDE_SEARCH = BatchSearch()
#: What a stored result depends on beside its key.
BUDGET = repr((TOLERANCE, ENOUGH, MOST, WIDE_SEARCH))


@dataclass(frozen=True, eq=False)
class ScaleFreeJob:
    """Bound the codes of one contestant on one chunk at every scale.

    `units` hold all rows, for this contestant alone, at the scale of the run; `goals` are errors of rivals, all rows
    together, that are smaller than any at that scale: each is to be shown smaller than any at every scale. `achieved`
    is the error of the run.
    """

    units: tuple[Unit, ...]
    goals: tuple[float, ...]
    achieved: float

    @property
    def rows(self) -> int:
        """Of all units."""
        return sum(unit.rows for unit in self.units)

    @property
    def nbytes(self) -> int:
        """Of all units."""
        return sum(unit.nbytes for unit in self.units)

    def __str__(self) -> str:
        return f"layer {self.units[0].layer}, chunk {self.units[0].chunk}"

    def key(self) -> str:
        """Content hash of the question."""
        digest = hashlib.sha256(repr(("any scale", self.goals)).encode())
        for unit in self.units:
            digest.update(unit.key(0).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class ScaleFree:
    """What was found out about every scale, sums over the rows in squared output units per sample.

    Attributes
    ----------
    lower : no scale has a smaller optimum
    upper, scale : the least error found, and where
    scales, sums : (k,) ascending scales, and lower bounds of the sum at each: `lower` follows from them
    floors : (Grams,) `λ` with `gram ⪰ λ diag(gram)`
    seconds : processor time
    """

    lower: float
    upper: float
    scale: float
    scales: Array
    sums: Array
    floors: Array
    seconds: float = 0.0


def solve_scale_free(job: ScaleFreeJob) -> ScaleFree:
    """A bound that reaches the largest goal that can be reached, and a good deal more if that is cheap.

    Raises
    ------
    ChunkRefused
        `bounds` refuses the problem at some scale.
    """
    try:
        return _solve(job)
    except ProblemError as error:
        unit = job.units[0]
        raise ChunkRefused(
            f"layer {unit.layer}, chunk {unit.chunk}, {unit.contestants[0].heading}, at another scale: {error}"
        ) from error


def _solve(job: ScaleFreeJob) -> ScaleFree:
    began = time.thread_time()
    pieces = [piece for unit in job.units for piece in unit.pieces]
    floors = np.array([_floor(piece.gram) for piece in pieces])
    around = around_of(job.units[0].contestants[0].codes, pieces, floors)
    start = float(job.units[0].scales[0, 0])
    found: dict[float, tuple[float, float]] = {}

    def root(scale: float) -> float:
        if scale not in found:
            found[scale] = _sums(job.units, scale)
        return math.sqrt(found[scale][0])

    unit = job.units[0]
    root(start)
    found[start] = (found[start][0], min(found[start][1], job.achieved))
    if around is not None and around.last > 0:
        size = math.sqrt(around.energy)
        longest = math.sqrt(around.longest)
        first = min(0.98 * max(size - math.sqrt(found[start][1]), 0.0) / longest, start / 2)
        last = max(math.sqrt(around.last) * (1 + 1e-9), 2 * start)
        if first > 0:
            _cover(job.goals, root, found, size, longest, (first, start, last), 0 if unit.wide else ENOUGH)
    scales = sorted(found)
    sums = [found[scale][0] for scale in scales]
    proven = Fraction(0) if around is None else bound_for_every_scale(scales, sums, around)
    best = min(found, key=lambda scale: found[scale][1])
    return ScaleFree(
        rounded_down(proven), found[best][1], best, np.array(scales), np.array(sums), floors,
        time.thread_time() - began,
    )  # fmt: skip


def _cover(
    goals: tuple[float, ...], root: Callable[[float], float], found: dict[float, tuple[float, float]], size: float,
    longest: float, ends: tuple[float, float, float], enough: int,
) -> None:  # fmt: skip
    """Try scales until the largest goal that can be reached is reached at all of them."""
    first, start, last = ends
    heap: list[tuple[float, float, float, float]] = []

    def push(a: float, b: float) -> None:
        value, middle = tent(a, root(a), b, root(b), size)
        if not a * (1 + 1e-9) < middle < b * (1 - 1e-9):
            middle = math.sqrt(a * b)
        heapq.heappush(heap, (value, a, b, middle))

    push(first, start)
    push(start, last)
    outside = size - first * longest
    while len(found) < MOST:
        most = min(low for low, _ in found.values())  # what is proven in the end is no more than at any of them
        reachable = [goal for goal in goals if goal < most]
        if not reachable:
            return
        lower = max(min(heap[0][0], outside), 0.0) ** 2
        if lower > max(reachable) and (lower >= (1 - TOLERANCE) * most or len(found) >= enough):
            return
        _, a, b, middle = heapq.heappop(heap)
        if b <= a * (1 + 1e-9):
            return
        push(a, middle)
        push(middle, b)


def _sums(units: tuple[Unit, ...], scale: float) -> tuple[float, float]:
    """Bounds of the sum of the optima at one scale from both sides."""
    lower = upper = 0.0
    rows = 0
    for unit in units:
        contestant, start = unit.contestants[0], 0
        search, relaxation = unit.search, unit.relaxation
        if unit.wide:
            search, relaxation = WIDE_SEARCH, QUICK.of(contestant)[1]
        for piece in unit.pieces:
            gram = shared_gram(piece.gram)
            low, high = rows_at_scale(gram, piece.weight, contestant.feasible(unit.columns), search, scale, relaxation)
            lower, upper, start = lower + low.sum(), upper + high.sum(), start + len(low)
        rows += start
    slack = 1 + 2 * rows * UNIT_ROUNDOFF
    return float(lower) / slack, float(upper) * slack


def rows_at_scale(
    gram: Gram, weight: Array, feasible: Feasible, search: Search, scale: float, relaxation: Relaxation = DIAGONAL
) -> tuple[Array, Array]:
    """Bounds of the optimum of each row at one scale from both sides; of pruned codes from below only.

    Pruned codes are bounded by what they are among: by all codes at this scale, and by all rows with so few non-zeros,
    whose optimum knows no scale and is kept.
    """
    step = np.full(len(weight), scale)
    if not isinstance(feasible, SparseIntegerBox):
        found = solve_rows(gram, weight, feasible, search, step, relaxation)
        return found.error_lower, found.error_upper
    boxed = solve_rows(gram, weight, feasible.box, search, step, relaxation).error_lower
    weights = np.ascontiguousarray(weight, dtype=np.float64)
    sparse = _sparse_rows(gram, weights.tobytes(), Sparse(feasible.keep), cast(Any, search))
    return np.maximum(boxed, sparse), np.full(len(weight), np.inf)


@lru_cache(maxsize=64)
def _sparse_rows(gram: Gram, weights: bytes, feasible: Sparse, search: Any) -> Array:
    weight = np.frombuffer(weights, dtype=np.float64).reshape(-1, gram.columns)
    return solve_rows(gram, weight, feasible, search, None).error_lower


def around_of(codes: IntegerBox | Codebook | None, pieces: list[Piece], floors: Array) -> Surroundings | None:
    """`Surroundings` from floats, on the safe side."""
    assert codes is not None
    energies = [
        [(Fraction(max(float(v - a), 0.0)), Fraction(float(v + a))) for v, a in zip(*_energies(piece), strict=True)]
        for piece in pieces
    ]
    symmetric = [np.asarray(piece.gram / 2 + piece.gram.T / 2) for piece in pieces]
    return surroundings(codes, symmetric, energies, [Fraction(float(v)) for v in floors])


def _energies(piece: Piece) -> tuple[Array, Array]:
    """`wᵀ gram w` of each row and its allowance for rounding."""
    weight = np.asarray(piece.weight, dtype=np.float64)
    size = np.einsum("ri,ri->r", np.abs(weight) @ np.abs(piece.gram), np.abs(weight))
    value = np.einsum("ri,ri->r", weight @ piece.gram, weight)
    return value, (2 * weight.shape[1] + 16) * UNIT_ROUNDOFF * size + np.finfo(np.float64).tiny


def _floor(gram: Array) -> float:
    """Some `λ > 0` with `gram ⪰ λ diag(gram)`, proven; 0 where none is found."""
    known = shared_gram(gram)
    live = known.live
    matrix = known.array[np.ix_(live, live)]
    for share in (0.5, 0.1, 0.01):
        floor = share * known.smallest_eigenvalue
        if floor > 0 and proves_semidefinite(matrix - np.diag(floor * matrix.diagonal())):
            return floor * (1 - 4 * UNIT_ROUNDOFF)
    return 0.0


def rounded_down(value: Fraction) -> float:
    """The largest double that is at most `value` (or the one below)."""
    near = float(value)
    return near if Fraction(near) <= value else math.nextafter(near, -math.inf)
