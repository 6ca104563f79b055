"""Checks of arguments: every message names the argument, what it got, and the remedy."""

from __future__ import annotations

import math

import numpy as np

from .kernels import Array


def positive(name: str, value: object, remedy: str = "give a positive, finite number") -> float:
    """A positive finite float.

    Raises
    ------
    ValueError
    """
    number = finite(name, value)
    if number <= 0.0:
        raise ValueError(f"{name} = {number!r} is not positive: {remedy}")
    return number


def finite(name: str, value: object) -> float:
    """A finite float.

    Raises
    ------
    ValueError
    """
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ValueError(f"{name} = {value!r} is not a number: give a finite float") from None
    if not math.isfinite(number):
        raise ValueError(f"{name} = {number!r} is not finite: give a finite float")
    return number


def fraction(name: str, value: object) -> Array:
    """An array of numbers in [0, 1].

    Raises
    ------
    ValueError
    """
    array = np.asarray(value, dtype=np.float64)
    bad = ~((array >= 0.0) & (array <= 1.0))
    if bad.any():
        raise ValueError(f"{name} = {float(array[bad].flat[0])!r} is not in [0, 1]: give the fraction, 0.75 for 75 %")
    return array


def scales(value: object) -> Array:
    """An array of positive, finite scales.

    Raises
    ------
    ValueError
    """
    array = np.asarray(value, dtype=np.float64)
    bad = ~((array > 0.0) & np.isfinite(array))
    if bad.any():
        raise ValueError(
            f"scale = {float(array[bad].flat[0])!r} is not positive and finite: "
            "give the weight units of one code step, or take optimal_scale(dist, grid)"
        )
    return array


def count(name: str, value: object, least: int, remedy: str) -> int:
    """An integer no smaller than `least`.

    Raises
    ------
    ValueError
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} = {value!r} is not an integer of at least {least}: {remedy}")
    return int(value)
