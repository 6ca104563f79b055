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
from importlib import resources
from string import Template

from ..errors import QuanterrError
from ..report import Outcome, Report
from .heat import table
from .layers import LayerPage, layer_pages
from .payload import payload
from .steady import section

STYLES = ("heat.css", "page.css", "steady.css")
SCRIPTS = ("plot.js", "steady.js", "page.js")


def page(report: Report) -> bytes:
    """The whole report as UTF-8; the same report gives the same bytes.

    Raises
    ------
    QuanterrError
        There is no record, or one lacks its other side.
    """
    from .. import __version__

    layers = _layers(report)
    bits = report.widths
    style, script = ("\n".join(map(_part, names)) for names in (STYLES, SCRIPTS))
    content = Template(_part("page.html")).substitute(
        title=html.escape(report.title or "Quantisation or pruning"),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        summary=_summary(report, layers),
        bits="".join(f"<option value='{width}'>{width} bits</option>" for width in bits),
        table=table(layers, bits, interactive=True),
        refused=_refused(report.refused),
        stability=section(report.stability),
        data=_json_for_html(payload(layers, bits, report.stability)),
        version=html.escape(__version__),
    )
    # A lone surrogate, possible in a layer's name, becomes the replacement character instead of an error.
    return content.encode("utf-8", "xmlcharrefreplace")


def fragment(report: Report) -> str:
    """The heat map alone, for notebooks: no scripts."""
    layers = _layers(report)
    bits = report.widths
    return (
        f"<style>{_part('heat.css')}</style><div class='quanterr' style='overflow:auto;max-height:40em'>"
        f"{table(layers, bits, interactive=False)}</div>"
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
    verdicts = [pair.verdict.outcome for layer in layers for pairs in layer.pairs.values() for pair in pairs]
    whole = sum(layer.whole for layer in layers)
    open_rows = sum(record.open_rows for record in report.records)
    rows = sum(record.rows for record in report.records)
    counts = (
        (f"{verdicts.count(Outcome.QUANTIZATION):,}", "for quantisation", "q"),
        (f"{verdicts.count(Outcome.PRUNING):,}", "for pruning", "p"),
        (f"{verdicts.count(Outcome.UNDECIDED):,}", "undecided", "u"),
    )
    tiles = "".join(f"<li class='tile {kind}'><b>{number}</b> {what}</li>" for number, what, kind in counts)
    proof = "every optimum proven by search" if not open_rows else f"{open_rows:,} left open, between proven bounds"
    return (
        f"<ul class='tiles'>{tiles}</ul><p class='summary'>{len(verdicts):,} comparisons of {len(layers):,} layers, "
        "each of one chunk "
        f"of columns (or of a whole layer: {whole:,} of the layers) at one bit-width. {rows:,} row problems, {proof}; "
        f"{sum(record.seconds for record in report.records):,.0f} processor seconds.</p>"
    )


def _refused(reasons: tuple[str, ...]) -> str:
    if not reasons:
        return ""
    items = "".join(f"<li>{html.escape(reason)}</li>" for reason in reasons)
    return f"<section><h2>Refused</h2><p>These chunks have no verdict.</p><ul class='refused'>{items}</ul></section>"
