"""The command line: every command of `quanterr`, in the order of its help."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from . import __version__
from .commands import certify, compare, compress, report, scan, show, stability, store, verify

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help=(
        "For this layer, is quantisation or pruning the better compression, **whatever algorithm is used**?\n\n"
        "`quanterr certify` solves both exactly, chunk by chunk, and keeps the results in one file; "
        "`quanterr show` prints and draws that file again, `quanterr report` makes a page of it; "
        "`quanterr verify` rechecks certificates in exact arithmetic."
    ),
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"quanterr {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


for command in (certify, show, compare, report, scan, stability, compress, store, verify):
    command.register(app)


def main() -> None:
    """Entry point of the `quanterr` command."""
    sys.exit(app())
