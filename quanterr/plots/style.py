"""The style of every figure: colour-blind safe, readable in print, vector and PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from ..errors import QuanterrError

# Okabe & Ito's palette, distinct under every common colour blindness; markers repeat the distinction.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "svg.hashsalt": "quanterr",
}


def save(figure: Figure, stem: str | Path) -> list[Path]:
    """Write a figure as PDF, SVG and PNG beside each other; the same figure gives the same bytes.

    Raises
    ------
    QuanterrError
        The folder cannot be written.
    """
    base = Path(stem)
    paths = [base.with_name(base.name + suffix) for suffix in (".pdf", ".svg", ".png")]
    undated = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}, ".png": {}}
    try:
        base.parent.mkdir(parents=True, exist_ok=True)
        with mpl.rc_context(STYLE):
            for path in paths:
                figure.savefig(path, dpi=160, metadata=undated[path.suffix])
    except OSError as error:
        raise QuanterrError(f"cannot write the figure {base}: {error.strerror}; choose another place") from error
    return paths
