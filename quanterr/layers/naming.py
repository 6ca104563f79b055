"""Which modules are layers, and which of them the caller means."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from ..errors import LayerError

SUPPORTED = "Linear, Conv1d, Conv2d and transformers' Conv1D"


def transposed(module: nn.Module) -> bool:
    """True for transformers' Conv1D: a linear layer whose weight is (inputs, outputs)."""
    return any((k.__module__, k.__name__) == ("transformers.pytorch_utils", "Conv1D") for k in type(module).__mro__)


def supported(module: nn.Module) -> bool:
    return isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)) or transposed(module)


def select(model: nn.Module, names: Iterable[str] | None) -> dict[str, nn.Module]:
    """The layers that the globs mean, in the model's order; a glob that starts with `!` takes layers out.

    Raises
    ------
    LayerError
        A glob without any layer (with the closest names), or one that means only unsupported modules.
    """
    modules = dict(model.named_modules())
    layers = [name for name, module in modules.items() if supported(module)]
    if not layers:
        raise LayerError(f"the model has no layer that can be captured ({SUPPORTED}): {type(model).__name__}")
    globs = ["*"] if names is None else [names] if isinstance(names, str) else list(names)
    chosen = set[str](layers) if all(g.startswith("!") for g in globs) else set[str]()
    for glob in globs:
        pattern = glob.removeprefix("!")
        matched = {name for name in layers if fnmatchcase(name, pattern)}
        if not matched:
            raise _unmatched(pattern, modules, layers)
        chosen = chosen - matched if glob.startswith("!") else chosen | matched
    if not chosen:
        raise LayerError(f"the globs {globs} leave no layer: the last ones take out all that the first ones chose")
    return {name: modules[name] for name in layers if name in chosen}


def weight_of(name: str, module: nn.Module) -> Tensor:
    """The weight as (rows, columns) in float64 on the CPU.

    Raises
    ------
    LayerError
        Not initialised, complex, or not finite.
    """
    weight = module.weight
    if isinstance(weight, nn.parameter.UninitializedParameter) or not isinstance(weight, Tensor) or weight.is_meta:
        raise LayerError(f"layer {name!r} has no weights yet: load them, or run the model once, before capturing")
    if weight.is_complex():
        raise LayerError(f"layer {name!r} has complex weights, which quanterr does not treat: leave it out")
    matrix = weight.detach().to("cpu").double()
    matrix = matrix.T if transposed(module) else matrix.flatten(1)
    if not torch.isfinite(matrix).all():
        row, column = (int(i) for i in torch.argwhere(~torch.isfinite(matrix))[0])
        raise LayerError(
            f"layer {name!r}: the weight holds {float(matrix[row, column])} in row {row}, column {column}: "
            "repair the checkpoint or leave the layer out"
        )
    return matrix


def _unmatched(pattern: str, modules: dict[str, nn.Module], layers: list[str]) -> LayerError:
    others = {name: type(m).__name__ for name, m in modules.items() if fnmatchcase(name, pattern) and name}
    if others:
        kinds = ", ".join(sorted(set(others.values())))
        first = next(iter(others))
        inside = [name for name in layers if name.startswith(first + ".")]
        remedy = f"; layers inside it: {_some(inside)}" if inside else f"; supported are {SUPPORTED}"
        return LayerError(f"{pattern!r} names no layer that can be captured, but {first!r} ({kinds}){remedy}")
    close = difflib.get_close_matches(pattern, layers, n=3, cutoff=0.4)
    hint = f"did you mean {_some(close)}?" if close else f"the layers are {_some(layers)}"
    return LayerError(f"no layer matches {pattern!r}: {hint}")


def _some(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:4])
    return shown + (f" and {len(names) - 4} more" if len(names) > 4 else "")
