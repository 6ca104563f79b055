"""From rows to records: sums over the rows of one layer or chunk, allowances for their rounding included."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import groupby

import numpy as np

from bounds import BoundsDisagree, Status
from bounds.gram import UNIT_ROUNDOFF, Array

from .contestants import Contestant
from .layers.layer import Piece
from .results.report import Record
from .scale_free import ScaleFree
from .units import STATUSES, RowResults, Unit, concatenated

Part = tuple[Unit, RowResults]


class Tally:
    """Sums of row errors of one (layer, chunk), one entry a contestant."""

    def __init__(self) -> None:
        self._parts: dict[Contestant, list[Part]] = defaultdict(list)
        self._better: dict[Contestant, list[Part]] = defaultdict(list)

    def add(self, unit: Unit, results: list[RowResults]) -> None:
        for contestant, result in zip(unit.contestants, results, strict=True):
            self._parts[contestant].append((unit, result))

    def improve(self, unit: Unit, results: list[RowResults]) -> None:
        """More work, once, on some rows of a unit that is here already: `parts` has the better of both, row by row."""
        for contestant, result in zip(unit.contestants, results, strict=True):
            self._better[contestant].append((unit, result))

    @property
    def parts(self) -> dict[Contestant, list[Part]]:
        """Units that hold all rows once and in order, with their results, by contestant.

        Neighbours that come from one unit and had the same work are one: the whole unit, once all of it is done.

        Raises
        ------
        BoundsDisagree
            A lower bound of one result exceeds the upper bound of another.
        """
        while self._better:
            contestant, better = self._better.popitem()
            better.sort(key=_place)
            self._parts[contestant] = [part for known in self._parts[contestant] for part in _improved(known, better)]
        for parts in self._parts.values():
            parts.sort(key=_place)
        return self._parts

    def records(
        self, layer: str, chunk: int, any_scale: Mapping[Contestant, ScaleFree] | None = None
    ) -> Iterator[Record]:
        """One a contestant; `any_scale` has what holds for every scale, for those that were asked.

        Raises
        ------
        BoundsDisagree
            A bound for every scale above the error achieved at one.
        """
        energy = None  # of the same rows for all contestants
        for contestant, parts in self.parts.items():
            if energy is None:
                energy = float(sum(_energy(piece) for unit, _ in parts for piece in unit.pieces))
            results = [result for _, result in parts]
            status = np.concatenate([r.status for r in results])
            open_rows = status != STATUSES.index(Status.CLOSED)
            upper, lower = (np.concatenate([getattr(r, n) for r in results]) for n in ("error_upper", "error_lower"))
            # A sum of m terms in floats is off by at most (m − 1) u relative.
            slack = 1 + 2 * len(upper) * UNIT_ROUNDOFF
            worst = STATUSES[int(status[open_rows].max())] if open_rows.any() else Status.CLOSED
            free = (any_scale or {}).get(contestant)
            if free is not None and free.lower > float(upper.sum()) * slack:
                raise BoundsDisagree(
                    f"layer {layer}, chunk {chunk}, {contestant.heading}: the bound for every scale {free.lower!r} "
                    f"exceeds the error {float(upper.sum())!r} at one"
                )
            dual = np.concatenate([r.dual for r in results])
            nothing = open_rows & ~dual & (lower == 0)
            kinds = {"search": ~dual & ~nothing, "dual": dual, "none": nothing}
            yield Record(
                layer=layer,
                chunk=chunk,
                bits=contestant.bits,
                method=contestant.method,
                rows=len(upper),
                columns=parts[0][0].columns,
                energy=energy,
                error_upper=float(upper.sum()) * slack,
                error_lower=float(lower.sum()) / slack,
                error_start=float(sum(r.error_start.sum() for r in results)),
                status=worst.value,
                open_rows=int(open_rows.sum()),
                evidence=" and ".join(kind for kind, rows in kinds.items() if rows.any()),
                seconds=float(sum(r.seconds for r in results)) + (0.0 if free is None else free.seconds),
                contestant=contestant.name,
                storage=contestant.storage(parts[0][0].columns),
                mask_bits=contestant.mask_bits,
                error_lower_any_scale=(0.0 if free is None else free.lower) if contestant.scaled else None,
            )


def _place(part: Part) -> int:
    return part[0].first_row


def _improved(known: Part, better: list[Part]) -> Iterator[Part]:
    """The rows of one unit after more work on some of them, which `better` has in order among those of other units."""
    (whole, quick), parts = known, []
    row = first = whole.first_row
    for unit, result in better:
        if first <= unit.first_row < whole.last_row:
            if unit.first_row > row:
                parts.append((whole.among(row, unit.first_row), quick.among(row - first, unit.first_row - first)))
            row = unit.last_row
            parts.append((unit, quick.among(unit.first_row - first, row - first).joined(result)))
    if row < whole.last_row:
        parts.append((whole.among(row, whole.last_row), quick.among(row - first, whole.rows)))
    for _, alike in groupby(parts, key=lambda part: (part[0].search, part[0].relaxation)):
        units, results = zip(*alike, strict=True)
        yield units[0].among(units[0].first_row, units[-1].last_row), concatenated(list(results))


def _energy(piece: Piece) -> float:
    """`Σ_rows wᵀ gram w`: the signal of the SNR."""
    weight: Array = piece.weight
    return float(np.einsum("ri,ri->", weight @ piece.gram, weight))
