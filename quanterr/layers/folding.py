"""`capture_folds`: one pass over the inputs that keeps a few Gram matrices of disjoint parts of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from .accumulate import Accumulator
from .capturing import Batch, evaluating, layer_of, located, mask_of, placed, run
from .folds import LayerFolds
from .naming import select
from .recorder import Recorder

Sums = dict[str, Accumulator]


def capture_folds(
    model: nn.Module,
    batches: Iterable[Batch],
    names: Iterable[str] | None = None,
    *,
    folds: int = 16,
    group: int = 1,
    device: str | torch.device | None = None,
    mask: str | None = "attention_mask",
    progress: Callable[[int], None] | None = None,
) -> list[LayerFolds]:
    """The layers of a model with the Gram matrices of at most `folds` disjoint parts of the inputs, for `stability`.

    Inputs lie along the first axis of every tensor of a batch. Parts are consecutive inputs, so that what resembles its
    neighbours (passages of one text, frames of one film) stays together: that can only widen an interval, never
    shorten it. Shuffle the inputs if their order is by class or by size. The model runs on one part at a time.

    Parameters
    ----------
    model, batches, names, device, mask, progress : as for `capture`
    folds : even int
        At most so many parts; whenever there would be more, neighbours are joined, which leaves half of them. More
        inputs than parts end in `folds/2 … folds` parts of the same size (but for the last), so memory does
        not depend on the number of inputs.
    group : int
        So many inputs, side by side, come from one source (crops of a photograph) and count as one.

    Returns
    -------
    list of LayerFolds

    Memory: 8 · folds · groups · columns² bytes a layer, and the work space of `capture`.

    Raises
    ------
    InputError
        `folds` odd or below 2, `group` below 1, or anything that `capture` refuses.
    LayerError
        As for `capture`.
    """
    if isinstance(folds, bool) or folds != int(folds) or folds < 2 or folds % 2:
        raise InputError(f"folds = {folds!r}: an even number of parts, 2 or more (8 to 16 are enough)")
    if isinstance(group, bool) or group != int(group) or group < 1:
        raise InputError(f"group = {group!r}: how many inputs side by side come from one source, 1 or more")
    if isinstance(batches, (Tensor, np.ndarray, Mapping)):
        batches = [batches]
    recorder = Recorder(model, select(model, names), Accumulator)
    parts = _Parts(folds, group)
    with evaluating(model), placed(model, device) as place, located(model, recorder.running), torch.no_grad():
        for number, batch in enumerate(batches):
            for first, piece in parts.cut(batch):
                recorder.start(number, mask_of(piece, mask), first)
                recorder.sums = parts.current
                run(model, piece, place, recorder)
            if progress is not None:
                progress(number + 1)
    recorder.check_read()
    parts.close()
    recorder.sums = {}
    for sums in parts.sums:
        _join(recorder.sums, {name: _copy(part) for name, part in sums.items()})
    recorder.check_reached()
    return [_folded(recorder, name, parts) for name in recorder.modules]


class _Parts:
    """The parts so far, and where the next input goes."""

    def __init__(self, most: int, group: int) -> None:
        self.most, self.group = most, group
        self.size = group
        self.sums: list[Sums] = []
        self.inputs: list[int] = []

    @property
    def current(self) -> Sums:
        return self.sums[-1]

    def cut(self, batch: Batch) -> Iterator[tuple[int, Batch]]:
        """A batch in pieces, each within one part, with the number of its first input in the batch."""
        inputs, first = length(batch), 0
        while first < inputs:
            if not self.sums or self.inputs[-1] == self.size:
                self._open()
            taken = min(self.size - self.inputs[-1], inputs - first)
            self.inputs[-1] += taken
            yield first, piece(batch, slice(first, first + taken))
            first += taken

    def _open(self) -> None:
        if len(self.sums) == self.most:
            for first in range(0, self.most, 2):
                _join(self.sums[first], self.sums[first + 1])
            self.sums = self.sums[::2]
            self.inputs = [a + b for a, b in zip(self.inputs[::2], self.inputs[1::2], strict=True)]
            self.size *= 2
        self.sums.append({})
        self.inputs.append(0)

    def close(self) -> None:
        """A last part of less than half the size joins its neighbour: parts should weigh about the same."""
        if len(self.sums) > 1 and 2 * self.inputs[-1] < self.size:
            _join(self.sums[-2], self.sums.pop())
            last = self.inputs.pop()
            self.inputs[-1] += last


def _join(into: Sums, other: Sums) -> None:
    for name, sums in other.items():
        if name not in into:
            into[name] = sums
            continue
        mine = into[name]
        assert mine.gram is not None
        assert mine.total is not None
        assert sums.gram is not None
        assert sums.total is not None
        mine.gram += sums.gram
        mine.total += sums.total
        mine.count += sums.count


def _copy(sums: Accumulator) -> Accumulator:
    """A start for the sum of all parts."""
    new = Accumulator(sums.groups, sums.columns)
    assert sums.gram is not None
    assert sums.total is not None
    new.gram, new.total, new.count = sums.gram.clone(), sums.total.clone(), sums.count
    return new


def _folded(recorder: Recorder[Accumulator], name: str, parts: _Parts) -> LayerFolds:
    layer = layer_of(recorder, name, 0.0)
    sums = np.zeros((len(parts.sums), *layer.gram.shape))
    samples = [0] * len(parts.sums)
    for index, part in enumerate(parts.sums):
        found = part.pop(name, None)
        if found is not None and found.gram is not None:
            square = found.gram.cpu().numpy()
            sums[index] = ((square + square.mT) / 2).reshape(layer.gram.shape)
            samples[index] = found.count
    sources = tuple(-(-inputs // parts.group) for inputs in parts.inputs)
    return LayerFolds(layer, sums, tuple(samples), sources)


def length(batch: Batch) -> int:
    """Inputs of a batch: the first axis of its first array."""
    values = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, (tuple, list)) else (batch,)
    for value in values:
        if isinstance(value, (Tensor, np.ndarray)) and value.ndim:
            return len(value)
    raise InputError(f"a batch ({type(batch).__name__}) without any array: its inputs cannot be told apart")


def piece(batch: Batch, which: slice) -> Batch:
    """Some inputs of a batch; what is no array with an axis for the inputs is passed on as it is."""
    inputs = length(batch)

    def cut(value: Any) -> Any:
        array = isinstance(value, (Tensor, np.ndarray)) and value.ndim > 0 and len(value) == inputs
        return value[which] if array else value

    if isinstance(batch, Mapping):
        return {key: cut(value) for key, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        return type(batch)(map(cut, batch))
    return batch[which]
