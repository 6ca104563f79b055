"""`quanterr certify`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ..proofs.archive import require_writable
from .show import present
from .terminal import (
    BatchSizeOption,
    DampingOption,
    DeviceOption,
    FigureOption,
    ImageSizeOption,
    InputsOption,
    LayersOption,
    ModelOption,
    PresetOption,
    SamplesOption,
    SeedOption,
    StoreOption,
    console,
    counted,
    guarded,
    parse_bits,
    refused,
)

if TYPE_CHECKING:
    from ..certify import Progress as Solved


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(certify)


def certify(
    preset: PresetOption = None,
    model: ModelOption = None,
    inputs: InputsOption = None,
    layers: LayersOption = None,
    bits: Annotated[str, typer.Option(help="Bit-widths: 2-8, or 2,4,8. Pruning keeps bits/16 of the weights.")] = "2-8",
    chunk: Annotated[
        int, typer.Option(min=0, help="Columns solved together (36 as in the paper); 0: whole layers, the full Gram.")
    ] = 36,
    budget: Annotated[
        str, typer.Option(help="Pruning budget: row (as the paper), or both: one for all rows of a chunk as well.")
    ] = "row",
    contestants: Annotated[
        str | None,
        typer.Option(
            help="Compare these with each other instead, whatever they store: int4,fp4,nf4,2:4,prune75,int4+prune50 …"
        ),
    ] = None,
    mask_cost: Annotated[
        int, typer.Option(help="Bits a weight that the mask of pruning counts at equal storage: 0 (the paper) or 1.")
    ] = 0,
    compound: Annotated[
        bool, typer.Option("--compound", help="A third contestant: half the weights, as codes of twice the bits.")
    ] = False,
    scale: Annotated[
        str, typer.Option(help="Scale per tensor of all codes: mse (the paper's), max, lp, or gram (by the output).")
    ] = "mse",
    image_size: ImageSizeOption = 224,
    batch_size: BatchSizeOption = 8,
    samples: SamplesOption = None,
    damping: DampingOption = 0.0,
    device: DeviceOption = "cpu",
    jobs: Annotated[int | None, typer.Option(min=1, help="Worker processes; default: one per core.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler, tcp://host:8786: its workers instead of --jobs.")
    ] = None,
    seed: SeedOption = 0,
    max_nodes: Annotated[
        int | None, typer.Option(min=1, help="Search nodes a row before it is left open, between proven bounds.")
    ] = None,
    effort: Annotated[
        str, typer.Option(help="Work on problems wider than 64 columns: quick, normal or thorough.")
    ] = "normal",
    refine: Annotated[
        str, typer.Option(help="What gets more than the quick effort: undecided comparisons, or all.")
    ] = "undecided",
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Budget of that refinement; a second run goes on where it ended.")
    ] = None,
    out: StoreOption = Path("quanterr.sqlite"),
    figure: FigureOption = None,
    certificates: Annotated[
        Path | None, typer.Option(help="Write one file a layer to this folder, for `quanterr verify`.")
    ] = None,
    dual: Annotated[
        str, typer.Option(help="Bound that a certificate proves without a rerun: diagonal, semidefinite or none.")
    ] = "diagonal",
) -> None:
    """Certify layers of a network: both sides exact, with a verdict at each bit-width.

    **Examples**

    `quanterr certify --preset efficientnet-lite0`

    `quanterr certify --model torchvision.models:resnet18 --inputs photos/ --layers "layer1.*" --bits 2,4,8`

    `quanterr certify --preset minilm --contestants int4,fp4,2:4,prune75`
    """
    from bounds import BranchAndBound

    from ..certify import LATE
    from ..certify import certify as certify_layers
    from ..contestants import rivals
    from ..execution.forecast import memory
    from ..session import Session, load
    from ..store import Store

    with guarded(f"; what was solved is kept in {out}: run the same command to go on"), ExitStack() as stack:
        store = Store(out)  # first: an unwritable place should not cost a capture
        if certificates is not None:
            require_writable(certificates)
        executor = _cluster(scheduler, stack)
        widths = parse_bits(bits)
        names = None if contestants is None else contestants.split(",")
        rivals(widths, names, mask_cost, compound)  # refuses before a capture
        search = None if max_nodes is None else BranchAndBound(max_nodes=max_nodes)
        began = time.monotonic()
        wanted = Session(
            preset=preset, model=model, inputs=inputs, layers=tuple(layers or ()), image_size=image_size,
            batch_size=batch_size, samples=samples, damping=damping, device=device, seed=seed,
        )  # fmt: skip
        with console.status("loading the network and its inputs"):
            title, captured = load(wanted)
        title += "" if scale == "mse" else f", scales by {scale}"
        vectors = sorted({layer.samples for layer in captured})
        reach = f"{vectors[0]:,}" if len(vectors) == 1 else f"{vectors[0]:,}–{vectors[-1]:,}"
        console.print(
            f"[bold]{title}[/]: {counted(len(captured), 'layer')}, {counted(sum(x.rows for x in captured), 'row')}, "
            f"{'Gram' if len(captured) == 1 else 'Grams'} of {reach} input vectors ({time.monotonic() - began:.1f} s)"
        )
        for layer in captured:
            if layer.damping:
                added = f"{layer.damping:.3g} added to the Gram diagonal; errors are in the damped metric"
                console.print(f"  note: {layer.name}: {added}")
            for note in layer.notes:
                console.print(f"  note: {layer.name}: {note}")
        most = memory(captured, chunk or None) / 2**30
        where = counted(jobs or _cores(), "worker") if executor is None else "the workers of the cluster"
        console.print(f"about {most:.1f} GiB of memory for each of {where} (estimate)")
        with _live_progress() as show:
            report = certify_layers(
                captured, widths, chunk or None, contestants=names, mask_cost=mask_cost, compound=compound,
                budget=budget, scale=scale, search=search, effort=effort, refine=refine, minutes=minutes, store=store,
                executor=executor, jobs=jobs or _cores(), progress=show, title=title, skip_refused=True,
                certificates=certificates, dual=dual,
            )  # fmt: skip
        if report.records:
            present(report, figure)
        for facts, layer in zip(report.layers, captured, strict=True):
            for note in facts.notes[len(layer.notes) :]:
                if note != LATE:
                    console.print(f"  open: {layer.name}: {note}")
        if open_scales := sum(verdict.at_scale is not None for verdict in report.judged()):
            hint = "" if scale == "gram" else ": --scale gram may decide them"
            console.print(f"{counted(open_scales, 'verdict')} at this scale only, open for others{hint}")
        if late := sum(LATE in facts.notes for facts in report.layers):
            console.print(f"{late} of {len(captured)} layers: {LATE}")
        console.print(
            f"Results: {out} (run again to reuse them, `quanterr show {out}` to see them again, "
            f"`quanterr report {out}` for a page)"
        )
        if certificates is not None:
            console.print(f"Certificates: {certificates} (`quanterr verify {certificates}` rechecks them anywhere)")
        if report.refused:
            raise refused(report.refused, "chunks")


def _cluster(address: str | None, stack: ExitStack) -> Executor | None:
    if address is None:
        return None
    from ..execution.cluster import connected

    executor = stack.enter_context(connected(address))
    threads = executor.client.nthreads()
    console.print(f"{counted(len(threads), 'worker')} with {counted(sum(threads.values()), 'thread')} at {address}")
    if not threads:
        console.print(f"  waiting for the first one: `dask worker {address} --nthreads 1`")
    return executor


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _live_progress() -> Iterator[Callable[[Solved], None]]:
    """Rows solved and time left, redrawn after every unit."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("rows × contestants · {task.fields[left]}"),
    )
    with Progress(*columns, console=console, expand=True, refresh_per_second=2) as bar:
        task = bar.add_task("solving", total=None, left="starting workers")
        reported = False

        def show(now: Solved) -> None:
            nonlocal reported
            if now.rows_reused and not reported:
                bar.console.print(f"{now.rows_reused:,} of {now.rows_total:,} results reused from the result file")
                reported = True
            part = "" if now.phase == "solving" else " of this pass"
            left = "" if now.seconds_left is None else f"about {_duration(now.seconds_left)} left{part} (estimate)"
            if now.rows_done == now.rows_total:
                left = f"{now.seconds:.1f} s"
            if now.doing:
                left = now.doing
            bar.update(task, total=now.rows_total, completed=now.rows_done, left=left, description=now.phase)

        yield show


def _duration(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
