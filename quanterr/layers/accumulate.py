"""Streaming Gram matrices in float64: memory does not depend on the number of batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from ..errors import LayerError

BLOCK_BYTES = 2**25


class Sums(Protocol):
    """What a recorder hands the inputs of one layer to."""

    count: int

    def add_vectors(self, x: Tensor) -> None: ...

    def add_windows(
        self, x: Tensor, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
    ) -> None: ...

    @property
    def finite(self) -> bool: ...


class Accumulator:
    """`Σ x xᵀ` and `Σ x` over all input vectors of one layer, (groups, columns, columns) and (groups, columns).

    Input vectors are formed in blocks of at most 32 MB (one row of output positions of one image at least).
    """

    def __init__(self, groups: int, columns: int) -> None:
        self.groups = groups
        self.columns = columns
        self.count = 0
        self.gram: Tensor | None = None
        self.total: Tensor | None = None

    def add_vectors(self, x: Tensor) -> None:
        """`x` (vectors, columns): inputs of a linear layer."""
        for block in _vectors(x, self.columns):
            self.add(block)

    def add_windows(
        self, x: Tensor, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
    ) -> None:
        """`x` (batch, channels, height, width), already padded: inputs of a convolution."""
        for block in _windows(x, kernel, stride, dilation):
            self.add(block.reshape(self.groups, self.columns, -1))

    def add(self, x: Tensor) -> None:
        """`x` (groups, columns, vectors) in float64."""
        if self.gram is None or self.total is None:
            self.gram = x.new_zeros(self.groups, self.columns, self.columns)
            self.total = x.new_zeros(self.groups, self.columns)
        x = x.to(self.gram.device)
        self.gram.baddbmm_(x, x.mT)
        self.total += x.sum(dim=-1)
        self.count += x.shape[-1]

    def mean(self) -> tuple[Tensor, Tensor]:
        """`Σ x xᵀ / count`, symmetric to the last bit, and `Σ x / count`; ends the accumulation."""
        assert self.gram is not None
        assert self.total is not None
        gram = self.gram.div_(self.count)
        self.gram = None
        for part in gram:
            part.copy_((part + part.T) / 2)
        return gram, self.total / self.count

    @property
    def finite(self) -> bool:
        """False as soon as one NaN or infinity was added: it shows on the diagonal and in the sums."""
        if self.gram is None or self.total is None:
            return True
        return bool(torch.isfinite(self.total).all() and torch.isfinite(self.gram.diagonal(dim1=-2, dim2=-1)).all())


Blocks = Callable[[], Iterator[Tensor]]


class Tape:
    """Keeps the inputs of one layer in one batch, to be read again in blocks of input vectors, one call a list entry.

    The inputs are copied: networks overwrite activations in place.
    """

    def __init__(self, groups: int, columns: int) -> None:
        self.groups = groups
        self.columns = columns
        self.calls: list[Blocks] = []
        self.count = 0
        self.finite = True

    def add_vectors(self, x: Tensor) -> None:
        copy = self._kept(x)
        self.calls.append(lambda: _vectors(copy, self.columns))

    def add_windows(
        self, x: Tensor, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
    ) -> None:
        copy, shape = self._kept(x), (self.groups, self.columns, -1)
        self.calls.append(lambda: (block.reshape(shape) for block in _windows(copy, kernel, stride, dilation)))

    def _kept(self, x: Tensor) -> Tensor:
        self.finite &= bool(torch.isfinite(x).all())
        self.count += len(x)
        return x.detach().clone()


class PairSums:
    """`Σ y yᵀ`, `Σ x xᵀ` and `Σ y xᵀ` of the inputs x of a dense layer and those, y, of its compressed twin."""

    def __init__(self, groups: int, columns: int) -> None:
        self.groups, self.columns = groups, columns
        self.dense = Accumulator(groups, columns)
        self.compressed = Accumulator(groups, columns)
        self.cross: Tensor | None = None

    @property
    def count(self) -> int:
        return self.compressed.count

    def add(self, dense: Tape, compressed: Tape, name: str) -> None:
        """One batch of both.

        Raises
        ------
        LayerError
            The two networks call the layer with inputs of different shapes.
        """
        if len(dense.calls) != len(compressed.calls):
            raise LayerError(
                f"layer {name!r} runs {len(dense.calls)} times in the dense network and {len(compressed.calls)} times "
                "in the compressed one: pair networks of one structure"
            )
        for before, after in zip(dense.calls, compressed.calls, strict=True):
            for x, y in zip(before(), after(), strict=True):
                if x.shape != y.shape:
                    raise LayerError(f"layer {name!r} sees inputs {tuple(x.shape)} and {tuple(y.shape)}")
                self.dense.add(x)
                self.compressed.add(y)
                if self.cross is None:
                    self.cross = torch.zeros_like(x @ x.mT)
                self.cross.baddbmm_(y, x.mT)


def padding_of(padding: object, kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int, int, int]:
    """What `conv2d` pads with zeros: (left, right, top, bottom), in the order of `torch.nn.functional.pad`."""
    if padding == "valid":
        return (0, 0, 0, 0)
    if padding == "same":
        rows, columns = (d * (k - 1) for k, d in zip(kernel, dilation, strict=True))
        return (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
    rows, columns = pair(padding)
    return (columns, columns, rows, rows)


def pair(value: object) -> tuple[int, int]:
    """An int or a sequence of one or two ints, as (vertical, horizontal)."""
    if isinstance(value, int):
        return (value, value)
    assert isinstance(value, Sequence)
    return (int(value[0]), int(value[-1]))


def _windows(
    x: Tensor, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> Iterator[Tensor]:
    """Blocks of patches, (channels, kernel height, kernel width, images, rows, columns) in float64.

    A patch is a strided view of the image; only the block that is handed out exists in memory.
    """
    channels = x.shape[1]
    height, width = (
        (size - d * (k - 1) - 1) // s + 1 for size, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True)
    )
    row_bytes = 8 * channels * kernel[0] * kernel[1] * width
    images = max(1, BLOCK_BYTES // (row_bytes * height))
    rows = height if row_bytes * height <= BLOCK_BYTES else max(1, BLOCK_BYTES // row_bytes)
    for batch in torch.split(x, images):
        block = _float64(batch).contiguous()
        image, channel, down, right = block.stride()
        for top in range(0, height, rows):
            yield block.as_strided(
                (channels, *kernel, block.shape[0], min(rows, height - top), width),
                (channel, down * dilation[0], right * dilation[1], image, down * stride[0], right * stride[1]),
                block.storage_offset() + top * stride[0] * down,
            )


def _vectors(x: Tensor, columns: int) -> Iterator[Tensor]:
    """Blocks (1, columns, vectors) in float64."""
    for block in torch.split(x, max(1, BLOCK_BYTES // (8 * columns))):
        yield _float64(block).T.unsqueeze(0)


def _float64(x: Tensor) -> Tensor:
    """Float64 where the device has it, else on the CPU."""
    return x.detach().cpu().double() if x.device.type == "mps" else x.detach().double()
