"""Layers → problems → proven bounds → a report. No torch: any source of layers will do."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bounds import BranchAndBound, Status
from bounds.gram import UNIT_ROUNDOFF, Array

from .contestants import Method
from .errors import ChunkRefused, QuanterrError
from .layers.layer import Piece
from .report import LayerFacts, Record, Report
from .scaling import SCALES, codes_range
from .units import STATUSES, RowResults, Unit, solve_unit
from .workers import local_executor

if TYPE_CHECKING:
    from .layers import Chunk, Layer
    from .store import Store

#: Rows of one unit: small enough for progress, memory and a cheap `kill -9`, large enough to share a Gram.
ROWS_PER_UNIT = 192
#: Up to so many columns the search is expected to end in proof, beyond it is cut short and the bounds stay apart.
WIDEST_EXACT = 64
WIDEST = 128

Flying = dict[Future[list[RowResults]], Unit]


@dataclass(frozen=True)
class Progress:
    """How far a run is, in (row, bit-width, method) triples; `seconds_left` is an estimate, None at first."""

    rows_done: int
    rows_total: int
    rows_reused: int
    seconds: float
    seconds_left: float | None


def certify(
    layers: Iterable[Layer],
    bits: Sequence[int] = (2, 3, 4, 5, 6, 7, 8),
    chunk: int | None = 36,
    *,
    scale: str = "mse",
    search: BranchAndBound | None = None,
    store: Store | None = None,
    executor: Executor | None = None,
    jobs: int = 1,
    progress: Callable[[Progress], None] | None = None,
    title: str = "",
    skip_refused: bool = False,
) -> Report:
    """Bound the error of quantisation and of pruning at equal storage from both sides, chunk by chunk.

    Parameters
    ----------
    layers : iterable of Layer
        From `quanterr.layers.capture`, or made by hand from a weight and a Gram.
    bits : sequence of int
        Bit-widths, each 1 … 16; pruning keeps ⌊columns · bits / 16⌋ weights of each row.
    chunk : int or None
        Columns solved together, as in *Pruning vs Quantization* §4.3 (36), at most 128; None takes whole layers.
        A chunk's verdict speaks of the chunk alone: cross terms with the other columns are not in it.
    scale : {"mse", "max", "lp"}
        How the per-tensor quantisation scale is chosen (`quanterr.scaling`).
    search : BranchAndBound, optional
        Budget of the exact search; rows it leaves open get the better of its bound and a `(D, y)` certificate.
        Default: to the end up to 64 columns (36 take a few hundred nodes a row), 1,000 nodes a row beyond.
    store : Store, optional
        Results found there are reused and new ones are kept at once.
    executor : concurrent.futures.Executor, optional
        Where units run; default: `jobs` local processes with one thread each (this process when 1).
    progress : callable, optional
        Called with a `Progress` after every unit.
    skip_refused : bool
        A chunk that `bounds` refuses (a Gram of deficient rank, say) never stops the others. When all are done it is
        raised, or with True only named in `Report.refused`; none of its records are kept either way.

    Returns
    -------
    Report
        Errors in squared output units per sample; the same input gives the same bits, whatever `jobs`.

    Raises
    ------
    QuanterrError
        Bad bits, chunk or scale.
    ChunkRefused
        Rows that `bounds` refuses (layer, chunk and rows are named), after everything else is solved and stored.
    """
    for width in bits:
        codes_range(width)  # refuses what is no bit-width
    widths = tuple(dict.fromkeys(int(b) for b in bits))
    if not widths:
        raise QuanterrError("no bit-widths given: pass at least one, for example bits=(2, 4, 8)")
    if chunk is not None and chunk < 1:
        raise QuanterrError(f"chunk = {chunk} columns: use a positive number, or None for whole layers")
    if scale not in SCALES:
        raise QuanterrError(f"scale = {scale!r}: choose one of {', '.join(SCALES)}")
    layers = list(layers)
    units = [unit for layer in layers for unit in _units(layer, widths, chunk, scale, search)]
    if not units:
        raise QuanterrError("no layers given: nothing to certify")
    groups: dict[tuple[str, int, Method], _Tally] = defaultdict(_Tally)
    refused: dict[tuple[str, int], ChunkRefused] = {}
    with closing(_run(units, store, executor, jobs, progress)) as solved:
        for unit, results in solved:
            if isinstance(results, ChunkRefused):
                refused.setdefault((unit.layer, unit.chunk), results)
            else:
                groups[unit.layer, unit.chunk, unit.method].add(unit, results)
    if refused and not skip_refused:
        raise next(iter(refused.values()))
    records = [
        record
        for (layer, index, method), tally in groups.items()
        if (layer, index) not in refused
        for record in tally.records(layer, index, method)
    ]
    reasons = tuple(sorted(map(str, refused.values())))
    facts = tuple(_facts(layer) for layer in layers)
    report = Report(tuple(sorted(records, key=_order(units))), title=title, refused=reasons, layers=facts)
    if store is not None:
        store.add_run(title, report.to_dicts(), report.facts())
    return report


def _order(units: list[Unit]) -> Callable[[Record], tuple[int, int, int, str]]:
    """Layers as given, then chunk, bits, quantisation before pruning, whatever finished first."""
    place = {name: i for i, name in enumerate(dict.fromkeys(unit.layer for unit in units))}
    return lambda r: (place[r.layer], r.chunk, r.bits, "" if r.method == Method.QUANTIZATION else r.method)


def _facts(layer: Layer) -> LayerFacts:
    away = layer.weight - layer.weight.mean()
    away /= np.abs(away).max() or 1.0
    variance = float((away**2).mean())
    kurtosis = float((away**4).mean()) / variance**2 if variance > 0 else None
    return LayerFacts(
        layer.name, layer.rows, layer.columns, layer.groups, layer.samples, layer.damping, kurtosis, layer.notes
    )


def _units(
    layer: Layer, bits: tuple[int, ...], width: int | None, scale: str, search: BranchAndBound | None
) -> Iterator[Unit]:
    """The units of one layer, the rows of each Gram in batches."""
    if not np.any(layer.weight):
        raise QuanterrError(f"layer {layer.name}: every weight is zero: exclude it with --layers")
    scales = [float(SCALES[scale](layer.weight, b)) for b in bits]
    for chunk in layer.chunks(width):
        columns = chunk.columns.stop - chunk.columns.start
        if columns > WIDEST:
            raise QuanterrError(
                f"layer {layer.name}: a chunk of {columns} columns is too wide for the search, which takes {WIDEST}: "
                "pass chunk=36 (--chunk 36)"
            )
        budget = search or BranchAndBound(max_nodes=50_000_000 if columns <= WIDEST_EXACT else 1_000)
        for pieces in _batches(chunk):
            rows = sum(len(piece.weight) for piece in pieces)
            per_row = np.repeat(np.array(scales)[:, None], rows, axis=1)
            for method in Method:
                yield Unit(layer.name, chunk.index, method, bits, pieces, per_row, budget)


def _batches(chunk: Chunk) -> Iterator[tuple[Piece, ...]]:
    """Consecutive rows of a chunk, at most `ROWS_PER_UNIT`, with the Grams they need."""
    batch: list[Piece] = []
    held = 0
    for piece in chunk.pieces:
        for start in range(0, len(piece.weight), ROWS_PER_UNIT):
            weight = piece.weight[start : start + ROWS_PER_UNIT]
            if held + len(weight) > ROWS_PER_UNIT:
                yield tuple(batch)
                batch, held = [], 0
            first = piece.rows.start + start
            batch.append(Piece(piece.gram, weight, slice(first, first + len(weight))))
            held += len(weight)
    yield tuple(batch)


def _work(unit: Unit) -> float:
    """Expected cost of a unit in arbitrary units: best-subset trees grow tenfold every twelve columns."""
    rows = unit.rows * len(unit.bits)
    return rows * (0.01 + 10 ** (min(unit.columns, 72) / 12 - 3) if unit.method is Method.PRUNING else 0.02)


def _run(
    units: list[Unit],
    store: Store | None,
    executor: Executor | None,
    jobs: int,
    progress: Callable[[Progress], None] | None,
) -> Generator[tuple[Unit, list[RowResults] | ChunkRefused], None, None]:
    """Every unit with its results, from the store where it has them, in the order in which they are known."""
    began = time.monotonic()
    total = sum(unit.rows * len(unit.bits) for unit in units)
    done = reused = 0
    pending: list[Unit] = []
    for unit in units:
        known = _stored(unit, store)
        if known:
            reused += unit.rows * len(known)
            yield unit.only(list(known)), list(known.values())
        missing = [i for i in range(len(unit.bits)) if i not in known]
        if missing:
            pending.append(unit.only(missing))
    done = reused
    left = all_work = sum(map(_work, pending))
    if progress is not None:
        progress(Progress(done, total, reused, 0.0, None))
    # The dearest units first: the last ones to finish are then small, and workers end together.
    pending.sort(key=_work, reverse=True)
    for unit, results in _computed(pending, executor, jobs):
        if store is not None and not isinstance(results, ChunkRefused):
            store.put(((unit.key(i), result) for i, result in enumerate(results)), repr(unit.search))
        done += unit.rows * len(unit.bits)
        left -= _work(unit)
        if progress is not None:
            elapsed = time.monotonic() - began
            share = 1 - left / all_work
            estimate = elapsed * (1 - share) / share if share > 0.02 else None
            progress(Progress(done, total, reused, elapsed, estimate))
        yield unit, results


def _stored(unit: Unit, store: Store | None) -> dict[int, RowResults]:
    if store is None:
        return {}
    found = {i: store.get(unit.key(i), repr(unit.search)) for i in range(len(unit.bits))}
    return {i: result for i, result in found.items() if result is not None}


def _computed(
    units: list[Unit], executor: Executor | None, jobs: int
) -> Iterator[tuple[Unit, list[RowResults] | ChunkRefused]]:
    if not units:
        return
    if executor is not None:
        flying: Flying = {}
        try:
            yield from _spread(units, executor, 64, flying)
        finally:
            for future in flying:
                future.cancel()
        return
    with local_executor(min(jobs, len(units))) as local:
        yield from _spread(units, local, 3 * jobs, {})


def _spread(
    units: list[Unit], executor: Executor, window: int, flying: Flying
) -> Iterator[tuple[Unit, list[RowResults] | ChunkRefused]]:
    """Units through an executor, never more than `window` of them `flying` at once (memory, and a quick end)."""
    queue = iter(units)
    try:
        while True:
            for unit in queue:
                flying[executor.submit(solve_unit, unit)] = unit
                if len(flying) >= window:
                    break
            if not flying:
                return
            for future in wait(flying, return_when=FIRST_COMPLETED).done:
                unit, refusal = flying.pop(future), future.exception()
                yield unit, refusal if isinstance(refusal, ChunkRefused) else future.result()
    except BrokenExecutor as error:
        raise QuanterrError(
            "a worker process died, probably for lack of memory; what was solved is kept in the store: "
            "run again, with fewer --jobs if it repeats"
        ) from error


class _Tally:
    """Sums of row errors of one (layer, chunk, method), one entry a bit-width."""

    def __init__(self) -> None:
        self.parts: dict[int, list[tuple[Unit, RowResults]]] = defaultdict(list)

    def add(self, unit: Unit, results: list[RowResults]) -> None:
        for bits, result in zip(unit.bits, results, strict=True):
            self.parts[bits].append((unit, result))

    def records(self, layer: str, chunk: int, method: Method) -> Iterator[Record]:
        for bits, parts in self.parts.items():
            parts.sort(key=lambda part: part[0].first_row)
            results = [result for _, result in parts]
            status = np.concatenate([r.status for r in results])
            open_rows = status != STATUSES.index(Status.CLOSED)
            upper, lower = (np.concatenate([getattr(r, n) for r in results]) for n in ("error_upper", "error_lower"))
            # A sum of m terms in floats is off by at most (m − 1) u relative.
            slack = 1 + 2 * len(upper) * UNIT_ROUNDOFF
            worst = STATUSES[int(status[open_rows].max())] if open_rows.any() else Status.CLOSED
            dual = np.concatenate([r.dual for r in results])
            yield Record(
                layer=layer,
                chunk=chunk,
                bits=bits,
                method=method.value,
                rows=len(upper),
                columns=parts[0][0].columns,
                energy=float(sum(_energy(piece) for unit, _ in parts for piece in unit.pieces)),
                error_upper=float(upper.sum()) * slack,
                error_lower=float(lower.sum()) / slack,
                error_start=float(sum(r.error_start.sum() for r in results)),
                status=worst.value,
                open_rows=int(open_rows.sum()),
                evidence="search" if not dual.any() else "dual" if dual.all() else "search and dual",
                seconds=float(sum(r.seconds for r in results)),
            )


def _energy(piece: Piece) -> float:
    """`Σ_rows wᵀ gram w`: the signal of the SNR."""
    weight: Array = piece.weight
    return float(np.einsum("ri,ri->", weight @ piece.gram, weight))
