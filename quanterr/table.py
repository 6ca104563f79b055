"""The verdict table for terminals."""

from __future__ import annotations

from collections import Counter, defaultdict

from rich.table import Table

from .report import Outcome, Report, Verdict

LETTER = {Outcome.QUANTIZATION: "Q", Outcome.PRUNING: "P", Outcome.UNDECIDED: "?"}
COLOUR = {Outcome.QUANTIZATION: "blue", Outcome.PRUNING: "yellow", Outcome.UNDECIDED: "default"}


def verdict_table(report: Report) -> Table:
    """One line a layer, one column a bit-width: how many chunks go to whom, and by how many dB."""
    bits = sorted({record.bits for record in report.records})
    cells: dict[tuple[str, int], list[Verdict]] = defaultdict(list)
    for verdict in report.judged():
        cells[verdict.layer, verdict.bits].append(verdict)
    table = Table(
        title="Which is better whatever the algorithm: [blue]Q[/]uantisation or [yellow]P[/]runing",
        caption="chunks won, and the proven margin in dB (smallest … largest); ? = undecided",
    )
    table.add_column("layer", overflow="fold")
    table.add_column("chunks", justify="right")
    for width in bits:
        table.add_column(f"{width} bits", justify="right")
    for layer in dict.fromkeys(record.layer for record in report.records):
        row = [cells[layer, width] for width in bits]
        table.add_row(layer, str(len(row[0])), *map(_cell, row))
    return table


def _cell(verdicts: list[Verdict]) -> str:
    lines = []
    for outcome in Outcome:
        margins = sorted(v.margin_db for v in verdicts if v.outcome is outcome)
        if not margins:
            continue
        ends = f"{margins[0]:.1f}" if len(margins) == 1 else f"{margins[0]:.1f}…{margins[-1]:.1f}"
        lines.append(f"[{COLOUR[outcome]}]{LETTER[outcome]}[/] {len(margins)}: {ends}")
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
    )
