"""The metric as the pruners use it: dead and dependent inputs known, damped only where somebody asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from bounds import Gram

from ..errors import InputError
from .full_rank import FullRank, full_rank
from .tensors import Matrix


@dataclass(frozen=True, eq=False)
class Metric:
    """A Gram matrix on the device, and which of its columns carry independent inputs.

    Attributes
    ----------
    gram : (columns, columns) float64, damped if damping was asked for
    source : bounds.Gram
        The same.
    """

    gram: Tensor
    source: Gram

    @property
    def singular(self) -> bool:
        return self.source.singular

    @cached_property
    def rank(self) -> FullRank:
        return full_rank(self.source, 0.0, self.gram.device)

    @property
    def basis(self) -> Tensor:
        """Ascending indices of inputs whose Gram matrix has full rank: all that are not dead, if none depends."""
        return self.rank.kept

    @property
    def inner(self) -> Tensor:
        """The Gram matrix of the basis."""
        return self.rank.gram

    @cached_property
    def inner_inverse(self) -> Tensor:
        """Its inverse."""
        return self.rank.inverse()

    def folded(self, w: Tensor) -> Tensor:
        """Weights on the basis alone with the same outputs, (rows, len(basis)): what other inputs did, these do."""
        return self.rank.folded(w, torch.zeros_like(w[:, self.rank.redundant]))

    def unfolded(self, x: Tensor) -> Tensor:
        """`x` on the basis as a matrix with all columns, zero elsewhere."""
        whole = x.new_zeros(len(x), len(self.gram))
        whole[:, self.basis] = x
        return whole


def metric_of(gram: Matrix | Gram, damping: float, device: torch.device) -> Metric:
    """`gram` as the caller gave it, checked by `bounds.Gram`, `damping` added as `damped` does."""
    source = damped(gram, damping)
    return Metric(torch.from_numpy(source.array.copy()).to(device), source)


def damped(gram: Matrix | Gram, damping: float) -> Gram:
    """The Gram matrix with `damping` times the mean of its diagonal added to the diagonal.

    For a method that shall see a damped metric; judge what it returns in the undamped one.

    Raises
    ------
    InputError
        `damping` that is negative or not finite.
    """
    if not 0.0 <= damping < float("inf"):
        raise InputError(f"damping = {damping!r} is no fraction of the mean diagonal (0.0: none, 0.01: one per cent)")
    given = gram if isinstance(gram, Gram) else Gram(gram.detach().cpu().numpy() if isinstance(gram, Tensor) else gram)
    if damping == 0.0:
        return given
    return Gram(given.array + damping * given.array.diagonal().mean() * np.eye(given.columns))
