"""Networks by name, for the command line: from a Python file, an export, torchvision or timm."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError, BackendUnavailable, ModelError, import_failure, is_missing, shortened
from ..python_files import function_of, importable, require_no_arguments, run_users
from .exported import load_exported
from .failures import require_loaded
from .layers import unwrap
from .weights import load_weights

if TYPE_CHECKING:
    from torch import nn

_FORMS = "path/to/file.py:function, path/to/file.pt2, torchvision:name or timm:name"


def load_model(
    spec: str,
    weights: str | Path | None = None,
    *,
    prefix: str | None = None,
    without_head: str | Sequence[str] | None = None,
) -> nn.Module:
    """Load a network in evaluation mode, on the CPU. Nothing is ever downloaded.

    Parameters
    ----------
    spec : ``path/to/file.py:function``, whose function takes no arguments and returns an nn.Module; a
        ``.pt2`` of ``torch.export.save``; ``torchvision:name`` or ``timm:name``, without weights of its own.
    weights, prefix, without_head :
        a weights file to load into it, and how (see ``weights.load_weights``).

    Raises
    ------
    ArgumentError
        ``spec`` is none of these, or names a function or architecture that does not exist.
    ModelError
        The file cannot be loaded, raised, or returned something else; or the weights do not fit, or are not loaded.
    BackendUnavailable
        torchvision or timm is requested but cannot be imported.
    """
    library, colon, name = spec.partition(":")
    if library in ("torchvision", "timm") and colon:
        model = _from_torchvision(name) if library == "torchvision" else _from_timm(name)
    elif Path(spec).suffix == ".pt2":
        model = load_exported(_existing(Path(spec)))
    else:
        model = _from_file(spec)
    if weights is not None:
        load_weights(unwrap(model), Path(weights), prefix=prefix, without_head=without_head)
    require_loaded(model)
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
    import torch

    try:
        return importlib.import_module(name)
    except Exception as error:  # one that does not fit torch may raise anything
        what = import_failure(name, error)
        if is_missing(name, error):
            raise BackendUnavailable(f"{what} ({error}); run: pip install {name}") from error
        raise BackendUnavailable(
            f"{what}; its version must fit that of torch, {torch.__version__}: pip install --upgrade "
            f"{' '.join(dict.fromkeys(('torch', 'torchvision', name)))}"
        ) from error


def _require_known(library: str, name: str, known: list[str]) -> None:
    if name not in known:
        close = difflib.get_close_matches(name, known, n=5)
        hint = f"closest names: {', '.join(close)}" if close else f"see {library}'s list_models()"
        raise ArgumentError(f"{library} has no architecture {name!r}; {hint}")


def _built(library: str, name: str, make: Callable[[], nn.Module]) -> nn.Module:
    """Call a library's function; what it raises becomes a ModelError in one line."""
    try:
        return make()
    except Exception as error:
        said = shortened(" ".join(str(error).split()))
        raise ModelError(f"{library} cannot make {name!r}: {type(error).__name__}: {said}") from error


def _from_torchvision(name: str) -> nn.Module:
    models = _library("torchvision").models
    _require_known("torchvision", name, models.list_models())
    builder = models.get_model_builder(name)
    # detectors and segmenters download a backbone by default
    options = {"weights_backbone": None} if "weights_backbone" in inspect.signature(builder).parameters else {}
    model = _built("torchvision", name, lambda: builder(weights=None, **options))
    preset = models.get_model_weights(name).DEFAULT.transforms()
    names = {"input_size": "crop_size", "mean": "mean", "std": "std"}
    if all(hasattr(preset, attribute) for attribute in names.values()):
        model.preprocess = {key: list(getattr(preset, attribute)) for key, attribute in names.items()}  # type: ignore[assignment]
    return model


def _from_timm(name: str) -> nn.Module:
    timm = _library("timm")
    _require_known("timm", name.partition(".")[0], timm.list_models())  # a hub address is not one of them
    return _built("timm", name, lambda: timm.create_model(name, pretrained=False))
