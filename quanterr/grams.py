"""Gram matrices with their factorisations, kept in a worker while units of one chunk follow each other."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

import numpy as np

from bounds import Gram
from bounds.gram import Array

#: Bytes kept in all; the newest matrix stays whatever its size.
KEPT = 128 * 2**20


class GramCache:
    """The Gram matrices used last, by content."""

    def __init__(self, most: int = KEPT) -> None:
        self._most, self._held = most, 0
        self._grams: OrderedDict[bytes, Gram] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, array: Array) -> Gram:
        """The Gram matrix of these entries (columns, columns), perhaps checked and factorised already.

        Raises
        ------
        ProblemError
            See `bounds.Gram`.
        """
        name = content(array)
        with self._lock:
            if name in self._grams:
                self._grams.move_to_end(name)
                return self._grams[name]
        made = Gram(array)
        with self._lock:
            if name not in self._grams:
                self._grams[name] = made
                self._held += _size(made)
            while self._held > self._most and len(self._grams) > 1:
                self._held -= _size(self._grams.popitem(last=False)[1])
            return made

    def __len__(self) -> int:
        return len(self._grams)


def content(*arrays: Array) -> bytes:
    """A hash of the shapes and entries of arrays of doubles."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


def _size(gram: Gram) -> int:
    """Bytes of a Gram with its spectrum, factor, inverse and what the searches derive from them, about."""
    return 4096 + 8 * 8 * gram.columns**2


shared_gram = GramCache()
