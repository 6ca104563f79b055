"""The heat map: a table with one line a layer and one column a bit-width. Colour repeats what the text says."""

from __future__ import annotations

import html
import math

from ..report import Outcome
from ..table import LETTER
from .layers import LayerPage, Pair

#: Margins in dB where the colour of a cell changes.
STEPS = (1.0, 3.0, 6.0, 10.0, 20.0)
SHADE = {Outcome.QUANTIZATION: "q", Outcome.PRUNING: "p"}


def table(layers: list[LayerPage], bits: list[int], *, interactive: bool) -> str:
    """HTML of the table; interactive headers and names are buttons, for page.js to serve."""
    heads = ["layer", "scope", "kurtosis", *(f"{width} bits" for width in bits), "open rows", "seconds"]
    keys = ["name", "chunks", "kurtosis", *(f"bits-{width}" for width in bits), "open", "seconds"]
    header = "".join(
        f"<th scope='col' data-key='{key}' data-head='{head}'><button type='button'>{head}</button></th>"
        if interactive
        else f"<th scope='col'>{head}</th>"
        for key, head in zip(keys, heads, strict=True)
    )
    bodies = "".join(_body(index, layer, bits, interactive) for index, layer in enumerate(layers))
    return (
        "<table class='heat'><caption><span>Which is better whatever the algorithm, and by how many dB at least: "
        "<b>Q</b> quantisation, <b>P</b> pruning; <b>?</b> undecided, with the overlap of the bounds in dB. "
        "Over several chunks: how many, and the range of their margins.</span></caption>"
        f"<thead><tr>{header}</tr></thead>{bodies}</table>"
    )


def _body(index: int, layer: LayerPage, bits: list[int], interactive: bool) -> str:
    name = html.escape(layer.name)
    if interactive:
        name = f"<button type='button' aria-expanded='false'>{name}</button>"
    kurtosis = "" if layer.facts is None or layer.facts.kurtosis is None else f"{layer.facts.kurtosis:.3g}"
    scope = "layer" if layer.whole else f"{layer.chunks} chunk{'' if layer.chunks == 1 else 's'}"
    cells = "".join(_cell(layer.pairs.get(width, [])) for width in bits)
    records = layer.records
    seconds = sum(record.seconds for record in records)
    return (
        f"<tbody data-layer='{index}'><tr><th scope='row'>{name}</th><td>{scope}</td><td>{kurtosis}</td>{cells}"
        f"<td>{sum(record.open_rows for record in records):,}</td><td>{seconds:,.1f}</td></tr></tbody>"
    )


def _cell(pairs: list[Pair]) -> str:
    """`Q 6.1–9.3` where all chunks agree, else one line an outcome with its count: `5 Q 6.1–7.0`, `1 ? −0.2`."""
    lines, shade = [], "x"
    for outcome in Outcome:
        margins = [pair.verdict.margin_db for pair in pairs if pair.verdict.outcome is outcome]
        if not margins:
            continue
        all_agree = len(margins) == len(pairs)
        low, high = decibel(min(margins)), decibel(max(margins))
        reach = low if low == high else f"{low}–{high}" if min(margins) >= 0 else f"{low} … {high}"
        lines.append(("" if all_agree else f"{len(margins)} ") + f"<b>{LETTER[outcome]}</b> {reach}")
        if all_agree:
            step = sum(min(margins) >= edge for edge in STEPS)
            shade = f"{SHADE[outcome]}{step}" if outcome in SHADE else "u"
    return f"<td class='{shade}'>{'<br>'.join(lines)}</td>" if lines else "<td>–</td>"


def decibel(margin: float) -> str:
    """A margin to a tenth, rounded down: what is printed is still proven."""
    if math.isinf(margin):
        return "∞" if margin > 0 else "−∞"
    tenths = math.floor(10 * margin)
    return f"{'−' if tenths < 0 else ''}{abs(tenths) / 10:.1f}"
