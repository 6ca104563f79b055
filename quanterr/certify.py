"""Layers → problems → proven bounds → a report. No torch: any source of layers will do."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from bounds import BranchAndBound

from .archive import require_writable
from .contestants import Method
from .efforts import Effort
from .efforts import effort as effort_named
from .errors import ChunkRefused, QuanterrError
from .evidence import DUALS, write_certificates
from .execution import Progress, run
from .layers.rank import rank_note
from .plan import raised, units
from .report import LayerFacts, Outcome, Record, Report
from .scaling import SCALES, codes_range
from .tally import Tally
from .units import Unit

if TYPE_CHECKING:
    from .layers import Layer
    from .store import Store

__all__ = ["Progress", "certify"]

REFINE = ("undecided", "all")
Place = tuple[str, int, Method]


def certify(
    layers: Iterable[Layer],
    bits: Sequence[int] = (2, 3, 4, 5, 6, 7, 8),
    chunk: int | None = 36,
    *,
    scale: str = "mse",
    search: BranchAndBound | None = None,
    effort: str = "normal",
    refine: str = "undecided",
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

    Parameters
    ----------
    layers : iterable of Layer
        From `quanterr.layers.capture`, or made by hand from a weight and a Gram.
    bits : sequence of int
        Bit-widths, each 1 … 16; pruning keeps ⌊columns · bits / 16⌋ weights of each row.
    chunk : int or None
        Columns solved together, as in *Pruning vs Quantization* §4.3 (36); None takes whole layers, the full Gram.
        A chunk's verdict speaks of the chunk alone: cross terms with the other columns are not in it.
    scale : {"mse", "max", "lp"}
        How the per-tensor quantisation scale is chosen (`quanterr.scaling`).
    search : BranchAndBound, optional
        Budget of the exact search, up to 128 columns; rows it leaves open get the better of its bound and a `(D, y)`
        certificate. Default: to the end up to 64 columns (36 take a few hundred nodes a row); beyond it no search
        but `effort`.
    effort : {"quick", "normal", "thorough"}
        Work on more than 64 columns. All of them get a local search and a diagonal `D` ("quick"), which decides most
        comparisons at 4 bits and more; then longer searches and a block-diagonal `D` tuned to the rows.
    refine : {"undecided", "all"}
        What is worth more than the quick effort: the two sides that can decide an undecided comparison, or everything.
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
        Bad bits, chunk, scale or dual, or a folder that cannot be written.
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
    if dual not in DUALS:
        raise QuanterrError(f"dual = {dual!r}: choose one of {', '.join(DUALS)}")
    if refine not in REFINE:
        raise QuanterrError(f"refine = {refine!r}: choose one of {', '.join(REFINE)}")
    level = effort_named(effort)
    if certificates is not None:
        require_writable(Path(certificates))
    began = time.monotonic()
    layers = list(layers)
    plan = [unit for layer in layers for unit in units(layer, widths, chunk, scale, search)]
    if not plan:
        raise QuanterrError("no layers given: nothing to certify")
    solved: dict[Place, Tally] = defaultdict(Tally)
    refused: dict[tuple[str, int], ChunkRefused] = {}
    with closing(run(plan, store, executor, jobs, progress)) as outcomes:
        for unit, results in outcomes:
            if isinstance(results, ChunkRefused):
                refused.setdefault((unit.layer, unit.chunk), results)
            else:
                solved[unit.layer, unit.chunk, unit.method].add(unit, results)
    if refused and not skip_refused:
        raise next(iter(refused.values()))
    for layer, index in refused:
        for method in Method:
            solved.pop((layer, index, method), None)
    remarks = list(map(str, refused.values()))
    chosen = list(_to_refine(plan, solved, refine, level)) if effort != "quick" else []
    if chosen:
        with closing(run(chosen, store, executor, jobs, progress)) as outcomes:
            for unit, results in outcomes:
                if isinstance(results, ChunkRefused):
                    remarks.append(f"{results}; the quick bounds stand")
                else:
                    solved[unit.layer, unit.chunk, unit.method].improve(unit, results)
    records = sorted(_records(solved), key=_order(plan))
    open_layers = {record.layer for record in records if "none" in record.evidence}
    facts = tuple(_facts(layer, chunk, layer.name in open_layers) for layer in layers)
    report = Report(tuple(records), title=title, refused=tuple(sorted(remarks)), layers=facts)
    if store is not None:
        store.add_run(title, report.to_dicts(), report.facts())
    if certificates is not None:
        found = {key: tally.parts for key, tally in solved.items()}
        total = sum(unit.rows * len(unit.bits) for unit in plan)
        write_certificates(
            layers, chunk, found, Path(certificates), dual=dual, title=title, executor=executor, jobs=jobs,
            begins=lambda name: progress and progress(Progress(total, total, 0, time.monotonic() - began, None, name)),
        )  # fmt: skip
    return report


def _records(solved: dict[Place, Tally]) -> Iterator[Record]:
    for (layer, index, method), tally in solved.items():
        yield from tally.records(layer, index, method)


def _to_refine(plan: list[Unit], solved: dict[Place, Tally], refine: str, effort: Effort) -> Iterator[Unit]:
    """The wide units that are worth more effort.

    An undecided comparison needs better points of the method that leads and a better bound of the other: the two other
    sides cannot change the verdict.
    """
    records = {(r.layer, r.chunk, r.bits, r.method): r for r in _records(solved)}
    verdicts = {(v.layer, v.chunk, v.bits): v.outcome for v in Report(tuple(records.values())).judged()}
    for unit in plan:
        for index, bits in enumerate(unit.bits):
            place = (unit.layer, unit.chunk, bits)
            if not unit.wide or place not in verdicts:
                continue
            if refine == "all":
                yield raised(unit, index, effort)
            elif verdicts[place] is Outcome.UNDECIDED:
                leader = min(Method, key=lambda method: records[*place, method].error_upper)
                leads = unit.method is leader
                yield raised(unit, index, effort, search=leads, relaxation=not leads)


def _order(plan: list[Unit]) -> Callable[[Record], tuple[int, int, int, str]]:
    """Layers as given, then chunk, bits, quantisation before pruning, whatever finished first."""
    place = {name: i for i, name in enumerate(dict.fromkeys(unit.layer for unit in plan))}
    return lambda r: (place[r.layer], r.chunk, r.bits, "" if r.method == Method.QUANTIZATION else r.method)


def _facts(layer: Layer, width: int | None, unproven: bool) -> LayerFacts:
    notes = layer.notes
    if unproven and (reason := rank_note(layer, width)):
        notes = (*notes, reason)
    away = layer.weight - layer.weight.mean()
    away /= abs(away).max() or 1.0
    variance = float((away**2).mean())
    kurtosis = float((away**4).mean()) / variance**2 if variance > 0 else None
    return LayerFacts(
        layer.name, layer.rows, layer.columns, layer.groups, layer.samples, layer.damping, kurtosis, notes
    )
