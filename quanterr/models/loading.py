"""`package.module:factory(argument=1)`: how a caller names a model or inputs in one string."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from ..errors import InputError
from .packages import require

SPECIFICATION = re.compile(r"\s*(?P<module>[A-Za-z_][\w.]*)\s*:\s*(?P<call>[A-Za-z_].*)\s*", re.DOTALL)


def is_specification(text: str) -> bool:
    """True if `text` reads as `package.module:name` or `package.module:name(…)`."""
    return SPECIFICATION.fullmatch(text) is not None


def load_object(text: str, **arguments: Any) -> Any:
    """Import the module (the working folder counts), call the named factory and return what it gives.

    Arguments in the parentheses are Python literals; nothing is evaluated. Keyword arguments given here are passed too.
    Something that is not callable, or an instance of `torch.nn.Module`, is returned as it is.

    Raises
    ------
    InputError
        A malformed text, an argument that is no literal, a module or name that does not exist, a factory that fails.
    """
    match = SPECIFICATION.fullmatch(text)
    if match is None:
        raise InputError(f"{text!r} does not read as package.module:factory or package.module:factory(pretrained=True)")
    path, positional, keywords = _parse(match["call"].strip(), text)
    found = _attribute(_import(match["module"], text), path, text)
    called = positional is not None or bool(arguments)
    if not called and (not callable(found) or _is_model(found)):
        return found
    if not callable(found):
        raise InputError(f"{text!r}: {path} is a {type(found).__name__}, it takes no arguments")
    return _call(found, text, positional or [], keywords | arguments)


def load_model(text: str, **arguments: Any) -> Any:
    """The `torch.nn.Module` that `package.module:factory(…)` makes; see `load_object`.

    Raises
    ------
    InputError
        Also if the factory gives something else than a model.
    """
    nn = require("torch.nn", "torch", "pip install quanterr[torch]")
    model = load_object(text, **arguments)
    if not isinstance(model, nn.Module):
        raise InputError(f"{text!r} gives an object of type {type(model).__name__}, expected a torch.nn.Module")
    return model


def _parse(call: str, text: str) -> tuple[str, list[Any] | None, dict[str, Any]]:
    try:
        node = ast.parse(call, mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{text!r} is not Python: {error.args[0]}") from error
    if not isinstance(node, ast.Call):
        return _dotted(node, text), None, {}
    positional = [_literal(argument, text) for argument in node.args]
    keywords: dict[str, Any] = {}
    for keyword in node.keywords:
        if keyword.arg is None:
            raise InputError(f"{text!r}: write the arguments out, ** is not understood")
        keywords[keyword.arg] = _literal(keyword.value, text)
    return _dotted(node.func, text), positional, keywords


def _dotted(node: ast.expr, text: str) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, text)}.{node.attr}"
    raise InputError(f"{text!r}: after the colon comes one name, with or without arguments in parentheses")


def _literal(node: ast.expr, text: str) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise InputError(
            f"{text!r}: the argument {ast.unparse(node)} is no literal (number, string, True, None, list, …)"
        ) from error


def _import(name: str, text: str) -> Any:
    folder = os.getcwd()
    added = folder not in sys.path
    if added:
        sys.path.insert(0, folder)
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(f"{text!r}: cannot import {name} ({error}): install it or correct the name") from error
    except Exception as error:
        raise InputError(f"{text!r}: importing {name} fails with {type(error).__name__}: {_line(error)}") from error
    finally:
        if added:
            sys.path.remove(folder)


def _attribute(module: Any, path: str, text: str) -> Any:
    found = module
    for name in path.split("."):
        if not hasattr(found, name):
            raise InputError(f"{text!r}: {getattr(found, '__name__', found)} has no {name}")
        found = getattr(found, name)
    return found


def _is_model(found: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(found, torch.nn.Module)


def _call(factory: Callable[..., Any], text: str, positional: list[Any], keywords: dict[str, Any]) -> Any:
    try:
        return factory(*positional, **keywords)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{text!r} fails with {type(error).__name__}: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
