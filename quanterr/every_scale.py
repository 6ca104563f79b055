"""The pass over every scale: whose codes need it, its jobs through the store and an executor."""

from __future__ import annotations

import math
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
from .execution.running import Progress, answers
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
    done = EveryScalePass()
    places = {id(job): place for place, job in jobs.items()}
    cheapest = sorted(jobs.values(), key=_work)
    for job, answer in answers(_solve, cheapest, store, BUDGET, pool, progress, "every scale", until):
        place = places.pop(id(job))
        if isinstance(answer, ChunkRefused):
            done.refused.append(f"{answer}; other scales stay open")
        else:
            done.found[place] = _from_row(answer)
    done.late.update(place[0] for place in places.values())
    return done


def _work(job: ScaleFreeJob) -> float:
    return sum(map(work, job.units))


def _solve(job: ScaleFreeJob) -> RowResults:
    return _as_row(solve_scale_free(job))


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
