"""Whole networks from the command line: wall time, processor time and memory of every layer, chunk by chunk and whole.

Each line is one `quanterr certify --preset NAME --layers '*'` in a process of its own, with the network, its
calibration and the result file, at 2 to 8 bits: chunks of 36 columns, both sides exact; then whole layers with the
quick effort; then, on the same file, with the normal effort for what that leaves undecided, within five minutes. Memory
is the sum over all processes, pages that they share counted once, sampled twice a second (Linux). The second table is
the growth with the rows of a layer, one thread. This takes an hour and is run by name only.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

from quanterr import Report, Store, certify
from quanterr.contestants import Method
from quanterr.layers import Layer
from quanterr.results.judging import winners
from quanterr.session import Session, load

from .timing import markdown, processor_seconds

CHUNKS, QUICK = ("--chunk", "36"), ("--chunk", "0", "--effort", "quick")
#: Name of a run, its options, its workers, and which of the result files of its network it continues.
RUNS = (
    ("chunks of 36", CHUNKS, 1, "alone"),
    ("chunks of 36", CHUNKS, 2, "chunks"),
    ("whole, quick", QUICK, 2, "whole"),
    ("whole, normal, 5 minutes", ("--chunk", "0", "--minutes", "5"), 2, "whole"),
)
GRAM = ("--scale", "gram")
#: Of MiniLM the weights' own scale is far off where they have heavy tails.
BY_OUTPUT = tuple(
    (f"{name}, scales by gram", (*options, *GRAM), jobs, f"{file}-gram") for name, options, jobs, file in RUNS[1:]
)
PRESETS = {"efficientnet-lite0-112": RUNS, "minilm-l6": (RUNS[1], *BY_OUTPUT)}
TALL = "_conv_head"
SHARES = (8, 4, 2, 1)


class Peak:
    """The most memory that a process and its descendants held together, in bytes."""

    def __init__(self, pid: int) -> None:
        self.bytes = 0
        self._pid, self._over = pid, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            self.bytes = max(self.bytes, sum(map(_held, _family(self._pid))))


def _family(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, task.read_text().split())
            except OSError:  # it has ended
                continue
    return found


def _held(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def measure(preset: str, options: tuple[str, ...], jobs: int, store: Path) -> list[str]:
    """One line of the table."""
    command = [sys.executable, "-m", "quanterr", "certify", "--preset", preset, "--layers", "*", "--jobs", str(jobs)]
    command += [*options, "--out", str(store)]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process, Peak(process.pid) as peak:
        process.wait()
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    title, records = Store(store).last_run()
    report = Report.from_dicts(records, title)
    verdicts = list(winners(report))
    return [
        f"{wall / 60:.1f} min",
        f"{processor / 60:.1f} min",
        f"{peak.bytes / 2**30:.2f} GiB",
        f"{sum(record.rows for record in report.records):,}",
        f"{sum(record.open_rows for record in report.records):,}",
        *(f"{sum(verdict.method == method for verdict in verdicts):,}" for method in (*Method, "")),
        str(process.returncode),
    ]


def growth(layer: Layer) -> list[list[str]]:
    """Processor time with the first rows of a layer, chunk by chunk and whole."""
    lines = []
    certify([replace(layer, weight=layer.weight[:8])], bits=(4,))
    certify([replace(layer, weight=layer.weight[:8])], bits=(4,), chunk=None, effort="quick")
    for share in SHARES:
        part = replace(layer, weight=layer.weight[: layer.rows // share])
        cells = []
        for chunk in (36, None):
            seconds, _ = processor_seconds(lambda: certify([part], bits=(4,), chunk=chunk, effort="quick"))  # noqa: B023
            cells += [f"{seconds:.1f} s", f"{seconds / part.rows * 1e3:.2f} ms"]
        lines.append([str(part.rows), *cells])
    return lines


def run() -> str:
    """Both tables."""
    header = ["network", "run", "workers", "wall", "processor", "memory", "row problems", "left open"]
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for preset, runs in PRESETS.items():
            for name, options, jobs, file in runs:
                store = Path(folder) / f"{preset}-{file}.sqlite"
                lines.append([preset, name, str(jobs), *measure(preset, options, jobs, store)])
                print("|".join(lines[-1]), file=sys.stderr, flush=True)
    _, (layer,) = load(Session(preset="efficientnet-lite0", layers=(TALL,)))
    rows = markdown(["rows", "chunks of 36", "a row", "whole, quick", "a row"], growth(layer))
    text = "The normal effort reuses what the quick one stored, as it would compute first without it."
    return f"{markdown([*header, *Method, 'undecided', 'exit code'], lines)}\n\n{text}\n\n`{TALL}` at 4 bits:\n\n{rows}"
