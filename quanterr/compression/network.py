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
    cosine : float
        Mean over inputs of the cosine between both outputs.
    """

    inputs: int
    snr_db: float
    agreement: float | None
    cosine: float


def compare(dense: nn.Module, compressed: nn.Module, batches: Iterable[Any], device: str | torch.device) -> Comparison:
    """Run both networks on `batches`.

    Outputs (inputs, tokens, width) of batches with an `attention_mask` are averaged over the tokens it counts: the
    sentence embedding.

    Raises
    ------
    InputError
        Outputs that hold no tensor, or no batches.
    """
    count, signal, noise, same, cosines = 0, 0.0, 0.0, 0, 0.0
    classes = True
    with evaluating(dense), evaluating(compressed), torch.no_grad():
        dense.to(device)
        compressed.to(device)
        for batch in batches:
            before, after = (_output(network, batch, device).double() for network in (dense, compressed))
            mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None
            pooled = mask is not None and before.dim() == 3 and before.shape[:2] == torch.as_tensor(mask).shape
            if pooled:
                before, after = (_averaged(y, torch.as_tensor(mask)) for y in (before, after))
            count += len(before)
            cosines += float(torch.cosine_similarity(before.flatten(1), after.flatten(1)).sum())
            signal += float((before * before).sum())
            noise += float(((before - after) ** 2).sum())
            classes &= not pooled and before.dim() == 2 and before.shape[1] > 1
            if classes:
                same += int((before.argmax(1) == after.argmax(1)).sum())
    if count == 0:
        raise InputError("no inputs to compare the networks on")
    snr = inf if noise == 0.0 else (-inf if signal == 0.0 else 10.0 * log10(signal / noise))
    return Comparison(count, snr, same / count if classes else None, cosines / count)


def correct_batchnorm(
    dense: nn.Module, compressed: nn.Module, batches: Iterable[Any], device: str | torch.device
) -> tuple[str, ...]:
    """Move the batch norms' statistics as their inputs have moved; gives the names of those that were corrected.

    With a and b the means, u and v the variances over a batch of what a norm is given in the dense and in the
    compressed network, the running mean m and variance become b + (m − a) √(v / u) and variance · v / u: what the norm
    gives then has the mean and variance that it has in the dense network. Means of these over the batches stay; within
    a batch later norms already see its correction. Statistics taken afresh (OBC section 6) would forget the training
    set for a few calibration inputs; these change nothing where the networks agree.

    Raises
    ------
    InputError
        Networks that call a norm different numbers of times.
    """
    norms: dict[str, tuple[Tensor, Tensor]] = {
        name: (module.running_mean, module.running_var)
        for name, module in compressed.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        if module.running_mean is not None and module.running_var is not None
    }
    if not norms:
        return ()
    for network in (dense, compressed):
        network.to(device)
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {}
    kept = {name: (mean.double().clone(), variance.double().clone()) for name, (mean, variance) in norms.items()}
    sums = {name: [torch.zeros_like(mean), torch.zeros_like(mean)] for name, (mean, _) in kept.items()}
    counts = dict.fromkeys(norms, 0)

    def note(name: str, x: Tensor) -> None:
        seen.setdefault(name, []).append(_moments(x))

    def correct(name: str, x: Tensor) -> None:
        if not seen.get(name):
            raise InputError(f"batch norm {name!r} runs more often in the compressed network: they differ in structure")
        (before, width), (after, now) = seen[name].pop(0), _moments(x)
        ratio = torch.where((width > 0.0) & (now > 0.0), now / torch.where(width > 0.0, width, 1.0), 1.0)
        mean, variance = kept[name]
        moved = (after - before) + (mean - before) * (ratio.sqrt() - 1.0)
        norms[name][0].copy_(mean + moved)
        norms[name][1].copy_(variance * ratio)
        sums[name][0] += moved
        sums[name][1] += ratio
        counts[name] += 1

    hooks = [dense.get_submodule(n).register_forward_pre_hook(lambda _, x, n=n: note(n, x[0])) for n in norms]
    hooks += [compressed.get_submodule(n).register_forward_pre_hook(lambda _, x, n=n: correct(n, x[0])) for n in norms]
    try:
        with evaluating(dense), evaluating(compressed), torch.no_grad():
            for batch in batches:
                seen.clear()
                for network in (dense, compressed):
                    _output(network, batch, device)
    finally:
        for hook in hooks:
            hook.remove()
    with torch.no_grad():
        for name, (mean, variance) in norms.items():
            count = counts[name]
            mean.copy_(kept[name][0] + (sums[name][0] / count if count else 0.0))
            variance.copy_(kept[name][1] * (sums[name][1] / count if count else 1.0))
    return tuple(norms)


def _averaged(y: Tensor, mask: Tensor) -> Tensor:
    counted = (mask.to(y.device) != 0).to(y.dtype)[:, :, None]
    return (y * counted).sum(1) / counted.sum(1).clamp(min=1.0)


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel (axis 1) in float64."""
    values = x.double().transpose(0, 1).flatten(1)
    return values.mean(1), values.var(1, unbiased=False)


def split(batches: Iterable[Any], held_out: float, group: int = 1) -> tuple[list[Any], list[Any]]:
    """The first inputs to calibrate on and the last ones, `held_out` of all, to compare on; order is kept.

    Each `group` of inputs, side by side, stays on one side: crops of one photograph are no new inputs.

    Raises
    ------
    InputError
        A share outside 0 … 1, or too few inputs to have some on both sides.
    """
    if not 0.0 < held_out < 1.0:
        raise InputError(f"held out {held_out!r}: a share of the inputs between 0 and 1, such as 0.25")
    every = list(batches)
    total = sum(length(batch) for batch in every)
    first = total - group * max(1, round(total / group * held_out))
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
