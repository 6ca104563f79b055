"""Layers into units of work: which rows and columns are solved together, and with what effort."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bounds import BranchAndBound

from .contestants import Method
from .efforts import QUICK, Effort
from .errors import QuanterrError
from .layers.layer import Piece
from .scaling import SCALES
from .units import Unit

if TYPE_CHECKING:
    from .layers import Chunk, Layer

#: Rows of one unit: small enough for progress, memory and a cheap `kill -9`, large enough to share a Gram.
ROWS_PER_UNIT = 192
#: Wider problems share the tuning of `D` as well.
ROWS_PER_WIDE_UNIT = 512
#: Up to so many columns the search is expected to end in proof; wider problems are bounded from both sides.
WIDEST_EXACT = 64
#: Up to so many columns a search that the caller asks for is run.
WIDEST_SEARCH = 128


def units(
    layer: Layer, bits: tuple[int, ...], width: int | None, scale: str, search: BranchAndBound | None
) -> Iterator[Unit]:
    """The units of one layer, the rows of each Gram in batches; wide ones with the quick effort, a bit-width each.

    Raises
    ------
    QuanterrError
        A layer whose weights are all zero, or a `search` for more than `WIDEST_SEARCH` columns.
    """
    if not np.any(layer.weight):
        raise QuanterrError(f"layer {layer.name}: every weight is zero: exclude it with --layers")
    scales = np.array([float(SCALES[scale](layer.weight, b)) for b in bits])
    for chunk in layer.chunks(width):
        columns = chunk.columns.stop - chunk.columns.start
        if search is not None and columns > WIDEST_SEARCH:
            raise QuanterrError(
                f"layer {layer.name}: {columns} columns are too wide for a search of nodes, which takes "
                f"{WIDEST_SEARCH}: leave max_nodes out, or pass chunk=36 (--chunk 36)"
            )
        exact = search is not None or columns <= WIDEST_EXACT
        for pieces in _batches(chunk, ROWS_PER_UNIT if exact else ROWS_PER_WIDE_UNIT):
            rows = sum(len(piece.weight) for piece in pieces)
            per_row = np.repeat(scales[:, None], rows, axis=1)
            for method in Method:
                unit = Unit(
                    layer.name, chunk.index, method, bits, pieces, per_row,
                    search or BranchAndBound(max_nodes=50_000_000),
                )  # fmt: skip
                if exact:
                    yield unit
                else:
                    yield from (raised(unit, index, QUICK) for index in range(len(bits)))


def raised(unit: Unit, index: int, effort: Effort, *, search: bool = True, relaxation: bool = True) -> Unit:
    """A wide problem at `bits[index]` with another effort on the side of its points, of its bound, or on both."""
    return replace(
        unit.only([index]),
        search=(effort if search else QUICK).search[unit.method],
        relaxation=(effort if relaxation else QUICK).relaxation[unit.method],
    )


def memory(layers: Iterable[Layer], width: int | None) -> int:
    """Bytes that a worker needs for the widest problem: an estimate, measured at 384 to 4,096 columns.

    A worker starts with 200 MiB; the quick effort holds about 16 matrices of the size of the Gram.
    """
    widest = max(chunk.columns.stop - chunk.columns.start for layer in layers for chunk in layer.chunks(width))
    return int(200 * 2**20 + 16 * 8 * widest**2)


def _batches(chunk: Chunk, most: int) -> Iterator[tuple[Piece, ...]]:
    """Consecutive rows of a chunk, at most so many, with the Grams they need."""
    batch: list[Piece] = []
    held = 0
    for piece in chunk.pieces:
        for start in range(0, len(piece.weight), most):
            weight = piece.weight[start : start + most]
            if held + len(weight) > most:
                yield tuple(batch)
                batch, held = [], 0
            first = piece.rows.start + start
            batch.append(Piece(piece.gram, weight, slice(first, first + len(weight))))
            held += len(weight)
    yield tuple(batch)
