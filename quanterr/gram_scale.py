"""`scale="gram"`: the scale of codes by the error of the output instead of that of the weights.

Where a few large weights meet large inputs, the weights' own best scale clips what matters: in MiniLM's
`encoder.layer.4.output.dense` that costs 11 dB at 2 and 4 bits. Any scale will do for a proof; this one is the best
that a fast search finds for what is solved together, a chunk of the columns or the whole layer.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

import bounds
from bounds import BatchSearch, ProblemError, SparseIntegerBox, Status
from bounds.gram import Array

from .contestants import Contestant
from .errors import ChunkRefused
from .execution.running import Progress, answers
from .grams import content, shared_gram
from .layers.layer import Chunk, Layer, Piece
from .scaling import SCALES, contestant_scale
from .units import STATUSES, RowResults, problem_of

if TYPE_CHECKING:
    from .store import Store

#: What `certify` takes as its scale.
RULES = (*SCALES, "gram")
#: The search looks at so many rows of largest energy and so many others, and in the end at all rows once.
HEAVY, OTHERS = 32, 32
#: Octaves around the scale of the weights that are tried first, and on to the largest weight; then steps of these parts
#: of an octave.
DOWN, UP = 6, 4
PARTS = 8
STEPS = (4, 2, 1)
VERSION = "gram scale 3"


Scales = dict[tuple[int, Contestant], float]


@dataclass(frozen=True, eq=False)
class ScaleJob:
    """Find the scale of one contestant's codes on one chunk, beginning with that of the weights of the whole layer."""

    layer: str
    chunk: Chunk
    contestant: Contestant
    start: float

    @property
    def rows(self) -> int:
        """Of all pieces."""
        return sum(len(piece.weight) for piece in self.chunk.pieces)

    @property
    def nbytes(self) -> int:
        """Of its arrays."""
        return sum(piece.weight.nbytes + piece.gram.nbytes for piece in self.chunk.pieces)

    def __str__(self) -> str:
        return f"layer {self.layer}, chunk {self.chunk.index}"

    def key(self) -> str:
        """Content hash of the question."""
        codes = self.contestant.codes
        levels = b"" if not isinstance(codes, bounds.Codebook) else codes.array.tobytes()
        digest = hashlib.sha256(repr((VERSION, codes, self.contestant.keep, self.start)).encode() + levels)
        for piece in self.chunk.pieces:
            digest.update(content(piece.weight, piece.gram))
        return digest.hexdigest()


def gram_scale(job: ScaleJob) -> float:
    """The scale with the least error of the output that `BatchSearch` finds, one for all rows.

    The octaves around `start` up to the largest weight are tried, then eighths around the best, with the 32 rows of
    largest energy and 32 evenly spaced others that stand for the rest; `start` stays where it is better on all rows.
    Codes of which only some are kept are taken as nearest.

    Raises
    ------
    ChunkRefused
        `bounds` refuses the Gram matrix.
    """
    sample = list(_sampled(job.chunk.pieces))
    everything = [(piece, 1.0) for piece in job.chunk.pieces]
    largest = max(float(np.abs(piece.weight).max()) for piece in job.chunk.pieces)
    up = max(UP, math.ceil(math.log2(largest / job.start))) if largest else UP
    errors: dict[int, float] = {}

    def error(place: int) -> float:
        if place not in errors:
            errors[place] = _error(sample, job.contestant, job.start * 2.0 ** (place / PARTS))
        return errors[place]

    try:
        best = min((PARTS * octave for octave in range(-DOWN, up + 1)), key=lambda place: (error(place), abs(place)))
        for step in STEPS:
            for move in (step, -step):
                while error(best + move) < error(best):
                    best += move
        if not best:
            return job.start
        found = float(job.start * 2.0 ** (best / PARTS))
        before, after = (_error(everything, job.contestant, scale) for scale in (job.start, found))
    except ProblemError as problem:
        raise ChunkRefused(
            f"layer {job.layer}, chunk {job.chunk.index}, {job.contestant.heading}, search of a scale: {problem}"
        ) from problem
    return found if after < before else job.start


def gram_scales(
    layers: Iterable[Layer],
    width: int | None,
    contestants: Sequence[Contestant],
    store: Store | None,
    pool: Executor,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[dict[str, Scales], list[ChunkRefused]]:
    """Of every layer, by its name, for all chunks and contestants that need one: from the store where it has them.

    Chunks that are refused keep the scale of the weights.

    Raises
    ------
    QuanterrError
        A worker process died.
    """
    scales: dict[str, Scales] = {}
    refused: list[ChunkRefused] = []
    for job, answer in answers(_solve, _jobs(layers, width, contestants), store, VERSION, pool, progress, "scales"):
        if isinstance(answer, ChunkRefused):
            refused.append(answer)
        scale = job.start if isinstance(answer, ChunkRefused) else float(answer.error_start[0])
        scales.setdefault(job.layer, {})[job.chunk.index, job.contestant] = scale
    return scales, refused


def _jobs(layers: Iterable[Layer], width: int | None, contestants: Sequence[Contestant]) -> Iterator[ScaleJob]:
    for layer in layers:
        coded = [one for one in contestants if one.scaled] if np.any(layer.weight) else []
        starts = [contestant_scale(one, layer.weight, "mse") for one in coded]
        for chunk in layer.chunks(width):
            for one, start in zip(coded, starts, strict=True):
                yield ScaleJob(layer.name, chunk, one, start)


def _solve(job: ScaleJob) -> RowResults:
    """The scale as the store keeps it: one row of results, with the scale as `error_start`."""
    began = time.thread_time()
    zero, closed = np.zeros(1), np.full(1, STATUSES.index(Status.CLOSED), dtype=np.int8)
    scale, no = np.array([gram_scale(job)]), np.zeros(1, dtype=np.bool_)
    return RowResults(zero, zero, scale, closed, zero[None], no, time.thread_time() - began, zero.astype(np.int64))


def _sampled(pieces: Sequence[Piece]) -> Iterator[tuple[Piece, float]]:
    """The rows that are looked at, and how many each stands for: a single row may have most of the energy."""
    energy = np.concatenate([np.einsum("ri,ri->r", piece.weight @ piece.gram, piece.weight) for piece in pieces])
    order = np.argsort(-energy, kind="stable")
    heavy, rest = np.sort(order[:HEAVY]), np.sort(order[HEAVY:])
    others = rest[np.unique(np.linspace(0, rest.size - 1, min(OTHERS, rest.size)).astype(np.intp))]
    for chosen, stands_for in ((heavy, 1.0), (others, rest.size / max(others.size, 1))):
        for piece in pieces:
            here = chosen[(chosen >= piece.rows.start) & (chosen < piece.rows.stop)] - piece.rows.start
            if here.size:
                yield Piece(piece.gram, piece.weight[here], piece.rows), stands_for


def _error(sample: Iterable[tuple[Piece, float]], contestant: Contestant, scale: float) -> float:
    """Of the output, all rows together; each counts as many times as it stands for."""
    total = 0.0
    for piece, times in sample:
        step: Array = np.full(len(piece.weight), scale)
        problem = problem_of(shared_gram(piece.gram), piece.weight, contestant.feasible(piece.weight.shape[1]), step)
        if isinstance(problem.feasible, SparseIntegerBox):
            total += times * float(problem.error(problem.feasible.nearest(problem.target)).sum())
        else:
            total += times * float(bounds.solve(problem, BatchSearch()).upper.sum())
    return total * scale**2
