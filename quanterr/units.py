"""One unit of work: some rows of one chunk, one method, several bit-widths. Arrays in, arrays out, no state."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

import bounds
from bounds import (
    BoundsDisagree,
    BranchAndBound,
    CertificateError,
    Codebook,
    DiagonalSplit,
    Feasible,
    Gram,
    LeastSquares,
    ProblemError,
    Status,
)
from bounds.gram import UNIT_ROUNDOFF, Array
from bounds.result import CLOSED, solution
from bounds.verbs import Relaxation, Search

from .contestants import Contestant, Method
from .errors import ChunkRefused
from .grams import shared_gram
from .layers.layer import Piece
from .settling import settled

#: Changes whenever the meaning or the rigour of a stored result changes; part of every key.
RESULT_VERSION = 1
STATUSES = tuple(Status)
#: Eigenvalues (at unit diagonal, a column) that float64 may fail to tell from zero.
FLAT = 1e-10
DIAGONAL = DiagonalSplit()
FLAT_DIAGONAL = DiagonalSplit(rounds=60)


class Task(Protocol):
    """Something else than solving row by row: a step of a search that spans the units of a chunk."""

    @property
    def identity(self) -> bytes:
        """All that its results depend on beside the rows and the unit's search: part of their key."""

    def solve(self, gram: Gram, weight: Array, rows: slice) -> RowResults:
        """Results of the rows of one Gram matrix, which are `rows` among those of the unit."""


@dataclass(frozen=True)
class Unit:
    """Solve every row of `pieces` for each of `contestants`, which all need a scale or none does.

    `scales` (contestants, rows): weight units per code step of every row, pieces concatenated; unused without codes.
    `relaxation` bounds the rows that `search` leaves open. A `task` is done instead, where there is one. Some rows of a
    `whole` unit share its `D`, which is tuned to all its rows: so each of them has the same result in every part.
    """

    layer: str
    chunk: int
    contestants: tuple[Contestant, ...]
    pieces: tuple[Piece, ...]
    scales: Array
    search: Search
    relaxation: Relaxation = DIAGONAL
    task: Task | None = None
    whole: Unit | None = None

    @property
    def wide(self) -> bool:
        """Whether both sides are only approached: no search that could end in proof."""
        return not isinstance(self.search, BranchAndBound)

    @property
    def budget(self) -> str:
        """What a result with open rows depends on."""
        return repr((self.search, self.relaxation)) if self.wide else repr(self.search)

    @property
    def first_row(self) -> int:
        """Where the rows begin in the layer."""
        return int(self.pieces[0].rows.start)

    @property
    def last_row(self) -> int:
        """Where they end, exclusive."""
        return int(self.pieces[-1].rows.stop)

    @property
    def scaled(self) -> bool:
        """Whether the feasible set holds codes, to be multiplied by `scales`."""
        return self.contestants[0].scaled

    @property
    def rows(self) -> int:
        return sum(len(piece.weight) for piece in self.pieces)

    @property
    def columns(self) -> int:
        return int(self.pieces[0].weight.shape[1])

    @property
    def nbytes(self) -> int:
        """Of its arrays; a part travels with the weights of all rows that share its `D`."""
        weights = sum(piece.weight.nbytes for piece in (self.whole or self).pieces)
        return self.scales.nbytes + weights + sum(piece.gram.nbytes for piece in self.pieces)

    def __str__(self) -> str:
        return f"layer {self.layer}, chunk {self.chunk}, rows {self.first_row}–{self.last_row - 1}"

    def key(self, index: int) -> str:
        """Content hash of the problem of one contestant: equal problems share it, whatever layer and it are called."""
        digest = hashlib.sha256()
        if self.whole is not None:
            first = self.first_row - self.whole.first_row
            digest.update(f"{self.whole.key(index)}, rows {first} to {first + self.rows}".encode())
            digest.update(b"" if self.task is None else self.task.identity)
            return digest.hexdigest()
        feasible = self.feasible(index)
        kind = Method.QUANTIZATION if self.scaled else Method.PRUNING
        what = (RESULT_VERSION, kind.value, feasible) if self.task is None else (RESULT_VERSION, self.task.identity)
        digest.update(repr(what).encode())
        if isinstance(feasible, Codebook):  # its repr leaves levels out
            digest.update(feasible.array.tobytes())
        if self.wide:  # results of every effort are kept beside each other
            digest.update(self.budget.encode())
        if self.scaled:
            digest.update(self.scales[index].tobytes())
        for piece in self.pieces:
            digest.update(repr(piece.weight.shape).encode())
            digest.update(np.ascontiguousarray(piece.gram).tobytes())
            digest.update(np.ascontiguousarray(piece.weight).tobytes())
        return digest.hexdigest()

    def feasible(self, index: int) -> Feasible:
        """The set of one contestant."""
        return self.contestants[index].feasible(self.columns)

    def only(self, keep: list[int]) -> Unit:
        """The same unit for the contestants at the places in `keep`."""
        whole = None if self.whole is None else self.whole.only(keep)
        return replace(
            self, contestants=tuple(self.contestants[i] for i in keep), scales=self.scales[keep], whole=whole
        )

    def among(self, first: int, stop: int) -> Unit:
        """Its rows that are `first` … `stop − 1` of the layer: with the results that they have in all of it."""
        whole = self.whole or self
        if first <= whole.first_row and stop >= whole.last_row:
            return whole
        cut = [piece.among(first, stop) for piece in whole.pieces]
        pieces = tuple(piece for piece in cut if len(piece.weight))
        kept = slice(pieces[0].rows.start - whole.first_row, pieces[-1].rows.stop - whole.first_row)
        return replace(self, pieces=pieces, scales=whole.scales[:, kept], whole=whole)

    def problem(self, index: int, piece: Piece) -> LeastSquares:
        """Rows of this unit that share one Gram matrix as a problem of one contestant."""
        first = self.first_row
        scale = self.scales[index, piece.rows.start - first : piece.rows.stop - first] if self.scaled else None
        return problem_of(shared_gram(piece.gram), piece.weight, self.feasible(index), scale)

    def settled(self, index: int, piece: Piece) -> Relaxation:
        """The relaxation for a piece of this unit; with the `D` of its whole, where both sides are approached."""
        if not self.wide:
            return self.relaxation
        whole = self.whole or self
        (around,) = (p for p in whole.pieces if p.rows.start <= piece.rows.start < p.rows.stop)
        return settled(self.relaxation, whole.problem(index, around))


