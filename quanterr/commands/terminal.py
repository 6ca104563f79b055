"""What all commands share: the console, the words that name a network and its inputs, and how a command fails."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from ..contestants import codes_range
from ..errors import InputError, QuanterrError, StoreError

console = Console()
INTERRUPTED = 130
REFUSALS_SHOWN = 5

PresetOption = Annotated[
    str | None,
    typer.Option("--preset", help="A network with inputs and layers to look at: efficientnet-lite0, minilm-l6, …"),
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", help='Your network: "module:factory", or with arguments "my.net:build(18)".'),
]
InputsOption = Annotated[
    str | None,
    typer.Option(
        "--inputs", help='Calibration inputs: a folder of images, a .npy, .npz or .pt file, or "module:function".'
    ),
]
LayersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--layers",
        help="Layers by name, or by globs such as `blocks.*.conv_pw`; `!glob` takes layers out. Repeat for more; "
        "default: the preset's, or all.",
    ),
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
DeviceOption = Annotated[str, typer.Option("--device", help="Where the network runs: cpu, cuda or cuda:1.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Seeds torch, numpy and the draw of samples.")]


def parse_bits(text: str) -> tuple[int, ...]:
    """`2-8` or `2,4,8` or a mixture, ascending.

    Raises
    ------
    InputError
        Anything else, nothing, or bit-widths that there are no codes of.
    """
    widths: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        ends = (first, last or first)
        if not all(end.isdecimal() for end in ends) or int(ends[0]) > int(ends[1]):
            raise InputError(f"--bits {text!r}: write a range such as 2-8 or a list such as 2,4,8")
        for end in ends:
            codes_range(int(end))
        widths.update(range(int(ends[0]), int(ends[1]) + 1))
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
            raise QuanterrError(f"the folder {file.parent} does not exist: make it, or choose another for {file.name}")


def require_results(file: Path) -> None:
    """
    Raises
    ------
    StoreError
        There is no such file, or nothing in it.
    """
    if not file.is_file() or not file.stat().st_size:
        what = "does not exist" if not file.exists() else "is a folder" if file.is_dir() else "is empty"
        raise StoreError(f"{file} {what}: pass the file that `quanterr certify --out` wrote")


def require_figure(stem: Path | None) -> None:
    """Make the folder of a figure.

    Raises
    ------
    QuanterrError
        It cannot be made, known before hours of work.
    """
    if stem is not None:
        try:
            stem.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise QuanterrError(
                f"cannot make the folder {stem.parent}: {error.strerror}; choose another --figure"
            ) from error


def require_choice(option: str, value: str, known: Collection[str]) -> None:
    """
    Raises
    ------
    InputError
        Not one of those: noticed before a network is loaded.
    """
    if value not in known:
        raise InputError(f"{option} {value!r}: choose one of {', '.join(known)}")


def say(*words: str | Text, soft_wrap: bool = False) -> None:
    """Print words as they are: square brackets in names and paths are no markup."""
    console.print(*words, sep="", markup=False, highlight=False, soft_wrap=soft_wrap)


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
    except QuanterrError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        _fail(f"interrupted{interrupted}", INTERRUPTED)


def say_error(message: str) -> None:
    """One line to the error stream, as it is."""
    Console(stderr=True).print(
        Text("error: ", style="bold red"), message, sep="", markup=False, highlight=False, soft_wrap=True
    )


def _fail(message: str, code: int = 1) -> None:
    say_error(message)
    raise typer.Exit(code)
