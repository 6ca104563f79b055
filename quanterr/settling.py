"""Shared `D`s, kept in a worker: tuned once to the rows of a batch, then used for whichever of them come here."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import Protocol, runtime_checkable

import numpy as np

from bounds import CertificateError, Codebook, LeastSquares, ProblemError
from bounds.verbs import Relaxation

#: How many are kept: 0.4 MB each for blocks of 32 at 1,536 columns.
KEPT = 64


@runtime_checkable
class Settling(Relaxation, Protocol):
    """A relaxation whose `D` depends on the rows that it is tuned to."""

    def settled(self, problem: LeastSquares) -> Relaxation: ...


class SettledCache:
    """What `settled` gave last, by content: the same in every worker, which each find it out for themselves."""

    def __init__(self, most: int = KEPT) -> None:
        self._most = most
        self._known: OrderedDict[bytes, Relaxation] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, relaxation: Relaxation, problem: LeastSquares) -> Relaxation:
        """The relaxation with a `D` for the rows of `problem` that are no points of the set themselves.

        As it is where it has none, or where it refuses the problem: it will do so again, where that is dealt with.
        """
        if not isinstance(relaxation, Settling):
            return relaxation
        away = ~problem.feasible.contains(problem.target)
        if not away.any():
            return relaxation
        name = _content(relaxation, problem)
        with self._lock:
            if name in self._known:
                self._known.move_to_end(name)
                return self._known[name]
        try:
            found = relaxation.settled(LeastSquares(problem.gram, problem.target[away], problem.feasible))
        except (ProblemError, CertificateError):
            return relaxation
        with self._lock:
            self._known[name] = found
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        return found

    def __len__(self) -> int:
        return len(self._known)


def _content(relaxation: Relaxation, problem: LeastSquares) -> bytes:
    digest = hashlib.sha256(repr((relaxation, problem.feasible, problem.target.shape)).encode())
    levels = [problem.feasible.array] if isinstance(problem.feasible, Codebook) else []  # its repr leaves them out
    for array in (problem.gram.array, problem.target, *levels):
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


settled = SettledCache()
