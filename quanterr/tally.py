"""From rows to records: sums over the rows of one layer or chunk, allowances for their rounding included."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np

from bounds import BoundsDisagree, Status
from bounds.gram import UNIT_ROUNDOFF, Array

from .contestants import Contestant
from .layers.layer import Piece
from .results.report import Record
from .scale_free import ScaleFree
from .units import STATUSES, RowResults, Unit


class Tally:
    """Sums of row errors of one (layer, chunk), one entry a contestant."""

    def __init__(self) -> None:
        self.parts: dict[Contestant, list[tuple[Unit, RowResults]]] = defaultdict(list)

    def add(self, unit: Unit, results: list[RowResults]) -> None:
        for contestant, result in zip(unit.contestants, results, strict=True):
            self.parts[contestant].append((unit, result))

    def improve(self, unit: Unit, results: list[RowResults]) -> None:
        """More work on rows that are here already: the better of both, row by row."""
        for contestant, result in zip(unit.contestants, results, strict=True):
            for place, (known, old) in enumerate(self.parts[contestant]):
                if known.first_row == unit.first_row:
                    self.parts[contestant][place] = (unit, old.joined(result))

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
            parts.sort(key=lambda part: part[0].first_row)
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


def _energy(piece: Piece) -> float:
    """`Σ_rows wᵀ gram w`: the signal of the SNR."""
    weight: Array = piece.weight
    return float(np.einsum("ri,ri->", weight @ piece.gram, weight))
