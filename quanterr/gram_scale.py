"""`scale="gram"`: the scale of a tensor by the error of the layer's output instead of that of the weights.

Where a few large weights meet large inputs, the weights' own best scale clips what matters: in MiniLM's
`encoder.layer.4.output.dense` that costs 11 dB at 2 and 4 bits. Any scale will do for a proof; this one is the best
that a fast search finds.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

import bounds
from bounds import BatchSearch, ProblemError, SparseIntegerBox, Status
from bounds.gram import Array

from .contestants import Contestant
from .errors import ChunkRefused
from .execution.running import Progress, result_of, spread
from .grams import content, shared_gram
from .layers.layer import Layer, Piece
from .scaling import SCALES, contestant_scale
from .units import STATUSES, RowResults, problem_of

if TYPE_CHECKING:
    from .store import Store

#: What `certify` takes as its scale.
RULES = (*SCALES, "gram")
#: The search looks at so many rows, evenly spread, and in the end at all of them once.
SAMPLE = 64
#: Octaves around the scale of the weights that are tried first; then steps of these parts of an octave.
OCTAVES = range(-6, 5)
PARTS = 8
STEPS = (4, 2, 1)
VERSION = "gram scale 1"


@dataclass(frozen=True, eq=False)
class ScaleJob:
    """Find the scale of one contestant's codes on a whole layer."""

    layer: Layer
    contestant: Contestant

    @property
    def nbytes(self) -> int:
        """Of its arrays."""
        return self.layer.weight.nbytes + self.layer.gram.nbytes

    def key(self) -> str:
        """Content hash of the question."""
        codes = self.contestant.codes
        levels = b"" if not isinstance(codes, bounds.Codebook) else codes.array.tobytes()
        what = repr((VERSION, codes, self.contestant.keep)).encode()
        return hashlib.sha256(what + levels + content(self.layer.weight, self.layer.gram)).hexdigest()


def gram_scale(layer: Layer, contestant: Contestant) -> float:
    """The scale of a whole tensor with the least error of the layer's output that `BatchSearch` finds.

    64 rows look at the octaves around the `mse` scale, then at eighths around the best; the `mse` scale stays where it
    is better on all rows. Codes of which only some are kept are taken as nearest.

    Raises
    ------
    ChunkRefused
        `bounds` refuses the layer's Gram matrix.
    """
    start = contestant_scale(contestant, layer.weight, "mse")
    everything = next(layer.chunks(None)).pieces
    sample = list(_sampled(everything, layer.rows))
    errors: dict[int, float] = {}

    def error(place: int) -> float:
        if place not in errors:
            errors[place] = _error(sample, contestant, start * 2.0 ** (place / PARTS))
        return errors[place]

    try:
        best = min((PARTS * octave for octave in OCTAVES), key=lambda place: (error(place), abs(place)))
        for step in STEPS:
            for move in (step, -step):
                while error(best + move) < error(best):
                    best += move
        found = float(start * 2.0 ** (best / PARTS))
        if best and _error(everything, contestant, found) >= _error(everything, contestant, start):
            found = start
    except ProblemError as problem:
        raise ChunkRefused(f'layer {layer.name}, scale "gram" of {contestant.heading}: {problem}') from problem
    return found


def gram_scales(
    layers: Iterable[Layer],
    contestants: Iterable[Contestant],
    store: Store | None,
    pool: Executor,
    progress: Callable[[Progress], None] | None = None,
) -> dict[str, dict[Contestant, float]]:
    """Of every layer, by its name, for all contestants that need one: from the store where it has them.

    Raises
    ------
    ChunkRefused
        As `gram_scale`.
    QuanterrError
        A worker process died.
    """
    began = time.monotonic()
    jobs = [ScaleJob(layer, one) for layer, one in product(layers, contestants) if one.scaled]
    scales: dict[str, dict[Contestant, float]] = {job.layer.name: {} for job in jobs}
    waiting = []
    for job in jobs:
        known = None if store is None else store.get(job.key(), VERSION)
        if known is None:
            waiting.append(job)
        else:
            scales[job.layer.name][job.contestant] = float(known.error_start[0])
    total = sum(job.layer.rows for job in jobs)
    done = reused = total - sum(job.layer.rows for job in waiting)
    for job, future in spread(_solve, waiting, pool, lambda job: job.nbytes):
        row = result_of(future, f"layer {job.layer.name}")
        scales[job.layer.name][job.contestant] = float(row.error_start[0])
        if store is not None:
            store.put([(job.key(), row)], VERSION)
        done += job.layer.rows
        if progress is not None:
            progress(Progress(done, total, reused, time.monotonic() - began, None, "scales"))
    return scales


def _solve(job: ScaleJob) -> RowResults:
    """The scale as the store keeps it: one row of results, with the scale as `error_start`."""
    began = time.thread_time()
    zero, closed = np.zeros(1), np.full(1, STATUSES.index(Status.CLOSED), dtype=np.int8)
    scale = np.array([gram_scale(job.layer, job.contestant)])
    no = np.zeros(1, dtype=np.bool_)
    return RowResults(zero, zero, scale, closed, zero[None], no, time.thread_time() - began, zero.astype(np.int64))


def _sampled(pieces: Iterable[Piece], rows: int) -> Iterator[Piece]:
    chosen = np.unique(np.linspace(0, rows - 1, min(SAMPLE, rows)).astype(int))
    for piece in pieces:
        here = chosen[(chosen >= piece.rows.start) & (chosen < piece.rows.stop)] - piece.rows.start
        if here.size:
            yield Piece(piece.gram, piece.weight[here], piece.rows)


def _error(pieces: Iterable[Piece], contestant: Contestant, scale: float) -> float:
    """Of the output, all rows together."""
    total = 0.0
    for piece in pieces:
        step: Array = np.full(len(piece.weight), scale)
        problem = problem_of(shared_gram(piece.gram), piece.weight, contestant.feasible(piece.weight.shape[1]), step)
        if isinstance(problem.feasible, SparseIntegerBox):
            total += float(problem.error(problem.feasible.nearest(problem.target)).sum())
        else:
            total += float(bounds.solve(problem, BatchSearch()).upper.sum())
    return total * scale**2
