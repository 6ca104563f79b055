"""What the report page says of other calibration inputs: with and without scripts, by mouse, in print, in the dark."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quanterr import Report, Spread, Stability
from quanterr.report_page import page as page_of

from .browser import DESKTOP, PHONE, Browser, in_browser
from .network import BITS, HOSTILE, network

FLIPPED, INFINITE = "blocks.1.conv", "blocks.4.conv"


def steady_network() -> Report:
    """The made-up run, two bit-widths of which were solved anew; a flip, a refused split, an infinite advantage."""
    report, rng, spreads = network(), np.random.default_rng(1), []
    for verdict in report.judged():
        if verdict.bits == BITS[-1]:
            continue
        sign = {"quantization": 1.0, "pruning": -1.0, "undecided": 0.0}[verdict.outcome]
        known = sign * max(verdict.margin_db, 0.0)
        splits = [float(known + 0.4 * rng.normal()) for _ in range(4)]
        verdicts = ["quantization" if value > 0 else "pruning" for value in splits]
        if verdict.layer == FLIPPED and verdict.bits == 2 and verdict.chunk == 0:
            splits[2], verdicts[2] = -sign * 0.7, "quantization" if sign < 0 else "pruning"
        elif sign:
            verdicts = [verdict.outcome.value] * 4
        spread = Spread(
            layer=verdict.layer, chunk=verdict.chunk, bits=verdict.bits, verdict=verdict.outcome.value,
            advantage_db=known, low_db=known - 0.9, high_db=known + 0.8, bias_db=0.1,
            flip_probability=0.0125 if sign else None, inputs=14, inputs_needed=9 if sign else None,
            split_verdicts=tuple(verdicts), split_db=tuple(splits),
            held_out_db=tuple(value - 0.5 * sign for value in splits), quantization_transfer_db=0.2,
            pruning_transfer_db=0.3,
        )  # fmt: skip
        if verdict.layer == INFINITE:
            spread = replace(spread, advantage_db=np.inf, low_db=np.inf, high_db=np.inf)
            spread = replace(
                spread, split_verdicts=(*spread.split_verdicts[:3], "refused"), split_db=(*splits[:3], None)
            )
        spreads.append(spread)
    return replace(report, stability=Stability(tuple(spreads), 4, 14, 2000, 0.95, 0, refused=("split 4: <refused>",)))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return steady_network().to_html(tmp_path_factory.mktemp("page") / "steady.html")


def test_a_run_that_did_not_ask_says_so() -> None:
    text = page_of(network()).decode()
    assert "Would other inputs agree?" not in text
    assert "<code>quanterr stability</code> asks that" in text


def test_the_list_is_in_the_page_itself() -> None:
    """Flips and what is not settled, without scripts; names of layers are never markup."""
    found = steady_network()
    assert found.stability is not None
    text = page_of(found).decode()
    listed = text[text.index("<section class='calibration'>") :]
    listed = listed[: listed.index("</section>")]
    unsure = [s for s in found.stability.spreads if s.flips or not s.settled]
    assert listed.count("<th scope='row'>") == len(unsure) > 1
    assert "<b>1</b> have another verdict in some part" in listed
    assert f"<b>{len(found.stability.unsettled)}</b> have an interval that includes zero" in listed
    assert "more cannot tell" in listed
    assert "Refused in some part: 1." in listed
    assert all(name not in listed for name in HOSTILE if "<" in name)


@in_browser
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_layer_shows_its_splits(browser: Browser, path: Path, size: tuple[int, int]) -> None:
    browser.problems.clear()
    browser.open(path, *size)
    browser.click("tbody[data-layer='1'] th button")
    detail = "document.querySelector('#detail-1 .steadiness')"
    text = browser.run(f"{detail}.innerText")
    assert "Would other calibration inputs agree?" in text
    panels = browser.run(f"[...{detail}.querySelectorAll('svg')].map(s => s.getAttribute('aria-label'))")
    assert len(panels) == len(BITS) - 1
    assert "2 comparisons, 1 with another verdict in some split" in panels[0]
    assert "2 comparisons, 0 with another verdict" in panels[1]
    assert browser.run(f"{detail}.querySelectorAll('path.flip').length") == 1
    assert browser.run(f"{detail}.querySelectorAll('svg g title').length") == 4
    cells = browser.run(f"[...{detail}.querySelectorAll('.steady > tbody > tr')].map(r => r.cells.length)")
    assert cells == [11] * 4
    assert browser.run(f"{detail}.querySelectorAll('tbody b').length") == 1, "the flip is told by more than colour"
    assert "1.25 %" in text
    browser.click("tbody[data-layer='4'] th button")
    other = browser.run("document.querySelector('#detail-4 .steadiness').innerText")
    assert "∞" in other
    assert "– –" in other
    assert browser.run("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    assert not browser.problems


@in_browser
def test_in_print_and_in_the_dark(browser: Browser, path: Path, tmp_path: Path) -> None:
    browser.problems.clear()
    browser.open(path, *DESKTOP, dark=True)
    browser.click("tbody[data-layer='1'] th button")
    ink = browser.run("getComputedStyle(document.querySelector('svg .all')).fill")
    assert ink == "rgb(230, 237, 243)"
    browser.pdf(tmp_path / "steady.pdf")
    assert (tmp_path / "steady.pdf").read_bytes().startswith(b"%PDF")
    assert not browser.problems
