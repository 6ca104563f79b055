"""Raw values of the float formats that numpy lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

RAW = {
    "float64": "<f8", "float32": "<f4", "float16": "<f2", "bfloat16": "<u2", "float8_e4m3fn": "u1", "float8_e5m2": "u1",
}  # fmt: skip


def decode(path: Path, name: str, offset: int, shape: tuple[int, ...], dtype: str) -> NDArray[np.floating]:
    """Values of a tensor at a place in a file.

    Raises
    ------
    InputError
        The file ends before the tensor does.
    """
    count = int(np.prod(shape, dtype=np.int64))
    values = np.fromfile(path, RAW[dtype], count, offset=offset)
    if values.size != count:
        raise InputError(f"{path} ends within {name!r}: it is cut off; download it again")
    return floats(values, dtype).reshape(shape)


def floats(raw: NDArray[Any], dtype: str) -> NDArray[np.floating]:
    """Floats from raw codes: bfloat16 is the upper half of a float32, 8-bit floats are looked up."""
    if dtype == "bfloat16":
        return (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if dtype.startswith("float8"):
        values: NDArray[np.floating] = _table(dtype)[raw]
        return values
    return np.asarray(raw, dtype=np.float64 if dtype == "float64" else np.float32)


def _table(dtype: str) -> NDArray[np.float32]:
    """All 256 values. E5M2 is the upper half of a float16; E4M3 has no infinities and one NaN of each sign."""
    codes = np.arange(256, dtype=np.uint16)
    if dtype == "float8_e5m2":
        return (codes << np.uint16(8)).view(np.float16).astype(np.float32)
    exponent, mantissa = (codes >> 3) & 15, codes & 7
    significand = np.where(exponent > 0, 8, 0) + mantissa
    magnitude = np.ldexp(significand.astype(np.float64), np.maximum(exponent, 1).astype(np.int64) - 10)
    magnitude[(codes & 127) == 127] = np.nan
    return np.asarray(np.where(codes & 128, -magnitude, magnitude), dtype=np.float32)
