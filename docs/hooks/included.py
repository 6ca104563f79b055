"""Pages that live elsewhere in the repository: measurements, changelog, and the notebooks as run."""

from __future__ import annotations

import base64
import json
import re
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[2]
FILES = {"benchmarks.md": "benchmarks/RESULTS.md", "changelog.md": "CHANGELOG.md"}
PREFERRED = ("image/png", "text/html", "text/plain")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the notebooks by their own titles."""
    entry = next(item for item in config.nav if "Notebooks" in item)
    entry["Notebooks"] = [f"notebooks/{path.stem}.md" for path in _notebooks()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add them to the site."""
    for name, source in FILES.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    for path in sorted((ROOT / "figures").glob("*.svg")):
        files.append(File.generated(config, f"figures/{path.name}", abs_src_path=str(path)))
    for path in _notebooks():
        text, images = _markdown(path)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        for name, picture in images.items():
            files.append(File.generated(config, f"notebooks/{name}", content=picture))
    return files


def _notebooks() -> list[Path]:
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


def _markdown(path: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as one page of Markdown and its pictures by name."""
    images: dict[str, bytes] = {}
    parts: list[str] = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for data in _outputs(cell["outputs"]):
            kind = next((kind for kind in PREFERRED if kind in data), None)
            if kind == "image/png":
                name = f"{path.stem}_{len(images)}.png"
                images[name] = base64.b64decode("".join(data[kind]))
                parts.append(f"![Output of the cell above]({name})")
            elif kind == "text/html":
                parts.append(f'<div class="output">{_plain_table("".join(data[kind]))}</div>')
            elif kind == "text/plain" and "widget" not in str(list(data)):
                parts.append(f"```text\n{''.join(data[kind]).rstrip()}\n```")
    note = f"*Run from top to bottom by the tests; the file is `notebooks/{path.name}`.*"
    title, _, rest = "\n\n".join(parts).partition("\n")
    return f"{title}\n\n{note}\n{rest}\n", images


def _outputs(outputs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for kind, group in groupby(outputs, lambda output: output["output_type"]):
        if kind == "stream":
            yield {"text/plain": ["".join(output["text"]) for output in group]}
        else:
            yield from (output["data"] for output in group)


def _plain_table(text: str) -> str:
    """A table of pandas without its own style, so that it looks like the others."""
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    return re.sub(r"<(table|tr)\b[^>]*>", r"<\1>", text).replace("\n", " ")
