"""Units through the store and an executor: what is known is reused, what is new is kept at once."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from ..errors import ChunkRefused, QuanterrError
from ..units import RowResults, Unit, solve_unit
from .forecast import Forecast, kind, work
from .workers import count, died, leave

if TYPE_CHECKING:
    from ..store import Store

Outcome = list[RowResults] | ChunkRefused
Task = TypeVar("Task")
Result = TypeVar("Result")
Question = TypeVar("Question", bound="Job")
#: Most units in flight, with fewer than 22 workers, and most bytes of them once every worker has one.
UNITS, IN_FLIGHT = 64, 2**30


@dataclass(frozen=True)
class Progress:
    """How far a run is, in (row, contestant) pairs.

    `phase` says which part of the run is counted: "solving" where there is but one, else "quick pass", "layer-wide
    budgets", "refining"; then "every scale". `seconds_left` is an estimate for that part, from other networks and
    machines at first, then more and more from the units that are done; None where there is none. When all are done,
    `doing` says what else is under way, such as the certificate of which layer.
    """

    rows_done: int
    rows_total: int
    rows_reused: int
    seconds: float
    seconds_left: float | None
    phase: str = "solving"
    doing: str = ""


def run(
    units: list[Unit],
    store: Store | None,
    pool: Executor,
    progress: Callable[[Progress], None] | None,
    phase: str,
    until: float = math.inf,
) -> Generator[tuple[Unit, Outcome], None, None]:
    """Every unit with its results, from the store where it has them, in the order in which they are known.

    With an end, `until` on the monotonic clock, the cheapest units come first.
    """
    began = time.monotonic()
    total = sum(unit.scales.size for unit in units)
    done = reused = 0
    pending: list[Unit] = []
    keys: dict[int, list[str]] = {}
    for unit in units:
        names = [unit.key(i) for i in range(len(unit.scales))] if store is not None else []
        found = {i: store.get(name, unit.budget) for i, name in enumerate(names)} if store is not None else {}
        known = {i: result for i, result in found.items() if result is not None}
        if known:
            reused += unit.rows * len(known)
            yield unit.only(list(known)), list(known.values())
        missing = [i for i in range(len(unit.scales)) if i not in known]
        if missing:
            pending.append(unit.only(missing))
            keys[id(pending[-1])] = [names[i] for i in missing] if names else []
    done = reused
    forecast = Forecast(pending)
    if progress is not None:
        progress(Progress(done, total, reused, 0.0, forecast.wall_time(count(pool)), phase))
    ordered = _ordered(pending) if until == math.inf else sorted(pending, key=work)
    for unit, results in _computed(ordered, pool, until):
        done += unit.scales.size
        elapsed = time.monotonic() - began
        if isinstance(results, ChunkRefused):
            forecast.drop(unit)
        else:
            forecast.add(unit, sum(result.seconds for result in results), elapsed)
            if store is not None:
                store.put(zip(keys[id(unit)], results, strict=True), unit.budget)
        if progress is not None:
            progress(Progress(done, total, reused, elapsed, forecast.wall_time(count(pool)), phase))
        yield unit, results


class Job(Protocol):
    """A question of one answer: `rows` count its progress, `nbytes` what is handed over, `str` names the place."""

    @property
    def rows(self) -> int: ...

    @property
    def nbytes(self) -> int: ...

    def key(self) -> str:
        """Content hash of the question."""


def answers(
    function: Callable[[Question], RowResults],
    jobs: Iterable[Question],
    store: Store | None,
    budget: str,
    pool: Executor,
    progress: Callable[[Progress], None] | None,
    phase: str,
    until: float = math.inf,
) -> Iterator[tuple[Question, RowResults | ChunkRefused]]:
    """Every job with its answer, one row of results: from the store where it has them, else in the order given.

    It ends when the monotonic clock shows `until`.

    Raises
    ------
    QuanterrError
        A worker or the connection to the workers is lost, or memory is too small.
    """
    began = time.monotonic()
    done = 0
    pending: list[Question] = []
    for job in jobs:
        known = None if store is None else store.get(job.key(), budget)
        if known is None:
            pending.append(job)
        else:
            done += job.rows
            yield job, known
    reused, total = done, done + sum(job.rows for job in pending)

    def tell() -> None:
        if progress is not None and total:
            progress(Progress(done, total, reused, time.monotonic() - began, None, phase))

    tell()
    for job, future in spread(function, pending, pool, lambda job: job.nbytes, until):
        answer: RowResults | ChunkRefused
        try:
            answer = result_of(future, str(job))
            if store is not None:
                store.put([(job.key(), answer)], budget)
        except ChunkRefused as refusal:
            answer = refusal
        done += job.rows
        tell()
        yield job, answer


def _ordered(units: list[Unit]) -> list[Unit]:
    """One of each kind first, the cheapest first: the estimate soon rests on measurements. Then the dearest first: the
    last ones to finish are small, and workers end together."""
    dearest = sorted(units, key=work, reverse=True)
    first = {kind(unit): unit for unit in dearest}
    probes = sorted(first.values(), key=work)
    taken = set(map(id, probes))
    return probes + [unit for unit in dearest if id(unit) not in taken]


def _computed(units: list[Unit], pool: Executor, until: float) -> Iterator[tuple[Unit, Outcome]]:
    for unit, future in spread(solve_unit, units, pool, lambda unit: unit.nbytes, until):
        try:
            yield unit, result_of(future, str(unit))
        except ChunkRefused as refusal:
            yield unit, refusal


def spread(
    function: Callable[[Task], Result], tasks: Iterable[Task], pool: Executor, size: Callable[[Task], int],
    until: float = math.inf,
) -> Iterator[tuple[Task, Future[Result]]]:  # fmt: skip
    """Tasks through an executor and their futures as they are done; a bounded number and size (bytes) in flight.

    It ends when the monotonic clock shows `until`; what is in flight then is lost.
    """
    queue, flying = deque(tasks), dict[Future[Result], Task]()
    held = 0
    try:
        while (queue or flying) and time.monotonic() <= until:
            at_once = count(pool)  # a cluster may grow
            while queue and _room(len(flying), held + size(queue[0]), at_once):
                task = queue.popleft()
                held += size(task)
                flying[pool.submit(function, task)] = task
            left = None if until == math.inf else max(0.0, until - time.monotonic())
            for future in wait(flying, left, FIRST_COMPLETED).done:
                task = flying.pop(future)
                held -= size(task)
                yield task, future
    finally:
        if flying:
            leave(pool, flying)


def _room(flying: int, held: int, at_once: int) -> bool:
    if flying < max(1, at_once):
        return True
    return at_once > 0 and flying < max(UNITS, 3 * at_once) and held <= IN_FLIGHT


def result_of(future: Future[Result], place: str) -> Result:
    """What a task returned or raised; `place` names the layer where the worker, not the task, failed.

    Raises
    ------
    QuanterrError
        A worker or the connection to the workers is lost, or memory is too small.
    """
    kept = "what was solved is kept in the store: run again"
    try:
        return future.result()
    except CancelledError as error:
        raise QuanterrError(f"the connection to the workers was lost; {kept} when they are back") from error
    except MemoryError as error:
        raise QuanterrError(
            f"{place}: a worker has too little memory; {kept} with more, or with fewer --jobs"
        ) from error
    except Exception as error:
        if not died(error):
            error.add_note(f"at {place}")
            raise
        raise QuanterrError(
            f"{place}: a worker process died ({error}), probably for lack of memory; {kept} with more memory a worker, "
            "or with fewer --jobs"
        ) from error
