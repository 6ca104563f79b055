"""The verdict table for terminals."""

from __future__ import annotations

from collections import Counter, defaultdict

from rich import box
from rich.table import Table

from .contestants import LAYER, Method
from .report import Outcome, Report, Verdict, decibels

LETTER = {Outcome.QUANTIZATION: "Q", Outcome.PRUNING: "P", Outcome.UNDECIDED: "?"}
COLOUR = {Outcome.QUANTIZATION: "blue", Outcome.PRUNING: "yellow", Outcome.UNDECIDED: "default"}


def verdict_table(report: Report) -> Table:
    """One line a layer, one column a bit-width: who wins the chunks, and by how many dB at least."""
    bits = report.widths
    cells: dict[tuple[str, int], list[Verdict]] = defaultdict(list)
    for verdict in report.judged():
        cells[verdict.layer, verdict.bits].append(verdict)
    table = Table(
        title="Better whatever the algorithm: [blue]Q[/]uantisation or [yellow]P[/]runing, by so many dB at least",
        caption="proven for every chunk counted; ? = undecided, by so many dB at most",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("layer", overflow="fold", min_width=12)
    table.add_column("chunks", justify="right")
    for width in bits:
        table.add_column(f"{width} bits", justify="right", no_wrap=True)
    for layer in dict.fromkeys(record.layer for record in report.records):
        row = [cells[layer, width] for width in bits]
        table.add_row(layer, str(len(row[0])), *map(_cell, row))
    return table


def _cell(verdicts: list[Verdict]) -> str:
    """`Q 6.1` where all chunks agree, else one line an outcome with its count: `5 Q 6.1`, `1 P 0.2`."""
    lines = []
    for outcome in Outcome:
        margins = [verdict.margin_db for verdict in verdicts if verdict.outcome is outcome]
        if margins:
            count = "" if len(margins) == len(verdicts) else f"{len(margins)} "
            lines.append(f"{count}[{COLOUR[outcome]}]{LETTER[outcome]}[/] {min(margins):.1f}")
    return "\n".join(lines)


def summary(report: Report) -> str:
    """The counts of verdicts, and what they rest on."""
    count = Counter(v.outcome for v in report.judged())
    rows = sum(record.rows for record in report.records)
    open_rows = sum(record.open_rows for record in report.records)
    proof = "every optimum proven by search" if open_rows == 0 else f"{open_rows:,} left open, between proven bounds"
    return (
        f"{count.total()} comparisons (layer × chunk × bits): {count[Outcome.QUANTIZATION]} for quantisation, "
        f"{count[Outcome.PRUNING]} for pruning, {count[Outcome.UNDECIDED]} undecided. "
        f"{rows:,} row problems, {proof}; {sum(r.seconds for r in report.records):.0f} processor seconds. "
        "A chunk's verdict speaks of the chunk alone."
    ) + _layer_budget(report)


def _layer_budget(report: Report) -> str:
    """The same counts against pruning that spends one budget over all rows, and what that gains it."""
    method = Method.PRUNING + LAYER
    layer = {(r.layer, r.chunk, r.bits): r for r in report.records if r.method == method}
    if not layer:
        return ""
    rows = [r for r in report.records if r.method == Method.PRUNING and r.error_upper > 0]
    gains = [decibels(r.error_upper, layer[r.layer, r.chunk, r.bits].error_upper) for r in rows]
    count = Counter(v.outcome for v in report.judged(method))
    least, most = min(gains, default=0.0), max(gains, default=0.0)
    return (
        f"\nAgainst pruning with one budget for all rows ({least:.1f} … {most:.1f} dB better than one for each): "
        f"{count[Outcome.QUANTIZATION]} for quantisation, {count[Outcome.PRUNING]} for "
        f"pruning, {count[Outcome.UNDECIDED]} undecided."
    )
