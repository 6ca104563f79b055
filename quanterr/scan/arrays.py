"""Tensors that are in memory already, or in a torch checkpoint that torch maps into it."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .tensors import Tensor


def from_checkpoint(path: Path) -> Iterator[Tensor]:
    """The tensors of a `torch.save` file, mapped into memory; nothing in it is executed.

    Raises
    ------
    InputError
        A damaged file, one that holds more than tensors, or one without any.
    """
    from ..models.packages import require

    torch = require("torch", "torch", "pip install quanterr[torch]")
    try:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap" not in str(error):
                raise
            content = torch.load(path, map_location="cpu", weights_only=True)  # the format before torch 1.6
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is damaged or holds more than tensors, and nothing in it is executed: "
            "save the state dict, torch.save(model.state_dict(), path), or give package.module:factory"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} is no torch checkpoint or damaged ({_line(error)}): download it again") from error
    if not isinstance(content, Mapping):
        raise InputError(f"{path} holds a {type(content).__name__}, not a state dict: save model.state_dict()")
    return from_mapping(content)


def from_mapping(content: Mapping[Any, Any], prefix: str = "") -> Iterator[Tensor]:
    """Tensors and arrays of a mapping; of nested ones too, with dots in their names. Other values are left out."""
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from from_mapping(value, f"{name}.")
        elif isinstance(value, np.ndarray):
            yield Tensor(name, value.shape, value.dtype.name, partial(_from_numpy, value))
        elif hasattr(value, "detach") and hasattr(value, "numpy"):
            dtype = str(value.dtype).removeprefix("torch.")
            yield Tensor(name, tuple(value.shape), dtype, partial(_from_torch, value, dtype))


def _from_numpy(array: NDArray[Any]) -> NDArray[np.floating]:
    return array.astype(np.float64 if array.dtype == np.float64 else np.float32, copy=False)


def _from_torch(tensor: Any, dtype: str) -> NDArray[np.floating]:
    values = tensor.detach().cpu()
    small = dtype not in ("float64", "float32")
    return np.asarray((values.float() if small else values).numpy())


def _line(error: Exception) -> str:
    return str(error).split("\n", 1)[0] or type(error).__name__
