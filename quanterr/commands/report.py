"""`quanterr report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.filesize import decimal

from .terminal import counted, guarded, require_results, say


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(report)


def report(
    store: Annotated[Path, typer.Argument(help="A result file of `quanterr certify`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page, one file that needs no network.")] = Path(
        "report.html"
    ),
) -> None:
    """Make a page of the newest finished run: heat map, sortable table, and every proof layer by layer.

    **Example:** `quanterr report resnet.sqlite -o resnet.html`
    """
    from ..results.report import Report
    from ..store import Store

    with guarded(": nothing was written"):
        require_results(store)
        with Store(store) as opened:
            title, records = opened.last_run()
            found = Report.from_dicts(records, title, opened.last_facts())
        written = found.to_html(output)
        layers = counted(len({record.layer for record in found.records}), "layer")
        say(f"Report: {written} ({layers}, {decimal(written.stat().st_size)})")
        if not found.layers:
            say(
                "note: this run was stored without facts of its layers (weights' kurtosis, samples, notes): "
                "run the same `quanterr certify` command again, which reuses what is solved"
            )
