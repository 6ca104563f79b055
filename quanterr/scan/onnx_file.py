"""Initializers of an ONNX file; external data is read one tensor at a time."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .formats import RAW, decode, floats
from .tensors import Tensor

DTYPES = {
    "FLOAT": "float32", "DOUBLE": "float64", "FLOAT16": "float16", "BFLOAT16": "bfloat16",
    "FLOAT8E4M3FN": "float8_e4m3fn", "FLOAT8E5M2": "float8_e5m2",
}  # fmt: skip


def from_onnx(path: Path) -> Iterator[Tensor]:
    """Initializers in the graph's order. Their first axis counts as the output channel, as it is for convolutions and
    for Gemm with transB (MatMul stores inputs first).

    Raises
    ------
    InputError
        The package onnx is missing, the file is damaged, or its external data is.
    """
    from ..models.packages import require

    onnx = require("onnx", "onnx", "pip install quanterr[onnx]")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's own exceptions have no common base
        raise InputError(f"{path} is no ONNX file or damaged ({type(error).__name__}): export it again") from error
    if not model.ByteSize():
        raise InputError(f"{path} is no ONNX file: it is empty; export it again")
    for initializer in model.graph.initializer:
        kind = onnx.TensorProto.DataType.Name(initializer.data_type)
        dtype = DTYPES.get(kind, kind.lower())
        yield Tensor(initializer.name, tuple(initializer.dims), dtype, partial(_read, onnx, initializer, dtype, path))


def _read(onnx: Any, initializer: Any, dtype: str, path: Path) -> NDArray[np.floating]:
    shape = tuple(initializer.dims)
    if initializer.data_location == onnx.TensorProto.EXTERNAL:
        places = {entry.key: entry.value for entry in initializer.external_data}
        location = places.get("location", "")
        file, root = (path.parent / location).resolve(), path.parent.resolve()
        if not file.is_file() or root not in file.parents:
            raise InputError(
                f"{path}: the data of {initializer.name!r} should be in {location!r} beside it: put it there"
            )
        return decode(file, initializer.name, int(places.get("offset", 0)), shape, dtype)
    if initializer.raw_data:
        raw = np.frombuffer(initializer.raw_data, RAW[dtype])
        if raw.size == np.prod(shape, dtype=np.int64):
            return floats(raw, dtype).reshape(shape)
    try:
        values = onnx.numpy_helper.to_array(initializer)
    except ValueError as error:
        raise InputError(f"{path}: {initializer.name!r} is damaged ({error}): export it again") from error
    return np.asarray(values.astype(np.float64 if dtype == "float64" else np.float32))
