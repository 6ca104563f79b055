"""`quanterr compare`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from .terminal import (
    REFUSALS_SHOWN,
    BatchSizeOption,
    DampingOption,
    DeviceOption,
    FigureOption,
    ImageSizeOption,
    InputsOption,
    ModelOption,
    PresetOption,
    SamplesOption,
    SeedOption,
    console,
    counted,
    guarded,
    parse_bits,
    require_choice,
    require_figure,
    require_folders,
    say,
)

if TYPE_CHECKING:
    from ..compare import Comparison, Trial
    from ..contestants import Method

COLUMNS = {
    "lost_db": "chunks\nmean",
    "lost_most_db": "chunks\nlargest",
    "behind_db": "whole layers\nbelow the best",
    "at_most_db": "whole layers\nat most",
    "ms_a_row": "ms\na row",
}


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(name="compare")(compare_heuristics)


def compare_heuristics(
    layers: Annotated[
        list[str] | None,
        typer.Argument(help="Layers by name, or by globs such as `blocks.*.conv_pw`. Default: the preset's, or all."),
    ] = None,
    preset: PresetOption = None,
    model: ModelOption = None,
    inputs: InputsOption = None,
    bits: Annotated[str, typer.Option(help="Bit-widths: 2-4, or 2,4,8. Pruning keeps bits/16 of the weights.")] = "2-4",
    chunk: Annotated[int, typer.Option(min=1, help="Columns of a chunk, where the optimum is known; at most 64.")] = 36,
    chunks: Annotated[int, typer.Option(min=1, help="Chunks of a layer, evenly spaced.")] = 3,
    rows: Annotated[int, typer.Option(min=1, help="At most so many rows of a layer, evenly spaced.")] = 64,
    whole: Annotated[bool, typer.Option(help="Also whole layers, beside a proven limit.")] = True,
    effort: Annotated[str, typer.Option(help="Work on limits of whole layers: quick, normal or thorough.")] = "quick",
    heuristic: Annotated[list[str] | None, typer.Option(help="Only these heuristics; repeat for more.")] = None,
    scale: Annotated[str, typer.Option(help="Quantisation scale per tensor: mse, max or lp.")] = "mse",
    image_size: ImageSizeOption = 224,
    batch_size: BatchSizeOption = 8,
    samples: SamplesOption = None,
    damping: DampingOption = 0.0,
    device: DeviceOption = "cpu",
    seed: SeedOption = 0,
    csv: Annotated[Path | None, typer.Option(help="Write every trial: one line for each.")] = None,
    figure: FigureOption = None,
) -> None:
    """Compare heuristics with what is proven: how many decibels does each leave on the table?

    **Example:** `quanterr compare "_blocks.9.*" --preset efficientnet-lite0 --bits 3,4`
    """
    from ..compare import compare
    from ..contestants import Method
    from ..efforts import EFFORTS
    from ..scaling import SCALES
    from ..session import Session, load

    with guarded(": nothing was written"):
        widths = parse_bits(bits)
        require_choice("--scale", scale, SCALES)
        require_choice("--effort", effort, EFFORTS)
        require_folders(csv)
        require_figure(figure)
        wanted = Session(
            preset=preset, model=model, inputs=inputs, layers=tuple(layers or ()), image_size=image_size,
            batch_size=batch_size, samples=samples, damping=damping, device=device, seed=seed,
        )  # fmt: skip
        with console.status("loading the network and its inputs"):
            title, captured = load(wanted)
        with console.status("comparing") as status:

            def show(trial: Trial) -> None:
                status.update(f"{trial.layer} · {trial.scope} · {trial.bits} bits · {trial.heuristic}")

            found = compare(
                captured, widths, chunk=chunk, chunks=chunks, whole=whole, rows=rows, heuristics=heuristic,
                effort=effort, scale=scale, device=device, title=title, progress=show,
            )  # fmt: skip
        say(Text(title, style="bold"), f": {counted(len(captured), 'layer')}, at most {counted(rows, 'row')} of each")
        for method in Method:
            console.print(left_table(found, method))
        for line in found.refused[:REFUSALS_SHOWN]:
            say(f"refused: {line}")
        if len(found.refused) > REFUSALS_SHOWN:
            say(f"and {len(found.refused) - REFUSALS_SHOWN} more")
        if csv is not None:
            found.to_frame().to_csv(csv, index=False)
            say(f"Trials: {csv}")
        if figure is not None:
            say("Figure: " + ", ".join(map(str, found.save_figure(figure))))


def left_table(comparison: Comparison, method: Method) -> Table:
    """One line a heuristic, best last: `Comparison.summary`, with the columns that there are."""
    from ..contestants import Method

    found = comparison.summary()
    found = found[found.method == method].iloc[::-1]
    table = Table(
        title=f"{'Quantisation' if method is Method.QUANTIZATION else 'Pruning'}: dB left on the table",
        caption=(
            "chunks: below the exact optimum; whole layers: below the best of these heuristics, and below a proven "
            "limit, so at most so much"
        ),
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("heuristic")
    columns = {name: title for name, title in COLUMNS.items() if found[name].notna().any()}
    for title in columns.values():
        table.add_column(title, justify="right")
    for line in found.to_dict("records"):
        cells = [line[name] for name in columns]
        table.add_row(line["heuristic"], *("refused" if math.isnan(cell) else f"{cell:.2f}" for cell in cells))
    return table
