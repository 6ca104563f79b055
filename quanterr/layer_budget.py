"""Pruning that spends its budget over all rows of a chunk: from error curves of rows to a record of the chunk."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from bounds import BlockSplit, BoundsDisagree, BranchAndBound, DiagonalSplit, LocalSearch, Status, allocate
from bounds.allocation import asks
from bounds.exact.row_curves import inherit
from bounds.gram import Array
from bounds.result import CLOSED
from bounds.verbs import Relaxation, Search

from .contestants import DENSE_BITS, LAYER, Contestant
from .efforts import QUICK, ByShape, Effort
from .errors import ChunkRefused
from .layer_tasks import BoundCurves, FindPoints, FitSupports, FitTraces, ProveCurves, Sizes, StartCurves
from .plan import parts
from .results.report import Record
from .tally import Tally
from .units import RowResults, Task, Unit

Place = tuple[str, int]
#: Layer, chunk, method and bits of a record.
Side = tuple[str, int, str, int | None]
#: Rounds of lower curves: each looks where the split over the ones before was weak.
ROUNDS = 3


class Go(Protocol):
    """Solves units, wherever they run, until the monotonic clock shows an end; gives them back with their results."""

    def __call__(
        self, units: list[Unit], /, *, until: float
    ) -> Generator[tuple[Unit, list[RowResults] | ChunkRefused], None, None]: ...


def layer_wide(contestant: Contestant) -> Contestant | None:
    """The same budget for the whole layer; None where the rows are not pruned freely."""
    if contestant.scaled or contestant.group or contestant.block > 1 or contestant.keep == 1:
        return None
    return replace(contestant, method=contestant.method + LAYER)


@dataclass
class _Chunk:
    """What is known of one chunk; arrays of rows are those of its units, one after another."""

    units: list[Unit]
    contestants: list[Contestant]
    curves: dict[int, RowResults] = field(default_factory=dict)
    start: Array | None = None
    points: dict[Contestant, dict[int, RowResults]] = field(default_factory=dict)
    spent: dict[Contestant, Sizes] = field(default_factory=dict)
    lower: dict[Contestant, Array] = field(default_factory=dict)
    seconds: float = 0.0
    refused: bool = False
    complete: bool = False
    remark: str = ""

    @property
    def wide(self) -> bool:
        return self.units[0].wide

    @property
    def columns(self) -> int:
        return self.units[0].columns

    @property
    def search(self) -> BranchAndBound:
        """The exact search of a chunk that is not wide."""
        found = self.units[0].search
        assert isinstance(found, BranchAndBound)
        return found

    def budget(self, contestant: Contestant) -> int:
        """Weights of the whole chunk: never less than the rows keep with a budget each."""
        return math.floor(contestant.keep * sum(unit.rows * unit.columns for unit in self.units))

    def both(self) -> tuple[Array, Array]:
        """Lower and upper curves of all rows."""
        ordered = [self.curves[unit.first_row] for unit in self.units]
        lower, upper = (np.concatenate([getattr(r, n) for r in ordered]) for n in ("error_lower", "error_upper"))
        return lower, upper

    def tasks(self, contestant: Contestant, task: Callable[[Unit, slice], Task]) -> Iterator[Unit]:
        """A unit for each batch of rows."""
        for unit in self.units:
            single = replace(unit, contestants=(contestant,), scales=unit.scales[:1])
            yield replace(single, task=task(unit, self.place(unit)))

    def parts(
        self, contestant: Contestant, task: Callable[[Unit, slice], Task], method: Search | Relaxation
    ) -> Iterator[Unit]:
        """The same in parts of about a minute, for a task that takes as long as the method; each tunes its own `D`."""
        for unit in self.units:
            single = replace(unit, contestants=(contestant,), scales=unit.scales[:1])
            side = {"search": method} if isinstance(method, LocalSearch) else {"relaxation": method}
            for like in parts(replace(single, **side)):
                part = single.among(like.first_row, like.last_row)
                yield replace(part, task=task(part, self.place(part)))

    def place(self, unit: Unit) -> slice:
        """Where the rows of a unit are among those of the chunk."""
        first = self.units[0].first_row
        return slice(unit.first_row - first, unit.last_row - first)


class LayerBudgets:
    """All chunks of a run under budgets of whole layers.

    Parameters
    ----------
    plan : the units of the run, row by row; those that prune freely name the chunks, batches and budgets
    left_out : chunks that are refused already
    go : solves units
    """

    def __init__(self, plan: Iterable[Unit], left_out: Iterable[Place], go: Go) -> None:
        self._go = go
        self._until = math.inf
        self.late: set[str] = set()
        self._chunks: dict[Place, _Chunk] = {}
        barred = set(left_out)
        for unit in plan:
            twins = [twin for twin in map(layer_wide, unit.contestants) if twin is not None]
            if not twins or (unit.layer, unit.chunk) in barred:
                continue
            chunk = self._chunks.setdefault((unit.layer, unit.chunk), _Chunk([], []))
            chunk.contestants += [twin for twin in twins if twin not in chunk.contestants]
            if unit.first_row not in {known.first_row for known in chunk.units}:
                chunk.units.append(unit)

    def solve(self, by_row: Mapping[Place, Tally]) -> None:
        """Everything exactly that is narrow enough, the rest quickly; `by_row` has the best subsets found so far."""
        everything = StartCurves(exact=True), StartCurves(exact=False)
        self._run((c, u) for c in self._open() for u in c.tasks(c.contestants[0], lambda *_, c=c: everything[c.wide]))
        for chunk in self._open():
            chunk.start = chunk.both()[1]
            if not chunk.wide:
                _seed(chunk, by_row[chunk.units[0].layer, chunk.units[0].chunk])
        exact = [chunk for chunk in self._open() if not chunk.wide]
        while exact:
            before = {id(chunk): _nodes(chunk) for chunk in exact}
            self._run((chunk, unit) for chunk in exact for unit in _proofs(chunk))
            exact = [chunk for chunk in exact if not chunk.refused and _nodes(chunk) > before[id(chunk)]]
        for chunk in self._open():
            for contestant in chunk.contestants:
                chunk.spent[contestant] = allocate(chunk.both()[1], chunk.budget(contestant)).keep
        narrow = [(chunk, rival) for chunk in self._open() if not chunk.wide for rival in chunk.contestants]
        self._run((chunk, unit) for chunk, rival in narrow for unit in chunk.tasks(rival, _fits(chunk, rival)))
        wide = [(chunk, rival) for chunk in self._open() if chunk.wide for rival in chunk.contestants]
        self._run((chunk, unit) for chunk, rival in wide for unit in chunk.tasks(rival, _left(chunk, rival)))
        self._improve([], wide, QUICK, ROUNDS)
        for chunk in self._open():
            chunk.complete = True

    def refine(self, search: set[Side], relaxation: set[Side], effort: Effort, until: float = math.inf) -> None:
        """More work on the points or the bounds of the wide chunks that are named by (layer, chunk, method, bits).

        At `until` (`time.monotonic`) it ends, and `late` has the layers that did not get all of it.
        """
        self._until = until
        sides: list[list[tuple[_Chunk, Contestant]]] = [[], []]
        for place, chunk in self._chunks.items():
            for rival in chunk.contestants if chunk.wide and not chunk.refused else []:
                for chosen, named in zip(sides, (search, relaxation), strict=True):
                    if (*place, rival.method, rival.bits) in named:
                        chosen.append((chunk, rival))
        self._improve(sides[0], sides[1], effort, 2)

    def records(self, by_row: Mapping[Side, Record]) -> Iterator[Record]:
        """A record for each chunk and budget, beside that of the budgets of rows."""
        for (layer, index), chunk in self._chunks.items():
            for rival in chunk.contestants if not chunk.refused else []:
                base = by_row[layer, index, rival.method.removesuffix(LAYER), rival.bits]
                yield self._record(chunk, rival, base)

    @property
    def remarks(self) -> list[str]:
        """What was refused, and why."""
        return [chunk.remark for chunk in self._chunks.values() if chunk.remark]

    def _record(self, chunk: _Chunk, rival: Contestant, base: Record) -> Record:
        keep = chunk.budget(rival)
        found = np.concatenate([chunk.points[rival][unit.first_row].error_upper for unit in chunk.units])
        upper = math.fsum(found.tolist())
        # what the rows keep with a budget each fits into the layer's as well
        upper = min(math.nextafter(upper, math.inf) if upper else 0.0, base.error_upper)
        lower = allocate(chunk.lower[rival] if chunk.wide else chunk.both()[0], keep).bound
        if lower > upper:
            raise BoundsDisagree(
                f"layer {base.layer}, chunk {base.chunk}, {rival.heading}: lower bound {lower!r} exceeds {upper!r}"
            )
        assert chunk.start is not None
        begun = allocate(chunk.start, keep).value
        closed = upper - lower <= CLOSED * upper
        stuck = any(curves.status.any() for curves in chunk.curves.values())
        status = Status.UNPROVEN if chunk.wide else Status.NODE_LIMIT if stuck else Status.ROUNDING
        return replace(
            base, method=rival.method, error_upper=upper, error_lower=lower, error_start=begun,
            status=(Status.CLOSED if closed else status).value, open_rows=0 if closed else base.rows,
            evidence="dual" if chunk.wide else "search", seconds=chunk.seconds / len(chunk.contestants),
            storage=DENSE_BITS * keep / (base.rows * base.columns), contestant=rival.name,
        )  # fmt: skip

    def _open(self) -> list[_Chunk]:
        return [chunk for chunk in self._chunks.values() if not chunk.refused]

    def _improve(
        self, search: list[tuple[_Chunk, Contestant]], relaxation: list[tuple[_Chunk, Contestant]], effort: Effort,
        rounds: int,
    ) -> None:  # fmt: skip
        self._run((c, u) for c, rival in search for u in _points(c, rival, _local(effort, rival)))
        at = {(id(chunk), rival): chunk.spent[rival] for chunk, rival in relaxation if not chunk.refused}
        for _ in range(rounds):
            self._run(
                (c, u) for c, rival in relaxation if not c.refused
                for u in _bounds(c, rival, at[id(c), rival], _curved(effort, rival, c.columns))
            )  # fmt: skip
            for chunk, rival in relaxation:
                if not chunk.refused:
                    at[id(chunk), rival] = allocate(chunk.lower[rival], chunk.budget(rival)).keep

    def _run(self, work: Iterator[tuple[_Chunk, Unit]]) -> None:
        units = [unit for _, unit in work]
        waiting = Counter(unit.layer for unit in units)
        if not units or time.monotonic() > self._until:
            self.late |= set(waiting)
            return
        with closing(self._go(units, until=self._until)) as outcomes:
            for unit, outcome in outcomes:
                chunk = self._chunks[unit.layer, unit.chunk]
                if isinstance(outcome, ChunkRefused) and chunk.complete:
                    chunk.remark = f"{outcome}; the quick layer-wide bounds stand"
                elif isinstance(outcome, ChunkRefused):
                    chunk.refused, chunk.remark = True, f"{outcome}; no layer-wide budget"
                else:
                    _take(chunk, unit, outcome[0])
                waiting[unit.layer] -= 1
        self.late |= {layer for layer, units_left in waiting.items() if units_left}


def _take(chunk: _Chunk, unit: Unit, result: RowResults) -> None:
    """Keep the better of what is known and what a task found."""
    (rival,) = unit.contestants
    chunk.seconds += result.seconds
    if isinstance(unit.task, StartCurves | ProveCurves):
        chunk.curves[unit.first_row] = result
    elif isinstance(unit.task, BoundCurves):
        rows = sum(one.rows for one in chunk.units)
        known = chunk.lower.setdefault(rival, np.zeros((rows, unit.columns + 1)))
        part = known[chunk.place(unit)]
        np.maximum(part, result.error_lower, out=part)
    else:
        found = chunk.points.setdefault(rival, {})
        (first,) = (one.first_row for one in chunk.units if one.first_row <= unit.first_row < one.last_row)
        found[first] = _better(found[first], result, unit.first_row - first) if first in found else result


def _better(old: RowResults, new: RowResults, row: int) -> RowResults:
    """The new are the rows from `row` on."""
    upper, x = old.error_upper.copy(), old.x.copy()
    better = np.flatnonzero(new.error_upper < upper[row : row + len(new.error_upper)])
    upper[row + better], x[row + better] = new.error_upper[better], new.x[better]
    return replace(old, error_upper=upper, x=x)


def _seed(chunk: _Chunk, tally: Tally) -> None:
    """Put into the curves what was solved for rows with a budget each."""
    for unit in chunk.units:
        known = chunk.curves[unit.first_row]
        upper, lower = known.error_upper.copy(), known.error_lower.copy()
        kept = np.unpackbits(known.x.view(np.uint8), axis=-1, count=unit.columns).astype(np.int8)
        for rival, solved in tally.parts.items():
            if layer_wide(rival) is None:
                continue
            keep = math.floor(rival.keep * unit.columns)
            result = next(found for other, found in solved if other.first_row == unit.first_row)
            support = (result.x != 0).astype(np.int8)
            better = np.flatnonzero((support.sum(axis=1) == keep) & (result.error_upper < upper[:, keep]))
            upper[better, keep], kept[better, keep] = result.error_upper[better], support[better]
            lower[:, keep] = np.maximum(lower[:, keep], result.error_lower)
        row = 0
        for piece in unit.pieces:
            part = slice(row, row + len(piece.weight))
            inherit(upper[part], kept[part], np.flatnonzero(piece.gram.diagonal()))
            row = part.stop
        lower = np.maximum.accumulate(lower[:, ::-1], axis=1)[:, ::-1]
        packed = np.packbits(kept, axis=-1)
        chunk.curves[unit.first_row] = replace(known, error_upper=upper, error_lower=lower, x=packed)


def _proofs(chunk: _Chunk) -> Iterator[Unit]:
    """The searches that the budgets of a chunk still ask for."""
    wanted = asks(*chunk.both(), [chunk.budget(rival) for rival in chunk.contestants])
    if wanted:
        yield from chunk.tasks(
            chunk.contestants[0], lambda unit, _: ProveCurves(wanted, chunk.search, chunk.curves[unit.first_row])
        )


def _fits(chunk: _Chunk, rival: Contestant) -> Callable[[Unit, slice], Task]:
    def task(unit: Unit, rows: slice) -> Task:
        keep = chunk.spent[rival][rows]
        return FitSupports(keep, chunk.curves[unit.first_row].x.view(np.uint8)[np.arange(len(keep)), keep])

    return task


def _left(chunk: _Chunk, rival: Contestant) -> Callable[[Unit, slice], Task]:
    """What the eliminations leave that chose the sizes: 0.2 dB short of a local search, one pass for all budgets."""
    return lambda unit, rows: FitTraces(chunk.spent[rival][rows], chunk.curves[unit.first_row].x.view(np.int64))


def _points(chunk: _Chunk, rival: Contestant, search: LocalSearch) -> Iterator[Unit]:
    return chunk.parts(rival, lambda _, rows: FindPoints(chunk.spent[rival][rows], search), search)


def _bounds(chunk: _Chunk, rival: Contestant, keep: Sizes, relaxation: DiagonalSplit | BlockSplit) -> Iterator[Unit]:
    return chunk.parts(rival, lambda _, rows: BoundCurves(keep[rows], relaxation), relaxation)


def _local(effort: Effort, rival: Contestant) -> LocalSearch:
    found = effort.of(rival)[0]
    assert isinstance(found, LocalSearch)
    return found


def _curved(effort: Effort, rival: Contestant, columns: int) -> DiagonalSplit | BlockSplit:
    """Intervals have no curves: where they would be used, blocks are."""
    found = effort.of(rival)[1]
    found = found.shared(columns) if isinstance(found, ByShape) else found
    assert isinstance(found, DiagonalSplit | BlockSplit)
    return found


def _nodes(chunk: _Chunk) -> int:
    return int(sum(curves.nodes.sum() for curves in chunk.curves.values()))
