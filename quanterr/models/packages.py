"""Optional packages, asked for by name when a preset needs them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..errors import InputError


def require(module: str, package: str, command: str = "pip install quanterr[demo]") -> Any:
    """Import a module, or say which package to install.

    Raises
    ------
    InputError
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(f"this needs the package {package!r} ({error}): {command}") from error
