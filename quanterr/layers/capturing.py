"""`capture`: run a model on calibration inputs and keep, of every layer, the weight and the Gram matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError, QuanterrError
from .accumulate import Accumulator
from .layer import Layer
from .naming import select
from .notes import input_notes
from .recorder import Recorder
from .spy import Spy

Batch = Tensor | np.ndarray[Any, Any] | Mapping[str, Any] | tuple[Any, ...] | list[Any]


def capture(
    model: nn.Module,
    batches: Iterable[Batch],
    names: Iterable[str] | None = None,
    *,
    device: str | torch.device | None = None,
    damping: float = 0.0,
    mask: str | None = "attention_mask",
    progress: Callable[[int], None] | None = None,
) -> list[Layer]:
    """The layers of a model with the Gram matrices of their inputs, in the model's order.

    The model runs in evaluation mode and without gradients; its training flags are restored. Linear, Conv1d,
    Conv2d (any stride, padding, dilation, groups), their subclasses and transformers' Conv1D are
    captured; the Gram matrix is that of the input the product really sees. A layer called
    several times in one pass adds up over its calls.

    Parameters
    ----------
    model : torch.nn.Module
    batches : iterable
        A tensor or array is passed as the only argument, a tuple or list as positional, a mapping as keyword
        arguments. Read once, one batch at a time.
    names : globs over `model.named_modules()`, default all supported layers
        `["layer1.*", "!*.downsample.*"]`: a `!` takes layers out.
    device : where the model runs; it is moved back afterwards. Default: where it is.
    damping : fraction of the mean of the diagonal that is added to the diagonal
        0.0 adds nothing. `Layer.damping` reports the amount: errors in a damped metric are not errors.
    mask : name of an entry of mapping batches, (batch, tokens), zero for padding
        Where an input of a linear layer is (batch, tokens, …) or (batch · tokens, …), only tokens that are not padding
        count. `None` counts every position; so do layers whose inputs do not fit the mask, and a note says so
        (unless they are one vector for each sequence). Decoders of encoder–decoder models need a capture of their own
        with `mask="decoder_attention_mask"`.
    progress : called after each batch with the number of batches done

    Returns
    -------
    list of Layer

    Memory: 8 · groups · columns² bytes a layer, and 32 MB of work space; independent of the number of batches.

    Raises
    ------
    LayerError
        A glob that means nothing, a layer the inputs never reach, NaN or infinity in weights or inputs.
    InputError
        No batches, or a batch the model cannot run.
    """
    if not 0.0 <= damping < float("inf"):
        raise InputError(f"damping = {damping!r} is no fraction of the mean diagonal (0.0: none, 0.01: one per cent)")
    if isinstance(batches, (Tensor, np.ndarray, Mapping)):
        batches = [batches]
    recorder = Recorder(model, select(model, names), Accumulator)
    with evaluating(model), placed(model, device) as place, located(model, recorder.running), torch.no_grad():
        for number, batch in enumerate(batches):
            recorder.start(number, mask_of(batch, mask))
            run(model, batch, place, recorder)
            if progress is not None:
                progress(number + 1)
    recorder.check_read()
    recorder.check_reached()
    return [layer_of(recorder, name, damping) for name in recorder.modules]


def layer_of(recorder: Recorder[Accumulator], name: str, damping: float) -> Layer:
    """The layer whose inputs the recorder has summed; ends their sum."""
    sums = recorder.sums.pop(name)
    second, mean = sums.mean()
    gram = second.cpu().numpy()
    notes = input_notes(gram, mean.cpu().numpy())
    amount = damping * float(np.diagonal(gram, axis1=1, axis2=2).mean())
    if amount:
        gram[:, range(gram.shape[1]), range(gram.shape[1])] += amount
        notes.append(f"damped: {amount:.6g} added to the diagonal")
    weight, kernel = recorder.weights[name], getattr(recorder.modules[name], "kernel_size", ())
    return Layer(
        name=name,
        weight=weight.numpy(),
        gram=gram[0] if sums.groups == 1 else gram,
        samples=sums.count,
        damping=amount,
        notes=(*notes, *recorder.extra[name]),
        taps=int(np.prod(kernel)),
        mean=mean.cpu().numpy()[0] if sums.groups == 1 else mean.cpu().numpy(),
    )


def run(model: nn.Module, batch: Batch, device: torch.device, recorder: Recorder[Any]) -> None:
    """One forward pass whose products go to the recorder."""
    recorder.running.clear()
    try:
        with Spy(recorder):
            if isinstance(batch, Mapping):
                model(**{key: _moved(value, device) for key, value in batch.items()})
            elif isinstance(batch, (tuple, list)):
                model(*(_moved(value, device) for value in batch))
            else:
                model(_moved(batch, device))
    except QuanterrError:
        raise
    except (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError, AssertionError) as error:
        where = recorder.running[-1] if recorder.running else ""
        hint = ""
        if isinstance(batch, (tuple, list)):
            hint = "; a tuple is passed as positional arguments: if it is (inputs, labels), yield the inputs only"
        reason = " ".join(str(error).split())
        raise InputError(
            f"the model cannot run batch {recorder.batch} ({_shapes(batch)}): "
            f"{f'layer {where!r}' if where else type(model).__name__} says {type(error).__name__}: {reason}{hint}"
        ) from error


def mask_of(batch: Batch, name: str | None) -> Tensor | None:
    """(batch, tokens) True where a token counts, if the batch says so."""
    if name is None or not isinstance(batch, Mapping) or batch.get(name) is None:
        return None
    return torch.as_tensor(batch[name]) != 0


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value)
    return value.to(device) if isinstance(value, Tensor) else value


def _shapes(batch: Batch) -> str:
    if isinstance(batch, Mapping):
        return ", ".join(f"{key} {_shapes(value)}" for key, value in batch.items())
    if isinstance(batch, (tuple, list)):
        return ", ".join(_shapes(value) for value in batch)
    return f"shape {tuple(batch.shape)}" if hasattr(batch, "shape") else type(batch).__name__


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; the training flags are restored."""
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, flag in flags:
            module.training = flag


@contextmanager
def placed(model: nn.Module, device: str | torch.device | None) -> Iterator[torch.device]:
    """The model on `device` inside (None: where it is), and back where it was after; gives the device."""
    home = next((p.device for p in model.parameters()), torch.device("cpu"))
    place = home if device is None else torch.device(device)
    try:
        if place != home:
            model.to(place)
        yield place
    finally:
        if place != home:
            model.to(home)


@contextmanager
def located(model: nn.Module, running: list[str]) -> Iterator[None]:
    """Keep the names of the modules that are running, innermost last; a failed pass leaves them standing."""
    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda module, args, name=name: running.append(name)))
        handles.append(module.register_forward_hook(lambda module, args, output: running.pop() and None))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
