"""How far a compressed network is from the dense one, on inputs that the compression has not seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf, log10
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..layers.capturing import evaluating


@dataclass(frozen=True)
class Comparison:
    """Outputs of two networks on the same inputs.

    Attributes
    ----------
    inputs : int
    snr_db : float
        `10 log10(Σ y² / Σ (y − ŷ)²)` over all outputs (an estimate: float32 passes, these inputs).
    agreement : float or None
        Share of inputs with the same largest output; None where outputs are not (inputs, classes).
    """

    inputs: int
    snr_db: float
    agreement: float | None


def compare(dense: nn.Module, compressed: nn.Module, batches: Iterable[Any], device: str | torch.device) -> Comparison:
    """Run both networks on `batches`.

    Raises
    ------
    InputError
        Outputs that hold no tensor, or no batches.
    """
    count, signal, noise, same = 0, 0.0, 0.0, 0
    classes = True
    with evaluating(dense), evaluating(compressed), torch.no_grad():
        dense.to(device)
        compressed.to(device)
        for batch in batches:
            before, after = (_output(network, batch, device).double() for network in (dense, compressed))
            count += len(before)
            signal += float((before * before).sum())
            noise += float(((before - after) ** 2).sum())
            classes &= before.dim() == 2 and before.shape[1] > 1
            if classes:
                same += int((before.argmax(1) == after.argmax(1)).sum())
    if count == 0:
        raise InputError("no inputs to compare the networks on")
    snr = inf if noise == 0.0 else (-inf if signal == 0.0 else 10.0 * log10(signal / noise))
    return Comparison(count, snr, same / count if classes else None)


def renew_batchnorm(model: nn.Module, batches: Iterable[Any], device: str | torch.device) -> tuple[str, ...]:
    """Means and variances of the batch norms afresh from these inputs, and the names of those norms.

    OBC's statistics correction for networks with batch norms (section 6): the mean of the batches' statistics.
    """
    norms = {name: m for name, m in model.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    norms = {name: m for name, m in norms.items() if m.track_running_stats}
    momenta = {name: norm.momentum for name, norm in norms.items()}
    if norms:
        with evaluating(model), torch.no_grad():
            for norm in norms.values():
                norm.reset_running_stats()
                norm.momentum = None
                norm.training = True
            model.to(device)
            for batch in batches:
                _output(model, batch, device)
        for name, norm in norms.items():
            norm.momentum = momenta[name]
    return tuple(norms)


def split(batches: Iterable[Any], held_out: float) -> tuple[list[Any], list[Any]]:
    """The first inputs to calibrate on and the last ones, `held_out` of all, to compare on; order is kept.

    Raises
    ------
    InputError
        A share outside 0 … 1, or too few inputs to have some on both sides.
    """
    if not 0.0 < held_out < 1.0:
        raise InputError(f"held out {held_out!r}: a share of the inputs between 0 and 1, such as 0.25")
    every = list(batches)
    total = sum(length(batch) for batch in every)
    first = total - max(1, round(total * held_out))
    if first < 1:
        raise InputError(f"{total} inputs cannot be split into some to calibrate on and some to compare on: give more")
    before, after, seen = [], [], 0
    for batch in every:
        here = length(batch)
        cut = min(max(first - seen, 0), here)
        if cut:
            before.append(_part(batch, slice(0, cut)))
        if cut < here:
            after.append(_part(batch, slice(cut, here)))
        seen += here
    return before, after


def _output(network: nn.Module, batch: Any, device: str | torch.device) -> Tensor:
    if isinstance(batch, Mapping):
        given = network(**{key: _moved(value, device) for key, value in batch.items()})
    elif isinstance(batch, (tuple, list)):
        given = network(*(_moved(value, device) for value in batch))
    else:
        given = network(_moved(batch, device))
    values = given.values() if isinstance(given, Mapping) else given if isinstance(given, (tuple, list)) else [given]
    for value in values:
        if isinstance(value, Tensor) and value.is_floating_point():
            return value
    raise InputError(f"{type(network).__name__} returns {type(given).__name__}, which holds no tensor to compare")


def _moved(value: Any, device: str | torch.device) -> Any:
    tensor = value if isinstance(value, (Tensor, str, bool, type(None))) else torch.as_tensor(value)
    return tensor.to(device) if isinstance(tensor, Tensor) else tensor


def length(batch: Any) -> int:
    if isinstance(batch, Mapping):
        return length(next(iter(batch.values())))
    return length(batch[0]) if isinstance(batch, (tuple, list)) else len(batch)


def _part(batch: Any, which: slice) -> Any:
    if isinstance(batch, Mapping):
        return {key: _part(value, which) for key, value in batch.items()}
    return type(batch)(_part(value, which) for value in batch) if isinstance(batch, (tuple, list)) else batch[which]
