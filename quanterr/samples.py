"""A layer on some of its calibration inputs: what is proven there, and what its weights cost on other inputs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bounds import BranchAndBound
from bounds.gram import Array

from .contestants import Contestant, Method, at_storage
from .layers.folds import LayerFolds
from .layers.layer import Layer
from .plan import units
from .results.report import Record, Verdict, judge
from .tally import Tally
from .units import RowResults, Unit

Key = tuple[int, int, str]
"""Chunk, bits, method."""


@dataclass(eq=False)
class Sample:
    """Some `parts` of the inputs of a layer, and what was solved for them.

    `records` and `squares` are filled by `close`; a square is `Σ dᵀd` over the rows, (groups, columns, columns), of the
    errors d of the weights found, so that their error in any Gram matrix is one inner product with it (`known`).
    """

    folds: LayerFolds
    name: str
    parts: Sequence[int]
    tallies: dict[int, Tally] = field(default_factory=lambda: defaultdict(Tally))
    records: dict[Key, Record] = field(default_factory=dict)
    squares: dict[Key, Array] = field(default_factory=dict)
    known: dict[Key, Array] = field(default_factory=dict)

    @property
    def layer(self) -> Layer:
        """The layer with the Gram matrix of these inputs; its name says which."""
        if len(self.parts) == self.folds.folds:
            return self.folds.layer
        return replace(self.folds.part(self.parts), name=self.name)

    def plan(
        self, bits: tuple[int, ...], width: int | None, scale: str, search: BranchAndBound | None = None
    ) -> Iterator[Unit]:
        """The units to be solved; those of splits count for themselves."""
        pairs = zip(*(at_storage(b) for b in bits), strict=True)
        return units(self.layer, [side for sides in pairs for side in sides], width, scale, search)

    def add(self, unit: Unit, results: list[RowResults]) -> None:
        """What was found for one of them."""
        self.tallies[unit.chunk].add(unit, results)

    def drop(self, chunk: int) -> None:
        """A chunk some rows of which were refused has no result."""
        self.tallies.pop(chunk, None)

    def close(self) -> None:
        """Keep records and squares instead of the weights of all rows."""
        for chunk, tally in self.tallies.items():
            for record, (side, found) in zip(
                tally.records(self.folds.layer.name, chunk), tally.parts.items(), strict=True
            ):
                assert record.bits is not None
                # other scales are not asked: what varies here are the inputs
                self.records[chunk, record.bits, record.method] = replace(record, error_lower_any_scale=None)
                self.squares[chunk, record.bits, record.method] = self._square(found, side)
        self.tallies.clear()

    def _square(self, found: list[tuple[Unit, RowResults]], side: Contestant) -> Array:
        groups, columns = self.folds.layer.groups, found[0][0].columns
        height = self.folds.layer.rows // groups
        square = np.zeros((groups, columns, columns))
        for unit, result in found:
            scale = unit.scales[unit.contestants.index(side)][:, None] if unit.scaled else np.ones((unit.rows, 1))
            points = result.x.astype(np.float64) * scale
            first = 0
            for piece in unit.pieces:
                error = points[first : first + len(piece.weight)] - piece.weight
                square[piece.rows.start // height] += error.T @ error
                first += len(piece.weight)
        return square

    def judged(self, chunk: int, bits: int) -> Verdict | None:
        """The verdict for these inputs; None where it was refused."""
        sides = [self.records.get((chunk, bits, method)) for method in (Method.QUANTIZATION, Method.PRUNING)]
        return None if sides[0] is None or sides[1] is None else judge(sides[0], sides[1])

    def errors(self, key: Key, columns: slice) -> Array:
        """(parts,) error of the weights found here in each part of *all* inputs, not divided by anything."""
        if key not in self.known:
            size = self.folds.layer.columns
            sums = self.folds.sums.reshape(self.folds.folds, -1, size, size)[..., columns, columns]
            self.known[key] = np.asarray(np.einsum("fgij,gij->f", sums, self.squares[key]))
        return self.known[key]

    def error_in(self, other: Sample, key: Key, columns: slice) -> float:
        """Error of the weights found here for the inputs of another sample, per vector (an estimate in float64)."""
        vectors = sum(self.folds.samples[part] for part in other.parts)
        return float(self.errors(key, columns)[list(other.parts)].sum()) / vectors
