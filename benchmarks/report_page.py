"""The page of `quanterr report` at 500 layers, beside what its plots could be drawn with: matplotlib's SVG, plotly.js.

The network is made up (Gaussian SNRs, 1 … 39 chunks a layer, 7 bit-widths): only its size matters here. The browser's
times are processor time of the main thread in headless Chromium, drawing included.
"""

from __future__ import annotations

import importlib.util
import io
import tempfile
import time
from pathlib import Path

import numpy as np

from quanterr import LayerFacts, Record, Report
from tests.quanterr.browser import Browser, executable

from .timing import markdown

BITS = range(2, 9)
#: matplotlib is asked for a tenth of the network: its drawing and its file grow with every mark.
PART = 50
ACTIONS = {
    "filter by name, 71 layers stay": "find('text').value = 'down'; readControls()",
    "show all again": "find('text').value = ''; readControls()",
    "one bit-width": "find('bits').value = '4'; readControls()",
    "all bit-widths": "find('bits').value = ''; readControls()",
    "sort by the margin at 4 bits": "sort(table.tHead.rows[0].cells[5])",
    "open a layer": "toggle(bodies[5], 4)",
    "draw the plots of all layers": "stale = true; drawOverview()",
}


def run() -> str:
    """Sizes and processor time of writing; times of opening and using the page."""
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        network(1).to_html(Path(folder) / "warm.html")
    for layers in (PART, 500):
        report = network(layers)
        with tempfile.TemporaryDirectory() as folder:
            began = time.process_time()
            path = report.to_html(Path(folder) / "report.html")
            rows.append([f"the page, {layers} layers", f"{len(report.records):,}", *_cost(path.stat().st_size, began)])
            used = _used(path) if layers == 500 else ""
    report = network(PART)
    began = time.process_time()
    drawing = io.StringIO()
    report.plot().savefig(drawing, format="svg")
    name = f"matplotlib's SVG of figure 4 alone, {PART} layers"
    rows.append([name, f"{len(report.records):,}", *_cost(len(drawing.getvalue()), began)])
    plotly = importlib.util.find_spec("plotly")
    size = Path(str(plotly.origin)).with_name("package_data").joinpath("plotly.min.js").stat().st_size if plotly else 0
    rows.append(["plotly.js alone, in every page", "–", f"{size / 1e6:.2f} MB" if size else "not installed", "–"])
    return markdown(["", "records", "size", "written in"], rows) + "\n\n" + used


def network(layers: int) -> Report:
    """Layers named like a transformer's, seeded."""
    rng = np.random.default_rng(0)
    parts = ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.gate", "mlp.up", "mlp.down")
    records, facts = [], []
    for index in range(layers):
        name = f"model.layers.{index // 7}.{parts[index % 7]}_proj"
        chunks, kurtosis = int(rng.integers(1, 40)), 3 + float(np.exp(rng.normal(1, 1.2)))
        facts.append(LayerFacts(name, 384, 36 * chunks, 1, 40_000, 0.0, kurtosis))
        for chunk in range(chunks):
            for bits in BITS:
                for method, snr in (("quantization", 6 * bits - 6), ("pruning", 3.2 * bits)):
                    upper = 100 * 10 ** (-(snr + float(rng.normal(0, 1.5))) / 10)
                    records.append(
                        Record(
                            name, chunk, bits, method, 384, 36, 100.0, upper, upper * (1 - 5e-7),
                            upper * float(rng.uniform(1, 1.1)), "closed", 0, "search", float(rng.uniform(0.01, 3)),
                        )
                    )  # fmt: skip
    return Report(tuple(records), "A synthetic network", (), tuple(facts))


def _cost(size: int, began: float) -> list[str]:
    return [f"{size / 1e6:.2f} MB", f"{time.process_time() - began:.1f} s"]


def _used(path: Path) -> str:
    program = executable()
    if program is None:
        return "No Chromium here: the page was not opened."
    with tempfile.TemporaryDirectory() as profile, Browser(program, Path(profile)) as browser:
        browser.call("Performance.enable", timeDomain="threadTicks")
        rows = [["open", _milliseconds(browser, lambda: browser.open(path, 1300, 1000))]]
        for name, action in ACTIONS.items():
            rows.append([name, _milliseconds(browser, lambda: (browser.run(f"{{ {action} }}"), browser.settle()))])  # noqa: B023
    return markdown(["500 layers, in the browser", "processor time"], rows)


def _milliseconds(browser: Browser, action) -> str:  # type: ignore[no-untyped-def]
    began = _thread_time(browser)
    action()
    return f"{1000 * (_thread_time(browser) - began):.0f} ms"


def _thread_time(browser: Browser) -> float:
    metrics = browser.call("Performance.getMetrics")["metrics"]
    return float(next(m["value"] for m in metrics if m["name"] == "ThreadTime"))
