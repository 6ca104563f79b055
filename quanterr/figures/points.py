"""Measured tensors to draw: the authors' published records, or a scan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..distributions.kernels import Array
from ..errors import InputError
from ..scan.scanning import WeightRecord, to_frame

COLUMNS = ("bits", "quant_snr_db", "prune_snr_db", "quant_zero_fraction")


@dataclass(frozen=True)
class Points:
    """One entry a tensor and bit-width, all arrays (n,); SNRs in dB, `kurtosis` 3 for a Gaussian."""

    title: str
    bits: Array
    kurtosis: Array
    quant_snr_db: Array
    prune_snr_db: Array
    quant_zero_fraction: Array

    @property
    def compared(self) -> Any:
        """(n,) True where both SNRs and the kurtosis are finite; pruning loses nothing where only zeros are pruned."""
        return np.isfinite(self.quant_snr_db) & np.isfinite(self.prune_snr_db) & np.isfinite(self.kurtosis)

    @property
    def placed(self) -> Any:
        """(n,) True where moreover the kurtosis is one: no distribution has less than 1."""
        return self.compared & (self.kurtosis >= 1.0)

    @property
    def widths(self) -> list[int]:
        """The bit-widths that occur, ascending."""
        return sorted({int(b) for b in self.bits})


def read_points(path: str | Path) -> Points:
    """Points from a CSV: the authors' records (column `excess_kurtosis`) or `quanterr scan --csv` (`kurtosis`).

    Raises
    ------
    InputError
        A file that is missing, no CSV, empty, or lacks a column.
    """
    import pandas as pd

    file = Path(path)
    if not file.is_file():
        raise InputError(f"{file} does not exist: give a CSV of records, e.g. from `quanterr scan --csv`")
    try:
        table = pd.read_csv(file)
    except (ValueError, OSError) as error:
        raise InputError(f"{file} is no CSV file ({error}): give one from `quanterr scan --csv`") from error
    missing = [name for name in COLUMNS if name not in table.columns]
    if "kurtosis" not in table.columns and "excess_kurtosis" not in table.columns:
        missing.append("kurtosis")
    if missing or not len(table):
        what = f"lacks the columns {', '.join(missing)}" if missing else "has no lines"
        raise InputError(f"{file} {what}: give a CSV of records, e.g. from `quanterr scan --csv`")
    return _points(table, "torchvision model zoo" if "excess_kurtosis" in table.columns else file.stem)


def points_of_scan(records: Iterable[WeightRecord], title: str) -> Points:
    """Points from the records of `scan`."""
    return _points(to_frame(records), title)


def _points(table: Any, title: str) -> Points:
    columns = {name: table[name].to_numpy(dtype=np.float64) for name in COLUMNS}
    if "kurtosis" in table.columns:
        kurtosis = table["kurtosis"].to_numpy(dtype=np.float64)
    else:
        kurtosis = table["excess_kurtosis"].to_numpy(dtype=np.float64) + 3.0
    bits, *rest = columns.values()
    points = Points(title, bits, kurtosis, *rest)
    if not points.placed.any():
        raise InputError(f"{title}: no record has both SNRs and a kurtosis, so there is nothing to draw")
    return points
