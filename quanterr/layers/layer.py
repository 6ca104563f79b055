"""A layer: its weight, the Gram matrix of its inputs, and how both are cut into chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bounds.gram import Array

from ..errors import LayerError


@dataclass(frozen=True, eq=False)
class Piece:
    """Rows that share one Gram matrix: one problem for `bounds`.

    Attributes
    ----------
    gram : (columns, columns)
    weight : (rows of this piece, columns)
    rows : slice
        Where these rows lie in the layer's weight.
    """

    gram: Array
    weight: Array
    rows: slice

    def among(self, first: int, stop: int) -> Piece:
        """Its rows that are `first` … `stop − 1` of the layer, perhaps none."""
        low, high = max(first, self.rows.start), max(min(stop, self.rows.stop), self.rows.start)
        low = min(low, high)
        return Piece(self.gram, self.weight[low - self.rows.start : high - self.rows.start], slice(low, high))


@dataclass(frozen=True, eq=False)
class Chunk:
    """Consecutive columns of a layer, all rows; one piece for each group.

    Attributes
    ----------
    index : int
    label : str
        Unique in the layer, e.g. `0:36`, the columns as Python counts them.
    columns : slice
        Columns inside each group.
    pieces : tuple of Piece
    """

    index: int
    label: str
    columns: slice
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, eq=False)
class Layer:
    """The weight of a layer and the metric in which its errors count.

    Attributes
    ----------
    name : str
    weight : (rows, columns) float64
        Output features by input features; a convolution's kernel is flattened as (channel, height, width).
    gram : (columns, columns), or (groups, columns, columns) for grouped convolutions
        `XᵀX / samples` of the input vectors, so that `dᵀ gram d` is the mean squared change of an
        output when its row of the weight changes by `d`. The rows belong to the groups evenly and in order.
    samples : int
        Number of input vectors: batch × tokens of a linear layer, batch × output positions of a convolution.
    damping : float
        What was added to the diagonal of `gram`, in its unit; 0.0 means that nothing was.
    notes : tuple of str
        What a reader of the results must know: dead, constant and duplicated inputs, tied weights, masks.
    taps : int
        Columns of one input channel: kernel height × width, 1 for linear layers.
    mean : (columns,), or (groups, columns), or None
        Mean input vector, where it is known: what an error of the weight adds to the mean output is its product.

    Raises
    ------
    LayerError
        Shapes that do not fit, NaN or infinity.
    """

    name: str
    weight: Array
    gram: Array
    samples: int
    damping: float = 0.0
    notes: tuple[str, ...] = ()
    taps: int = 1
    mean: Array | None = None

    def __post_init__(self) -> None:
        weight = np.ascontiguousarray(self.weight, dtype=np.float64).view()
        gram = np.ascontiguousarray(self.gram, dtype=np.float64).view()
        if weight.ndim != 2 or weight.size == 0:
            raise LayerError(f"layer {self.name!r}: the weight has shape {weight.shape}, expected (rows, columns)")
        rows, columns = weight.shape
        if gram.ndim not in (2, 3) or gram.shape[-2:] != (columns, columns):
            raise LayerError(
                f"layer {self.name!r}: the Gram matrix has shape {gram.shape}, "
                f"but the weight has {columns} columns: expected ({columns}, {columns}), with groups in front or not"
            )
        groups = gram.shape[0] if gram.ndim == 3 else 1
        if groups == 0 or rows % groups:
            raise LayerError(f"layer {self.name!r}: {rows} rows cannot be split evenly among {groups} groups")
        if self.taps < 1 or columns % self.taps:
            raise LayerError(f"layer {self.name!r}: {columns} columns are no whole number of channels of {self.taps}")
        if self.samples < 1:
            raise LayerError(f"layer {self.name!r}: {self.samples} samples: give calibration inputs")
        if self.mean is not None and np.shape(self.mean) != gram.shape[:-1]:
            raise LayerError(
                f"layer {self.name!r}: the mean has shape {np.shape(self.mean)}, expected {gram.shape[:-1]}"
            )
        for what, array in (("weight", weight), ("Gram matrix", gram)):
            if not np.isfinite(array).all():
                place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
                raise LayerError(f"layer {self.name!r}: the {what} holds {array[place]} at {place}: repair or skip it")
            array.setflags(write=False)
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "gram", gram)

    @property
    def rows(self) -> int:
        return int(self.weight.shape[0])

    @property
    def columns(self) -> int:
        return int(self.weight.shape[1])

    @property
    def groups(self) -> int:
        return int(self.gram.shape[0]) if self.gram.ndim == 3 else 1

    @property
    def energy(self) -> Array:
        """(rows,) `wᵀ gram w`: mean squared output of each row, its bias left out."""
        energy = np.empty(self.rows)
        for piece in self._pieces(slice(0, self.columns)):
            energy[piece.rows] = np.einsum("ri,ri->r", piece.weight @ piece.gram, piece.weight)
        return energy

    def chunks(self, width: int | None) -> Iterator[Chunk]:
        """Consecutive slices of at most `width` columns, all rows; `None` is the whole layer.

        Convolutions are cut between input channels (`width` 36 is 4 channels of 3×3, as in the paper's
        section 4); only a channel wider than `width` is itself cut. Cross terms of the Gram matrix between
        chunks are lost: bounds of chunks are claims about chunks, not about the layer.

        Raises
        ------
        LayerError
            If `width` is no positive integer.
        """
        if width is not None and (isinstance(width, bool) or width != int(width) or width < 1):
            raise LayerError(f"chunk width {width!r} is not a positive number of columns (None: the whole layer)")
        for index, (low, high) in enumerate(self._cuts(self.columns if width is None else int(width))):
            columns = slice(low, high)
            yield Chunk(index, f"{low}:{high}", columns, tuple(self._pieces(columns)))

    def _cuts(self, width: int) -> Iterator[tuple[int, int]]:
        if width >= self.taps:
            step = width - width % self.taps
            for low in range(0, self.columns, step):
                yield low, min(low + step, self.columns)
            return
        for channel in range(0, self.columns, self.taps):
            for low in range(channel, channel + self.taps, width):
                yield low, min(low + width, channel + self.taps)

    def _pieces(self, columns: slice) -> Iterator[Piece]:
        height = self.rows // self.groups
        for group in range(self.groups):
            rows = slice(group * height, (group + 1) * height)
            gram = self.gram[group] if self.gram.ndim == 3 else self.gram
            yield Piece(
                np.ascontiguousarray(gram[columns, columns]), np.ascontiguousarray(self.weight[rows, columns]), rows
            )


def require_layers(layers: Sequence[Layer]) -> None:
    """At least one, and names that tell them apart.

    Raises
    ------
    LayerError
        No layers, or two of the same name.
    """
    if not layers:
        raise LayerError("no layers given: nothing to solve")
    names = [layer.name for layer in layers]
    if len(set(names)) < len(names):
        twice = ", ".join(sorted({repr(name) for name in names if names.count(name) > 1}))
        raise LayerError(f"two layers are called {twice}: give each a name of its own")
