"""Functions of the user's own Python files, named as ``path/to/file.py:function``."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import ArgumentError, ModelError

_WEIGHTS = (".pth", ".pt", ".th", ".ckpt", ".safetensors", ".npz")


def function_of(spec: str, forms: str, role: str) -> tuple[Path, str, Callable[..., Any]]:
    """Import a Python file; return its path, and the name and function that ``spec`` names.

    forms, role   for messages: the accepted forms of ``spec``, and what the function does
    Raises ArgumentError if ``spec`` names no Python file or function, ModelError if importing it raises.
    """
    file, colon, name = spec.rpartition(":")
    path = Path(file if colon and not spec.endswith(".py") else spec)
    if path.suffix != ".py":
        hint = "; that is a weights file: pass it as --weights" if path.suffix in _WEIGHTS else ""
        raise ArgumentError(f"{forms}; got {spec!r}{hint}")
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    defined = _functions(path)
    if path == Path(spec) or not name.isidentifier():
        there = ", ".join(defined) or "no function"
        raise ArgumentError(f"say which function {role}: {path}:name; the file defines {there}")
    with importable(path):
        module = run_users(path, "importing it", lambda: _import(path))
    function = getattr(module, name, None)
    if not callable(function):
        raise ArgumentError(f"{path} has no function {name!r}; it defines {', '.join(defined) or 'no function'}")
    return path, name, function


def _functions(path: Path) -> list[str]:
    """Return the names of a Python file's public functions and classes, read without running it."""
    try:
        body = ast.parse(path.read_bytes(), str(path)).body
    except (SyntaxError, ValueError) as error:
        raise ModelError(f"{path}, line {getattr(error, 'lineno', None) or 1}: not Python: {error}") from error
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [node.name for node in body if isinstance(node, kinds) and not node.name.startswith("_")]


def _import(path: Path) -> Any:
    # a name that no other module has, so that the user's file may be named torch.py
    name = f"_netdissect_fast_model_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look up a class's module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def importable(path: Path) -> Iterator[None]:
    """Let a file import its neighbours, as it could when run as a script."""
    entry = str(path.parent.resolve())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        sys.path.remove(entry)


def run_users(path: Path, what: str, function: Callable[[], Any]) -> Any:
    """Call the user's code; what it raises becomes a ModelError with the line of the user's file."""
    try:
        return function()
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
        where = f"{path}, line {lines[-1]}" if lines else str(path)
        raise ModelError(f"{where}: {what} raised {type(error).__name__}: {error}") from error


def require_no_arguments(path: Path, name: str, function: Callable[..., Any]) -> None:
    """Raise ArgumentError unless the function can be called without arguments."""
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise ArgumentError(
            f"{path}: {name} must be callable without arguments ({error}); write one that is"
        ) from error
    except ValueError:
        return  # a builtin without a signature: only calling it can tell
