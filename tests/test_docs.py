"""The documentation: it builds without a warning, names everything that is public, and what it shows is run."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
import shlex
import subprocess
import sys
import tomllib
from collections import OrderedDict
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
import torch
import typer.main

from quanterr.cli import app
from quanterr.models.presets import PRESETS

ROOT = Path(__file__).parent.parent
PACKAGES = ("bounds", "quanterr", "quanterr.heuristics", "quanterr.layers", "quanterr.models", "quanterr.scan")
TUTORIAL = ROOT / "docs" / "tutorial.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(?P<kind>\w+)(?P<rest>[^\n]*)\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"\d+(?:\.\d+)?")
#: Names that a page uses without making them: what a reader brings along.
GIVEN = {
    "README.md": {"model", "batches", "gram", "weight", "scale"},
    "your-model.md": {"model", "batches"},
    "compressing-a-network.md": {"model", "batches"},
}


def blocks(page: Path, kind: str) -> list[re.Match[str]]:
    return [match for match in FENCE.finditer(page.read_text(encoding="utf-8")) if match["kind"] == kind]


def shell_lines(page: Path) -> list[str]:
    return [line for block in blocks(page, "sh") for line in joined(block["code"]) if line.strip()]


def joined(code: str) -> list[str]:
    """Lines of a shell, those that end in a backslash with the next one."""
    return code.replace("\\\n", " ").splitlines()


def commands() -> dict[str, Any]:
    return typer.main.get_command(app).commands  # type: ignore[attr-defined, no-any-return]


# --- the site ---------------------------------------------------------------------------------------------------------


class Anchors(HTMLParser):
    """What a page loads, where it links to, and where it can be linked to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids |= {values["id"]} if values.get("id") else set()
        if tag == "a" and values.get("href"):
            self.links.append(str(values["href"]))
        if tag == "link" and values.get("rel") not in ("canonical", "next", "prev"):
            self.loads.append(str(values["href"]))
        if tag in ("script", "img", "iframe", "source") and values.get("src"):
            self.loads.append(str(values["src"]))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does: a warning is an error."""
    out = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=ROOT, env=environment() | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Anchors]:
    return {page: Anchors(page) for page in site.rglob("*.html")}


def test_every_public_name_has_an_entry(site: Path, pages: dict[Path, Anchors]) -> None:
    ids: set[str] = set().union(*(page.ids for path, page in pages.items() if path.parent.name == "reference"))
    for package in PACKAGES:
        module = importlib.import_module(package)
        assert module.__all__
        for name in module.__all__:
            if f"{package}.{name}" in PACKAGES:
                continue  # a package with entries of its own
            made = getattr(module, name)
            parents = {other for other in PACKAGES if getattr(importlib.import_module(other), name, None) is made}
            assert ids & {f"{parent}.{name}" for parent in parents}, f"{package}.{name} is missing in the reference"


def test_every_command_is_in_the_reference(site: Path) -> None:
    text = (site / "reference" / "command-line.html").read_text(encoding="utf-8")
    for name, command in commands().items():
        assert f"quanterr {name}" in text
        for parameter in command.params:
            assert parameter.opts[0] in text


def test_links_lead_somewhere(site: Path, pages: dict[Path, Anchors]) -> None:
    for page, found in pages.items():
        if page.name == "404.html":
            continue  # served from anywhere, so its links are absolute
        for link in (*found.links, *found.loads):
            parts = urlsplit(link)
            if parts.scheme in ("http", "https", "mailto"):
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{page.relative_to(site)}: {link}"
            if parts.fragment and target.suffix == ".html":
                assert unquote(parts.fragment) in pages[target].ids | {"__skip"}, f"{page.relative_to(site)}: {link}"


def test_nothing_is_loaded_from_other_hosts(site: Path, pages: dict[Path, Anchors]) -> None:
    for page, found in pages.items():
        assert not [link for link in found.loads if urlsplit(link).netloc], page
    for style in site.rglob("*.css"):
        assert not re.findall(r"@import|url\(\s*['\"]?(?:https?:)?//", style.read_text(encoding="utf-8")), style


def test_formulas_are_drawn_without_scripts(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "arithmatex" not in text, page
    assert "<math" in (site / "explanation" / "one-inequality.html").read_text(encoding="utf-8")


# --- the examples -----------------------------------------------------------------------------------------------------


def modules() -> Iterator[str]:
    for name in ("bounds", "quanterr"):
        yield name
        package = importlib.import_module(name)
        yield from (found.name for found in pkgutil.walk_packages(package.__path__, f"{name}."))


def test_doctests() -> None:
    attempted = 0
    for name in modules():
        if not name.endswith("__main__"):
            result = doctest.testmod(importlib.import_module(name))
            assert result.failed == 0, name
            attempted += result.attempted
    assert attempted > 4


@pytest.mark.parametrize("page", [page for page in PAGES if page != TUTORIAL], ids=lambda page: page.stem)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": page.stem}
    names |= {name: brought_along()[name] for name in GIVEN.get(page.name, ())}
    for block in blocks(page, "python"):
        execute(block["code"], page, names)


def brought_along() -> dict[str, object]:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(100, 12)).astype(np.float32)
    torch.manual_seed(0)
    layer = torch.nn.Sequential(torch.nn.Linear(12, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))
    return {
        "model": torch.nn.Sequential(OrderedDict(layer1=layer)), "batches": torch.from_numpy(inputs).split(50),
        "gram": inputs.T @ inputs / 100, "weight": rng.normal(size=(3, 12)), "scale": 0.3,
    }  # fmt: skip


def execute(code: str, page: Path, names: dict[str, object]) -> None:
    exec(compile(code, f"{page.name}: {code.splitlines()[0]}", "exec", dont_inherit=True), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_exist(page: Path) -> None:
    """Each command of a page parses, and each target, extra and benchmark it names is there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in shell_lines(page):
        words = shlex.split(line)
        match words:
            case ["quanterr", name, *options]:
                require_known(name, options)
            case ["make", target]:
                assert re.search(rf"^{target}:", makefile, re.MULTILINE), line
            case ["pip", "install", "-c", "constraints.txt", "-e", what]:
                assert set(re.findall(r"\w+", what)) <= set(project["optional-dependencies"]), line
            case ["python", "-m", "benchmarks", name]:
                assert (ROOT / "benchmarks" / f"{name}.py").is_file(), line
            case ["python", script]:
                assert f'title="{script}"' in page.read_text(encoding="utf-8"), line
            case _:
                pytest.fail(f"{page.name} shows a command that no test knows: {line}")


