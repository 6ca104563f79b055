"""The steps of layer-wide pruning that workers do on some rows: what is handed over, and what comes back.

Their results are kept like those of rows, one entry a number of kept columns where rows have one: `error_upper`,
`error_lower` and `status` are (rows, columns + 1), and `x` holds the supports, packed, or the order of an elimination.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bounds import BlockSplit, BranchAndBound, DiagonalSplit, Gram, LocalSearch, Status
from bounds.allocation import Ask
from bounds.exact.row_curves import RowCurves, fitted, prove, start
from bounds.gram import Array
from bounds.layer_bounds import points
from bounds.local.traces import left_over, traces
from bounds.relaxation.size_curves import size_curves

from .units import STATUSES, RowResults

Sizes = NDArray[np.int64]
CLOSED, STUCK = STATUSES.index(Status.CLOSED), STATUSES.index(Status.NODE_LIMIT)


@dataclass(frozen=True)
class StartCurves:
    """Upper curves from greedy walks; with `exact` also supports of every size, for searches to begin with."""

    exact: bool

    @property
    def identity(self) -> bytes:
        return repr(self).encode()

    def solve(self, gram: Gram, weight: Array, rows: slice) -> RowResults:
        began = time.thread_time()
        if self.exact:
            curves = start(gram, weight)
            return _curves(curves.upper, curves.lower, began, np.packbits(curves.kept, axis=-1))
        upper, order = traces(gram, weight)
        return _curves(upper, np.zeros_like(upper), began, order)


@dataclass(frozen=True, eq=False)
class ProveCurves:
    """Search what the asks of the chunk's budgets want to know of these rows; `known` are their curves so far."""

    asks: tuple[Ask, ...]
    search: BranchAndBound
    known: RowResults

    @property
    def identity(self) -> bytes:
        digest = hashlib.sha256(repr(("prove", self.asks, self.search)).encode())
        for part in (self.known.error_upper, self.known.error_lower, self.known.x, self.known.status):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.digest()

    def solve(self, gram: Gram, weight: Array, rows: slice) -> RowResults:
        began, known, none = time.thread_time(), self.known, np.zeros(len(weight), dtype=np.int64)
        kept = np.unpackbits(known.x[rows].view(np.uint8), axis=-1, count=gram.columns).astype(np.int8)
        stuck = known.status[rows] != CLOSED
        curves = RowCurves(known.error_lower[rows], known.error_upper[rows], kept, stuck, none, known.nodes[rows])
        found = prove(gram, weight, curves, self.asks, self.search)
        packed = np.packbits(found.kept, axis=-1)
        return _curves(found.upper, found.lower, began, packed, stuck=found.stuck, nodes=found.nodes)


@dataclass(frozen=True, eq=False)
class FitSupports:
    """The least-squares weights of one support for each row, (rows, columns) packed, and their errors."""

    keep: Sizes
    support: NDArray[np.uint8]

    @property
    def identity(self) -> bytes:
        return hashlib.sha256(b"fit" + self.keep.tobytes() + self.support.tobytes()).digest()

    def solve(self, gram: Gram, weight: Array, rows: slice) -> RowResults:
        began = time.thread_time()
        kept = np.unpackbits(self.support[rows], axis=-1, count=gram.columns).astype(np.int8)
        x, upper = fitted(gram, weight, kept)
        return _rows(x, upper, began)


@dataclass(frozen=True, eq=False)
class FitTraces:
    """The least-squares weights on what an elimination, its `order` (rows, columns), leaves of each row."""

    keep: Sizes
    order: Sizes

    @property
    def identity(self) -> bytes:
        return hashlib.sha256(b"trace" + self.keep.tobytes() + self.order.tobytes()).digest()

    def solve(self, gram: Gram, weight: Array, rows: slice) -> RowResults:
        began = time.thread_time()
        x, upper = left_over(gram, weight, self.order[rows], self.keep[rows])
        return _rows(x, upper, began)


@dataclass(frozen=True, eq=False)
class FindPoints:
    """Good weights with a number of non-zeros of each row's own."""

    keep: Sizes
    search: LocalSearch

    @property
    def identity(self) -> bytes:
        return hashlib.sha256(repr(("points", self.search)).encode() + self.keep.tobytes()).digest()

    def solve(self, gram: Gram, weight: Array, rows: slice) -> RowResults:
        began = time.thread_time()
        x, upper = points(gram, weight, self.keep[rows], self.search)
        return _rows(x, upper, began)


@dataclass(frozen=True, eq=False)
class BoundCurves:
    """Lower curves that are best where each row keeps a number of its own."""

    keep: Sizes
    relaxation: DiagonalSplit | BlockSplit

    @property
    def identity(self) -> bytes:
        return hashlib.sha256(repr(("bound", self.relaxation)).encode() + self.keep.tobytes()).digest()

    def solve(self, gram: Gram, weight: Array, rows: slice) -> RowResults:
        began = time.thread_time()
        lower = size_curves(gram, weight, self.keep[rows], self.relaxation)
        return _curves(np.full_like(lower, np.inf), lower, began, np.zeros((len(lower), 0)))


def _curves(
    upper: Array, lower: Array, began: float, supports: NDArray[np.generic],
    stuck: NDArray[np.bool_] | None = None, nodes: NDArray[np.int64] | None = None,
) -> RowResults:  # fmt: skip
    rows = len(upper)
    status = np.full(upper.shape, CLOSED, dtype=np.int8)
    if stuck is not None:
        status[stuck] = STUCK
    return RowResults(
        upper, lower, np.zeros(rows), status, supports, np.zeros(rows, dtype=np.bool_),
        time.thread_time() - began,
        np.zeros(rows, dtype=np.int64) if nodes is None else nodes,
    )  # fmt: skip


def _rows(x: Array, upper: Array, began: float) -> RowResults:
    rows = len(upper)
    return RowResults(
        upper, np.zeros(rows), upper, np.full(rows, CLOSED, dtype=np.int8), x, np.zeros(rows, dtype=np.bool_),
        time.thread_time() - began, np.zeros(rows, dtype=np.int64),
    )  # fmt: skip
