"""`quanterr show`, and what `quanterr certify` ends with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .terminal import FigureOption, console, guarded, require_figure, require_folders, require_results, say

if TYPE_CHECKING:
    from ..results.report import Report


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(show)


def show(
    store: Annotated[Path, typer.Argument(help="A result file of `quanterr certify`.")],
    figure: FigureOption = None,
    csv: Annotated[
        Path | None, typer.Option(help="Write the table, one line per layer, chunk, bits and method.")
    ] = None,
) -> None:
    """Print the verdicts of the newest finished run again, without its network."""
    from ..results.report import Report
    from ..store import Store

    with guarded(""):
        require_results(store)
        require_folders(csv)
        require_figure(figure)
        with Store(store) as opened:
            title, records = opened.last_run()
            report = Report.from_dicts(records, title, opened.last_facts())
        present(report, figure)
        if csv is not None:
            report.to_frame().to_csv(csv, index=False)
            say(f"Table: {csv}")


def present(report: Report, figure: Path | None) -> None:
    """Print the table and the summary; draw the figure where one is asked for."""
    from ..results.table import summary, verdict_table

    console.print(verdict_table(report, console.width))
    console.print(summary(report))
    if figure is not None:
        paths = report.save_figure(figure)
        say("Figure: " + ", ".join(map(str, paths)))
