"""The metric as the pruners use it: dead inputs, dependent inputs, and damping only where somebody asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from bounds import Gram
from bounds.gram import SINGULAR

from ..errors import InputError
from .tensors import Matrix


@dataclass(frozen=True, eq=False)
class Metric:
    """A Gram matrix on the device, and which of its columns carry independent inputs.

    Attributes
    ----------
    gram : (columns, columns) float64
    source : bounds.Gram
    """

    gram: Tensor
    source: Gram

    @property
    def singular(self) -> bool:
        return self.source.singular

    @cached_property
    def basis(self) -> Tensor:
        """Indices of inputs whose Gram matrix has full rank, ascending: all that are not dead if nothing depends.

        Otherwise those that a Cholesky factorisation of the unit-diagonal Gram takes first when it always takes the
        input that those before it explain least (among equals the first), as long as their Gram matrix has full rank.
        """
        live = self.source.live
        if not self.singular:
            return self._index(live)
        root = np.sqrt(self.source.array.diagonal()[live])
        rest = self.source.array[np.ix_(live, live)] / root / root[:, None]
        order: list[int] = []
        while len(order) < len(live):
            left = rest.diagonal().copy()
            left[order] = -np.inf
            pivot = int(left.argmax())
            if left[pivot] <= SINGULAR * self.source.columns:
                break
            order.append(pivot)
            rest = rest - np.outer(rest[pivot], rest[pivot] / rest[pivot, pivot])
        while len(order) > 1 and self.source.restrict(live[np.sort(order)]).singular:
            order.pop()
        return self._index(live[np.sort(order)])

    @cached_property
    def inner(self) -> Tensor:
        """The Gram matrix of the basis."""
        return self.gram[self.basis][:, self.basis]

    def folded(self, w: Tensor) -> Tensor:
        """Weights on the basis alone with the same outputs, (rows, len(basis)): what other inputs did, these do."""
        kept = w[:, self.basis]
        if not self.singular:
            return kept
        rest = w.clone()
        rest[:, self.basis] = 0.0
        pull = (rest @ self.gram)[:, self.basis]
        return kept + torch.cholesky_solve(pull.T, torch.linalg.cholesky(self.inner)).T

    def unfolded(self, x: Tensor) -> Tensor:
        """`x` on the basis as a matrix with all columns, zero elsewhere."""
        whole = x.new_zeros(len(x), len(self.gram))
        whole[:, self.basis] = x
        return whole

    def _index(self, columns: object) -> Tensor:
        return torch.from_numpy(np.asarray(columns, dtype=np.int64)).to(self.gram.device)


def metric_of(gram: Matrix | Gram, g: Tensor) -> Metric:
    """`gram` as the caller gave it, checked by `bounds.Gram`, and as `tensors` moved it."""
    if not isinstance(gram, Gram):
        gram = Gram(gram.detach().cpu().numpy() if isinstance(gram, Tensor) else gram)
    return Metric(g, gram)


def damped(gram: Gram | object, damping: float) -> Gram:
    """The Gram matrix with `damping` times the mean of its diagonal added to the diagonal.

    For a method that shall see a damped metric; judge what it returns in the undamped one.

    Raises
    ------
    InputError
        `damping` that is negative or not finite.
    """
    if not 0.0 <= damping < float("inf"):
        raise InputError(f"damping = {damping!r} is no fraction of the mean diagonal (0.0: none, 0.01: one per cent)")
    given = gram if isinstance(gram, Gram) else Gram(gram)
    if damping == 0.0:
        return given
    amount = damping * given.array.diagonal().mean()
    return Gram(given.array + amount * np.eye(given.columns))
