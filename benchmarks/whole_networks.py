"""Whole networks from the command line: wall time, processor time and memory of every layer, chunk by chunk and whole.

Each line is one `quanterr certify --preset NAME --layers '*' --jobs 2` in a process of its own, with the network, its
calibration and the result file: chunks of 36 columns at 2 to 8 bits, both sides exact, then whole layers with the quick
effort and with the normal one for what that leaves undecided. Memory is the sum over all processes, pages that they
share counted once, sampled twice a second (Linux). The second table is the growth with the rows of a layer, one thread.
This takes an hour and is run by name only.
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
from quanterr.layers import Layer
from quanterr.results.judging import winners
from quanterr.session import Session, load

from .timing import markdown, processor_seconds

RUNS = {
    "chunks of 36": ("--chunk", "36"),
    "whole, quick": ("--chunk", "0", "--effort", "quick"),
    "whole, normal": ("--chunk", "0"),
}
PRESETS = ("efficientnet-lite0", "minilm-l6")
JOBS = 2
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


def measure(preset: str, options: tuple[str, ...], store: Path) -> list[str]:
    """One line of the table."""
    command = [sys.executable, "-m", "quanterr", "certify", "--preset", preset, "--layers", "*", "--jobs", str(JOBS)]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command += [*options, "--out", str(store)]
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
        f"{len(verdicts):,}",
        f"{sum(not verdict.method for verdict in verdicts):,}",
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
    header = ["network", "run", "wall", "processor", "memory", "row problems", "left open", "verdicts", "undecided"]
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for preset in PRESETS:
            for name, options in RUNS.items():
                store = Path(folder) / f"{preset}{'-chunks' if '36' in options else ''}.sqlite"
                lines.append([preset, name, *measure(preset, options, store)])
    _, (layer,) = load(Session(preset="efficientnet-lite0", layers=(TALL,)))
    rows = markdown(["rows", "chunks of 36", "a row", "whole, quick", "a row"], growth(layer))
    text = "The normal effort reuses what the quick one stored, as `--effort normal` alone would compute first."
    return f"{markdown([*header, 'exit code'], lines)}\n\n{text}\n\n`{TALL}` at 4 bits:\n\n{rows}"
