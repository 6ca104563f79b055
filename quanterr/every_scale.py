"""The pass over every scale: whose codes need it, its jobs through the store and an executor."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bounds import Status

from .contestants import Contestant
from .errors import ChunkRefused
from .execution.forecast import work
from .execution.running import Progress, result_of, spread
from .results.report import Record, Report
from .scale_free import BUDGET, ScaleFree, ScaleFreeJob, solve_scale_free
from .tally import Tally
from .units import STATUSES, RowResults

if TYPE_CHECKING:
    from .store import Store

Place = tuple[str, int, Contestant]


@dataclass(frozen=True)
class EveryScalePass:
    """What came of the jobs: results, refusals in words, and the layers of those that did not come in time."""

    found: dict[Place, ScaleFree] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    late: set[str] = field(default_factory=set)

    def of(self, layer: str, chunk: int) -> dict[Contestant, ScaleFree]:
        """The results of one chunk."""
        return {rival: free for (*place, rival), free in self.found.items() if place == [layer, chunk]}


def jobs_of(solved: Mapping[tuple[str, int], Tally], records: Iterable[Record]) -> dict[Place, ScaleFreeJob]:
    """Of what has a scale and is worse than a rival at the scale of the run: is it worse at every scale?"""
    errors: dict[Place, float] = {}
    goals: dict[Place, set[float]] = defaultdict(set)
    rivals = {(*place, rival.method, rival.bits): rival for place, tally in solved.items() for rival in tally.parts}
    for pair in Report(tuple(records)).pairs():
        if pair.at_scale:
            loser = pair.loser_at_scale
            winner = pair.first if loser is pair.second else pair.second
            at = loser.layer, loser.chunk, rivals[loser.layer, loser.chunk, loser.method, loser.bits]
            goals[at].add(winner.error_upper)
            errors[at] = loser.error_upper
    jobs: dict[Place, ScaleFreeJob] = {}
    for (layer, index, rival), beaten_by in goals.items():
        units = tuple(unit.only([unit.contestants.index(rival)]) for unit, _ in solved[layer, index].parts[rival])
        jobs[layer, index, rival] = ScaleFreeJob(units, tuple(sorted(beaten_by)), errors[layer, index, rival])
    return jobs


def search_scales(
    jobs: Mapping[Place, ScaleFreeJob], store: Store | None, pool: Executor,
    progress: Callable[[Progress], None] | None = None, until: float = math.inf,
) -> EveryScalePass:  # fmt: skip
    """Every job's result, from the store where it has it; new ones are kept at once. The cheapest jobs come first.

    It ends when the monotonic clock shows `until`.

    Raises
    ------
    QuanterrError
        A worker process died.
    """
    began = time.monotonic()
    done = EveryScalePass()
    for place, job in jobs.items():
        known = None if store is None else store.get(job.key(), BUDGET)
        if known is not None:
            done.found[place] = _from_row(known)
    reused = sum(jobs[place].rows for place in done.found)
    left = {job: place for place, job in jobs.items() if place not in done.found}
    total = reused + sum(job.rows for job in left)

    def tell() -> None:
        if progress is not None:
            rows = total - sum(job.rows for job in left)
            progress(Progress(rows, total, reused, time.monotonic() - began, None, "every scale"))

    if jobs:
        tell()
    for job, future in spread(solve_scale_free, sorted(left, key=_work), pool, _nbytes, until):
        place = left.pop(job)
        try:
            done.found[place] = result_of(future, f"layer {place[0]}, chunk {place[1]}")
        except ChunkRefused as error:
            done.refused.append(f"{error}; other scales stay open")
        else:
            if store is not None:
                store.put([(job.key(), _as_row(done.found[place]))], BUDGET)
        tell()
    done.late.update(place[0] for place in left.values())
    return done


def _work(job: ScaleFreeJob) -> float:
    return sum(map(work, job.units))


def _nbytes(job: ScaleFreeJob) -> int:
    return sum(unit.nbytes for unit in job.units)


def _as_row(free: ScaleFree) -> RowResults:
    """As the store keeps it: one row of results, whose `x` holds scales and sums."""
    one, closed = np.ones(1), np.full(1, STATUSES.index(Status.CLOSED), dtype=np.int8)
    x: NDArray[np.generic] = np.stack([free.scales, free.sums])
    return RowResults(
        one * free.upper, one * free.lower, one * free.scale, closed, x, np.zeros(1, dtype=np.bool_), free.seconds,
        free.floors.view(np.int64),
    )  # fmt: skip


def _from_row(row: RowResults) -> ScaleFree:
    x = np.asarray(row.x, dtype=np.float64)
    return ScaleFree(
        float(row.error_lower[0]), float(row.error_upper[0]), float(row.error_start[0]), x[0], x[1],
        row.nodes.view(np.float64), row.seconds,
    )  # fmt: skip
