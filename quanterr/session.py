"""From the words of the command line to captured layers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import InputError, QuanterrError
from .layers import Layer


@dataclass(frozen=True)
class Session:
    """What to look at: a preset, or a model with inputs; the fields are the options of `quanterr certify`."""

    preset: str | None = None
    model: str | None = None
    inputs: str | None = None
    layers: tuple[str, ...] = ()
    image_size: int = 224
    batch_size: int = 8
    samples: int | None = None
    damping: float = 0.0
    device: str = "cpu"
    seed: int = 0


@dataclass(frozen=True)
class Network:
    """A model with its inputs: `batches` can be read again unless they come from a caller's iterator.

    Each `group` of inputs, side by side, comes from one source, such as crops of one photograph.
    """

    title: str
    model: Any
    batches: Iterable[Any]
    layers: tuple[str, ...] | None
    group: int = 1


def load(session: Session, progress: Callable[[int], None] | None = None) -> tuple[str, list[Layer]]:
    """A line that says what was run on what, and the captured layers.

    Raises
    ------
    QuanterrError
        Anything that `network` or `capture` refuses.
    """
    found = network(session)
    from .layers import capture

    layers = capture(
        found.model, found.batches, found.layers, device=session.device, damping=session.damping, progress=progress
    )
    if not layers:
        raise QuanterrError(
            f"{found.title}: no layer that can be compressed; supported are linear layers and convolutions"
        )
    return found.title, layers


def require_source(session: Session) -> None:
    """What can be said of a session before anything is loaded.

    Raises
    ------
    InputError
        Neither a preset nor a model with inputs, both, or an unknown preset.
    """
    from .models import preset

    if session.preset is None and session.model is None:
        raise InputError("say what to look at: --preset NAME, or --model package.module:factory with --inputs")
    if session.preset is not None and session.model is not None:
        raise InputError("--preset and --model are two networks: leave one of them out")
    if session.model is not None and session.inputs is None:
        raise InputError("--model needs --inputs: a folder of images, a .npy/.npz/.pt file, or package.module:function")
    if session.samples is not None and session.inputs is None:
        raise InputError("--samples draws from --inputs; a preset brings its own: leave one of them out")
    if session.preset is not None:
        preset(session.preset)


def network(session: Session, more: bool = False) -> Network:
    """The network and the inputs that a session names; `more` of them where a preset has more.

    Raises
    ------
    QuanterrError
        As `require_source`, a device that torch doesn't have, or anything that `load_model` or `load_inputs` refuses.
    """
    require_source(session)
    from .models import preset
    from .models.packages import require

    chosen = preset(session.preset) if session.preset is not None else None
    torch = require("torch", "torch", "pip install quanterr[torch]")
    _seed(torch, session.seed)
    _check_device(torch, session.device)
    globs = session.layers or (chosen.layers if chosen is not None else None)
    batches: Iterable[Any]
    group = 1
    if chosen is not None:
        extended = more and chosen.more is not None and session.inputs is None
        factory = chosen.more if extended and chosen.more is not None else chosen.factory
        model, batches, title = factory()
        group = chosen.group if extended else chosen.together
    else:
        from .models import load_model

        model, batches, title = load_model(session.model or ""), (), session.model or ""
    if session.inputs is not None:
        from .inputs import load_inputs

        given = load_inputs(
            session.inputs, batch_size=session.batch_size, size=session.image_size,
            samples=session.samples, seed=session.seed,
        )  # fmt: skip
        group = 1
        batches, title = given, f"{title.split(' on ')[0]} on {given.description}"
    return Network(title, model, batches, globs, group)


def _seed(torch: Any, seed: int) -> None:
    """Factories that draw weights or inputs give the same ones again."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the global generator is what a caller's factory may use
    torch.manual_seed(seed)


def _check_device(torch: Any, name: str) -> None:
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"--device {name}: torch cannot use it ({reason}); --device cpu always works") from error