def require_known(name: str, options: list[str]) -> None:
    """The command takes these options, and its preset exists."""
    parameters = commands()[name].make_context(name, options).params
    assert parameters.get("preset") in (None, *PRESETS), options


def test_examples_of_the_help() -> None:
    examples = [
        shlex.split(line) for command in commands().values() for line in re.findall(r"`(quanterr .+)`", command.help)
    ]
    assert len(examples) > 9
    for _, name, *options in examples:
        if options and not options[0].startswith("--cert"):
            require_known(name, options)


def test_tutorial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Files are written, commands and Python are run, in order; what is printed is what the page shows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names: dict[str, object] = {"__name__": "tutorial"}
    printed = ""
    compared = 0
    for block in FENCE.finditer(TUTORIAL.read_text(encoding="utf-8")):
        title = re.search(r'title="([^"]+)"', block["rest"])
        if title:
            (tmp_path / title[1]).write_text(block["code"], encoding="utf-8")
        elif block["kind"] == "sh":
            printed = "".join(run(line, tmp_path) for line in joined(block["code"]))
        elif block["kind"] == "python":
            capsys.readouterr()
            execute(block["code"], TUTORIAL, names)
            printed = capsys.readouterr().out
        elif block["kind"] == "text":
            same_output(block["code"], printed)
            compared += 1
    assert compared >= 4
    monkeypatch.delitem(sys.modules, "digits")


def environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path, "COLUMNS": "120", "OMP_NUM_THREADS": "1"}


def run(line: str, folder: Path) -> str:
    program, *arguments = shlex.split(line)
    command = [sys.executable, *(["-m", "quanterr"] if program == "quanterr" else []), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def same_output(shown: str, printed: str) -> None:
    """Each line shown is printed, in order, with the same words and nearly the same numbers; `…` stands for anything.

    Numbers may differ as a network trained on another machine does.
    """
    lines = iter(printed.splitlines())
    for line in filter(lambda line: line.strip() not in ("", "…"), shown.splitlines()):
        words = re.escape(NUMBER.sub("#", " ".join(line.split())))
        pattern = words.replace("\\#", r"(\d+(?:\.\d+)?)").replace("\\ ", r"\s+").replace("…", ".*")
        values = [float(value) for value in NUMBER.findall(line)]
        found = (re.search(pattern, candidate) for candidate in lines)
        if not any(match and np.allclose([float(v) for v in match.groups()], values, 0.1, 0.5) for match in found):
            pytest.fail(f"the tutorial shows {line!r}, but its commands print\n{printed}")
