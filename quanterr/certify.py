"""Layers → problems → proven bounds → a report. No torch: any source of layers will do."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bounds import BranchAndBound

from .contestants import Contestant, same_but_budget
from .contestants import rivals as every_rival
from .efforts import Effort
from .efforts import effort as effort_named
from .errors import ChunkRefused, QuanterrError
from .every_scale import EveryScalePass, jobs_of, search_scales
from .execution.running import Outcome, Progress, run
from .execution.workers import workers
from .gram_scale import RULES, gram_scales
from .layer_budget import LayerBudgets, Side, layer_wide
from .layers.layer import require_layers
from .layers.rank import rank_note
from .plan import parts, raised, units
from .proofs.archive import require_writable
from .proofs.evidence import DUALS, write_certificates
from .results.report import LayerFacts, Record, Report
from .tally import Tally
from .units import Unit

if TYPE_CHECKING:
    from .layers import Layer
    from .store import Store

__all__ = ["Progress", "certify"]

REFINE = ("undecided", "all")
BUDGETS = ("row", "both")
LATE = "the budget of minutes ended before all that was worth more effort got it: run again to go on"
Place = tuple[str, int]


def certify(
    layers: Iterable[Layer],
    bits: Sequence[int] = (2, 3, 4, 5, 6, 7, 8),
    chunk: int | None = 36,
    *,
    contestants: Sequence[str] | None = None,
    mask_cost: int = 0,
    compound: bool = False,
    budget: str = "row",
    scale: str = "mse",
    search: BranchAndBound | None = None,
    effort: str = "normal",
    refine: str = "undecided",
    minutes: float | None = None,
    store: Store | None = None,
    executor: Executor | None = None,
    jobs: int = 1,
    progress: Callable[[Progress], None] | None = None,
    title: str = "",
    skip_refused: bool = False,
    certificates: str | Path | None = None,
    dual: str = "diagonal",
) -> Report:
    """Bound the error of quantisation and of pruning at equal storage from both sides, chunk by chunk.

    Or of any other contestants, such as formats of numbers, that are named. Where codes lose at the scale of the run, a
    second pass looks for a bound that holds at every scale: only then is the rival's verdict passed.

    Parameters
    ----------
    layers : iterable of Layer
        From `quanterr.layers.capture`, or made by hand from a weight and a Gram.
    bits : sequence of int
        Bit-widths, each 1 … 16; pruning keeps ⌊columns · bits / 16⌋ weights of each row.
    chunk : int or None
        Columns solved together, as in *Pruning vs Quantization* §4.3 (36); None takes whole layers, the full Gram.
        A chunk's verdict speaks of the chunk alone: cross terms with the other columns are not in it.
    contestants : sequence of str, optional
        Compare these with each other, whatever they store, instead of the methods at each of `bits`, which is then
        not used: names such as "int4", "fp4", "2:4", "prune75", "int4+prune50" (`quanterr.contestants.named`).
    mask_cost : {0, 1}
        Bits a weight that pruning pays for its mask at equal storage: with 1 it keeps ⌊columns · (bits − 1) / 16⌋.
    compound : bool
        A third contestant at equal storage: half the weights kept, as codes of twice the bits (at most 16).
    budget : {"row", "both"}
        Whether unstructured pruning has a budget for each row only, as in the paper, or is judged with one budget for
        all rows of a chunk as well (its records are called `pruning_layer`): at least as good, hence the stronger
        opponent. Exact where the rows are, for one to two times the time of pruning; certificates leave it out.
    scale : {"mse", "max", "lp", "gram"}
        How the scale of a tensor is chosen wherever codes need one: by the weights alone (`quanterr.scaling`), or
        "gram", by the error of the output as a fast search finds it, for each chunk by itself.
    search : BranchAndBound, optional
        Budget of the exact search, up to 128 columns; rows it leaves open get the better of its bound and a `(D, y)`
        certificate. Default: to the end up to 64 columns (36 take a few hundred nodes a row); beyond it no search
        but `effort`.
    effort : {"quick", "normal", "thorough"}
        Work on more than 64 columns. All of them get a local search and a diagonal `D` ("quick"), which decides most
        comparisons at 4 bits and more; then longer searches and a `D` of blocks (codes) or of each row's own (pruning).
    refine : {"undecided", "all"}
        What is worth more than the quick effort: the two sides that can decide an undecided comparison, or everything.
    minutes : float, optional
        Budget of that refinement and of the pass over every scale, counted from the call: the cheapest units come
        first, and those in flight when it ends are lost (with one job or an executor, the unit at hand is waited for).
        The quick pass always runs to the end. Every result is the same whatever the budget; which of them there are is
        not. Those missing are named in the notes of their layers, and come with a second run on the same `store`.
    store : Store, optional
        Results found there are reused and new ones are kept at once.
    executor : concurrent.futures.Executor, optional
        Where units run; default: `jobs` local processes with one thread each (this process when 1).
    progress : callable, optional
        Called with a `Progress` after every unit.
    skip_refused : bool
        A chunk that `bounds` refuses (a Gram of deficient rank, say) never stops the others. When all are done it is
        raised, or with True only named in `Report.refused`; none of its records are kept either way.
    certificates : str or Path, optional
        Folder for one file a layer that `quanterr.verify` rechecks on any machine (docs/certificate-format.md).
    dual : {"diagonal", "semidefinite", "none"}
        The dual bound that a certificate keeps beside the value of the search for every row: what it proves needs
        no rerun. "diagonal" takes 0.1–0.2 ms a row of 36 columns, "semidefinite" 0.5 ms for a little more.

    Returns
    -------
    Report
        Errors in squared output units per sample; the same input gives the same bits, whatever `jobs`.

    Raises
    ------
    QuanterrError
        Bad bits, chunk, scale or dual, no layers or two of the same name, or a folder that cannot be written.
    ChunkRefused
        Rows that `bounds` refuses (layer, chunk and rows are named), after everything else is solved and stored.
    """
    rivals = every_rival(bits, contestants, mask_cost, compound)
    if chunk is not None and chunk < 1:
        raise QuanterrError(f"chunk = {chunk} columns: use a positive number, or None for whole layers")
    if scale not in RULES:
        raise QuanterrError(f"scale = {scale!r}: choose one of {', '.join(RULES)}")
    if budget not in BUDGETS:
        raise QuanterrError(f"budget = {budget!r}: choose one of {', '.join(BUDGETS)}")
    if minutes is not None and not minutes > 0:
        raise QuanterrError(f"minutes = {minutes}: use a positive number, or None for no limit")
    if dual not in DUALS:
        raise QuanterrError(f"dual = {dual!r}: choose one of {', '.join(DUALS)}")
    if refine not in REFINE:
        raise QuanterrError(f"refine = {refine!r}: choose one of {', '.join(REFINE)}")
    level = effort_named(effort)
    if certificates is not None:
        require_writable(Path(certificates))
    began = time.monotonic()
    until = math.inf if minutes is None else began + 60 * minutes
    layers = list(layers)
    require_layers(layers)
    with workers(executor, jobs) as pool:
        scales, no_scale = gram_scales(layers, chunk, rivals, store, pool, progress) if scale == "gram" else ({}, [])
        plan = [unit for one in layers for unit in units(one, rivals, chunk, scales.get(one.name, scale), search)]

        def go(
            units: Iterable[Unit], phase: str, until: float = math.inf
        ) -> Generator[tuple[Unit, Outcome], None, None]:
            if todo := list(units):
                with closing(run(todo, store, pool, progress, phase, until)) as outcomes:
                    yield from outcomes

        staged = effort != "quick" and any(unit.wide for unit in plan)
        solved, refused = _solved(go(plan, "quick pass" if staged else "solving"))
        if (refused or no_scale) and not skip_refused:
            raise next(iter([*refused.values(), *no_scale]))
        remarks = [*map(str, refused.values()), *(f"{each}; the scale of the weights is used" for each in no_scale)]
        whole = LayerBudgets(plan if budget == "both" else (), refused, partial(go, phase="layer-wide budgets"))
        whole.solve(solved)
        search_more, bound_more = _worth(list(_records(solved, whole)), refine) if effort != "quick" else (set(), set())
        whole.refine(search_more, bound_more, level, until)
        remarks += whole.remarks
        chosen = [
            part
            for unit in _to_refine(plan, search_more, bound_more, level)
            for part in ([unit] if store is not None and store.holds(unit.key(0), unit.budget) else parts(unit))
        ]
        refusals, late = _improve(solved, chosen, go(chosen, "refining", until))
        remarks += refusals
        late |= whole.late
        losers = jobs_of(solved, list(_records(solved, whole)))
        any_scale = search_scales(losers, store, pool, progress, until)
        remarks += any_scale.refused
        late |= any_scale.late
        methods = _methods(rivals)
        records = sorted(_records(solved, whole, any_scale), key=_order(plan, methods))
        open_layers = {record.layer for record in records if "none" in record.evidence}
        facts = tuple(_facts(layer, chunk, layer.name in open_layers, layer.name in late) for layer in layers)
        report = Report(tuple(records), title=title, refused=tuple(sorted(remarks)), layers=facts)
        if store is not None:
            store.add_run(title, report.to_dicts(), report.facts())
        if certificates is not None:
            ordered = sorted(rivals, key=lambda rival: (methods.index(rival.method), rival.bits or 0))
            found = {key: {rival: tally.parts[rival] for rival in ordered} for key, tally in solved.items()}
            total = sum(unit.rows * len(unit.contestants) for unit in plan)

            def begins(layer: str) -> None:
                if progress is not None:
                    progress(Progress(total, total, 0, time.monotonic() - began, None, doing=f"certificate of {layer}"))

            write_certificates(
                layers, chunk, found, Path(certificates), dual=dual, any_scale=any_scale.found, title=title, pool=pool,
                begins=begins,
            )  # fmt: skip
    return report


def _solved(outcomes: Iterable[tuple[Unit, Outcome]]) -> tuple[dict[Place, Tally], dict[Place, ChunkRefused]]:
    """The first pass: the chunks of which nothing was refused, and the first refusal of each of the others."""
    solved: dict[Place, Tally] = defaultdict(Tally)
    refused: dict[Place, ChunkRefused] = {}
    for unit, results in outcomes:
        if isinstance(results, ChunkRefused):
            refused.setdefault((unit.layer, unit.chunk), results)
        else:
            solved[unit.layer, unit.chunk].add(unit, results)
    return {place: tally for place, tally in solved.items() if place not in refused}, refused


def _improve(
    solved: dict[Place, Tally], units: list[Unit], outcomes: Iterable[tuple[Unit, Outcome]]
) -> tuple[list[str], set[str]]:
    """The refinement: what was refused, and the layers of the units that did not come in time."""
    waiting = Counter(unit.layer for unit in units)
    refusals = []
    for unit, results in outcomes:
        if isinstance(results, ChunkRefused):
            refusals.append(f"{results}; the quick bounds stand")
        else:
            solved[unit.layer, unit.chunk].improve(unit, results)
        waiting[unit.layer] -= 1
    return refusals, {layer for layer, units_left in waiting.items() if units_left}


def _records(
    solved: dict[Place, Tally], whole: LayerBudgets, any_scale: EveryScalePass | None = None
) -> Iterator[Record]:
    scales = EveryScalePass() if any_scale is None else any_scale
    by_row: dict[Side, Record] = {}
    for (layer, index), tally in solved.items():
        known = scales.of(layer, index)
        by_row |= {(layer, index, r.method, r.bits): r for r in tally.records(layer, index, known)}
    yield from by_row.values()
    yield from whole.records(by_row)


def _worth(records: list[Record], refine: str) -> tuple[set[Side], set[Side]]:
    """Whose points, and whose bounds, are worth more effort.

    An undecided comparison needs better points of the contestant that leads and a better bound of the other: the two
    other sides cannot change the verdict. Of one way to prune under two budgets the order is known.
    """
    search: set[Side] = set()
    relaxation: set[Side] = set()
    for pair in Report(tuple(records)).pairs():
        if refine == "all" or not (pair.better or same_but_budget(pair.first.method, pair.second.method)):
            sides = sorted((pair.first, pair.second), key=lambda side: side.error_upper)
            leader, other = ((side.layer, side.chunk, side.method, side.bits) for side in sides)
            search |= {leader, other} if refine == "all" else {leader}
            relaxation |= {leader, other} if refine == "all" else {other}
    return search, relaxation


def _to_refine(plan: list[Unit], search: set[Side], relaxation: set[Side], effort: Effort) -> Iterator[Unit]:
    """The wide units of those sides."""
    for unit in plan:
        for index, contestant in enumerate(unit.contestants):
            place = (unit.layer, unit.chunk, contestant.method, contestant.bits)
            if unit.wide and (place in search or place in relaxation):
                yield raised(unit, index, effort, search=place in search, relaxation=place in relaxation)


def _methods(rivals: Iterable[Contestant]) -> list[str]:
    """The order of records: as given, budgets of whole layers after those of rows."""
    found: dict[str, None] = {}
    for rival in rivals:
        twin = layer_wide(rival)
        found |= dict.fromkeys([rival.method, *([twin.method] if twin is not None else [])])
    return list(found)


def _order(plan: list[Unit], methods: list[str]) -> Callable[[Record], tuple[int, int, int, int]]:
    """Layers as given, then chunk, bits and contestants as given, whatever finished first."""
    layers = {name: i for i, name in enumerate(dict.fromkeys(unit.layer for unit in plan))}
    return lambda r: (layers[r.layer], r.chunk, r.bits or 0, methods.index(r.method))


def _facts(layer: Layer, width: int | None, unproven: bool, late: bool) -> LayerFacts:
    notes = (*layer.notes, LATE) if late else layer.notes
    if unproven and (reason := rank_note(layer, width)):
        notes = (*notes, reason)
    away = layer.weight - layer.weight.mean()
    away /= abs(away).max() or 1.0
    variance = float((away**2).mean())
    kurtosis = float((away**4).mean()) / variance**2 if variance > 0 else None
    return LayerFacts(
        layer.name, layer.rows, layer.columns, layer.groups, layer.samples, layer.damping, kurtosis, notes
    )
