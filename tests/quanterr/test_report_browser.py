"""The report page as a reader meets it: in a real browser, by mouse and by keyboard, on a desktop and on a phone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .browser import DESKTOP, PHONE, Browser, in_browser
from .network import BITS, HOSTILE, network

pytestmark = in_browser
SHOWN = "[...document.querySelectorAll('.heat > tbody')].filter(b => !b.hidden)"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return network().to_html(tmp_path_factory.mktemp("page") / "report.html")


#: Colours of the cells of the heat map.
SHADES = "[...document.querySelectorAll('.heat td[class]')].map(e => getComputedStyle(e).backgroundColor)"


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def page(request: pytest.FixtureRequest, browser: Browser, path: Path) -> Iterator[Browser]:
    """The page, freshly loaded; whatever a test does, nothing may fail, be logged or be fetched."""
    browser.problems.clear()
    browser.open(path, *request.param)
    yield browser
    assert browser.run("performance.getEntriesByType('resource').length") == 0
    assert browser.run("window.hacked") is None
    assert browser.run("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    assert not browser.problems


def names(page: Browser) -> list[str]:
    found: list[str] = page.run(f"{SHOWN}.map(b => b.querySelector('th').innerText.trim())")
    return found


def choose(page: Browser, control: str, value: str) -> None:
    change = "e.dispatchEvent(new Event('input', {bubbles: true}))"
    page.run(f"(() => {{ const e = document.getElementById('{control}'); e.value = '{value}'; {change} }})()")
    page.settle()


def test_filter_by_name(page: Browser) -> None:
    assert len(names(page)) == 30 + len(HOSTILE)
    page.click("#text")
    page.type("LOCKS.1")
    assert names(page) == [n for n in (f"blocks.{i}.conv" for i in range(30)) if n.startswith("blocks.1")]
    assert page.run("document.getElementById('status').textContent") == "11 of 36 layers"
    page.type("nothing has this name")
    assert page.run("document.getElementById('status').textContent") == "0 of 36 layers: nothing fits, reset to see all"
    page.click("button[type=reset]")
    assert len(names(page)) == 36


def test_filter_by_verdict_and_bits(page: Browser) -> None:
    choose(page, "verdict", "?")
    assert names(page) == ["blocks.3.conv"]
    choose(page, "verdict", "p")
    pruned = names(page)
    assert "blocks.1.conv" in pruned
    assert "blocks.0.conv" not in pruned
    choose(page, "bits", "8")
    assert names(page) == [], "pruning only wins at 2 bits"
    choose(page, "verdict", "Q")
    assert "blocks.1.conv" in names(page)
    headers = page.run("[...document.querySelectorAll('.heat thead th')].filter(h => !h.hidden).map(h => h.innerText)")
    assert [h for h in headers if "bits" in h] == ["8 bits"]
    choose(page, "bits", "")
    assert not page.run("document.querySelector('.heat thead th[hidden]')")


@pytest.mark.parametrize("by_keyboard", [False, True], ids=["mouse", "keyboard"])
def test_sort(page: Browser, by_keyboard: bool) -> None:
    def activate(key: str) -> None:
        button = f"th[data-key='{key}'] button"
        if by_keyboard:
            page.run(f'document.querySelector("{button}").focus()')
            page.press("Enter", 13, "\r")
        else:
            page.click(button)

    def order(key: str) -> Any:
        return page.run(f"document.querySelector(\"th[data-key='{key}']\").getAttribute('aria-sort')")

    network_order = names(page)
    activate("kurtosis")
    assert order("kurtosis") == "descending"
    assert names(page) == network_order[::-1]
    activate("kurtosis")
    assert order("kurtosis") == "ascending"
    assert names(page) == network_order
    activate("bits-2")
    assert order("kurtosis") is None
    least = "cell => Math.min(...cell.chunk.map((_, i) => signed(cell, i)))"
    margins = page.run(f"{SHOWN}.map(b => data.layers[b.dataset.layer].cells[0]).map({least})")
    assert margins == sorted(margins, reverse=True)
    assert margins[0] > 0 > margins[-1]
    activate("name")
    assert order("name") == "ascending"
    plain = [n for n in names(page) if n.startswith("blocks")]
    assert plain == sorted(plain, key=lambda n: int(n.split(".")[1]))
    activate("name")
    activate("name")
    assert order("name") is None
    assert names(page) == network_order


def detail(page: Browser, layer: int) -> str | None:
    found: str | None = page.run(f"document.getElementById('detail-{layer}')?.innerText ?? null")
    return found


def test_open_a_layer_by_mouse(page: Browser) -> None:
    button = "tbody[data-layer='1'] th button"
    page.click(button)
    assert page.run(f'document.querySelector("{button}").getAttribute("aria-expanded")') == "true"
    assert page.run(f'document.querySelector("{button}").getAttribute("aria-controls")') == "detail-1"
    text = detail(page, 1) or ""
    assert "each verdict speaks of its chunk alone" in text
    assert "dead inputs (always zero): column 3" in text
    assert page.run("document.querySelectorAll('#detail-1 svg[role=img][aria-label]').length") == len(BITS)
    assert page.run("document.querySelectorAll('#detail-1 .records tbody tr').length") == 2
    page.click("#detail-1 input[value='8']")
    assert "at 8 bits" in (detail(page, 1) or "")
    page.click(button)
    assert detail(page, 1) is None
    assert page.run(f'document.querySelector("{button}").getAttribute("aria-expanded")') == "false"
    page.click("tbody[data-layer='3'] td.u")
    whole = detail(page, 3) or ""
    assert "claims about the whole layer" in whole
    assert "search and dual; 3 of 24 rows open (node limit)" in whole
    assert page.run("document.querySelectorAll('#detail-3 .boxes').length") == len(BITS), "rectangles of open bounds"


def test_open_a_layer_by_keyboard(page: Browser) -> None:
    page.run("document.querySelector('.heat thead th:last-child button').focus()")
    page.press("Tab", 9)
    assert page.run("document.activeElement.innerText") == "blocks.0.conv"
    assert page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press("Enter", 13, "\r")
    assert "each verdict speaks of its chunk alone" in (detail(page, 0) or "")
    page.press("Tab", 9)
    assert page.run("document.activeElement.type") == "radio"
    page.press("ArrowDown", 40)
    assert "at 4 bits" in (detail(page, 0) or "")


def test_hostile_names_are_shown_as_they_are(page: Browser) -> None:
    for index, name in enumerate(HOSTILE, start=30):
        page.click(f"tbody[data-layer='{index}'] th button")
        assert page.run(f"document.querySelector('#detail-{index} h3').textContent") == name
    assert page.run("document.scripts.length") == 2


def show_plots(page: Browser) -> None:
    """Scroll there and wait until they are up to date."""
    page.run("document.getElementById('overview').scrollIntoView()")
    for _ in range(50):
        page.settle()
        if not page.run("stale"):
            return
    raise AssertionError("the plots are not drawn")


def test_plots_follow_the_filter(page: Browser) -> None:
    show_plots(page)
    assert page.run("document.querySelectorAll('#snr svg').length") == len(BITS)
    assert page.run("document.querySelectorAll('#kurtosis svg').length") == len(BITS)
    label = "document.querySelector('#snr svg').getAttribute('aria-label')"
    assert "1 undecided" in page.run(label)
    choose(page, "bits", "4")
    choose(page, "text", "blocks.1.")
    show_plots(page)
    assert page.run(label) == (
        "4 bits, quantisation SNR against pruning SNR: 2 for quantisation, 0 for pruning, 0 undecided"
    )


def test_a_mark_leads_to_its_layer(page: Browser) -> None:
    choose(page, "text", "blocks.20.")
    show_plots(page)
    svg = "document.querySelector('#kurtosis svg')"
    spot = page.run(
        f"(() => {{ const [x, y] = {svg}.querySelector('.dots').getAttribute('d').slice(1).split(/[ h]/).map(Number);"
        f"const p = new DOMPoint(x, y).matrixTransform({svg}.getScreenCTM()); return [p.x, p.y]; }})()"
    )
    page.click_at(*spot)
    assert (detail(page, 20) or "").startswith("blocks.20.conv")
    assert page.run("document.activeElement.innerText") == "blocks.20.conv"


def test_without_scripts_the_table_is_there(browser: Browser, path: Path) -> None:
    browser.problems.clear()
    browser.open(path, *DESKTOP, scripts=False)
    assert browser.run("document.querySelector('.controls').checkVisibility()") is False
    assert browser.run("document.querySelector('noscript').innerText").startswith("Sorting, filtering, plots")
    assert browser.run("document.querySelector('.heat').innerText").count("blocks.") == 30
    assert not browser.problems


def test_print_and_dark(browser: Browser, path: Path, tmp_path: Path) -> None:
    browser.problems.clear()
    browser.open(path, *DESKTOP, dark=True)
    dark = browser.run("getComputedStyle(document.body).backgroundColor")
    assert dark == "rgb(14, 19, 24)"
    assert browser.run("document.querySelectorAll('#snr svg').length") == 0, "plots are not drawn unseen"
    browser.pdf(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    assert browser.run("document.querySelectorAll('#snr svg').length") == len(BITS), "plots are drawn for print"
    browser.call(
        "Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}]
    )
    on_paper = browser.run(SHADES)
    browser.call("Emulation.setEmulatedMedia", media="")
    browser.open(path, *DESKTOP)
    assert on_paper == browser.run(SHADES), "paper is light"
    assert not browser.problems
