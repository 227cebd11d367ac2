"""Networks by name, for the command line: from a Python file, an export, torchvision or timm."""

from __future__ import annotations

import difflib
import importlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError, BackendUnavailable, ModelError
from ..python_files import function_of, importable, require_no_arguments, run_users
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
        a weights file to load into it (see ``weights.load_weights``).

    Raises
    ------
    ArgumentError
        ``spec`` is none of these, or names a function or architecture that does not exist.
    ModelError
        The file cannot be loaded, raised, or returned something else; or the weights do not fit.
    BackendUnavailable
        torchvision or timm is requested but not installed.
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
    """Import a Python file and call one of its functions."""
    import torch

    path, name, function = function_of(spec, f"a model is given as {_FORMS}", "makes the network")
    require_no_arguments(path, name, function)
    with importable(path):
        model = run_users(path, f"{name}()", function)
    if not isinstance(model, torch.nn.Module):
        raise ModelError(f"{path}: {name}() must return an nn.Module, got {type(model).__name__}")
    return model


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
    # detectors and segmenters download a backbone by default
    options = {"weights_backbone": None} if "weights_backbone" in inspect.signature(builder).parameters else {}
    model: nn.Module = builder(weights=None, **options)
    preset = models.get_model_weights(name).DEFAULT.transforms()
    names = {"input_size": "crop_size", "mean": "mean", "std": "std"}
    if all(hasattr(preset, attribute) for attribute in names.values()):
        model.preprocess = {key: list(getattr(preset, attribute)) for key, attribute in names.items()}  # type: ignore[assignment]
    return model


def _from_timm(name: str) -> nn.Module:
    timm = _library("timm")
    _require_known("timm", name.partition(".")[0], timm.list_models())  # a hub address is not one of them
    model: nn.Module = timm.create_model(name, pretrained=False)
    return model
