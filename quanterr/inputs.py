"""Calibration inputs from a folder of images, an array file, or a function of the caller's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError
from .models.loading import is_specification, load_object
from .models.packages import require

IMAGES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
CROP = 0.875
COMMAND = "pip install quanterr[torch]"


@dataclass(frozen=True)
class Inputs:
    """Batches that can be read any number of times, made when asked for.

    Attributes
    ----------
    count : int or None
        Number of inputs; None where a function of the caller's gives batches one after the other.
    description : str
    """

    description: str
    count: int | None
    source: Callable[[], Iterator[Any]]

    def __iter__(self) -> Iterator[Any]:
        return self.source()


def load_inputs(
    spec: str | Path,
    *,
    batch_size: int = 8,
    size: int = 224,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
    samples: int | None = None,
    seed: int = 0,
) -> Inputs:
    """Calibration batches of float32 (or integer) tensors, or of mappings of tensors.

    Parameters
    ----------
    spec : str or Path
        A folder: its images (and those of its subfolders) in the order of their paths, the shorter side resized to
        `size / 0.875`, the central square of `size` pixels, `(pixel / 255 − mean) / std`.
        A `.npy`, `.npz` or `.pt` file: an array with inputs along the first axis, or several by name, which become
        keyword arguments.
        `package.module:function(…)`: an array, a mapping of arrays, or an iterable of batches.
    batch_size, size, mean, std : mean and std per colour, of pixels in 0 … 1; default ImageNet's
    samples : use at most so many inputs, drawn by `seed` and left in order; the first ones of an iterable

    Raises
    ------
    InputError
        A path that does not exist, an empty folder, an image or file that cannot be read, wrong types or shapes, NaN.
    """
    for name, value in (("batch_size", batch_size), ("size", size), ("samples", 1 if samples is None else samples)):
        if isinstance(value, bool) or value != int(value) or value < 1:
            raise InputError(f"{name} = {value!r} is not a positive whole number")
    path = Path(spec)
    if path.is_dir():
        return _folder(path, batch_size, size, _colours("mean", mean), _colours("std", std), samples, seed)
    if path.is_file():
        return _from(_read(path), str(spec), batch_size, samples, seed)
    if is_specification(str(spec)):
        return _from(load_object(str(spec)), str(spec), batch_size, samples, seed)
    raise InputError(
        f"{str(spec)!r} does not exist: give a folder of images, a .npy, .npz or .pt file, or package.module:function"
    )


def _folder(path: Path, batch_size: int, size: int, mean: Any, std: Any, samples: int | None, seed: int) -> Inputs:
    torch = require("torch", "torch", COMMAND)
    pil, operations = require("PIL.Image", "pillow", COMMAND), require("PIL.ImageOps", "pillow", COMMAND)
    files = sorted(f for f in path.rglob("*") if f.suffix.lower() in IMAGES and f.is_file())
    if not files:
        raise InputError(f"the folder {str(path)!r} holds no images ({', '.join(IMAGES)})")
    files = [files[i] for i in _drawn(len(files), samples, seed)]

    def image(file: Path) -> Any:
        try:
            with pil.open(file) as opened:
                picture = operations.exif_transpose(opened).convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(f"the image {str(file)!r} cannot be read ({error}): remove or replace it") from error
        width, height = picture.size
        factor = size / CROP / min(width, height)
        picture = picture.resize((max(size, round(width * factor)), max(size, round(height * factor))), 3)
        left, top = (picture.size[0] - size) // 2, (picture.size[1] - size) // 2
        pixels = np.asarray(picture.crop((left, top, left + size, top + size)), dtype=np.float64) / 255.0
        return ((pixels - mean) / std).transpose(2, 0, 1).astype(np.float32)

    def batches() -> Iterator[Any]:
        for first in range(0, len(files), batch_size):
            yield torch.from_numpy(np.stack([image(file) for file in files[first : first + batch_size]]))

    return Inputs(f"{len(files)} images of {path.name}", len(files), batches)


def _read(path: Path) -> Any:
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            return np.load(path, allow_pickle=False)
        if suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            return next(iter(arrays.values())) if len(arrays) == 1 else arrays
        if suffix in (".pt", ".pth"):
            return require("torch", "torch", COMMAND).load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{str(path)!r} cannot be read as arrays ({type(error).__name__}: {reason})") from error
    raise InputError(f"{str(path)!r}: inputs come from .npy, .npz or .pt files, or from a folder of images")


def _from(given: Any, name: str, batch_size: int, samples: int | None, seed: int) -> Inputs:
    torch = require("torch", "torch", COMMAND)
    if isinstance(given, (np.ndarray, torch.Tensor)):
        tensor = _tensor(torch, given, name)
        drawn = _drawn(len(tensor), samples, seed)
        return Inputs(f"{len(drawn)} inputs of {name}", len(drawn), lambda: iter(tensor[drawn].split(batch_size)))
    if isinstance(given, Mapping) and given:
        entries = {str(key): _tensor(torch, value, f"{name}, entry {key!r}") for key, value in given.items()}
        return _mapping(entries, name, batch_size, samples, seed)
    if isinstance(given, Iterable) and not isinstance(given, (str, bytes, Mapping)):
        return Inputs(f"batches of {name}", None, lambda: _first(given, samples))
    raise InputError(
        f"{name} gives a {type(given).__name__}: expected an array, arrays by name, or an iterable of batches"
    )


def _mapping(entries: dict[str, Any], name: str, batch_size: int, samples: int | None, seed: int) -> Inputs:
    lengths = {key: len(tensor) for key, tensor in entries.items()}
    if len(set(lengths.values())) != 1:
        raise InputError(f"{name}: the arrays differ in their number of inputs: {lengths}")
    drawn = _drawn(next(iter(lengths.values())), samples, seed)

    def batches() -> Iterator[Any]:
        for first in range(0, len(drawn), batch_size):
            yield {key: tensor[drawn[first : first + batch_size]] for key, tensor in entries.items()}

    return Inputs(f"{len(drawn)} inputs of {name}", len(drawn), batches)


def _tensor(torch: Any, value: Any, name: str) -> Any:
    """Floats become float32, integers int64 (token ids); anything else is refused."""
    if isinstance(value, np.ndarray) and value.dtype.kind not in "fiu":
        raise InputError(f"{name} holds {value.dtype}: expected floating-point numbers, or integers for token ids")
    if not isinstance(value, (np.ndarray, torch.Tensor)):
        raise InputError(f"{name} is a {type(value).__name__}, not an array")
    if str(value.dtype).endswith("uint8"):
        raise InputError(f"{name} holds bytes: normalise pixels to floats as the model expects them")
    if len(value.shape) < 2 or 0 in value.shape:
        raise InputError(
            f"{name} has shape {tuple(value.shape)}: expected inputs along the first axis, e.g. (n, 3, 224, 224)"
        )
    if isinstance(value, np.ndarray):
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity and is refused below
            value = torch.from_numpy(np.array(value, dtype=np.float32 if value.dtype.kind == "f" else np.int64))
    if value.is_complex() or value.dtype == torch.bool:
        raise InputError(f"{name} holds {value.dtype}: expected floating-point numbers, or integers for token ids")
    if not value.is_floating_point():
        return value.long()
    single = value.float()
    if not torch.isfinite(single).all():
        place = [int(i) for i in torch.argwhere(~torch.isfinite(single))[0]]
        raise InputError(
            f"{name} holds NaN, or a number beyond float32, in input {place[0]}, at {place[1:]}: remove that input"
        )
    return single


def _drawn(count: int, samples: int | None, seed: int) -> list[int]:
    if samples is None or samples >= count:
        return list(range(count))
    return [int(i) for i in np.sort(np.random.default_rng(seed).choice(count, samples, replace=False))]


def _first(batches: Iterable[Any], samples: int | None) -> Iterator[Any]:
    """Batches until `samples` inputs were given; the last one is cut."""
    left = samples
    for batch in batches:
        if left is None:
            yield batch
            continue
        length = _length(batch)
        yield batch if length <= left else _cut(batch, left)
        left -= min(length, left)
        if left == 0:
            return


def _length(batch: Any) -> int:
    if isinstance(batch, Mapping):
        return _length(next(iter(batch.values())))
    return _length(batch[0]) if isinstance(batch, (tuple, list)) else len(batch)


def _cut(batch: Any, length: int) -> Any:
    if isinstance(batch, Mapping):
        return {key: _cut(value, length) for key, value in batch.items()}
    return type(batch)(_cut(value, length) for value in batch) if isinstance(batch, (tuple, list)) else batch[:length]


def _colours(name: str, values: Sequence[float]) -> Any:
    array = np.array(values, dtype=np.float64)
    if array.shape != (3,) or not np.isfinite(array).all() or (name == "std" and bool((array <= 0).any())):
        raise InputError(f"{name} = {values!r}: expected three numbers, red, green and blue, of pixels in 0 … 1")
    return array
