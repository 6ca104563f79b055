"""Every notebook runs from top to bottom, on public names only."""

import ast
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": path.parent}}
    ).execute()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_teaches_with_public_names(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    prose = sum(len(c.source) for c in cells if c.cell_type == "markdown")
    code = "\n".join(c.source for c in cells if c.cell_type == "code")
    assert prose > len(code) / 2
    names = [n.attr for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Attribute)]
    assert not [name for name in names if name.startswith("_") and not name.startswith("__")]


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS
