"""Inputs that carry no information, found from the Gram matrix and the column sums."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bounds.gram import Array

ROUNDING = 1e-12
SHOWN = 6


def input_notes(gram: Array, mean: Array) -> list[str]:
    """Notes on dead, constant and duplicated columns.

    Parameters
    ----------
    gram : (groups, columns, columns)
    mean : (groups, columns)

    A column is *dead* if its diagonal is zero, *constant* if its variance is below 1e-12 of its mean
    square, *duplicated* if its mean squared distance to an earlier column is below 1e-12 of its mean square.
    """
    power = np.diagonal(gram, axis1=1, axis2=2)
    dead = power == 0.0
    constant = ~dead & (power - mean * mean <= ROUNDING * power)
    twins = _earlier_twin(gram, power)
    found = (
        ("dead inputs (always zero)", dead, _columns),
        ("constant inputs", constant, _columns),
        ("duplicated inputs", twins >= 0, lambda at: ", ".join(f"{c} = {twins[at[0], c]}" for c in at[1])),
    )
    return [_sentence(what, mask, name) for what, mask, name in found if mask.any()]


def _earlier_twin(gram: Array, power: Array) -> NDArray[np.intp]:
    """(groups, columns) the first earlier column that is the same, −1 where there is none or the column is dead."""
    twins = np.full(power.shape, -1)
    for group, square in enumerate(power):
        apart = np.abs(square[:, None] - gram[group])
        apart += np.abs(square[None, :] - gram[group])
        alike = np.tril(apart <= ROUNDING * square[:, None], -1) & (square > 0.0)[:, None]
        twins[group] = np.where(alike.any(axis=1), alike.argmax(axis=1), -1)
    return twins


def _columns(at: tuple[int, list[int]]) -> str:
    return ", ".join(str(column) for column in at[1])


def _sentence(what: str, mask: NDArray[np.bool_], name: Callable[[tuple[int, list[int]]], str]) -> str:
    """At most six groups, at most six columns of each; the count at the end is complete."""
    groups = np.flatnonzero(mask.any(axis=1))
    parts = []
    for group in groups[:SHOWN]:
        columns = [int(c) for c in np.flatnonzero(mask[group])]
        listed = name((int(group), columns[:SHOWN])) + (", …" if len(columns) > SHOWN else "")
        listed = "all" if len(columns) == mask.shape[1] and what.startswith("dead") else listed
        parts.append(f"group {group}: {listed}" if len(mask) > 1 else listed)
    separator = "; " if len(mask) > 1 else ", "
    tail = f"{separator}…" if len(groups) > SHOWN else ""
    unit = "" if len(mask) > 1 else "column " if mask.sum() == 1 else "columns "
    return f"{what}: {unit}{separator.join(parts)}{tail} ({int(mask.sum())} of {mask.size} columns)"
