"""The report page without a browser: structure, escaping, numbers on the safe side, old stores."""

import base64
import dataclasses
import hashlib
import json
import math
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from quanterr import LayerFacts, QuanterrError, Record, Report, Store, certify
from quanterr.cli import app
from quanterr.report_page import fragment, page
from quanterr.report_page.heat import decibel

from .conftest import make_layer
from .network import BITS, HOSTILE, network, side

VOID = {"meta", "br", "wbr", "input", "img", "link"}


class Parsed(HTMLParser):
    """Tags in order, attributes, and the text of the elements asked for; complains about bad nesting."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self.inside: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert not self.stack

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)
            self.inside.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.stack):
            self.inside[tag][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def parsed() -> Parsed:
    return Parsed(page(network()).decode())


def data(report: Report) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Parsed(page(report).decode()).inside["script"][0])
    return found


def test_the_page_stands_alone(parsed: Parsed) -> None:
    assert not [a for _, a in parsed.tags if {"src", "href", "style"} & a.keys() or any(k.startswith("on") for k in a)]
    policy = next(a["content"] or "" for a in parsed.all("meta") if "http-equiv" in a)
    assert policy.startswith("default-src 'none'; ")
    for directive, code in (("style-src", parsed.inside["style"][0]), ("script-src", parsed.inside["script"][1])):
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert not re.search(
        r"https?:(?!//www\.w3\.org/2000/svg)|@import|url\(", "".join(parsed.inside["style"] + parsed.inside["script"])
    )
    assert [a.get("type") for a in parsed.all("script")] == ["application/json", None]


def test_the_table_is_one_for_screen_readers(parsed: Parsed) -> None:
    assert parsed.all("html")[0]["lang"] == "en"
    headers = [a.get("scope") for a in parsed.all("th")]
    layers = len(parsed.all("tbody"))
    assert Counter(headers) == {"col": 3 + len(BITS) + 2, "row": layers}
    assert parsed.inside["caption"][0].startswith("Which is better")
    assert [a.get("aria-expanded") for a in parsed.all("button")][-layers:] == ["false"] * layers
    assert len(parsed.all("td")) == layers * (2 + len(BITS) + 2)
    ids = [a["id"] for _, a in parsed.tags if "id" in a]
    assert len(ids) == len(set(ids))


def test_names_stay_names() -> None:
    """The same elements whatever the layers are called, but where a name may break, and every name as text and data."""

    def elements(found: Parsed) -> list[str]:
        return [tag for tag, _ in found.tags if tag != "wbr"]

    plain = network(extra=tuple(f"layer {i}" for i in range(len(HOSTILE))))
    hostile = Parsed(page(network()).decode())
    assert elements(hostile) == elements(Parsed(page(plain).decode()))
    names = [layer.layer for layer in network().layers]
    assert hostile.inside["button"][-len(names) :] == names
    assert [layer["name"] for layer in data(network())["layers"]] == names
    assert hostile.inside["h1"] == ["A <network> & more"]
    assert any("<twins>" in item for item in hostile.inside["li"])


@given(name=st.text(), note=st.text())
@settings(max_examples=60, deadline=None)
def test_any_name_survives(name: str, note: str) -> None:
    pair = (side(name, 0, 4, "quantization", 20, 0), side(name, 0, 4, "pruning", 10, 0))
    report = Report(pair, note, (note,), (LayerFacts(name, 24, 36, 1, 5, 0.0, None, (note,)),))
    found = data(report)["layers"][0]
    assert (found["name"], found["facts"]["notes"]) == (name, [note])


errors = st.floats(1e-30, 1e30)


@given(q=st.tuples(errors, errors, errors), p=st.tuples(errors, errors, errors))
@settings(max_examples=60, deadline=None)
def test_printed_numbers_are_proven(q: tuple[float, ...], p: tuple[float, ...]) -> None:
    def given_record(method: str, values: tuple[float, ...]) -> Record:
        low, high, start = sorted(values)[0], sorted(values)[1], sorted(values)[2]
        return dataclasses.replace(
            side("layer", 0, 4, method, 0, 0), energy=1.0, error_lower=low, error_upper=high, error_start=start
        )

    report = Report((given_record("quantization", q), given_record("pruning", p)))
    cell = data(report)["layers"][0]["cells"][0]
    verdict = next(report.judged())
    assert cell["verdict"] == {"quantization": "Q", "pruning": "P", "undecided": "?"}[verdict.outcome]
    assert 0 <= verdict.margin_db - cell["margin"][0] / 1000 <= 0.00101
    for record, shown in zip(report.records, (cell["q"], cell["p"]), strict=True):
        assert 0 <= record.snr_db - shown["achieved"][0] / 1000 <= 0.00101
        assert 0 <= shown["limit"][0] / 1000 - record.snr_limit_db <= 0.00101
        assert shown["start"][0] <= shown["achieved"][0] <= shown["limit"][0]


def test_what_is_without_error_or_signal_is_said() -> None:
    perfect = dataclasses.replace(side("a", 0, 4, "quantization", 9, 0), error_upper=0.0, error_lower=0.0)
    silent = [dataclasses.replace(perfect, layer="b", method=m, energy=0.0) for m in ("quantization", "pruning")]
    first, second = data(Report((perfect, side("a", 0, 4, "pruning", 3, 0), *silent)))["layers"]
    assert first["cells"][0]["q"]["limit"] == first["cells"][0]["margin"] == ["∞"]
    assert second["cells"][0]["p"]["achieved"] == [None]
    assert second["cells"][0]["verdict"] == "?"
    assert [decibel(v) for v in (math.inf, -math.inf, 1.29, 0.04, -0.04, -1.21)] == [
        "∞",
        "−∞",
        "1.2",
        "0.0",
        "−0.1",
        "−1.3",
    ]


def test_chunks_never_become_a_claim_about_the_layer(parsed: Parsed) -> None:
    report = network()
    whole = [layer["name"] for layer in data(report)["layers"] if layer["whole"]]
    assert "blocks.3.conv" in whole
    assert "blocks.0.conv" not in whole, "one chunk, but a second was refused: the layer has 72 columns"
    assert "blocks.1.conv" not in whole
    unknown = dataclasses.replace(report, layers=())
    assert not any(layer["whole"] or layer["facts"] for layer in data(unknown)["layers"])
    scopes = [text for text in parsed.inside["td"] if "chunk" in text or text == "layer"]
    assert scopes[:4] == ["1 chunk", "2 chunks", "3 chunks", "layer"]


def test_cells_show_counts_and_ranges() -> None:
    leads = (1.29, 3.06, -0.51)
    report = Report(
        tuple(
            record
            for chunk, lead in enumerate(leads)
            for record in (side("a", chunk, 4, "quantization", 20 + lead, 0), side("a", chunk, 4, "pruning", 20, 0))
        )
    )
    assert "<td class='x'>2 <b>Q</b> 1.2–3.0<br>1 <b>P</b> 0.5</td>" in page(report).decode()
    agreeing = Report(report.records[:4])
    assert "<td class='q1'><b>Q</b> 1.2–3.0</td>" in page(agreeing).decode()
    open_sides = Report((side("a", 0, 4, "quantization", 20, 1.0), side("a", 0, 4, "pruning", 20.5, 0)))
    assert "<td class='u'><b>?</b> −0.5</td>" in page(open_sides).decode()


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    report = network()
    with Store(tmp_path / "s") as store:
        store.add_run(report.title, report.to_dicts(), report.facts())
        again = Report.from_dicts(*store.last_run()[::-1], store.last_facts())
    assert again == report
    assert page(again) == page(report)


def test_nothing_to_report_is_an_error() -> None:
    with pytest.raises(QuanterrError, match="no records"):
        page(Report(()))
    with pytest.raises(QuanterrError, match=r"layer a, chunk 0, 4 bits: no record of.*pruning"):
        page(Report((side("a", 0, 4, "quantization", 9, 0),)))


def test_text_on_every_shade_is_readable() -> None:
    """WCAG contrast of at least 4.5 in light and dark."""
    text = (Path(__file__).parents[2] / "quanterr" / "report_page" / "heat.css").read_text()
    shades = re.findall(r"background: #(\w{6}); color: #(\w{6})", text)
    assert len(shades) == 2 * (6 + 6 + 2)
    for back, ink in shades:
        low, high = sorted((_luminance(back), _luminance(ink)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (back, ink)


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_notebooks_show_the_table_without_scripts() -> None:
    shown = Parsed(network()._repr_html_())
    assert fragment(network()) == network()._repr_html_()
    assert not shown.all("script")
    assert not shown.all("button")
    assert len(shown.all("tbody")) == len(network().layers)


def test_facts_of_captured_layers_are_kept(tmp_path: Path) -> None:
    layer = dataclasses.replace(make_layer(rows=4, columns=8), notes=("dead inputs",), damping=0.5)
    with Store(tmp_path / "s") as store:
        report = certify([layer], bits=(4,), store=store)
        assert Report.from_dicts(*store.last_run()[::-1], store.last_facts()) == report
    (kept,) = report.layers
    away = layer.weight - layer.weight.mean()
    assert kept.kurtosis == pytest.approx((away**4).mean() / (away**2).mean() ** 2)
    assert (kept.notes, kept.damping, kept.samples, kept.columns) == (("dead inputs",), 0.5, 400, 8)
    flat = dataclasses.replace(layer, weight=layer.weight * 0 + 1)
    assert certify([flat], bits=(4,)).layers[0].kurtosis is None


def test_the_command(tmp_path: Path) -> None:
    path, out = tmp_path / "run.sqlite", tmp_path / "run.html"
    report = network(2, ())
    with Store(path) as store:
        store.add_run(report.title, report.to_dicts(), {})
    old = invoke("report", path, "-o", out)
    assert old.exit_code == 0, old.output
    assert "stored without facts of its layers" in " ".join(old.output.split())
    with Store(path) as store:
        store.add_run(report.title, report.to_dicts(), report.facts())
    done = invoke("report", path, "-o", out)
    assert "note:" not in done.output
    assert out.read_bytes() == page(report)
    assert "does not exist" in invoke("report", tmp_path / "absent").stderr
    assert "choose another place" in invoke("report", path, "-o", tmp_path / "absent" / "x.html").stderr


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))
