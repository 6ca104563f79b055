"""`quanterr verify`: recheck certificate files in exact arithmetic."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from ..errors import CertificateFileError
from ..execution.workers import InlineExecutor, workers
from ..proofs.certificates import SUFFIX, content_hash
from ..proofs.verifying import Verification
from ..proofs.verifying import verify as verify_file
from .terminal import INTERRUPTED, console, counted, say, say_error

UNREADABLE, REFUTED = 1, 3
FAILURES_SHOWN = 5


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(verify)


def verify(
    files: Annotated[list[Path], typer.Argument(help="Certificate files, or folders of them.")],
    rerun: Annotated[
        bool, typer.Option("--rerun", help="Search again what rests on a search (loads solvers).")
    ] = False,
    exactly: Annotated[
        bool, typer.Option("--exactly", help="Blocks and intervals in rational arithmetic too: seconds a row.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Files checked at a time, a process each.")] = 1,
) -> None:
    """Recheck certificates of `quanterr certify --certificates`, on any machine.

    In exact arithmetic and without any solver: every error achieved, every dual bound, every hash. What rests on a
    search is counted, and searched again with --rerun.

    **Exit code:** 0 nothing is wrong, 1 a file is missing, foreign, cut short or altered, 3 a claim is false.

    **Example:** `quanterr verify certificates/`
    """
    worst = 0
    try:
        for future in _checked(files, rerun, exactly, jobs):
            try:
                result = future.result()
            except CertificateFileError as error:
                say_error(str(error))
                worst = worst or UNREADABLE
                continue
            _present(result)
            if not result.holds:
                worst = REFUTED
    except CertificateFileError as error:
        say_error(str(error))
        worst = UNREADABLE
    except BrokenExecutor:
        say_error("a worker process died, probably for lack of memory: check the rest with fewer --jobs")
        worst = UNREADABLE
    except KeyboardInterrupt:
        say_error("interrupted: nothing is concluded about the file that was being checked")
        worst = INTERRUPTED
    raise typer.Exit(worst)


def _checked(files: list[Path], rerun: bool, exactly: bool, jobs: int) -> Iterator[Future[Verification]]:
    """Every file in turn; with more jobs the ones after it are being checked already."""
    if jobs == 1:
        for path in _expanded(files):
            with _live_progress(path.name) as show:
                future = InlineExecutor().submit(verify_file, path, rerun=rerun, exactly=exactly, progress=show)
            yield future
        return
    paths: list[Path] = []
    missing = None
    try:
        paths.extend(_expanded(files))
    except CertificateFileError as error:
        missing = error
    with workers(None, jobs) as pool:
        futures = deque(pool.submit(verify_file, path, rerun=rerun, exactly=exactly) for path in paths)
        with _live_progress(f"{len(paths)} files") as show:
            while futures:
                wait([futures[0]])
                show(len(paths) - sum(not future.done() for future in futures), len(paths))
                yield futures.popleft()
    if missing is not None:
        raise missing


def _expanded(files: list[Path]) -> Iterator[Path]:
    for path in files:
        if path.is_dir():
            found = sorted(path.glob(f"*{SUFFIX}"))
            if not found:
                raise CertificateFileError(f"{path}: a folder without any {SUFFIX} file")
            yield from found
        else:
            yield path


def _present(result: Verification) -> None:
    certificate = result.certificate
    chunks = len(certificate.chunks)
    say(
        Text(str(result.path), style="bold"),
        f"\nlayer {certificate.layer} of {certificate.title or 'an unnamed run'}: "
        f"{counted(certificate.weight.shape[0], 'row')} × {counted(certificate.weight.shape[1], 'column')} in "
        f"{counted(chunks, 'chunk')}, {'Gram' if chunks == 1 else 'Grams'} of "
        f"{counted(certificate.samples, 'input vector')}",
        soft_wrap=True,
    )
    say(
        f"  identity {result.identity}\n  weight   {content_hash(certificate.weight)}\n  written by "
        + ", ".join(f"{name} {version}" for name, version in certificate.versions.items()),
        soft_wrap=True,
    )
    if certificate.damping:
        say(f"  note: {certificate.damping:.3g} was added to the Gram diagonal")
    if not result.holds:
        for failure in result.failures[:FAILURES_SHOWN]:
            say_error(failure)
        more = len(result.failures) - FAILURES_SHOWN
        console.print(
            f"[bold red]REFUTED[/]: {counted(len(result.failures), 'false claim')}" + f", {more} more" * (more > 0)
        )
        return
    console.print(_table(result))
    rows, searched = result.row_bounds, result.search_rows
    duals = sum(s.rows for s in result.sums.values() if s.dual is not None)
    say(f"Proven here, exactly: the error achieved in {rows:,} row problems, and a dual bound in {duals:,}.")
    if result.float_rows:
        say(
            f"Of these bounds {result.float_rows:,} rest on blocks or intervals, checked in float64 with every "
            "rounding accounted for (`quanterr verify --exactly`: in fractions)."
        )
    if searched and not result.rerun:
        say(f"Needs a rerun: the claimed lower values of {searched:,} row problems (`quanterr verify --rerun`).")
    elif searched:
        say(f"Searched again: the claimed lower values of {searched:,} row problems agree.")
    if result.scales:
        how = "searched again" if result.rerun else "which need a rerun"
        say(f"For every scale: {result.scales:,} bounds at single scales ({how}) and what follows from them.")


def _table(result: Verification) -> Table:
    """One line for every two contestants: how many chunks each kind of evidence decides, and the smallest margin."""
    proven, claimed = result.duels(proven=True), result.duels(proven=False)
    every = dict.fromkeys((bits or 0, bits, pair) for (_, bits), pair in claimed)
    places = sorted(every, key=lambda place: place[0])
    at_storage = all(pair == ("quantization", "pruning") for *_, pair in places)
    table = Table(
        title="Better whatever the algorithm, by so many dB at least", box=box.SIMPLE_HEAD,
        caption="proven: from this file alone" + (" and the rerun" if result.rerun else ""),
    )  # fmt: skip
    for name in ("bits" if at_storage else "compared", "chunks", "proven", "claimed with the search"):
        table.add_column(name, justify="right")
    for _, bits, pair in places:
        cells = [[v for (place, p), v in found.items() if (place[1], p) == (bits, pair)] for found in (proven, claimed)]
        label = " · ".join(pair) if bits is None else f"{bits} bits: {' · '.join(pair)}"
        names = (*pair, "undecided")
        table.add_row(str(bits) if at_storage else label, str(len(cells[1])), *(_cell(cell, names) for cell in cells))
    return table


def _cell(verdicts: list[tuple[str, float]], names: tuple[str, ...]) -> str:
    """`9 quantization 4.1 dB`, one line an outcome."""
    lines = []
    for outcome in names:
        ratios = [ratio for name, ratio in verdicts if name == outcome]
        if ratios:
            # rounded down: at least so many
            margin = "" if outcome == "undecided" else f" {math.floor(1000 * math.log10(min(ratios))) / 100:.2f} dB"
            lines.append(f"{len(ratios)} {outcome}{margin}")
    return "\n".join(lines)


@contextmanager
def _live_progress(name: str) -> Iterator[Callable[[int, int], None]]:
    columns = (TextColumn("checking"), BarColumn(bar_width=None), MofNCompleteColumn(), TextColumn(name))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("check", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
