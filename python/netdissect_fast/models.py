"""Getting a network by name, for the command line: from a Python file, an export, torchvision or timm."""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ArgumentError, BackendUnavailable, ModelError
from .exported import load_exported
from .layers import unwrap
from .weights import load_weights

if TYPE_CHECKING:
    from torch import nn

_FORMS = "path/to/file.py:function, path/to/file.pt2, torchvision:name or timm:name"


def load_model(spec: str, weights: str | Path | None = None) -> nn.Module:
    """Load a network in evaluation mode, on the CPU. Nothing is ever downloaded.

    Parameters
    ----------
    spec : ``path/to/file.py:function``, whose function takes no arguments and returns an nn.Module; a
        ``.pt2`` of ``torch.export.save``; ``torchvision:name`` or ``timm:name``, without weights of its own.
    weights :
        a file of weights to load into it (see ``weights.load_weights``).

    Raises
    ------
    ArgumentError
        ``spec`` is none of these, or names a function or architecture that does not exist.
    ModelError
        The file cannot be loaded, raised, or gave something else; or the weights do not fit.
    BackendUnavailable
        torchvision or timm is asked for and not installed.
    """
    library, colon, name = spec.partition(":")
    if library in ("torchvision", "timm") and colon:
        model = _from_torchvision(name) if library == "torchvision" else _from_timm(name)
    elif Path(spec).suffix == ".pt2":
        model = load_exported(_existing(Path(spec)))
    else:
        model = _from_file(spec)
    if weights is not None:
        load_weights(unwrap(model), Path(weights))
    return model.eval()


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    return path


def _from_file(spec: str) -> nn.Module:
    """Import a Python file and call a function of it."""
    import torch

    file, colon, name = spec.rpartition(":")
    path = Path(file if colon and not spec.endswith(".py") else spec)
    if path.suffix != ".py":
        hint = "; that is a file of weights: give it as --weights" if path.suffix in (".pth", ".pt", ".th") else ""
        raise ArgumentError(f"a model is given as {_FORMS}; got {spec!r}{hint}")
    defined = _functions(_existing(path))
    if path == Path(spec) or not name.isidentifier():
        raise ArgumentError(
            f"say which function makes the network: {path}:name; there is {', '.join(defined) or 'none'}"
        )
    with _importable(path.parent):
        module = _run(path, "importing it", lambda: _import(path))
        function = getattr(module, name, None)
        if not callable(function):
            raise ArgumentError(f"{path} has no function {name!r}; there is {', '.join(defined) or 'none'}")
        _require_no_arguments(path, name, function)
        model = _run(path, f"{name}()", function)
    if not isinstance(model, torch.nn.Module):
        raise ModelError(f"{path}: {name}() must return an nn.Module, got {type(model).__name__}")
    return model


def _functions(path: Path) -> list[str]:
    """Names of the public functions and classes of a Python file, read without running it."""
    try:
        body = ast.parse(path.read_bytes(), str(path)).body
    except (SyntaxError, ValueError) as error:
        raise ModelError(f"{path}, line {getattr(error, 'lineno', None) or 1}: not Python: {error}") from error
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [node.name for node in body if isinstance(node, kinds) and not node.name.startswith("_")]


def _import(path: Path) -> Any:
    # a name that no other module has, so that the user's file may be called torch.py
    name = f"_netdissect_fast_model_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let a file import its neighbours, as it could if it were run."""
    entry = str(folder.resolve())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        sys.path.remove(entry)


def _run(path: Path, what: str, function: Callable[[], Any]) -> Any:
    """Call the user's code; what it raises becomes a ModelError with the line of the user's file."""
    try:
        return function()
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
        where = f"{path}, line {lines[-1]}" if lines else str(path)
        raise ModelError(f"{where}: {what} raised {type(error).__name__}: {error}") from error


def _require_no_arguments(path: Path, name: str, function: Callable[..., Any]) -> None:
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise ArgumentError(
            f"{path}: {name} must be callable without arguments ({error}); write one that is"
        ) from error
    except ValueError:
        return  # a builtin without a signature: calling it will tell


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BackendUnavailable(f"{name} is not installed ({error}); run: pip install {name}") from error


def _require_known(library: str, name: str, known: list[str]) -> None:
    if name not in known:
        close = difflib.get_close_matches(name, known, n=5, cutoff=0.0)
        raise ArgumentError(f"{library} has no architecture {name!r}; closest names: {', '.join(close)}")


def _from_torchvision(name: str) -> nn.Module:
    models = _library("torchvision").models
    _require_known("torchvision", name, models.list_models())
    builder = models.get_model_builder(name)
    # for detectors and segmenters the default is to download a backbone
    options = {"weights_backbone": None} if "weights_backbone" in inspect.signature(builder).parameters else {}
    model: nn.Module = builder(weights=None, **options)
    preset = models.get_model_weights(name).DEFAULT.transforms()
    names = {"input_size": "crop_size", "mean": "mean", "std": "std"}
    if all(hasattr(preset, attribute) for attribute in names.values()):
        model.preprocess = {key: list(getattr(preset, attribute)) for key, attribute in names.items()}  # type: ignore[assignment]
    return model


def _from_timm(name: str) -> nn.Module:
    timm = _library("timm")
    _require_known("timm", name.partition(".")[0], timm.list_models())  # a hub address is none of them
    model: nn.Module = timm.create_model(name, pretrained=False)
    return model
