"""The safetensors format: eight bytes of header length, a JSON header, then the raw little-endian values.

Read here without a library, because numpy has neither bfloat16 nor the 8-bit floats and torch is not needed for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import InputError
from .formats import decode
from .tensors import Tensor

LONGEST_HEADER = 100_000_000
#: Name in the header: name in torch, bytes a value.
DTYPES = {
    "F64": ("float64", 8), "F32": ("float32", 4), "F16": ("float16", 2), "BF16": ("bfloat16", 2),
    "F8_E4M3": ("float8_e4m3fn", 1), "F8_E5M2": ("float8_e5m2", 1),
    "I64": ("int64", 8), "I32": ("int32", 4), "I16": ("int16", 2), "I8": ("int8", 1),
    "U64": ("uint64", 8), "U32": ("uint32", 4), "U16": ("uint16", 2), "U8": ("uint8", 1), "BOOL": ("bool", 1),
}  # fmt: skip


def from_safetensors(path: Path) -> Iterator[Tensor]:
    """Every tensor of a file, in the order of its bytes; only what is `read` is loaded.

    Raises
    ------
    InputError
        A header that is cut off, no JSON, or does not fit the file.
    """
    header, start, size = _header(path)
    entries = sorted((item for item in header.items() if item[0] != "__metadata__"), key=lambda item: _offset(item[1]))
    for name, entry in entries:
        yield _tensor(path, name, entry, start, size)


def from_shards(path: Path) -> Iterator[Tensor]:
    """Every tensor of the files that an index (`*.safetensors.index.json`) names, shard by shard.

    Raises
    ------
    InputError
        An index without a weight map, or a shard that is missing or lacks a tensor of the map.
    """
    try:
        weight_map = dict(json.loads(path.read_text())["weight_map"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no index of a sharded file ({error}): name a .safetensors file instead") from error
    for shard in dict.fromkeys(weight_map.values()):
        file = path.parent / shard
        if not file.is_file():
            raise InputError(f"{path} names the shard {shard}, which is not beside it: download it, or name one shard")
        missing = {name for name, place in weight_map.items() if place == shard}
        for tensor in from_safetensors(file):
            missing.discard(tensor.name)
            yield tensor
        if missing:
            raise InputError(f"{file} lacks {min(missing)!r}, which {path.name} promises: download both again")


def _header(path: Path) -> tuple[dict[str, Any], int, int]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, LONGEST_HEADER):
                raise InputError(
                    f"{path} is cut off or no safetensors file: its header does not fit; download it again"
                )
            header = json.loads(file.read(length))
    except (ValueError, OSError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is no safetensors file ({error}): download it again") from error
    if not isinstance(header, dict):
        raise InputError(f"{path} is no safetensors file: its header is a {type(header).__name__}; download it again")
    return header, 8 + length, size


def _offset(entry: Any) -> int:
    try:
        return int(entry["data_offsets"][0])
    except (TypeError, KeyError, IndexError, ValueError):
        return -1


def _tensor(path: Path, name: str, entry: Any, start: int, size: int) -> Tensor:
    try:
        first, last = (int(offset) for offset in entry["data_offsets"])
        shape = tuple(int(extent) for extent in entry["shape"])
        dtype, width = DTYPES.get(entry["dtype"], (str(entry["dtype"]).lower(), 0))
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(f"{path}: the header's entry of {name!r} is damaged ({error}): download it again") from error
    tensor = Tensor(name, shape, dtype, partial(decode, path, name, start + first, shape, dtype))
    fits = 0 <= first <= last and start + last <= size and min(shape, default=0) >= 0
    if not fits or (width and last - first != tensor.size * width):
        raise InputError(f"{path}: {name!r} reaches beyond the file or its shape: it is cut off; download it again")
    return tensor
