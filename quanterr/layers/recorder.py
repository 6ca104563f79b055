"""Gives every product that a model computes to the layer whose weight it uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

from ..errors import InputError, LayerError
from .accumulate import Sums, padding_of, pair
from .naming import supported, transposed, weight_of

S = TypeVar("S", bound=Sums)


class Recorder(Generic[S]):
    """Attributes every product to a layer by its weight and adds its input to what `make(groups, columns)` made."""

    def __init__(self, model: nn.Module, chosen: dict[str, nn.Module], make: Callable[[int, int], S]) -> None:
        self.make = make
        self.modules = dict(chosen)
        self.running: list[str] = []
        self.batch = -1
        self.first = 0
        self.mask: Tensor | None = None
        self.owner: dict[int, str] = {}
        self.sums: dict[str, S] = {}
        self.extra: dict[str, dict[str, None]] = {name: {} for name in chosen}
        for name, module in chosen.items():
            if transposed(module):
                self.extra[name]["stored transposed (inputs, outputs)"] = None
            if module._parameters.get("weight") is not None:
                self.owner.setdefault(id(module.weight), name)
        for name, module in model.named_modules():
            first = self.owner.get(id(module._parameters.get("weight")), name)
            if first != name and supported(module):
                self.extra[first][f"weight shared with {name}: inputs of both"] = None
                self.modules.pop(name, None)
        self.weights = {name: weight_of(name, module) for name, module in self.modules.items()}

    def start(self, number: int, mask: Tensor | None, first: int = 0) -> None:
        """A new batch, or its part from input `first` on; `mask` (batch, tokens) is True where a token counts."""
        self.batch = number
        self.first = first
        self.mask = mask

    def __call__(self, kind: str, x: Tensor, weight: Tensor, options: dict[str, Any]) -> None:
        name = self.owner.get(id(weight))
        if name is None:
            name = self._parametrised(weight)
        if name is None:
            return
        if kind in ("conv1d", "conv2d"):
            self._convolution(name, x, weight, options)
        else:
            columns = self.weights[name].shape[1]
            self._sum(name, 1).add_vectors(self._unmasked(name, kind, x).reshape(-1, columns))
        if not self.sums[name].finite:
            raise self._not_finite(name, x)

    def _parametrised(self, weight: Tensor) -> str | None:
        """The running layer, if its weight is computed anew in each pass (weight norm, parametrisations)."""
        name = self.running[-1] if self.running else ""
        module = self.modules.get(name)
        if module is None or module._parameters.get("weight") is not None or weight.shape != module.weight.shape:
            return None
        return name

    def _convolution(self, name: str, x: Tensor, weight: Tensor, options: dict[str, Any]) -> None:
        flat = weight.dim() == 3
        kernel = (1, int(weight.shape[2])) if flat else (int(weight.shape[2]), int(weight.shape[3]))
        stride, dilation = pair(options["stride"]), pair(options["dilation"])
        padding = options["padding"]
        if flat and not isinstance(padding, str):
            padding = (0, pair(padding)[-1])
        if flat:
            x, stride, dilation = x.unsqueeze(-2), (1, stride[-1]), (1, dilation[-1])
        if x.dim() == 3:
            x = x.unsqueeze(0)
        border = padding_of(padding, kernel, dilation)
        if any(border):
            x = nn.functional.pad(x, border)
        self._sum(name, options["groups"]).add_windows(x, kernel, stride, dilation)

    def _sum(self, name: str, groups: int) -> S:
        if name not in self.sums:
            self.sums[name] = self.make(groups, self.weights[name].shape[1])
        return self.sums[name]

    def _unmasked(self, name: str, kind: str, x: Tensor) -> Tensor:
        mask = self.mask
        if mask is None or bool(mask.all()):
            return x
        mask = mask.to(x.device)
        if kind != "attention":
            if x.dim() > mask.dim() and x.shape[: mask.dim()] == mask.shape:
                return x[mask]
            if x.dim() == 2 and x.shape[0] == mask.numel():
                return x[mask.reshape(-1)]
        if x.dim() != 2 or x.shape[0] != len(mask):
            self.extra[name]["mask not applied, its shape does not fit the inputs: padding counts"] = None
        return x

    def _not_finite(self, name: str, x: Tensor) -> LayerError:
        bad = (~x.isfinite()).nonzero()
        sample = f"sample {self.first + int(bad[0, 0])} of " if len(bad) else ""
        where = f"{sample}batch {self.batch}{'' if sample else ' (overflow)'}"
        return LayerError(
            f"layer {name!r}: its input holds NaN or infinity, first in {where}: "
            "remove that sample from the calibration inputs, or run the model in float32"
        )

    def check_read(self) -> None:
        """
        Raises
        ------
        InputError
            No batch has come.
        """
        if self.batch < 0:
            raise InputError("no calibration batches: the iterable is empty (a generator can be read only once)")

    def check_reached(self) -> None:
        """
        Raises
        ------
        LayerError
            Layers that no input has reached.
        """
        missed = [name for name in self.modules if name not in self.sums or self.sums[name].count == 0]
        if missed:
            shown = ", ".join(repr(name) for name in missed[:4]) + (" …" if len(missed) > 4 else "")
            raise LayerError(
                f"the inputs never reach layer {shown} (unused, compiled or scripted, or an empty batch): give inputs "
                f"that do, or leave it out with names=['*', '!{missed[0]}']"
            )
