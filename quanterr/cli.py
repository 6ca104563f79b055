"""The command line: every command of `quanterr`, in the order of its help."""

from __future__ import annotations

import sys

import typer

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


@app.callback()
def _root() -> None:
    pass


for command in (certify, show, compare, report, scan, stability, compress, store, verify):
    command.register(app)


def main() -> None:
    """Entry point of the `quanterr` command."""
    sys.exit(app())
