"""The report as one HTML file that needs no network: page.html, its style sheets and its scripts, and the data.

The heat map is a table in the file itself, so it is there without scripts, in print and for screen readers; the plots
and the details of a layer are drawn on demand by plot.js and page.js from the JSON beside it. Those are plain marks on
plain axes, for which a library costs more than it saves. Measured (`python -m benchmarks report_page`): the page of 500
layers with 134,190 records is 4.8 MB, of which 20 kB are our scripts; plotly.js would double it and put 4.8 MB into the
page of a single layer; matplotlib's SVG of figure 4 alone is three times the whole page of the same 50 layers and
cannot follow a filter.
A content security policy with the hashes of these scripts and style sheets forbids the page to load or run more.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections import Counter
from importlib import resources
from string import Template

from ..errors import QuanterrError
from ..results.judging import mask_cost, winners
from ..results.report import SPELT, Record, Report
from ..results.table import processor_seconds, storage
from .heat import table
from .layers import LayerPage, columns_of, layer_pages
from .payload import payload
from .steady import section

STYLES = ("heat.css", "page.css", "steady.css")
SCRIPTS = ("plot.js", "steady.js", "page.js")
#: Colours of tiles.
KINDS = {"quantization": "q", "pruning": "p"}


def page(report: Report) -> bytes:
    """The whole report as UTF-8; the same report gives the same bytes.

    Raises
    ------
    QuanterrError
        There is no record, or one lacks its other side.
    """
    from .. import __version__

    layers = _layers(report)
    columns = columns_of(layers)
    first, second = ("quantisation", "pruning") if report.widths else ("the first", "the second")
    style, script = ("\n".join(map(_part, names)) for names in (STYLES, SCRIPTS))
    content = Template(_part("page.html")).substitute(
        title=html.escape(report.title or "Quantisation or pruning"),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        summary=_summary(report, layers),
        bits="".join(f"<option value='{html.escape(str(c.key))}'>{html.escape(c.label)}</option>" for c in columns),
        axis="Bits" if report.widths else "Compared",
        first=first,
        second=second,
        lead=html.escape(_lead(report)),
        storage=html.escape(_storage(report)),
        table=table(layers, columns, interactive=True),
        refused=_refused(report.refused),
        stability=section(report.stability),
        data=_json_for_html(payload(layers, columns, report.stability)),
        version=html.escape(__version__),
    )
    # A lone surrogate, possible in a layer's name, becomes the replacement character instead of an error.
    return content.encode("utf-8", "xmlcharrefreplace")


def fragment(report: Report) -> str:
    """The heat map alone, for notebooks: no scripts."""
    layers = _layers(report)
    columns = columns_of(layers)
    return (
        f"<style>{_part('heat.css')}</style><div class='quanterr' style='overflow:auto;max-height:40em'>"
        f"{table(layers, columns, interactive=False)}</div>"
    )


def _layers(report: Report) -> list[LayerPage]:
    if not report.records:
        raise QuanterrError("nothing to report: the run has no records, every chunk was refused")
    return layer_pages(report)


def _part(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json_for_html(value: object) -> str:
    """JSON that cannot end its script element or start a comment, whatever strings it holds; ASCII only."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _summary(report: Report, layers: list[LayerPage]) -> str:
    found = list(winners(report))
    count = Counter(winner.method for winner in found)
    whole = sum(layer.whole for layer in layers)
    open_rows = sum(record.open_rows for record in report.records)
    rows = sum(record.rows for record in report.records)
    methods = dict.fromkeys(record.method for record in report.records)
    counts = [(f"{count[m]:,}", f"for {SPELT.get(m, m)}", KINDS.get(m, "x")) for m in methods]
    counts.append((f"{count['']:,}", "undecided", "u"))
    tiles = "".join(
        f"<li class='tile {kind}'><b>{number}</b> {html.escape(what)}</li>" for number, what, kind in counts
    )
    proof = "every optimum proven by search" if not open_rows else f"{open_rows:,} left open, between proven bounds"
    where = " at one bit-width" if report.widths else ""
    here = sum(bool(winner.at_scale) for winner in found)
    aside = (
        f" {here:,} of the undecided ones are decided at the scale of the run, open for other scales." if here else ""
    )
    scope = "a whole layer" if whole == len(layers) else "one chunk of columns"
    if 0 < whole < len(layers):
        scope += f" (or of a whole layer: {whole:,} of the layers)"
    return (
        f"<ul class='tiles'>{tiles}</ul><p class='summary'>{_counted(len(found), 'comparison')} of "
        f"{_counted(len(layers), 'layer')}, each of {scope}{where}.{aside} {_counted(rows, 'row problem')}, {proof}; "
        f"{processor_seconds(sum(record.seconds for record in report.records))}.</p>"
    )


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _lead(report: Report) -> str:
    if report.widths:
        return "For each layer: is quantisation or pruning the better compression, whatever algorithm is used?"
    return "For each layer and every two contestants: which is the better compression, whatever algorithm is used?"


def _storage(report: Report) -> str:
    """What the comparison counts as storage."""
    first: dict[str, Record] = {}
    for record in report.records:
        first.setdefault(record.method, record)
    if not report.widths:
        return "Bits a weight: " + "; ".join(f"{method} {storage(record)}" for method, record in first.items()) + "."
    cost = mask_cost(report.records)
    if cost is None:
        return ""
    return (
        "The mask that says which weights are kept is free, as in the paper."
        if cost == 0
        else "The mask that says which weights are kept counts one bit a weight: pruning keeps ⌊n (b − 1) / 16⌋."
    )


def _refused(reasons: tuple[str, ...]) -> str:
    if not reasons:
        return ""
    items = "".join(f"<li>{html.escape(reason)}</li>" for reason in reasons)
    return f"<section><h2>Refused</h2><p>These chunks have no verdict.</p><ul class='refused'>{items}</ul></section>"
