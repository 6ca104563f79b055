"""`quanterr compress`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from ..errors import InputError
from .terminal import (
    BatchSizeOption,
    DeviceOption,
    ImageSizeOption,
    InputsOption,
    ModelOption,
    PresetOption,
    SamplesOption,
    SeedOption,
    console,
    guarded,
    require_folders,
    say,
)

if TYPE_CHECKING:
    from ..compression import Outcome

NOTES_SHOWN = 10


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(compress)


def compress(
    preset: PresetOption = None,
    model: ModelOption = None,
    inputs: InputsOption = None,
    layers: Annotated[
        list[str] | None, typer.Option(help="Layers that --method is for, by glob; repeat for more; default: all.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="Steps joined by +: a pruner (magnitude, wanda, sparse-gpt, ada-prune, alps, exact-obs, …), refit or "
            "swaps, a quantiser (nearest, babai as in GPTQ, obq, local-search)."
        ),
    ] = "babai",
    bits: Annotated[int | None, typer.Option(help="Bits of a code.")] = None,
    sparsity: Annotated[float | None, typer.Option(help="Share of the weights that is pruned, e.g. 0.5.")] = None,
    pattern: Annotated[str, typer.Option(help="Where zeros may lie: row, layer, N:M such as 2:4, block:4.")] = "row",
    scale: Annotated[str, typer.Option(help="Search of the quantisation scale: mse, max, lp or gram.")] = "mse",
    axis: Annotated[
        str, typer.Option(help="What shares a scale: channel, tensor, or so many columns, such as 32.")
    ] = "channel",
    symmetric: Annotated[bool, typer.Option("--symmetric", help="Codes around zero, without a zero point.")] = False,
    damping: Annotated[
        float, typer.Option(min=0.0, help="Share of the mean Gram diagonal that methods see added to it; reported.")
    ] = 0.01,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="<text>",
            help="Some layers otherwise: `head:obq,bits=8`, or `head:keep` to leave them. The last glob that fits "
            "counts; what it does not say is as for all.",
        ),
    ] = None,
    sequential: Annotated[
        bool,
        typer.Option(
            "--sequential", help="Compress each layer on the inputs that the network compressed so far gives."
        ),
    ] = False,
    correct: Annotated[
        bool, typer.Option(help="Make up for the mean of errors in biases, and in batch norms for their variance too.")
    ] = True,
    held_out: Annotated[
        float, typer.Option(help="Share of the inputs, the last ones, that only the comparison sees.")
    ] = 0.25,
    image_size: ImageSizeOption = 224,
    batch_size: BatchSizeOption = 8,
    samples: SamplesOption = None,
    device: DeviceOption = "cpu",
    seed: SeedOption = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="State dict to write.")] = Path("compressed.safetensors"),
    csv: Annotated[Path | None, typer.Option(help="Write the table of layers.")] = None,
) -> None:
    """Compress a network after training and write its state dict; every layer's error is judged.

    **Examples**

    `quanterr compress --preset efficientnet-lite0 --bits 8`

    `quanterr compress --model my.net:load --inputs photos/ --bits 4 --axis 32 --set "head:nearest,bits=8,axis=channel"`
    """
    from ..compression import Recipe, parse_recipe, save, to_frame
    from ..compression import compress as compress_network
    from ..session import Session, network

    with guarded(": nothing was written"):
        require_folders(out, csv)
        default = Recipe(method, bits, sparsity, pattern, scale, axis, symmetric, damping)
        recipes = dict.fromkeys(layers or ["*"], default)
        for text in recipe or ():
            glob, colon, rest = text.partition(":")
            if not colon:
                raise InputError(f"--set {text!r}: write GLOB:METHOD, for example head:obq,bits=8")
            recipes[glob] = parse_recipe(rest, default)
        for option, value, what, used in (
            ("--sparsity", sparsity, "prunes", any(r.pruner for r in recipes.values())),
            ("--bits", bits, "quantises", any(r.quantizer for r in recipes.values())),
        ):
            if value is not None and not used:
                raise InputError(
                    f"{option} {value}: no step of --method {method} {what}; add one, or leave {option} out"
                )
        wanted = Session(
            preset=preset, model=model, inputs=inputs, image_size=image_size, batch_size=batch_size, samples=samples,
            device=device, seed=seed,
        )  # fmt: skip
        with console.status("loading the network and its inputs") as status:
            found = network(wanted, more=True)
            outcome = compress_network(
                found.model, found.batches, recipes, sequential=sequential, correct=correct, held_out=held_out,
                group=found.group, device=device, progress=status.update,
            )  # fmt: skip
        size = save(outcome, out, found.title)
        if csv is not None:
            to_frame(outcome).to_csv(csv, index=False)
        _present(outcome, found.title, found.group)
        say(f"State dict, dense shapes and types: {out} ({size:,} bytes)")


def _present(outcome: Outcome, title: str, group: int) -> None:
    table = Table(title=escape(title))
    for name in ("layer", "method", "rows", "columns", "inputs", "SNR", "held out", "zeros", "bytes", "of dense"):
        table.add_column(name, justify="left" if name in ("layer", "method") else "right")
    for layer in outcome.layers:
        table.add_row(
            escape(layer.name), layer.recipe.words(), str(layer.rows), str(layer.columns), f"{layer.samples:,}",
            f"{layer.snr_db:.2f} dB", "" if layer.held_out_db is None else f"{layer.held_out_db:.2f} dB",
            f"{layer.zeros:.0%}", f"{layer.stored_bytes:,.0f}", f"{layer.stored_bytes / layer.dense_bytes:.0%}",
        )  # fmt: skip
    console.print(table)
    notes = [f"{layer.name}: {note}" for layer in outcome.layers for note in layer.notes]
    for note in notes[:NOTES_SHOWN]:
        say(f"  note: {note}")
    if len(notes) > NOTES_SHOWN:
        say(f"  and {len(notes) - NOTES_SHOWN} more notes: --csv and the header of the state dict have them")
    stored, dense = (sum(getattr(x, name) for x in outcome.layers) for name in ("stored_bytes", "dense_bytes"))
    say(
        f"Layer SNRs: on the first {outcome.calibrated} inputs, which the methods saw; judged, no better than the "
        f"truth.\n{stored:,.0f} bytes of {dense:,.0f} at 16 bits ({stored / dense:.1%}), masks and scales included.\n"
        f"Left as they are: {len(outcome.untouched)} parameters{_some(outcome.untouched)}."
    )
    if outcome.corrected:
        say(
            f"Corrected by the calibration inputs: {len(outcome.corrected)} biases and batch norms"
            f"{_some(outcome.corrected)}."
        )
    seen = outcome.comparison
    agreement = "" if seen.agreement is None else f", same largest output on {seen.agreement:.1%}"
    sources = f" (of {seen.inputs // group} sources, {group} each, none of them calibrated on)" if group > 1 else ""
    say(
        f"Whole network on {seen.inputs} inputs held out{sources}: output SNR {seen.snr_db:.2f} dB, cosine "
        f"{seen.cosine:.4f}{agreement}."
    )


def _some(names: tuple[str, ...]) -> str:
    return "" if not names else f" ({', '.join(names[:4])}{', …' if len(names) > 4 else ''})"