@dataclass(frozen=True)
class RowResults:
    """What is proven about each row for one contestant, in squared output units per sample.

    Attributes
    ----------
    error_upper, error_lower : (rows,)
        `error_lower ≤ optimum ≤ error_upper`, allowances for rounding included.
    error_start : (rows,) error of the heuristic that the search began with (an estimate: plain float64)
    status : (rows,) index into `STATUSES`
    x : (rows, columns) integer codes (int32), levels of a codebook or weights (float64)
    dual : (rows,) True where `error_lower` comes from a `(D, y)` certificate, False where from a search
    seconds : float
        Processor time of this contestant, by the thread that solved it.
    nodes : (rows,) nodes of the search tree
    """

    error_upper: Array
    error_lower: Array
    error_start: Array
    status: NDArray[np.int8]
    x: NDArray[np.generic]
    dual: NDArray[np.bool_]
    seconds: float
    nodes: NDArray[np.int64]

    def among(self, first: int, stop: int) -> RowResults:
        """Rows `first` … `stop − 1` of these, with their share of the time."""
        rows = slice(first, stop)
        return RowResults(
            self.error_upper[rows], self.error_lower[rows], self.error_start[rows], self.status[rows], self.x[rows],
            self.dual[rows], self.seconds * (stop - first) / len(self.status), self.nodes[rows],
        )  # fmt: skip

    def joined(self, other: RowResults) -> RowResults:
        """The better of two results of the same rows, from either side.

        Raises
        ------
        BoundsDisagree
            A lower bound of one exceeds the upper bound of the other.
        """
        better = other.error_upper < self.error_upper
        upper = np.where(better, other.error_upper, self.error_upper)
        tighter = other.error_lower > self.error_lower
        lower = np.where(tighter, other.error_lower, self.error_lower)
        if np.any(lower > upper):
            row = int(np.argmax(lower - upper))
            raise BoundsDisagree(f"row {row}: lower bound {lower[row]!r} exceeds upper bound {upper[row]!r}")
        status = np.where(upper - lower <= CLOSED * upper, STATUSES.index(Status.CLOSED), other.status)
        return RowResults(
            upper,
            lower,
            np.minimum(self.error_start, other.error_start),
            status.astype(np.int8),
            np.where(better[:, None], other.x, self.x),
            np.where(tighter, other.dual, self.dual),
            self.seconds + other.seconds,
            self.nodes + other.nodes,
        )


def solve_unit(unit: Unit) -> list[RowResults]:
    """Results of a unit, one for each of `unit.contestants`.

    Raises
    ------
    ChunkRefused
        Names the layer, the chunk and the rows of a problem that `bounds` refuses.
    """
    return [concatenated(list(_solve_pieces(unit, index))) for index in range(len(unit.contestants))]


def _solve_pieces(unit: Unit, index: int) -> Iterator[RowResults]:
    row = 0
    for piece in unit.pieces:
        rows = len(piece.weight)
        scale = unit.scales[index, row : row + rows]
        try:
            gram = shared_gram(piece.gram)
            step = scale if unit.scaled else None
            if unit.task is not None:
                yield unit.task.solve(gram, piece.weight, slice(row, row + rows))
            else:
                began = time.thread_time()
                tuned = unit.settled(index, piece)
                tuning = time.thread_time() - began
                found = solve_rows(gram, piece.weight, unit.feasible(index), unit.search, step, unit.relaxation, tuned)
                yield replace(found, seconds=found.seconds + tuning)
        except (ProblemError, CertificateError) as error:
            raise ChunkRefused(
                f"layer {unit.layer}, chunk {unit.chunk}, rows {piece.rows.start}–{piece.rows.stop - 1}, "
                f"{unit.contestants[index].heading}: {error}"
            ) from error
        row += rows


