"""Networks with inputs and layers to look at, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import Any

from ..errors import InputError
from .efficientnet import efficientnet_lite0
from .minilm import minilm_l6
from .table_3 import TABLE_3, table_3_layers, table_3_model


@dataclass(frozen=True)
class Preset:
    """A network with inputs: `factory()` gives (model, batches, description).

    `layers` are the globs to start with, `width` is the chunk width. `more` gives more inputs, for `quanterr compress`;
    each `group` of them, side by side, comes from one source and is never split between calibration and comparison.
    `together` is the same for the inputs of `factory`.
    """

    name: str
    description: str
    factory: Callable[..., tuple[Any, list[Any], str]]
    layers: tuple[str, ...]
    width: int = 36
    more: Callable[..., tuple[Any, list[Any], str]] | None = None
    group: int = 1
    together: int = 1


def preset(name: str) -> Preset:
    """The preset of that name.

    Raises
    ------
    InputError
        An unknown name, with the list of those that exist.
    """
    if name not in PRESETS:
        close = get_close_matches(name, PRESETS, n=1)
        hint = f"did you mean {close[0]!r}? There are" if close else "choose one of"
        raise InputError(f"no preset is called {name!r}: {hint} {', '.join(PRESETS)}")
    return PRESETS[name]


def _presets() -> dict[str, Preset]:
    chosen = ("_blocks.2._expand_conv", "_blocks.15._expand_conv", "_blocks.1._depthwise_conv", "_conv_head")
    many = partial(efficientnet_lite0, each=8)
    presets = [
        Preset(
            "efficientnet-lite0",
            "EfficientNet-lite0 with ImageNet weights on 28 crops of photographs; nothing is downloaded",
            efficientnet_lite0,
            chosen,
            more=many,
            group=8,
            together=2,
        ),
        Preset(
            "efficientnet-lite0-112",
            "the same on 112 crops, four times the time: enough input vectors for every layer, as a whole or in chunks",
            many,
            chosen,
            more=many,
            group=8,
            together=8,
        ),
        Preset(
            "minilm-l6",
            "MiniLM-L6, a sentence transformer, on English text; nothing is downloaded",
            minilm_l6,
            ("encoder.layer.2.attention.output.dense", "encoder.layer.0.attention.self.query"),
        ),
    ]
    presets += [
        Preset(
            f"table3-{line.model}",
            f"the paper's layers of {line.model}; {line.source} downloads the weights",
            partial(table_3_model, line.model),
            table_3_layers(line.model),
            line.width,
            together=2,
        )
        for line in {line.model: line for line in TABLE_3}.values()
    ]
    return {known.name: known for known in presets}


PRESETS = _presets()
"""Every `Preset` by its name, the value of `--preset`."""
