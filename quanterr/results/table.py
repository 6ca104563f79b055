"""The verdict tables for terminals."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..contestants import COMPOUND, LAYER, Method
from .columns import aligned
from .judging import Winner, mask_cost, winners
from .report import SPELT, Duel, Outcome, Record, Report, decibels

LETTER = {Outcome.QUANTIZATION: "Q", Outcome.PRUNING: "P", Outcome.UNDECIDED: "?"}
WHOLE = Method.PRUNING + LAYER
LETTERS = {**{outcome.value: letter for outcome, letter in LETTER.items()}, COMPOUND: "C", WHOLE: "L"}
COLOUR = {Outcome.QUANTIZATION.value: "blue", Outcome.PRUNING.value: "yellow", COMPOUND: "magenta", WHOLE: "yellow"}


def verdict_table(report: Report, width: int = 80) -> RenderableType:
    """One line a layer, one column a bit-width: who wins the chunks, and by how many dB at least.

    Contestants that were named have one column, and a table of every two of them beside it. Names of layers too long
    for `width` characters stand above their line.
    """
    if report.widths:
        return _layers(report, width)
    return Group(_layers(report, width), _duels(report))


def _layers(report: Report, width: int) -> RenderableType:
    columns: list[int | None] = [*report.widths] or [None]
    cells: dict[tuple[str, int | None], list[Winner]] = defaultdict(list)
    for winner in winners(report):
        cells[winner.layer, winner.bits].append(winner)
    found = [winner for group in cells.values() for winner in group]
    heads = ["best of all" if bits is None else f"{bits} bits" for bits in columns]
    rows = {layer: [_cell(cells[layer, bits]) for bits in columns] for layer in dict.fromkeys(w.layer for w in found)}
    if len({winner.chunk for winner in found}) > 1:
        heads.insert(0, "chunks")
        for layer, row in rows.items():
            row.insert(0, [str(len(cells[layer, columns[0]]))])
    lines = [_title(report), "", *aligned("layer", heads, rows.items(), width)]
    lines += ["", _caption(report, found)]
    return Group(*(Text.from_markup(line) for line in lines))


def _title(report: Report) -> str:
    if not report.widths:
        return "Better than every other contestant whatever the algorithm, by so many dB at least"
    names = [m for m in dict.fromkeys(r.method for r in report.records) if m in LETTERS]
    words = [f"[{COLOUR[m]}]{LETTERS[m]}[/]{SPELT.get(m, m)[1:]}" for m in names]
    return f"Better whatever the algorithm: {', '.join(words[:-1])} or {words[-1]}, by so many dB at least"


def _caption(report: Report, found: list[Winner]) -> str:
    counted = "layer" if _whole(report) else "chunk counted"
    parts = [f"proven for every {counted}; ? = undecided, by so many dB at most"]
    if any(winner.at_scale for winner in found):
        parts.append("( ) = better at this scale; open for other scales")
    if (cost := mask_cost(report.records)) is not None:
        parts.append(
            "storage without the mask of pruned weights, as in the paper"
            if cost == 0
            else "storage with a mask of one bit a weight"
        )
    return "; ".join(parts)


def _cell(found: list[Winner]) -> list[str]:
    """`Q 6.1` where all chunks agree, else one line an outcome with its count: `5 Q 6.1`, `1 (P) -0.3`."""
    groups: dict[str, list[float]] = {}
    for winner in sorted(found, key=lambda w: (not w.method, not w.at_scale)):
        groups.setdefault(_name(winner), []).append(winner.margin_db)
    return [
        f"{'' if len(margins) == len(found) else f'{len(margins)} '}{name} {_decibels(min(margins))}"
        for name, margins in groups.items()
    ]


def _decibels(margin: float) -> str:
    """Rounded down, so that a proven margin stays one: two digits are enough."""
    if not math.isfinite(margin):
        return f"{margin:.0f}".replace("inf", "∞")
    tenths = math.floor(margin * 10)
    return f"{tenths / 10:.1f}" if abs(tenths) < 100 else f"{math.floor(margin)}"


def _name(winner: Winner) -> str:
    if winner.method:
        return _coloured(winner.method)
    return f"({_coloured(winner.at_scale)})" if winner.at_scale else "?"


def _coloured(method: str) -> str:
    name = LETTERS.get(method, method)
    return f"[{COLOUR[method]}]{name}[/]" if method in COLOUR else name


def _duels(report: Report) -> Table:
    """One line for every two contestants: on how many chunks of all layers which is better."""
    of = {record.method: record for record in reversed(report.records)}  # the first of each: a whole chunk
    of = {record.method: of[record.method] for record in report.records}
    table = Table(
        title="Every two of them: on how many chunks which is better, by so many dB at least",
        caption="bits a weight: " + "; ".join(f"{method} {storage(record)}" for method, record in of.items()),
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0),
    )  # fmt: skip
    for name in ("this", "that"):
        table.add_column(name, no_wrap=True)
    for name in ("this is better", "that is better", "undecided", "at this scale"):
        table.add_column(name, justify="right")
    found: dict[tuple[str, str], list[Duel]] = defaultdict(list)
    for duel in report.pairs():
        found[duel.first.method, duel.second.method].append(duel)
    for (first, second), duels in found.items():
        cells = [_smallest([d.margin_db for d in duels if d.better == m]) for m in (first, second)]
        open_duels = [d for d in duels if not d.better]
        here = [f"{n} {m}" for m in (first, second) if (n := sum(d.at_scale == m for d in open_duels))]
        table.add_row(first, second, *cells, _smallest([d.margin_db for d in open_duels]), "\n".join(here))
    return table


def _smallest(margins: list[float]) -> str:
    return f"{len(margins)}  {_decibels(min(margins))}" if margins else ""


def storage(record: Record) -> str:
    """Bits a weight, and those of the mask beside."""
    if record.storage is None:
        return "unknown"
    return f"{record.storage:.3g}" + (f" + {record.mask_bits:.2g} for the mask" if record.mask_bits else "")


def summary(report: Report) -> str:
    """The counts of verdicts, and what they rest on."""
    found = list(winners(report))
    rows = sum(record.rows for record in report.records)
    open_rows = sum(record.open_rows for record in report.records)
    proof = "every optimum proven by search" if open_rows == 0 else f"{open_rows:,} left open, between proven bounds"
    where = "layer × chunk × bits" if report.widths else "layer × chunk"
    return (
        f"{len(found):,} comparison{'s' * (len(found) != 1)} ({where}): {', '.join(_counts(report, found))}. "
        f"{rows:,} row problem{'s' * (rows != 1)}, {proof}; "
        f"{processor_seconds(sum(r.seconds for r in report.records))}. "
        + ("Each verdict is about a whole layer." if _whole(report) else "A chunk's verdict speaks of the chunk alone.")
    ) + _layer_budget(report)


def processor_seconds(seconds: float) -> str:
    """`1,250 processor seconds`, `0.04 processor seconds`."""
    return f"{seconds:,.0f} processor seconds" if seconds >= 10 else f"{seconds:.2g} processor seconds"


def _layer_budget(report: Report) -> str:
    """What one budget for all rows gains pruning."""
    layer = {(r.layer, r.chunk, r.bits): r for r in report.records if r.method == WHOLE}
    rows = {(r.layer, r.chunk, r.bits): r for r in report.records if r.method == Method.PRUNING and r.error_upper > 0}
    gains = [decibels(rows[place].error_upper, layer[place].error_upper) for place in rows.keys() & layer.keys()]
    if not gains:
        return ""
    return f" One budget for all rows makes pruning {min(gains):.1f} … {max(gains):.1f} dB better."


def _whole(report: Report) -> bool:
    columns = {facts.layer: facts.columns for facts in report.layers}
    return all(record.columns == columns.get(record.layer) for record in report.records)


def _counts(report: Report, found: list[Winner]) -> Iterator[str]:
    count = Counter(winner.method for winner in found)
    for method in dict.fromkeys(record.method for record in report.records):
        yield f"{count[method]} for {SPELT.get(method, method)}"
    here = Counter(winner.at_scale for winner in found if winner.at_scale)
    parts = [f"{number} {SPELT.get(method, method)}" for method, number in here.items()]
    aside = f" (at this scale {' and '.join(parts)}; open for other scales)" if parts else ""
    yield f"{count['']} undecided{aside}"
