"""The verdict tables for terminals."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from .contestants import COMPOUND
from .judging import Winner, mask_cost, winners
from .report import Outcome, Record, Report

LETTER = {Outcome.QUANTIZATION: "Q", Outcome.PRUNING: "P", Outcome.UNDECIDED: "?"}
LETTERS = {**{outcome.value: letter for outcome, letter in LETTER.items()}, COMPOUND: "C"}
COLOUR = {Outcome.QUANTIZATION.value: "blue", Outcome.PRUNING.value: "yellow", COMPOUND: "magenta"}
SPELT = {Outcome.QUANTIZATION.value: "quantisation"}


def verdict_table(report: Report) -> RenderableType:
    """One line a layer, one column a bit-width: who wins the chunks, and by how many dB at least.

    Contestants that were named have one column, and a table of every two of them beside it.
    """
    if report.widths:
        return _layers(report)
    return Group(_layers(report), _matrix(report))


def _layers(report: Report) -> Table:
    columns: list[int | None] = [*report.widths] or [None]
    cells: dict[tuple[str, int | None], list[Winner]] = defaultdict(list)
    for winner in winners(report):
        cells[winner.layer, winner.bits].append(winner)
    found = [winner for group in cells.values() for winner in group]
    table = Table(title=_title(report), caption=_caption(report, found), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("layer", overflow="fold", min_width=12)
    table.add_column("chunks", justify="right")
    for width in columns:
        table.add_column("best of all" if width is None else f"{width} bits", justify="right", no_wrap=True)
    for layer in dict.fromkeys(record.layer for record in report.records):
        row = [cells[layer, width] for width in columns]
        table.add_row(layer, str(len(row[0])), *map(_cell, row))
    return table


def _title(report: Report) -> str:
    if not report.widths:
        return "Better than every other contestant whatever the algorithm, by so many dB at least"
    names = [m for m in dict.fromkeys(r.method for r in report.records) if m in LETTERS]
    words = [f"[{COLOUR[m]}]{LETTERS[m]}[/]{SPELT.get(m, m)[1:]}" for m in names]
    return f"Better whatever the algorithm: {', '.join(words[:-1])} or {words[-1]}, by so many dB at least"


def _caption(report: Report, found: list[Winner]) -> str:
    parts = ["proven for every chunk counted; ? = undecided, by so many dB at most"]
    if any(winner.at_scale for winner in found):
        parts.append("( ) = better at this scale; open for other scales")
    if (cost := mask_cost(report.records)) is not None:
        parts.append(
            "storage without the mask of pruned weights, as in the paper"
            if cost == 0
            else "storage with a mask of one bit a weight"
        )
    return "; ".join(parts)


def _cell(found: list[Winner]) -> str:
    """`Q 6.1` where all chunks agree, else one line an outcome with its count: `5 Q 6.1`, `1 (P) -0.2`."""
    groups: dict[str, list[float]] = {}
    for winner in sorted(found, key=lambda w: (not w.method, not w.at_scale)):
        groups.setdefault(_name(winner), []).append(winner.margin_db)
    return "\n".join(
        f"{'' if len(margins) == len(found) else f'{len(margins)} '}{name} {min(margins):.1f}"
        for name, margins in groups.items()
    )


def _name(winner: Winner) -> str:
    if winner.method:
        return _coloured(winner.method)
    return f"({_coloured(winner.at_scale)})" if winner.at_scale else "?"


def _coloured(method: str) -> str:
    name = LETTERS.get(method, method)
    return f"[{COLOUR[method]}]{name}[/]" if method in COLOUR else name


def _matrix(report: Report) -> Table:
    """Every two contestants over all layers and chunks, read from the left: `9 > 2.1`: better on 9 chunks, …"""
    of = {record.method: record for record in report.records}
    table = Table(
        title="Each on the left against each on top: on how many chunks, and by how many dB at least",
        caption="> better, < worse, ? undecided, (>) and (<) at this scale, open for other scales; "
        "bits a weight without mask + mask",
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0),
    )  # fmt: skip
    table.add_column("", no_wrap=True)
    table.add_column("bits + mask", justify="right", no_wrap=True)
    for method in of:
        table.add_column(method, justify="right", no_wrap=True)
    lines: dict[tuple[str, str], list[tuple[str, float]]] = defaultdict(list)
    for duel in report.pairs():
        for mine, other in ((duel.first.method, duel.second.method), (duel.second.method, duel.first.method)):
            better, here = (("" if not m else ">" if m == mine else "<") for m in (duel.better, duel.at_scale))
            lines[mine, other].append((better or (f"({here})" if here else "?"), duel.margin_db))
    for mine, record in of.items():
        table.add_row(mine, _storage(record), *("" if mine == other else _against(lines[mine, other]) for other in of))
    return table


def _against(found: list[tuple[str, float]]) -> str:
    return "\n".join(
        f"{count} {sign} {min(margin for s, margin in found if s == sign):.1f}"
        for sign, count in sorted(
            Counter(sign for sign, _ in found).items(), key=lambda item: "><()?".index(item[0][0])
        )
    )


def _storage(record: Record) -> str:
    if record.storage is None:
        return ""
    mask = f" + {record.mask_bits:.2g}" if record.mask_bits else ""
    return f"{record.storage:.3g}{mask}"


def summary(report: Report) -> str:
    """The counts of verdicts, and what they rest on."""
    found = list(winners(report))
    rows = sum(record.rows for record in report.records)
    open_rows = sum(record.open_rows for record in report.records)
    proof = "every optimum proven by search" if open_rows == 0 else f"{open_rows:,} left open, between proven bounds"
    where = "layer × chunk × bits" if report.widths else "layer × chunk"
    return (
        f"{len(found)} comparisons ({where}): {', '.join(_counts(report, found))}. "
        f"{rows:,} row problems, {proof}; {sum(r.seconds for r in report.records):.0f} processor seconds. "
        "A chunk's verdict speaks of the chunk alone."
    )


def _counts(report: Report, found: list[Winner]) -> Iterator[str]:
    count = Counter(winner.method for winner in found)
    for method in dict.fromkeys(record.method for record in report.records):
        yield f"{count[method]} for {SPELT.get(method, method)}"
    yield f"{count['']} undecided"
    for method, number in Counter(w.at_scale for w in found if w.at_scale).items():
        yield f"of which {number} {SPELT.get(method, method)} at this scale; open for other scales"
