"""Run the named benchmarks, or all, and write `benchmarks/RESULTS.md`."""

import sys
from importlib import import_module
from pathlib import Path

from threadpoolctl import threadpool_limits

from .timing import machine

ALL = (
    "compress_networks",
    "demo",
    "exact_search",
    "expected_error",
    "growth",
    "heuristics_pruning",
    "heuristics_quantization",
    "input_vectors",
    "layer_budget",
    "paper_bound",
    "peers_integers",
    "peers_pruning",
    "report_page",
    "scan_throughput",
    "stability",
    "upper_side",
    "which_heuristic",
    "whole_layers_integers",
    "whole_layers_pruning",
    "wide_layers",
)
RESULTS = Path(__file__).parent / "RESULTS.md"


def main(names: list[str]) -> None:
    """Keep the sections of benchmarks that are not run again."""
    old = RESULTS.read_text().split("\n## ")[1:] if RESULTS.exists() else []
    sections = {section.split("\n", 1)[0]: section.split("\n", 1)[1].strip() for section in old}
    for name in names or ALL:
        module = import_module(f"benchmarks.{name}")
        print(f"{name}: {module.__doc__.splitlines()[0]}", flush=True)
        with threadpool_limits(1):
            body = module.run()
        print(body, flush=True)
        sections[name] = f"{module.__doc__.strip()}\n\n`python -m benchmarks {name}`; {machine()}.\n\n{body}"
        text = "# Measured\n\nWritten by `python -m benchmarks`; nothing by hand.\n"
        for key in sorted(sections):
            text += f"\n## {key}\n\n{sections[key]}\n"
        RESULTS.write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
