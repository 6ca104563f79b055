"""`quanterr store ls`, `export` and `gc`: look after a result file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from ..errors import QuanterrError, StoreError
from .terminal import console, counted, guarded, require_folders, require_results, say

if TYPE_CHECKING:
    from ..store import Run, Store

File = Annotated[Path, typer.Argument(help="A result file of `quanterr certify`.")]


def register(app: typer.Typer) -> None:
    """Add the group of commands to the application."""
    group = typer.Typer(no_args_is_help=True, help="List, export and tidy a result file.")
    group.command("ls")(ls)
    group.command()(export)
    group.command()(gc)
    app.add_typer(group, name="store")


def ls(file: File) -> None:
    """List the finished runs in a result file."""
    with _opened(file) as store:
        table = Table(box=box.SIMPLE_HEAD)
        table.add_column("run", justify="right")
        table.add_column("finished (UTC)", no_wrap=True)
        table.add_column("title", overflow="fold")
        for name in ("layers", "bits", "rows", "open", "size"):
            table.add_column(name, justify="right")
        runs = store.runs()
        for run in runs:
            table.add_row(*_line(run))
        if runs:
            console.print(table)
        else:
            say(f"{file} holds no finished run: run the same `quanterr certify` again to finish it")
        if len(store):
            say(
                f"{counted(len(store), 'result')}, {decimal(file.stat().st_size)} on disk; {_leftover(*store.unused())}"
            )


def export(
    file: File,
    csv: Annotated[Path | None, typer.Option(help="One line per layer, chunk, bits and method.")] = None,
    parquet: Annotated[Path | None, typer.Option(help="The same as Parquet (needs pyarrow).")] = None,
    run: Annotated[int | None, typer.Option(help="Number of the run, from `quanterr store ls`; default: the newest.")]
    = None,
) -> None:  # fmt: skip
    """Write the records of a run, with the title and number of the run in every line."""
    from ..results.report import Report

    with _opened(file) as store:
        if csv is None and parquet is None:
            raise QuanterrError("nothing to write: pass --csv FILE, --parquet FILE or both")
        if parquet is not None:
            from ..models.packages import require

            require("pyarrow", "pyarrow", "pip install quanterr[parquet], or write --csv")
        require_folders(csv, parquet)
        runs = {r.id: r for r in store.runs()}
        chosen = max(runs, default=0) if run is None else run
        if chosen not in runs:
            missing = "no finished run" if run is None else f"no run {run}"
            raise StoreError(f"{file} holds {missing}: `quanterr store ls {file}` lists what there is")
        frame = Report.from_dicts(runs[chosen].records, runs[chosen].title).to_frame()
        frame.insert(0, "run", chosen)
        frame.insert(1, "title", runs[chosen].title)
        for path, write in ((csv, frame.to_csv), (parquet, frame.to_parquet)):
            if path is not None:
                try:
                    write(path, index=False)
                except OSError as error:
                    raise QuanterrError(f"cannot write {path}: {error.strerror or error}") from error
                say(f"{counted(len(frame), 'record')}: {path}")


def gc(
    file: File,
    forget: Annotated[list[int] | None, typer.Option(help="Also forget this run; repeat for more.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
) -> None:
    """Remove the results that no finished run uses. Says what it would do and asks first.

    Results of an interrupted run are among them: finish it before, or it will solve them again.
    """
    with _opened(file) as store:
        runs = {r.id: r for r in store.runs()}
        for number in forget or ():
            if number not in runs:
                raise StoreError(f"{file} has no run {number}: `quanterr store ls {file}` lists them")
            say(f"run {number} will be forgotten: {runs[number].title}, finished {runs[number].created}")
        count, size = store.unused(forget or ())
        if not count and not forget:
            say(f"nothing to remove: a finished run uses each of the {counted(len(store), 'result')}")
            return
        say(f"{count:,} of {counted(len(store), 'result')} would be removed ({decimal(size)})")
        if not yes and not _agreed():
            say("nothing was removed; pass --yes to remove")
            return
        before = file.stat().st_size
        count, _ = store.collect(forget or ())
        say(f"{counted(count, 'result')} removed, {decimal(max(0, before - file.stat().st_size))} given back")


def _line(run: Run) -> list[str]:
    records = run.records
    bits = sorted({r["bits"] for r in records if r["bits"] is not None})
    whole = len(bits) > 2 and bits == list(range(bits[0], bits[-1] + 1))
    compared = ",".join(map(str, bits)) if bits else ",".join(dict.fromkeys(str(r["method"]) for r in records))
    return [
        str(run.id), run.created[:16], escape(run.title), str(len({r["layer"] for r in records})),
        f"{bits[0]}-{bits[-1]}" if whole else compared, f"{sum(r['rows'] for r in records):,}",
        f"{sum(r['open_rows'] for r in records):,}", decimal(run.size),
    ]  # fmt: skip


def _leftover(count: int, size: int) -> str:
    if not count:
        return "all are used by a finished run"
    return f"{count:,} ({decimal(size)}) no finished run uses: they await a run to be finished, or `quanterr store gc`"


def _agreed() -> bool:
    """Ask on a terminal; anywhere else the answer is no."""
    import sys

    return sys.stdin.isatty() and typer.confirm("Remove?")


@contextmanager
def _opened(file: Path) -> Iterator[Store]:
    """The store in a file that must be there; one clear line and a non-zero exit for what a user can mend."""
    from ..store import Store

    with guarded(": what was not finished is not done"):
        require_results(file)
        with Store(file) as store:
            yield store
