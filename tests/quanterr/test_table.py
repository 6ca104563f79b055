"""The table in a terminal: every layer is named in full, nothing is cut, margins are rounded down."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from quanterr.results.report import LayerFacts, Record, Report
from quanterr.results.table import summary, verdict_table

LONG = "encoder.layer.11.attention.output.dense[0]"


def record(layer: str, chunk: int, bits: int, method: str, error: float) -> Record:
    return Record(
        layer=layer, chunk=chunk, bits=bits, method=method, rows=3, columns=36, energy=1.0, error_upper=error,
        error_lower=error, error_start=error, status="closed", open_rows=0, evidence="search", seconds=1.0,
    )  # fmt: skip


def report(layers: tuple[str, ...] = (LONG,), chunks: int = 2, bits: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8)) -> Report:
    """Quantisation is better by 9.96 dB, and by 10.96 dB on other chunks."""
    records = []
    for layer in layers:
        for chunk in range(chunks):
            for width in bits:
                records.append(record(layer, chunk, width, "pruning", 1e-2))
                records.append(record(layer, chunk, width, "quantization", 1e-2 / 10 ** (0.996 + 0.1 * (chunk > 0))))
    return Report(tuple(records), layers=tuple(LayerFacts(x, 3, 36, 1, 99, 0.0, 3.0) for x in layers))


def printed(shown: Report, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(verdict_table(shown, width))
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_names_and_margins_are_whole_at_every_width(width: int) -> None:
    text = printed(report(), width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert any(line.startswith(LONG) for line in lines)
    assert text.count("Q 9.9") == 7
    assert "chunks" in text
    assert "…" not in text


def test_a_name_that_fits_shares_its_line() -> None:
    [line] = [line for line in printed(report(("fc",), chunks=1, bits=(2, 4)), 80).splitlines() if "Q" in line[:30]]
    assert line.split() == ["fc", "Q", "9.9", "Q", "9.9"]
    assert "chunks" not in printed(report(("fc",), chunks=1), 80).splitlines()[2]


def test_margins_of_ten_decibels_lose_their_decimals() -> None:
    shown = report(("fc",), chunks=2, bits=(4,))
    second = Report(tuple(r for r in shown.records if r.chunk == 1))
    assert "Q 10" in printed(second, 80)
    assert "Q 10." not in printed(second, 80)


def test_the_summary_says_what_the_verdicts_are_about() -> None:
    assert "about a whole layer" in summary(report(chunks=1))
    wider = Report(report().records, layers=(LayerFacts(LONG, 3, 72, 1, 99, 0.0, 3.0),))
    assert "speaks of the chunk alone" in summary(wider)
