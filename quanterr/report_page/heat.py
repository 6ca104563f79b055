"""The heat map: a table with one line a layer and one column a bit-width. Colour repeats what the text says."""

from __future__ import annotations

import html
import math

from ..results.report import Duel
from ..results.table import LETTERS
from .layers import Column, LayerPage, breakable

#: Margins in dB where the colour of a cell changes.
STEPS = (1.0, 3.0, 6.0, 10.0, 20.0)


def table(layers: list[LayerPage], columns: list[Column], *, interactive: bool) -> str:
    """HTML of the table; interactive headers and names are buttons, for page.js to serve."""
    heads = ["layer", "scope", "kurtosis", *(column.label for column in columns), "open rows", "seconds"]
    keys = ["name", "chunks", "kurtosis", *(f"bits-{column.key}" for column in columns), "open", "seconds"]
    heads, keys = [html.escape(head) for head in heads], [html.escape(key) for key in keys]
    header = "".join(
        f"<th scope='col' data-key='{key}' data-head='{head}'><button type='button'>{head}</button></th>"
        if interactive
        else f"<th scope='col'>{head}</th>"
        for key, head in zip(keys, heads, strict=True)
    )
    bodies = "".join(_body(index, layer, columns, interactive) for index, layer in enumerate(layers))
    return (
        "<table class='heat'><caption><span>Which is better whatever the algorithm, and by how many dB at least: "
        f"{_legend(columns)}<b>?</b> undecided, with the overlap of the bounds in dB; in brackets: better at the scale "
        "of the run, open for other scales. "
        "Over several chunks: how many, and the range of their margins.</span></caption>"
        f"<thead><tr>{header}</tr></thead>{bodies}</table>"
    )


def _legend(columns: list[Column]) -> str:
    """What the letters stand for; other contestants are shown by name."""
    names = {c.first: c.names[0] for c in columns} | {c.second: c.names[1] for c in columns}
    return "".join(f"<b>{LETTERS[m]}</b> {html.escape(name)}, " for m, name in names.items() if m in LETTERS)


def _body(index: int, layer: LayerPage, columns: list[Column], interactive: bool) -> str:
    name = breakable(layer.name)
    if interactive:
        name = f"<button type='button' aria-expanded='false'>{name}</button>"
    kurtosis = "" if layer.facts is None or layer.facts.kurtosis is None else f"{layer.facts.kurtosis:#.3g}".rstrip(".")
    scope = "layer" if layer.whole else f"{layer.chunks} chunk{'' if layer.chunks == 1 else 's'}"
    cells = "".join(_cell(layer.duels.get(column, [])) for column in columns)
    records = layer.records
    seconds = sum(record.seconds for record in records)
    return (
        f"<tbody data-layer='{index}'><tr><th scope='row'>{name}</th><td>{scope}</td><td>{kurtosis}</td>{cells}"
        f"<td>{sum(record.open_rows for record in records):,}</td><td>{seconds:,.1f}</td></tr></tbody>"
    )


def _cell(duels: list[Duel]) -> str:
    """`Q 6.1–9.3` where all chunks agree, else one line an outcome with its count: `5 Q 6.1–7.0`, `1 ? −0.2`."""
    lines, shade = [], "x"
    sides = (duels[0].first.method, duels[0].second.method) if duels else ()
    outcomes = [(better, here) for better in (*sides, "") for here in (*sides, "") if not (better and here)]
    for better, here in outcomes:
        margins = [duel.margin_db for duel in duels if (duel.better, duel.at_scale) == (better, here)]
        if not margins:
            continue
        all_agree = len(margins) == len(duels)
        low, high = decibel(min(margins)), decibel(max(margins))
        reach = low if low == high else f"{low}–{high}" if min(margins) >= 0 else f"{low} … {high}"
        name = html.escape(LETTERS.get(better or here, better or here)) or "?"
        lines.append(("" if all_agree else f"{len(margins)} ") + f"<b>{f'({name})' if here else name}</b> {reach}")
        if all_agree:
            step = sum(min(margins) >= edge for edge in STEPS)
            shade = f"{'qp'[sides.index(better)]}{step}" if better else "u"
    return f"<td class='{shade}'>{'<br>'.join(lines)}</td>" if lines else "<td>–</td>"


def decibel(margin: float) -> str:
    """A margin to a tenth, rounded down: what is printed is still proven; `–` where it is undefined."""
    if math.isnan(margin):
        return "–"
    if math.isinf(margin):
        return "∞" if margin > 0 else "−∞"
    tenths = math.floor(10 * margin)
    return f"{'−' if tenths < 0 else ''}{abs(tenths) / 10:.1f}"
