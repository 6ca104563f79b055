"""Compilation of kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """`numba.njit(cache=True)`, but the type of the function survives for the type checker.

    Numba's cache looks at the time stamp of the kernel's own file only: after editing a kernel that others
    call, delete `__pycache__`, or the callers keep the old one inlined.
    """
    return cast(Function, njit(cache=True)(function))
