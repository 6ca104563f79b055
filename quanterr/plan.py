"""Layers into units of work: which rows and columns are solved together, and with what effort."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from bounds import BranchAndBound
from bounds.verbs import Relaxation, Search

from .contestants import Contestant
from .efforts import QUICK, Effort
from .errors import QuanterrError
from .execution.forecast import expected
from .layers.layer import Piece
from .scaling import contestant_scale
from .units import Unit

if TYPE_CHECKING:
    from .layers import Chunk, Layer

#: Rows of one unit: small enough for progress, memory and a cheap `kill -9`, large enough to share a Gram.
ROWS_PER_UNIT = 192
#: Wider problems share the tuning of `D` as well.
ROWS_PER_WIDE_UNIT = 512
#: Processor seconds of a part of a wide unit: what a budget of minutes or Ctrl-C may lose.
PART = 60.0
#: Up to so many columns the search is expected to end in proof; wider problems are bounded from both sides.
WIDEST_EXACT = 64
#: Up to so many columns a search that the caller asks for is run.
WIDEST_SEARCH = 128
#: Nodes a row before a search leaves it open, between proven bounds. Few for pruned codes: what fine codes lose is
#: hardly more than what the pruning loses, which is a bound already, and no search closes the rest.
NODES, NODES_OF_PRUNED_CODES = 50_000_000, 100_000


def units(
    layer: Layer,
    contestants: Sequence[Contestant],
    width: int | None,
    scale: str | Mapping[tuple[int, Contestant], float],
    search: BranchAndBound | None,
) -> Iterator[Unit]:
    """The units of one layer, the rows of each Gram in batches; wide ones with the quick effort.

    `scale` is a key of `SCALES`, or the scale of every chunk, by its index, and contestant that needs one.

    Raises
    ------
    QuanterrError
        A layer whose weights are all zero, a `search` for more than `WIDEST_SEARCH` columns, or a contestant that
        cannot be that wide.
    """
    if not np.any(layer.weight):
        raise QuanterrError(f"layer {layer.name}: every weight is zero: exclude it with --layers")
    tensor = {one: contestant_scale(one, layer.weight, scale) for one in contestants} if isinstance(scale, str) else {}
    together: dict[str, list[Contestant]] = {}
    for contestant in contestants:
        together.setdefault(contestant.method, []).append(contestant)
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
            for group in together.values():
                scales = [
                    tensor[one] if isinstance(scale, str) else scale.get((chunk.index, one), 1.0) for one in group
                ]
                per_row = np.repeat(np.array(scales)[:, None], rows, axis=1)
                nodes = NODES_OF_PRUNED_CODES if group[0].scaled and group[0].keep != 1 else NODES
                unit = Unit(
                    layer.name, chunk.index, tuple(group), pieces, per_row, search or BranchAndBound(max_nodes=nodes)
                )
                if exact:
                    yield unit
                else:
                    alike: dict[tuple[Search, Relaxation], list[int]] = {}
                    for index, contestant in enumerate(group):
                        alike.setdefault(QUICK.of(contestant), []).append(index)
                    for (points, bound), places in alike.items():
                        yield replace(unit.only(places), search=points, relaxation=bound)


def raised(unit: Unit, index: int, effort: Effort, *, search: bool = True, relaxation: bool = True) -> Unit:
    """A wide problem of one contestant with another effort on the side of its points, of its bound, or on both."""
    contestant = unit.contestants[index]
    return replace(
        unit.only([index]),
        search=(effort if search else QUICK).of(contestant)[0],
        relaxation=(effort if relaxation else QUICK).of(contestant)[1],
    )


def parts(unit: Unit) -> Iterator[Unit]:
    """A wide unit in parts of about a minute, or of about as long as its `D` takes to be tuned, which is longer.

    They share that `D`, which each worker that solves some of them finds for itself: more and smaller parts would lose
    less when a run is stopped, and cost more in all.
    """
    prepared, solving = expected(unit)
    count = min(max(1, int(solving / max(prepared, PART))), unit.rows)
    edges = [unit.first_row + unit.rows * i // count for i in range(count + 1)]
    for first, stop in pairwise(edges):
        yield unit.among(first, stop)


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
