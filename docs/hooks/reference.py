"""The reference: one entry for every name in the `__all__` of a package, and the help of every command.

Nothing here lists names. A new public name lands on the page of the module that defines it, a new module on a page
of its own, and every mention of a name in the text becomes a link.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import griffe
from mkdocs.structure.files import File
from mkdocs.utils import get_relative_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

#: Packages with a reference, in the order of the site; a name that an earlier one exports is not repeated.
PACKAGES = ("bounds", "quanterr", "quanterr.layers", "quanterr.heuristics", "quanterr.models", "quanterr.scan")
#: package → modules inside it → title of their page; all other modules get a page of their own.
PAGES = {
    "bounds": {
        ("problem", "verbs", "result", "gram", "errors"): "Problem, verbs, results",
        ("feasible",): "Feasible sets",
        ("relaxation",): "Lower bounds",
        ("exact",): "Exact search",
        ("certificate", "block_certificate", "interval_certificate"): "Certificates",
        ("local",): "Local search",
        ("layer_bounds", "allocation"): "One budget for a layer",
    },
    "quanterr": {
        ("certify", "execution", "results", "layers", "store", "errors"): "Layers to verdicts",
        ("distributions",): "Distributions",
        ("grids",): "Grids",
        ("expected",): "Expected errors",
        ("scan",): "Scans",
        ("compare",): "Comparing heuristics",
        ("proofs",): "Checking certificates",
    },
    "quanterr.layers": {(): "Capturing layers"},
    "quanterr.heuristics": {(): "Heuristics"},
    "quanterr.models": {(): "Models and presets"},
    "quanterr.scan": {(): "Scans in detail"},
}
ROOT = Path(__file__).parents[2]
COMMAND_LINE = "reference/command-line.md"


@dataclass(frozen=True)
class Entry:
    """One public name: as users write it, as griffe finds it, and what the reference says in one line."""

    name: str
    path: str
    canonical: str
    home: str
    callable_first: bool
    summary: str


def public_names(package: str) -> list[str]:
    """`__all__` of a package, read from its source: nothing is imported."""
    return [str(name) for name in _load(package).exports or ()]


@cache
def _load(package: str) -> griffe.Module:
    loader = griffe.GriffeLoader(search_paths=[str(ROOT)])
    loader.load(package.split(".")[0])
    loader.resolve_aliases(implicit=True)
    return loader.modules_collection[package]


def _entries(package: str) -> Iterator[Entry]:
    module = _load(package)
    for name in public_names(package):
        path = f"{package}.{name}"
        member = module[name]
        if member.is_module:
            if name not in member.members:
                continue  # a subpackage with a reference of its own
            path, member = f"{path}.{name}", member[name]  # a function that shares its module's name
        target = member.final_target if member.is_alias else member
        inside = target.path.removeprefix(f"{module.path}.")
        home = inside.split(".")[0] if inside != target.path else ""
        summary = target.docstring.value.partition("\n\n")[0].replace("\n", " ") if target.docstring else ""
        yield Entry(f"{package}.{name}", path, target.path, home, not target.is_function, summary)


def _pages() -> dict[str, tuple[str, str, list[Entry]]]:
    """Path of every page → its title, its introduction and its entries."""
    pages: dict[str, tuple[str, str, list[Entry]]] = {}
    seen: set[str] = set()
    for package in PACKAGES:
        module = _load(package)
        titles = dict(PAGES[package])
        found: dict[tuple[str, ...], list[Entry]] = {modules: [] for modules in titles}
        for entry in _entries(package):
            if entry.canonical in seen:
                continue
            seen.add(entry.canonical)
            modules = next((m for m in titles if entry.home in m or not m), (entry.home,))
            found.setdefault(modules, []).append(entry)
        for modules, entries in found.items():
            if entries:
                order = {home: place for place, home in enumerate(modules)}
                entries.sort(key=lambda e: (order.get(e.home, 0), e.callable_first, e.name))
                title = titles.get(modules, modules[0].replace("_", " ").capitalize() if modules else package)
                first = module[modules[0]] if modules and modules[0] in module.members else module
                _, _, page = pages.setdefault(_path(package, modules), (title, _introduction(first, module), []))
                page.extend(entries)
    return pages


def _introduction(first: griffe.Object, module: griffe.Module) -> str:
    """What the docstring of the first module says."""
    source = first if first.is_module and first.docstring else module
    return source.docstring.value.split("\n\n")[0] if source.docstring else ""


def _path(package: str, modules: tuple[str, ...]) -> str:
    return f"reference/{'-'.join([*package.split('.'), *modules[:1]])}.md"


def _page(title: str, introduction: str, entries: list[Entry]) -> str:
    lines = [f"# {title}", introduction, "| name | |\n| --- | --- |"]
    lines[-1] += "".join(f"\n| [`{e.name}`](#{e.name}) | {e.summary.replace('|', '&#124;')} |" for e in entries)
    for entry in entries:
        short = entry.name.rpartition(".")[2]
        if entry.path == entry.name:
            lines.append(f"::: {entry.name}")
        else:
            options = f"    options:\n      heading: {entry.name}\n      toc_label: {short}"
            lines.append(f'<a id="{entry.name}"></a>\n\n::: {entry.path}\n{options}')
    return "\n\n".join(lines) + "\n"


def _command_line() -> str:
    import click
    import typer.main
    from typer.cli import get_docs_for_click

    from quanterr.cli import app

    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=click.Context(command, info_name="quanterr"), name="quanterr")
    for name, one in command.commands.items():  # whole sentences instead of typer's first 45 letters
        first = (one.help or "").partition("\n\n")[0].replace("\n", " ")
        text = re.sub(rf"^\* `{name}`: .*$", f"* [`{name}`](#quanterr-{name}): {first}", text, flags=re.MULTILINE)
    return text.replace("# `quanterr`\n", "# Command line\n", 1).replace("```console\n$ ", "```sh\n")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages under *Reference*, one section a package."""
    config.extra["reference"] = pages = _pages()
    sections: dict[str, list[dict[str, str]]] = {}
    for path, (title, _, entries) in pages.items():
        sections.setdefault(entries[0].name.split(".")[0], []).append({title: path})
    entry = next(item for item in config.nav if "Reference" in item)
    entry["Reference"] = [{"Command line": COMMAND_LINE}, *({name: pages} for name, pages in sections.items())]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Write the pages: mkdocstrings fills in the objects."""
    files.append(File.generated(config, COMMAND_LINE, content=_command_line()))
    for path, page in config.extra["reference"].items():
        files.append(File.generated(config, path, content=_page(*page)))
    return files


def _links(config: MkDocsConfig, files: Files) -> dict[str, str]:
    """Every way to write a public name → its place. Plain lower-case words need their package in front."""
    links: dict[str, str] = {}
    for path, (_, _, entries) in config.extra["reference"].items():
        url = files.get_file_from_path(path).url
        for entry in entries:
            short = entry.name.rpartition(".")[2]
            links[entry.name] = f"{url}#{entry.name}"
            if short != short.lower() or "_" in short:
                links.setdefault(short, f"{url}#{entry.name}")
    return links


def on_page_content(text: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Link the names mentioned in code font, outside headings and links; drop dashes before empty descriptions."""
    links = _links(config, files)
    text = re.sub(r"\s+–\s*<div class=\"doc-md-description\">\s*</div>", "", text)  # the type says all

    def link(match: re.Match[str]) -> str:
        if match["name"] is None:
            return match[0]
        name = html.unescape(match["name"])
        target = links.get(name.partition("(")[0])
        if target is None:
            return match[0]
        return f'<a class="name" href="{get_relative_url(target, page.url)}">{match[0]}</a>'

    skipped = r"<(?P<tag>h[1-6]|a|pre|summary)\b.*?</(?P=tag)>"
    return re.sub(rf"{skipped}|<code>(?P<name>[\w.]+(?:\([^<]*\))?)</code>", link, text, flags=re.DOTALL)
