"""The page of contestants that were named, in a real browser."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from quanterr import certify

from .browser import DESKTOP, PHONE, Browser, in_browser
from .conftest import make_layer
from .test_report_browser import SHOWN, choose, names

pytestmark = in_browser
CONTESTANTS = ["int3", "nf4", "2:4", "prune75", "int4+prune50"]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    heavy = make_layer("heavy", 6, 16)
    heavy = dataclasses.replace(heavy, weight=np.random.default_rng(0).standard_t(1.1, size=(6, 16)))
    report = certify([make_layer("light", 6, 16, seed=3), heavy], contestants=CONTESTANTS, chunk=8)
    assert any(duel.at_scale for duel in report.pairs())
    return report.to_html(tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def page(request: pytest.FixtureRequest, browser: Browser, path: Path) -> Iterator[Browser]:
    browser.problems.clear()
    browser.open(path, *request.param)
    yield browser
    assert browser.run("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    assert not browser.problems


def test_every_two_have_a_column_to_filter_sort_and_open(page: Browser) -> None:
    heads = page.run("[...document.querySelectorAll('.heat thead th')].map(h => h.dataset.head)")
    assert len(heads) == 5 + len(CONTESTANTS) * (len(CONTESTANTS) - 1) // 2
    assert "int3 · 2:4" in heads
    assert names(page) == ["light", "heavy"]
    choose(page, "bits", "2:4 · prune75")
    visible = "[...document.querySelectorAll('.heat thead th')].filter(h => !h.hidden).map(h => h.dataset.head)"
    assert [h for h in page.run(visible) if "·" in h] == ["2:4 · prune75"]
    choose(page, "verdict", "P")
    assert page.run(f"{SHOWN}.length") == 0, "half kept is never worse than a quarter"
    choose(page, "verdict", "Q")
    assert names(page) == ["light", "heavy"]
    choose(page, "bits", "")
    choose(page, "verdict", "")
    page.click("th[data-key='bits-int3 · nf4'] button")
    page.click("tbody[data-layer='1'] th button")
    text = page.run("document.getElementById('detail-1').innerText")
    assert "heavy, int3 · nf4" in text
    assert "int3 SNR (dB)" in text
    assert "open for other scales" in page.run("document.body.innerText")
