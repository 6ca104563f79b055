"""Broadcasting over distributions, grids and numbers alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..distributions import Distribution
from ..distributions.kernels import Array
from ..grids import Grid


def objects(kind: type, name: str, value: Any) -> Any:
    """One object as a 0-d array, a (nested) sequence of them as an object array.

    Raises
    ------
    ValueError
        If an element is not of this kind.
    """
    if isinstance(value, kind):
        array = np.empty((), dtype=object)
        array[()] = value
    else:
        array = np.array(value, dtype=object)
    for item in array.flat:
        if not isinstance(item, kind):
            raise ValueError(f"{name} holds {item!r}: give a {kind.__name__} or an array of them")
    if array.size == 0:
        raise ValueError(f"{name} is empty: give at least one {kind.__name__}")
    return array


def distributions(value: Any) -> Any:
    """Object array of distributions."""
    return objects(Distribution, "dist", value)


def grids(value: Any) -> Any:
    """Object array of grids."""
    return objects(Grid, "grid", value)


def each(function: Callable[..., float], *arrays: Any) -> Array:
    """`function` of every combination, in the shape to which the arrays broadcast together."""
    together = np.broadcast(*arrays)
    return np.array([function(*items) for items in together], dtype=np.float64).reshape(together.shape)
