"""The direction of imports: bounds ← quanterr; torch only where networks are."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TORCH_PLACES = (
    "quanterr/layers/",
    "quanterr/heuristics/",
    "quanterr/models/",
    "quanterr/compression/",
    "quanterr/inputs.py",
    "quanterr/session.py",
)
HEAVY = {"torch", "matplotlib", "pandas", "transformers", "rich", "typer", "cvxpy", "gurobipy"}
LAZY = {"bounds/relaxation/semidefinite.py": {"cvxpy"}, "bounds/exact/gurobi.py": {"gurobipy"}}
#: Who may import whom inside a package: a module may import only from layers to its left.
BOUNDS_ORDER = [
    "errors",
    "gram",
    "bands",
    "feasible",
    "problem",
    "result",
    "rational",
    "rounding",
    "kernels",
    "minima",
    "block_certificate",
    "interval_certificate",
    "certificate",
    "allocation",
    "relaxation",
    "local",
    "exact",
    "layer_bounds",
    "verbs",
]
QUANTERR_ORDER = [
    "errors", "any_scale", "distributions", "contestants", "grids", "expected", "scaling", "code_grid", "efforts",
    "layers", "grams", "settling", "units", "layer_tasks", "store", "execution", "gram_scale", "plan", "resampling",
    "results", "scale_free", "tally", "every_scale", "proofs", "layer_budget", "samples", "certify", "stability",
    "heuristics", "models", "inputs", "session", "compare", "plots", "scan", "figures", "report_page",
    "compression", "commands", "cli", "__main__",
]  # fmt: skip


def _files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def _imports(path: Path) -> set[str]:
    """Absolute dotted names a file imports, anywhere in it."""
    names: set[str] = set()
    package = list(path.relative_to(ROOT).with_suffix("").parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = [*base, *(node.module.split(".") if node.module else [])]
            names |= {".".join(module)} | {".".join([*module, alias.name]) for alias in node.names}
    return names


@pytest.mark.parametrize("path", _files("bounds"), ids=str)
def test_bounds_stands_alone(path: Path) -> None:
    relative = str(path.relative_to(ROOT))
    roots = {name.split(".")[0] for name in _imports(path)}
    assert not roots & ((HEAVY | {"quanterr"}) - LAZY.get(relative, set()))


@pytest.mark.parametrize("path", _files("quanterr"), ids=str)
def test_torch_stays_where_networks_are(path: Path) -> None:
    relative = str(path.relative_to(ROOT))
    if not relative.startswith(TORCH_PLACES):
        assert "torch" not in {name.split(".")[0] for name in _imports(path)}


@pytest.mark.parametrize(("package", "order"), [("bounds", BOUNDS_ORDER), ("quanterr", QUANTERR_ORDER)])
def test_modules_import_leftwards(package: str, order: list[str]) -> None:
    """Top-level imports only: a function may reach right for a plot, a module may not."""
    for path in _files(package):
        parts = path.relative_to(ROOT / package).with_suffix("").parts
        if parts[0] not in order:
            continue
        for node in ast.parse(path.read_text()).body:
            if not isinstance(node, ast.ImportFrom) or not node.level:
                continue
            base = [package, *parts[:-1]][: len(parts) - node.level + 1]
            target = [*base, *(node.module or "").split(".")][1:]
            heads = [target[0]] if target and target[0] else [alias.name for alias in node.names]
            for head in heads:
                if head in order:
                    assert order.index(head) <= order.index(parts[0]), f"{path} imports {head}"


@pytest.mark.parametrize("package", ["bounds", "quanterr"])
def test_every_module_is_placed(package: str) -> None:
    order = BOUNDS_ORDER if package == "bounds" else QUANTERR_ORDER
    heads = {p.relative_to(ROOT / package).with_suffix("").parts[0] for p in _files(package)}
    assert heads - {"__init__"} <= set(order)


#: Both packages load most of their names late.
EVERYTHING = "bounds, quanterr; [getattr(package, name) for package in (bounds, quanterr) for name in package.__all__]"


def test_importing_loads_no_heavy_package() -> None:
    code = f"import sys, {EVERYTHING}; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not HEAVY & set(loaded)


def test_nothing_compiles_at_import() -> None:
    code = (
        f"import {EVERYTHING}; import numba.core.dispatcher as d, gc;"
        "print(sum(len(o.overloads) for o in gc.get_objects() if isinstance(o, d.Dispatcher)"
        " and o.py_func.__module__.startswith(('bounds', 'quanterr'))))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "0"
    )


def test_no_fastmath_behind_a_claim() -> None:
    """Reordered arithmetic may propose a certificate, never prove one: searches and the judge don't import it."""
    reordered = {p.stem for p in (ROOT / "bounds" / "kernels").glob("*.py") if "fastmath=True" in p.read_text()}
    proving = [p for p in _files("bounds") if p.stem not in reordered and p.parent.name != "relaxation"]
    for path in proving:
        assert "fastmath=True" not in path.read_text()
        if path.name != "__init__.py":
            assert not {f"bounds.kernels.{name}" for name in reordered} & _imports(path), path
