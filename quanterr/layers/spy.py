"""Sees what a layer really multiplies: the input of the call to `linear`, `conv1d`, `conv2d` or `addmm`.

A hook on the module would see the input *before* a layer's own padding (EfficientNet's "same" convolutions,
reflecting borders) and would need to know every subclass; the call below it has one meaning.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

PRODUCTS = {
    torch.nn.functional.linear: ("input", "weight"),
    torch.addmm: ("input", "mat1", "mat2"),
    torch.conv1d: ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    torch.conv2d: ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
}
DEFAULTS = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}

Report = Callable[[str, Tensor, Tensor, dict[str, Any]], None]


class Spy(TorchFunctionMode):
    """While active, reports every product that ran as `report(kind, input, weight, options)`.

    `kind` is `linear`, `addmm`, `attention` (the output projection inside `multi_head_attention_forward`,
    whose input is flattened token by token, not image by image), `conv1d` or `conv2d`.
    """

    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report

    def __torch_function__(self, func: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is functional.multi_head_attention_forward:
            return self._attention()(*args, **kwargs)
        output = func(*args, **kwargs)
        if func in PRODUCTS:
            self._product(func, func.__name__, args, kwargs)
        return output

    def _product(self, func: Any, kind: str, args: Any, kwargs: Any) -> None:
        given = dict(DEFAULTS) | dict(zip(PRODUCTS[func], args, strict=False)) | kwargs
        if func is torch.addmm:
            self.report(kind, given["mat1"], given["mat2"], given)
        else:
            self.report(kind, given["input"], given["weight"], given)

    def _attention(self) -> Callable[..., Any]:
        """`multi_head_attention_forward` with its calls to `linear` reported.

        A mode is off while it handles a call, so the products inside this one function would be missed.
        """

        def linear(*args: Any, **kwargs: Any) -> Tensor:
            output = functional.linear(*args, **kwargs)
            self._product(functional.linear, "attention", args, kwargs)
            return output

        source: Any = functional.multi_head_attention_forward
        names = {**source.__globals__, "linear": linear}
        copy = types.FunctionType(source.__code__, names, source.__name__, source.__defaults__, source.__closure__)
        copy.__kwdefaults__ = source.__kwdefaults__
        return copy
