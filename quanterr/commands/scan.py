"""`quanterr scan` and `quanterr figures`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..errors import InputError
from .terminal import console, counted, guarded, parse_bits, require_folders, say

if TYPE_CHECKING:
    from ..scan import ScanProgress, WeightRecord

NOTES_SHOWN = 10


def register(app: typer.Typer) -> None:
    """Add both commands to the application."""
    app.command()(scan)
    app.command()(figures)


def scan(
    source: Annotated[
        str,
        typer.Argument(
            help='A .safetensors, .safetensors.index.json, .onnx or .pt file, "package.module:factory", or '
            "efficientnet-lite0."
        ),
    ],
    bits: Annotated[str, typer.Option(help="Bit-widths: 2-8, or 2,4,8. Pruning keeps bits/16 of the weights.")] = "2-8",
    include: Annotated[
        list[str] | None, typer.Option(help="Only tensors named like this glob, e.g. `*.conv*`.")
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Leave out tensors named like this glob.")] = None,
    min_size: Annotated[int, typer.Option(min=1, help="Leave out tensors with fewer weights.")] = 1,
    group: Annotated[int, typer.Option(min=1, help="Weights within an output channel that share a scale.")] = 128,
    show_bits: Annotated[int | None, typer.Option(help="Bit-width of the table of tensors; default 4.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write every record: one line a tensor and bit-width.")] = None,
    parquet: Annotated[Path | None, typer.Option(help="The same as Parquet (needs pyarrow).")] = None,
) -> None:
    """Scan the weights of a network: kurtosis, best fit, quantisation against pruning.

    Weights are the floating point tensors with two or more dimensions; the first axis is the output channel.

    **Example:** `quanterr scan model.safetensors --bits 2,4,8 --csv weights.csv`
    """
    from ..scan.scanning import scan as scan_weights
    from ..scan.scanning import to_frame
    from ..scan.table import notes, summary_table, tensor_table

    with guarded(": nothing was written"):
        widths = parse_bits(bits)
        shown = show_bits or (4 if 4 in widths else widths[len(widths) // 2])
        if shown not in widths:
            raise InputError(f"--show-bits {shown} is not among --bits {bits}: add it there")
        if parquet is not None:
            _require_pyarrow()
        require_folders(csv, parquet)
        with _live_progress() as report:
            records = list(
                scan_weights(
                    source, widths, include=include or (), exclude=exclude or (), min_size=min_size, group=group,
                    progress=report,
                )
            )  # fmt: skip
        console.print(tensor_table(records, shown, console.width))
        console.print(summary_table(records, console.width))
        remarks = notes(records)
        for line in remarks[:NOTES_SHOWN]:
            say(f"* {line}")
        if len(remarks) > NOTES_SHOWN:
            say(f"* and {len(remarks) - NOTES_SHOWN} more: column `note` of --csv")
        say(_closing(records, group))
        if csv is not None:
            to_frame(records).to_csv(csv, index=False)
            say(f"Records: {csv}")
        if parquet is not None:
            to_frame(records).to_parquet(parquet, index=False)
            say(f"Records: {parquet}")


def figures(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the figures: .pdf, .svg and .png.")] = Path(
        "figures"
    ),
    data: Annotated[
        Path | None, typer.Option(help="Records to draw figure 3 from: model_zoo_weight_snr.csv, or --csv of a scan.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Scan these weights too (as in `quanterr scan`); without --data and --model EfficientNet-lite0."
        ),
    ] = None,
) -> None:
    """Draw the figures of *Pruning vs Quantization*, section 3 and appendices: closed forms and real weights.

    Figure 3 shows the records of --data, else the scanned weights; the natural sparsity shows both.
    """
    from ..figures import draw_all

    with guarded(": nothing was written"):
        with console.status("drawing"):
            written = draw_all(out, data=data, model=model)
        for path in written:
            say(str(path))


def _closing(records: list[WeightRecord], group: int) -> str:
    tensors = {r.tensor: r for r in records}
    weights = sum(r.weights for r in tensors.values())
    return (
        f"{counted(len(tensors), 'weight tensor')}, {counted(weights, 'weight')}. channel and group: one scale for "
        f"each output channel, or for {counted(group, 'weight')} in it; their storage is not counted. Errors of "
        "weights, not of outputs: see `quanterr certify`."
    )


def _require_pyarrow() -> None:
    from ..models.packages import require

    require("pyarrow", "pyarrow", "pip install quanterr[parquet], or write --csv")


@contextmanager
def _live_progress() -> Iterator[Callable[[ScanProgress], None]]:
    columns = (
        TextColumn("scanning"), BarColumn(bar_width=None), MofNCompleteColumn(), TextColumn("tensors"),
        TimeRemainingColumn(), TextColumn("{task.fields[last]}"),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("scan", total=None, last="")

        def show(now: ScanProgress) -> None:
            bar.update(task, total=now.tensors_total, completed=now.tensors_done, last=now.tensor)

        yield show
