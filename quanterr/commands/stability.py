"""`quanterr stability`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from ..errors import InputError
from ..resampling import FEWEST
from .terminal import (
    BatchSizeOption,
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
    require_choice,
    require_figure,
    require_folders,
    say,
)

if TYPE_CHECKING:
    from ..execution.running import Progress as Solved
    from ..results.spread import Spread, Stability

FLIPS_SHOWN = 12


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(name="stability")(stability)


def stability(
    preset: PresetOption = None,
    model: ModelOption = None,
    inputs: InputsOption = None,
    layers: LayersOption = None,
    bits: Annotated[str, typer.Option(help="Bit-widths: 2-4, or 2,4,8. Pruning keeps bits/16 of the weights.")] = "2,4",
    chunk: Annotated[
        int, typer.Option(min=0, help="Columns solved together; 0: whole layers, between bounds of the quick effort.")
    ] = 36,
    splits: Annotated[int, typer.Option(min=2, help="Disjoint parts of the inputs that are solved anew.")] = 4,
    bootstrap: Annotated[int, typer.Option(min=100, help="Resamples of the inputs behind each interval.")] = 2000,
    level: Annotated[float, typer.Option(help="Share of such intervals that should hold the truth.")] = 0.95,
    group: Annotated[
        int | None,
        typer.Option(min=1, help="So many inputs, side by side, come from one source (crops of a photograph)."),
    ] = None,
    scale: Annotated[str, typer.Option(help="Quantisation scale per tensor: mse, max or lp.")] = "mse",
    image_size: ImageSizeOption = 224,
    batch_size: BatchSizeOption = 8,
    samples: SamplesOption = None,
    device: DeviceOption = "cpu",
    jobs: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
    seed: SeedOption = 0,
    out: StoreOption = Path("quanterr.sqlite"),
    csv: Annotated[Path | None, typer.Option(help="Write every comparison: one line for each.")] = None,
    figure: FigureOption = None,
) -> None:
    """Certify on all inputs and on disjoint parts of them: would another calibration set agree?

    Verdicts on parts are proven for their inputs; intervals, chances and numbers of inputs are estimates. The result
    file keeps both, for `quanterr report`.

    **Example:** `quanterr stability --preset efficientnet-lite0 --bits 2,4 --splits 4`
    """
    from ..certify import certify
    from ..layers import capture_folds
    from ..scaling import SCALES
    from ..session import Session, network, require_source
    from ..stability import stability as spreads_of
    from ..store import Store, require_place

    with guarded(f"; what was solved is kept in {out}: run the same command to go on"), ExitStack() as stack:
        widths = parse_bits(bits)
        require_choice("--scale", scale, SCALES)
        if not 0 < level < 1:
            raise InputError(f"--level {level:g}: give a share between 0 and 1, such as 0.95")
        require_folders(csv)
        wanted = Session(
            preset=preset, model=model, inputs=inputs, layers=tuple(layers or ()), image_size=image_size,
            batch_size=batch_size, samples=samples, device=device, seed=seed,
        )  # fmt: skip
        require_source(wanted)
        require_place(out)
        require_figure(figure)
        with console.status("loading the network and its inputs"):
            found = network(wanted)
            folded = capture_folds(found.model, found.batches, found.layers, group=group or found.group, device=device)
        first = folded[0]
        say(
            Text(found.title, style="bold"),
            f": {counted(len(folded), 'layer')}, {counted(sum(first.sources), 'independent input')} in "
            f"{counted(first.folds, 'part')}",
        )
        if first.folds < splits:
            raise InputError(
                f"--splits {splits}: the inputs make {counted(first.folds, 'part')} that don't share a source: "
                "fewer splits, or more inputs"
            )
        store = stack.enter_context(Store(out))
        with _live_progress() as show:
            report = certify(
                [one.layer for one in folded], widths, chunk or None, scale=scale, effort="quick", store=store,
                jobs=jobs, progress=show, title=found.title, skip_refused=True,
            )  # fmt: skip
            result = spreads_of(
                folded, widths, chunk or None, splits=splits, resamples=bootstrap, level=level, seed=seed, scale=scale,
                store=store, jobs=jobs, progress=show, title=found.title,
            )  # fmt: skip
        store.extend_run(found.title, replace(report, stability=result).facts())
        if result.spreads:
            _present(result)
        if csv is not None:
            result.to_frame().to_csv(csv, index=False)
            say(f"Comparisons: {csv}")
        if figure is not None and result.spreads:
            say("Figure: " + ", ".join(map(str, result.save_figure(figure))))
        say(f"Results: {out} (run again to reuse them, `quanterr report {out}` for a page)")
        if result.refused:
            raise refused(result.refused, "chunks")


def _present(result: Stability) -> None:
    console.print(stability_table(result))
    for spread in result.flips[:FLIPS_SHOWN]:
        where = ", ".join(f"{i + 1} ({decibels(spread.split_db[i])})" for i in spread.flips)
        say(
            f"flip: {spread.layer}, chunk {spread.chunk}, {spread.bits} bits: {spread.verdict} "
            f"({decibels(spread.advantage_db)}), but not in split {where}"
        )
    if len(result.flips) > FLIPS_SHOWN:
        say(f"and {len(result.flips) - FLIPS_SHOWN} more flips: --csv lists all")
    settled = len(result.spreads) - len(result.unsettled)
    say(
        f"{counted(len(result.spreads), 'comparison')}: {len(result.flips)} with another verdict in some split; "
        f"{settled} with an interval on one side of zero, {len(result.unsettled)} not settled by these inputs."
    )


def stability_table(result: Stability) -> Table:
    """One line a layer and bit-width, the range over its chunks."""
    table = Table(
        title="Advantage of quantisation in dB (below zero: of pruning), and what other inputs would say",
        caption=(
            f"proven for the inputs of each split; interval ({100 * result.level:g} %), chance of a flip and the "
            "inputs that a verdict needs are estimates; held out: the weights of a split on all inputs outside it"
        ),
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )
    table.add_column("layer", overflow="fold")
    for name in ("bits", "all\ninputs", "splits", "interval", "held\nout", "flips", "chance", "needs"):
        table.add_column(name, justify="right")
    places: dict[tuple[str, int], list[Spread]] = defaultdict(list)
    for spread in result.spreads:
        places[spread.layer, spread.bits].append(spread)
    for (layer, bits), mine in places.items():
        table.add_row(
            escape(layer if len(mine) == 1 else f"{layer} ({len(mine)} chunks)"), str(bits),
            _range([s.advantage_db for s in mine]), _range([v for s in mine for v in s.split_db]),
            _range([v for s in mine for v in (s.low_db, s.high_db)]), _range([v for s in mine for v in s.held_out_db]),
            str(sum(len(s.flips) for s in mine)), chance([s.flip_probability for s in mine], result.resamples),
            needs([s.inputs_needed for s in mine]),
        )  # fmt: skip
    return table


def decibels(value: float | None) -> str:
    """`6.1 dB`, `−0.2 dB`, `∞ dB`."""
    return "none" if value is None else f"{value:.1f} dB".replace("-", "−").replace("inf", "∞")


def _range(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    ends = [f"{value:.1f}".replace("-", "−").replace("inf", "∞") for value in (min(known), max(known))]
    return ends[0] if ends[0] == ends[1] else " … ".join(ends)


def chance(values: list[float | None], resamples: int) -> str:
    """The largest; none seen in the resamples is no proof of none."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    return f"{max(known):.1%}" if max(known) > 0 else f"< {100 / resamples:.2g}%"


def needs(values: list[int | None]) -> str:
    """The most inputs that any comparison needs."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return "?"
    return f"≤ {FEWEST}" if max(known) == FEWEST else f"{max(known):,}"


@contextmanager
def _live_progress() -> Iterator[Callable[[Solved], None]]:
    columns = (
        TextColumn("solving"), BarColumn(bar_width=None), MofNCompleteColumn(), TextColumn("rows × bits × methods"),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("solve", total=None)
        yield lambda now: bar.update(task, total=now.rows_total, completed=now.rows_done)
