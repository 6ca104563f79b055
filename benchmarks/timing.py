"""How every benchmark measures and prints."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def processor_seconds(work: Callable[[], T], repeats: int = 1) -> tuple[float, T]:
    """Least processor time of some runs of `work` (after none: warm up first), and its last result."""
    best = float("inf")
    for _ in range(repeats):
        began = time.process_time()
        result = work()
        best = min(best, time.process_time() - began)
    return best, result


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table; the first column is text, the others are right-aligned numbers."""
    lines = ["| " + " | ".join(header) + " |", "| --- |" + " ---: |" * (len(header) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def machine() -> str:
    """What the figures were measured on."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as info:
            name = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), name)
    except OSError:
        pass
    return f"{name}, one thread, Python {platform.python_version()}"
