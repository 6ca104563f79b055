"""Which columns share a block of a block-diagonal `D`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import ProblemError
from ..gram import Array, Gram

Blocks = tuple[NDArray[np.intp], ...]


def partition(gram: Gram, width: int) -> Blocks:
    """Blocks of at most `width` live columns, of almost equal size, that depend on each other most.

    Greedy by squared partial correlation `Kᵢⱼ²/(Kᵢᵢ Kⱼⱼ)`, `K` the inverse: a block starts with the free column of
    largest sum over the free columns, and takes the free column of largest sum over the block until it is full.

    Raises
    ------
    ProblemError
        A width below one, or a singular Gram matrix, by column.
    """
    if width < 1:
        raise ProblemError(f"width = {width} columns a block: use 1 or more")
    live = gram.live
    if live.size == 0:
        return ()
    part = gram if live.size == gram.columns else gram.restrict(live)
    part.require_definite("a partition by partial correlation")
    inverse = part.inverse
    return tuple(
        np.sort(live[block]) for block in grouped(inverse * inverse / np.outer(*[inverse.diagonal()] * 2), width)
    )


def grouped(affinity: Array, width: int) -> list[NDArray[np.intp]]:
    """Greedy groups of a symmetric non-negative affinity, (columns, columns); ties go to the first column."""
    n = affinity.shape[0]
    count = -(-n // width)
    ties = affinity - np.diag(affinity.diagonal())
    free = np.ones(n, dtype=bool)
    groups = []
    for index in range(count):
        size = n // count + (index < n % count)
        total = np.where(free, ties @ free, -1.0)
        group = [int(np.argmax(total))]
        free[group[0]] = False
        pull = ties[group[0]].copy()
        while len(group) < size:
            column = int(np.argmax(np.where(free, pull, -1.0)))
            free[column] = False
            group.append(column)
            pull += ties[column]
        groups.append(np.array(group, dtype=np.intp))
    return groups
