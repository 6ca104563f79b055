"""All figures into one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import QuanterrError
from ..plots import save
from ..scan.scanning import scan
from ..scan.tensors import DEMO
from .captions import write_captions
from .points import Points, points_of_scan, read_points
from .real import figure_3_left, figure_3_right, natural_sparsity, natural_sparsity_figure
from .theory import figure_1, figure_2, figure_5

PUBLISHED = "model_zoo_weight_snr.csv"


def draw_all(folder: str | Path, *, data: str | Path | None = None, model: Any = None) -> list[Path]:
    """Write figures 1, 2, 3 and 5 and the natural sparsity as PDF, SVG and PNG, and `captions.md`.

    The same input gives the same bytes.

    Parameters
    ----------
    folder : made when missing
    data : records for figure 3, a CSV as `read_points` takes
    model : what to scan for figure 3 instead, see `quanterr.scan`; without both, the weights of EfficientNet-lite0

    Raises
    ------
    QuanterrError
        The data or the model cannot be read, or the folder not be written.
    """
    base = Path(folder)
    points, scanned = _sources(data, model)
    sparsity = natural_sparsity(points, scanned)
    figures = {
        "figure_1": figure_1(),
        "figure_2": figure_2(),
        "figure_3_left": figure_3_left(points),
        "figure_3_right": figure_3_right(points),
        "figure_5": figure_5(),
        "natural_sparsity": natural_sparsity_figure(sparsity),
    }
    written = [path for name, figure in figures.items() for path in save(figure, base / name)]
    captions = base / "captions.md"
    published = data is not None and Path(data).name == PUBLISHED
    try:
        captions.write_text(write_captions(points, published, sparsity), encoding="utf-8")
    except OSError as error:
        raise QuanterrError(f"cannot write {captions}: {error.strerror}; choose another folder") from error
    return [*written, captions]


def _sources(data: str | Path | None, model: Any) -> tuple[Points, Points | None]:
    """The points of figure 3, and a scan to set beside them in table 2 where both are given."""
    if data is None:
        return points_of_scan(scan(DEMO if model is None else model), _title(model)), None
    points = read_points(data)
    if model is None:
        return points, None
    return points, points_of_scan(scan(model), _title(model))


def _title(model: Any) -> str:
    if model is None or model == DEMO:
        return "EfficientNet-lite0"
    return Path(model).name if isinstance(model, str | Path) else type(model).__name__
