"""Units through the store and an executor: what is known is reused, what is new is kept at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bounds import BatchSearch, DiagonalSplit

from .errors import ChunkRefused, QuanterrError
from .units import RowResults, Unit, solve_unit
from .workers import local_executor

if TYPE_CHECKING:
    from .store import Store

Flying = dict[Future[list[RowResults]], Unit]
Outcome = list[RowResults] | ChunkRefused


@dataclass(frozen=True)
class Progress:
    """How far a run is, in (row, contestant) pairs; `seconds_left` is an estimate, None at first.

    When all are done, `writing` says what else is being made, such as the certificate of which layer.
    """

    rows_done: int
    rows_total: int
    rows_reused: int
    seconds: float
    seconds_left: float | None
    writing: str = ""


def _work(unit: Unit) -> float:
    """Expected processor seconds of a unit, for the order and the estimate only.

    Best-subset trees grow tenfold every twelve columns; beyond them the searches grow with columns^2.2 and the tuning
    of `D` with columns³. Measured on layers of 36, 384 and 1,536 columns; half or twice as much is usual.
    """
    rows, columns = unit.rows * len(unit.contestants), float(unit.columns)
    if unit.wide:
        row = 6e-4 if isinstance(unit.search, BatchSearch) else 5e-2
        row += 3e-3 if isinstance(unit.relaxation, DiagonalSplit) else 2e-1
        return float(row * rows * (columns / 384) ** 2.1 + 10 * (columns / 1000) ** 3)
    if unit.scaled:
        return 3e-5 * rows
    return float(rows * (5e-6 + 5e-4 * 10 ** (min(columns, 72) / 12 - 3)))


def run(
    units: list[Unit],
    store: Store | None,
    executor: Executor | None,
    jobs: int,
    progress: Callable[[Progress], None] | None,
) -> Generator[tuple[Unit, Outcome], None, None]:
    """Every unit with its results, from the store where it has them, in the order in which they are known."""
    began = time.monotonic()
    total = sum(unit.rows * len(unit.contestants) for unit in units)
    done = reused = 0
    pending: list[Unit] = []
    for unit in units:
        known = _stored(unit, store)
        if known:
            reused += unit.rows * len(known)
            yield unit.only(list(known)), list(known.values())
        missing = [i for i in range(len(unit.contestants)) if i not in known]
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
            store.put(((unit.key(i), result) for i, result in enumerate(results)), unit.budget)
        done += unit.rows * len(unit.contestants)
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
    found = {i: store.get(unit.key(i), unit.budget) for i in range(len(unit.contestants))}
    return {i: result for i, result in found.items() if result is not None}


def _computed(units: list[Unit], executor: Executor | None, jobs: int) -> Iterator[tuple[Unit, Outcome]]:
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


def _spread(units: list[Unit], executor: Executor, window: int, flying: Flying) -> Iterator[tuple[Unit, Outcome]]:
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
