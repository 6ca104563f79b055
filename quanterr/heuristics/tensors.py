"""What every heuristic does with its arguments: numpy or torch in, the same out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from bounds import Gram
from bounds.gram import Array

from ..errors import InputError

Matrix = Tensor | Array
WORK_BYTES = 2**27


def rows_of(target: Matrix, device: str | torch.device | None) -> tuple[Tensor, Callable[[Tensor], Matrix]]:
    """`target` (rows, columns) in float64 on the device, and the way back.

    The way back gives numpy for a numpy target, else a tensor on the target's device.

    Raises
    ------
    InputError
        NaN or infinity, or not a matrix.
    """
    given = target if isinstance(target, Tensor) else torch.from_numpy(np.array(target, dtype=np.float64))
    t = given.detach().to(given.device if device is None else torch.device(device), torch.float64)
    if t.dim() != 2:
        raise _misfit(t.shape, "(columns, columns)")
    _check_finite("target", t)

    def back(x: Tensor) -> Matrix:
        return x.to(target.device) if isinstance(target, Tensor) else np.asarray(x.cpu().numpy())

    return t, back


def tensors(
    target: Matrix, gram: Matrix | Gram, device: str | torch.device | None
) -> tuple[Tensor, Tensor, Callable[[Tensor], Matrix]]:
    """`rows_of` the target with `gram` (columns, columns) beside it, in float64 on the same device.

    Raises
    ------
    InputError
        Shapes that do not fit, NaN or infinity.
    """
    t, back = rows_of(target, device)
    array = gram.array if isinstance(gram, Gram) else gram
    metric = array if isinstance(array, Tensor) else torch.from_numpy(np.array(array, dtype=np.float64))
    g = metric.detach().to(t.device, torch.float64)
    check_fit(t, g.shape)
    _check_finite("gram", g)
    return t, g, back


def check_fit(target: Tensor, shape: Iterable[int]) -> None:
    """Raise InputError unless a Gram matrix of that shape fits the target's columns."""
    if tuple(shape) != (target.shape[1], target.shape[1]):
        raise _misfit(target.shape, tuple(shape))


def _misfit(target: Iterable[int], gram: object) -> InputError:
    return InputError(
        f"target {tuple(target)} and gram {gram} do not fit: expected (rows, columns) and (columns, columns)"
    )


def _check_finite(name: str, tensor: Tensor) -> None:
    if not torch.isfinite(tensor).all():
        row, column = (int(i) for i in torch.argwhere(~torch.isfinite(tensor))[0])
        raise InputError(f"the {name} holds NaN or infinity in row {row}, column {column}: repair or drop it")


def step_units(scale: Matrix | None, target: Tensor) -> Tensor | None:
    """Weight units of a code step for each target, (rows, columns); None where they do not differ within a row.

    A scale common to a row multiplies its error and changes no choice.

    Raises
    ------
    InputError
        Scales that are not positive and finite, or of a shape that does not stretch to the target's.
    """
    if scale is None:
        return None
    given = scale.detach() if isinstance(scale, Tensor) else torch.from_numpy(np.array(scale, dtype=np.float64))
    unit = given.to(target.device, torch.float64)
    try:
        full = unit.expand_as(target)
    except RuntimeError:
        raise InputError(f"scale {tuple(unit.shape)} does not stretch to the target's {tuple(target.shape)}") from None
    if not bool(((unit > 0) & torch.isfinite(unit)).all()):
        row, column = (int(i) for i in torch.argwhere(~((full > 0) & torch.isfinite(full)))[0])
        raise InputError(f"the scale in row {row}, column {column} is {float(full[row, column])}: scales are positive")
    return None if bool((full == full[:, :1]).all()) else full


def live_columns(gram: Matrix | Gram, method: str) -> Tensor:
    """Indices of the inputs that are not always zero, whose Gram matrix has full rank.

    Raises
    ------
    bounds.ProblemError
        If it has not, naming the dependent columns: give more samples or ask for damping.
    """
    if not isinstance(gram, Gram):
        gram = Gram(gram.detach().cpu().numpy() if isinstance(gram, Tensor) else gram)
    gram.require_definite(method)
    return torch.from_numpy(gram.live.astype(np.int64))


def row_blocks(rows: int, bytes_per_row: int) -> Iterator[slice]:
    """Slices of rows whose work space stays near 128 MB."""
    height = max(1, WORK_BYTES // max(1, bytes_per_row))
    for first in range(0, rows, height):
        yield slice(first, min(first + height, rows))


def check_box(low: int, high: int) -> None:
    """Raise InputError unless `low ≤ high` are integers."""
    if low != int(low) or high != int(high) or low > high:
        raise InputError(f"codes from {low!r} to {high!r}: low and high are integers with low ≤ high")


def check_draws(draws: int) -> None:
    """Raise InputError unless `draws` is a positive count."""
    if isinstance(draws, bool) or draws != int(draws) or draws < 1:
        raise InputError(f"draws = {draws!r}: give a count of at least 1")


def check_keep(keep: int, columns: int) -> None:
    """Raise InputError unless `keep` counts columns."""
    if isinstance(keep, bool) or keep != int(keep) or not 0 <= keep <= columns:
        raise InputError(f"keep = {keep!r} is not a number of columns from 0 to {columns}")


def rounded(t: Tensor, low: int, high: int) -> Tensor:
    """The nearest code; ties go up, as in `bounds.IntegerBox`."""
    return torch.floor(t + 0.5).clamp(low, high)


def errors(step: Tensor, gram: Tensor) -> Tensor:
    """(rows,) `stepᵀ gram step`, in float64 without any allowance: to compare, not to claim."""
    return ((step @ gram) * step).sum(1)


class Best:
    """The best codes offered so far, row by row; `unit` as `step_units` gives it."""

    def __init__(self, target: Tensor, gram: Tensor, unit: Tensor | None) -> None:
        self._target, self._gram, self._unit = target, gram, unit
        self.codes = torch.zeros_like(target)
        self.error = torch.full_like(target[:, 0], torch.inf)

    def offer(self, x: Tensor) -> None:
        """(rows, columns) codes; among equals the first offered stays."""
        step = x - self._target
        error = errors(step if self._unit is None else step * self._unit, self._gram)
        better = error < self.error
        self.error = torch.where(better, error, self.error)
        self.codes = torch.where(better[:, None], x, self.codes)