def problem_of(gram: Gram, weight: Array, feasible: Feasible, scale: Array | None) -> LeastSquares:
    """Rows in the units of the feasible set: weights, or codes where there is a scale (rows,)."""
    return LeastSquares(gram, weight if scale is None else weight / scale[:, None], feasible)


def solve_rows(
    gram: Gram,
    weight: Array,
    feasible: Feasible,
    search: Search,
    scale: Array | None,
    relaxation: Relaxation = DIAGONAL,
    tuned: Relaxation | None = None,
) -> RowResults:
    """Rows of one Gram matrix over one feasible set; with a scale (rows,) the set holds codes.

    `tuned` is the relaxation with a `D` known beforehand, where one is.
    """
    began = time.thread_time()
    problem = problem_of(gram, weight, feasible, scale)
    found = bounds.solve(problem, search)
    lower, dual = found.lower.copy(), np.zeros(problem.rows, dtype=np.bool_)
    open_rows = np.flatnonzero(~found.closed)
    # no diagonal below a singular Gram is worth more than what the exact search proves there
    if open_rows.size and not (gram.singular and isinstance(search, BranchAndBound)):
        left = LeastSquares(gram, problem.target[open_rows], feasible)
        relaxed, by_dual = _relaxed(left, relaxation, relaxation if tuned is None else tuned)
        dual[open_rows] = by_dual & (relaxed > lower[open_rows])
        lower[open_rows] = np.maximum(lower[open_rows], relaxed)
        found = solution(found.x, found.upper, lower, found.status, found.stats)
    status = np.array([STATUSES.index(s) for s in found.status], dtype=np.int8)
    start = np.asarray(found.stats["start_error"], dtype=np.float64)
    nodes = np.asarray(found.stats.get("nodes", np.zeros(problem.rows)), dtype=np.int64)
    if scale is None:
        x: NDArray[np.generic] = found.x
        return RowResults(found.upper, lower, start, status, x, dual, time.thread_time() - began, nodes)
    upper, lower = _in_weight_units(gram, problem.target, scale, found.upper, lower)
    codes: NDArray[np.generic] = found.x if isinstance(feasible, Codebook) else found.x.astype(np.int32)
    return RowResults(upper, lower, start * scale**2, status, codes, dual, time.thread_time() - began, nodes)


def _relaxed(problem: LeastSquares, relaxation: Relaxation, tuned: Relaxation) -> tuple[Array, bool]:
    """What the relaxation proves of each row, and whether by a certificate on the Gram itself.

    A singular Gram leaves no positive definite `D`. Bounded sets get the bound of a diagonal. Of free weights `(D, y)`
    prove nothing, since changes along a null direction cost nothing: where few columns depend on each other one of them
    is left out, in every way that matters. Else zero: no mean square is negative.
    """
    found = certified(problem, tuned)
    if found is not None:
        return found.value, True
    from bounds.exact.dependent import relaxed

    return relaxed(problem, lambda part: bounds.lower_bound(part, relaxation).value), False


def certified(problem: LeastSquares, relaxation: Relaxation) -> bounds.Bound | None:
    """The bound of the relaxation; on a singular Gram of a diagonal, or None where free weights leave none.

    Raises
    ------
    ProblemError, CertificateError
        What the relaxation refuses of a Gram that is not singular, or groups of free weights on one that is.
    """
    try:
        return bounds.lower_bound(problem, relaxation)
    except (ProblemError, CertificateError):
        if problem.gram.smallest_eigenvalue > FLAT * problem.columns:
            raise
    return None if isinstance(problem.feasible, bounds.Sparse) else bounds.lower_bound(problem, FLAT_DIAGONAL)


def _in_weight_units(gram: Gram, target: Array, scale: Array, upper: Array, lower: Array) -> tuple[Array, Array]:
    """Bounds for the weights themselves, of which `target` is the rounded quotient by `scale`.

    `|target − weight/scale| ≤ u |target|` moves `√E` by at most its norm in the Gram's metric.
    """
    size = np.abs(target)
    moved = 2 * UNIT_ROUNDOFF * np.sqrt(np.einsum("ri,ri->r", size @ np.abs(gram.array), size))
    widen = 1 + 8 * UNIT_ROUNDOFF
    high = (scale * (np.sqrt(upper) + moved) * widen) ** 2
    low = (scale * np.maximum(np.sqrt(lower) - moved, 0.0) / widen) ** 2
    return high, low


def concatenated(parts: list[RowResults]) -> RowResults:
    """Results of rows that follow each other."""
    if len(parts) == 1:
        return parts[0]
    return RowResults(
        np.concatenate([p.error_upper for p in parts]),
        np.concatenate([p.error_lower for p in parts]),
        np.concatenate([p.error_start for p in parts]),
        np.concatenate([p.status for p in parts]),
        np.concatenate([p.x for p in parts]),
        np.concatenate([p.dual for p in parts]),
        sum(p.seconds for p in parts),
        np.concatenate([p.nodes for p in parts]),
    )
