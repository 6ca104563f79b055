"""The demo of the README: wall time and peak memory of the whole process tree, first run and second run."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from .timing import markdown


def run() -> str:
    """Two runs of `quanterr certify --preset efficientnet-lite0` on one result file."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "demo.sqlite"
        rows = [[label, *_measure(out)] for label in ("first run", "second run (results reused)")]
    return markdown(["", "wall", "processor", "peak memory"], rows)


def _measure(out: Path) -> list[str]:
    command = [sys.executable, "-m", "quanterr", "certify", "--preset", "efficientnet-lite0", "--out", str(out)]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak, spent = [0.0], {}

    def watch() -> None:
        root = psutil.Process(process.pid)
        while process.poll() is None:
            total = 0
            for member in [root, *root.children(recursive=True)]:
                try:
                    # Unique memory plus a fair share of what processes have in common
                    total += member.memory_full_info().pss
                    times = member.cpu_times()
                    spent[member.pid] = times.user + times.system
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    continue
            peak[0] = max(peak[0], total)
            time.sleep(0.25)

    watcher = threading.Thread(target=watch)
    watcher.start()
    if process.wait() != 0:
        raise RuntimeError(f"the demo failed with exit code {process.returncode}")
    watcher.join()
    return [f"{time.monotonic() - began:.0f} s", f"{sum(spent.values()):.0f} s", f"{peak[0] / 2**20:,.0f} MiB"]
