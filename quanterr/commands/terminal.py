"""What all commands share: the console, the words that name a network and its inputs, and how a command fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..errors import InputError, QuanterrError, StoreError

console = Console()
INTERRUPTED = 130
REFUSALS_SHOWN = 5

PresetOption = Annotated[
    str | None, typer.Option("--preset", help="A network with inputs and layers to look at, e.g. efficientnet-lite0.")
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", help='Your network: "package.module:factory" or "package.module:factory(depth=18)".'),
]
InputsOption = Annotated[
    str | None,
    typer.Option(
        "--inputs", help='Calibration inputs: a folder of images, a .npy/.npz/.pt file, or "package.module:function".'
    ),
]
LayersOption = Annotated[
    list[str] | None,
    typer.Option("--layers", help='Layers by name; globs such as "blocks.*.conv_pw". Repeat for more; default: all.'),
]
ImageSizeOption = Annotated[
    int, typer.Option("--image-size", min=1, help="Images are resized and cropped to this square.")
]
BatchSizeOption = Annotated[
    int, typer.Option("--batch-size", min=1, help="Inputs per forward pass; less needs less memory.")
]
SamplesOption = Annotated[
    int | None, typer.Option("--samples", min=1, help="Use at most so many inputs, drawn by --seed.")
]
DampingOption = Annotated[
    float,
    typer.Option("--damping", min=0.0, help="Added to the Gram diagonal, as a fraction of its mean; reported."),
]
FigureOption = Annotated[
    Path | None, typer.Option("--figure", help="Write the figure to this stem: .pdf, .svg and .png.")
]
StoreOption = Annotated[Path, typer.Option("--out", help="Result file; a second run reuses what it holds.")]
DeviceOption = Annotated[str, typer.Option("--device", help="Where the network runs: cpu, cuda, cuda:1, …")]
SeedOption = Annotated[int, typer.Option("--seed", help="Seeds torch, numpy and the draw of samples.")]


def parse_bits(text: str) -> tuple[int, ...]:
    """`2-8` or `2,4,8` or a mixture, ascending.

    Raises
    ------
    InputError
        Anything else, or nothing.
    """
    widths: set[int] = set()
    try:
        for part in text.split(","):
            first, _, last = part.strip().partition("-")
            widths.update(range(int(first), int(last or first) + 1))
    except ValueError:
        widths = set()
    if not widths:
        raise InputError(f"--bits {text!r}: write a range such as 2-8 or a list such as 2,4,8")
    return tuple(sorted(widths))


def require_folders(*files: Path | None) -> None:
    """
    Raises
    ------
    QuanterrError
        A file to write lies in no folder.
    """
    for file in files:
        if file is not None and not file.parent.is_dir():
            raise QuanterrError(f"the folder {file.parent} does not exist: make it, or choose another")


def require_results(file: Path) -> None:
    """
    Raises
    ------
    StoreError
        There is no such file.
    """
    if not file.is_file():
        raise StoreError(f"{file} does not exist: pass the file that `quanterr certify --out` wrote")


def counted(number: int, what: str) -> str:
    """`1 layer`, `1,250 layers`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def refused(reasons: Sequence[str], what: str) -> QuanterrError:
    """The end of a run that could not take everything; `what` its parts are."""
    more = len(reasons) - REFUSALS_SHOWN
    rest = f"\nand {more} more {what}" if more > 0 else ""
    return QuanterrError("refused, all else is solved and kept:\n" + "\n".join(reasons[:REFUSALS_SHOWN]) + rest)


@contextmanager
def guarded(interrupted: str) -> Iterator[None]:
    """One clear line and a non-zero exit for what a user can mend; `interrupted` says what Ctrl-C leaves behind."""
    try:
        yield
    except (QuanterrError, OSError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail(f"interrupted{interrupted}", INTERRUPTED)


def _fail(message: str, code: int = 1) -> None:
    Console(stderr=True).print(f"[bold red]error:[/] {message}", highlight=False, soft_wrap=True)
    raise typer.Exit(code)
