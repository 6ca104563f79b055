"""`capture_pair`: run two networks of one structure on the same inputs, and keep how their layers' inputs differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from .accumulate import Accumulator, PairSums, Tape
from .capturing import Batch, evaluating, located, mask_of, placed, run
from .layer import Layer
from .naming import select
from .notes import input_notes
from .pair import LayerPair
from .recorder import Recorder


def capture_pair(
    dense: nn.Module,
    compressed: nn.Module,
    batches: Iterable[Batch],
    names: Iterable[str] | None = None,
    *,
    device: str | torch.device | None = None,
    mask: str | None = "attention_mask",
    progress: Callable[[int], None] | None = None,
) -> list[LayerPair]:
    """The layers of `dense` with the inputs that they see there and in `compressed`, as second moments.

    Both networks run batch by batch; the inputs of the chosen layers are held for one batch, so choose few layers at a
    time, or small batches. Arguments and errors as for `capture`; nothing is damped.
    """
    if isinstance(batches, (Tensor, np.ndarray, Mapping)):
        batches = [batches]
    sides = [Recorder(network, select(network, names), Tape) for network in (dense, compressed)]
    sums: dict[str, PairSums] = {}
    with (
        evaluating(dense), evaluating(compressed), placed(dense, device) as place, placed(compressed, place),
        torch.no_grad(),
    ):  # fmt: skip
        for number, batch in enumerate(batches):
            for network, side in zip((dense, compressed), sides, strict=True):
                with located(network, side.running):
                    side.start(number, mask_of(batch, mask))
                    run(network, batch, place, side)
                side.check_reached()
            for name, tape in sides[0].sums.items():
                sums.setdefault(name, PairSums(tape.groups, tape.columns)).add(tape, sides[1].sums[name], name)
            for side in sides:
                side.sums.clear()
            if progress is not None:
                progress(number + 1)
    sides[0].check_read()
    return [_pair(sides[0], name, sums.pop(name)) for name in sides[0].modules]


def _pair(side: Recorder[Tape], name: str, sums: PairSums) -> LayerPair:
    assert sums.cross is not None
    cross = (sums.cross / sums.count).cpu().numpy()
    grouped = sums.groups > 1
    return LayerPair(
        _layer(side, name, sums.dense, ()),
        _layer(side, name, sums.compressed, tuple(side.extra[name])),
        cross if grouped else cross[0],
    )


def _layer(side: Recorder[Tape], name: str, sums: Accumulator, extra: tuple[str, ...]) -> Layer:
    second, mean = sums.mean()
    gram = second.cpu().numpy()
    return Layer(
        name=name,
        weight=side.weights[name].numpy(),
        gram=gram if sums.groups > 1 else gram[0],
        samples=sums.count,
        notes=(*input_notes(gram, mean.cpu().numpy()), *extra),
        taps=int(np.prod(getattr(side.modules[name], "kernel_size", ()))),
        mean=mean.cpu().numpy() if sums.groups > 1 else mean.cpu().numpy()[0],
    )
