"""Loading weights into a network: tensors only, every one of them accounted for."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ModelError, shortened

if TYPE_CHECKING:
    from torch import Tensor, nn

_NESTED = ("state_dict", "model_state_dict", "model_state", "model", "net", "weights")
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
_MOST = 1 << 30  # bytes that any archive may unpack to; a larger one up to 20 times its own size
_SAVE = "save them with torch.save(model.state_dict(), path)"


def load_weights(model: nn.Module, path: Path) -> None:
    """Load the weights in ``path`` into ``model``; all must be present, with the right shapes, and no others.

    ``path`` is safetensors (``.safetensors``), NumPy arrays by name (``.npz``), or a PyTorch checkpoint (any
    other name): a state dict, or one within a dict under ``state_dict``, ``model`` and the like. A prefix that
    wrappers add to all names (``module.``) is removed. Raises ModelError.
    """
    import torch

    wanted = model.state_dict()
    weights = _without_prefixes(read_weights(path), wanted)
    # older checkpoints lack this counter, which evaluation does not use
    missing = [n for n in wanted if n not in weights and not n.endswith("num_batches_tracked")]
    surplus = [n for n in weights if n not in wanted]
    shapes = [
        f"{n} {list(weights[n].shape)} where the model has {list(value.shape)}"
        for n, value in wanted.items()
        if n in weights and isinstance(value, torch.Tensor) and weights[n].shape != value.shape
    ]
    problems = [
        f"{len(names)} {what}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
        for what, names in (("missing", missing), ("not in the model", surplus), ("of a different shape", shapes))
        if names
    ]
    if problems:
        raise ModelError(f"{path}: does not fit the model: {'; '.join(problems)}")
    try:
        model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise ModelError(f"{path}: cannot be copied into the model: {error}") from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors in a weights file by name, without running anything in it. Raises ModelError if that fails."""
    if not path.is_file():
        raise ModelError(f"{path}: no such weights file")
    if path.suffix == ".safetensors":
        found: Any = _read_safetensors(path)
    elif path.suffix == ".npz":
        found = _read_npz(path)
    else:
        found = _read_checkpoint(path)
    return _state_dict(path, found)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except Exception as error:  # hostile bytes may raise anything
        raise ModelError(f"{path}: is not a readable safetensors file: {shortened(error)}") from error


def _read_npz(path: Path) -> dict[str, Tensor]:
    import torch

    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                _refuse_bomb(path, archive)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except ModelError:
        raise
    except Exception as error:  # hostile bytes may raise anything
        raise ModelError(f"{path}: is not an .npz file of numbers: {shortened(error)}") from error


def _read_checkpoint(path: Path) -> Any:
    import torch

    if _is_script(path):
        raise ModelError(f"{path}: is a TorchScript or exported network, not weights; {_SAVE}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about old file formats
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        if named:
            what = f"holds Python objects ({named[1]}), and reading those could run code"
            raise ModelError(f"{path}: {what}; only tensors are read: {_SAVE}") from error
        reason = str(error).partition("\n")[0][:200] or type(error).__name__
        if "weights_only" in reason or "Weights only" in reason:  # torch's advice would run the file
            reason = "not a PyTorch file, or it holds more than tensors"
        raise ModelError(f"{path}: is not a readable PyTorch checkpoint: {reason}; {_SAVE}") from error


def _is_script(path: Path) -> bool:
    """Return whether a file is a zip archive with code or a graph in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_bomb(path, archive)
            inside = [name.partition("/")[2] for name in archive.namelist()]
    except ModelError:
        raise
    except Exception:  # not a zip archive; torch's reader will say what is wrong
        return False
    return any(name == "constants.pkl" or name.startswith(("code/", "models/")) for name in inside)


def _refuse_bomb(path: Path, archive: zipfile.ZipFile) -> None:
    size = sum(member.file_size for member in archive.infolist())
    if size > max(_MOST, 20 * path.stat().st_size):
        raise ModelError(f"{path}: would unpack to {size} bytes, far more than a weights file of this size")


def _state_dict(path: Path, found: Any) -> dict[str, Tensor]:
    """Find the state dict in what a file held."""
    import torch

    if not isinstance(found, Mapping):
        raise ModelError(f"{path}: expected weights by name, got a {type(found).__name__}; {_SAVE}")
    if found and all(isinstance(value, torch.Tensor) for value in found.values()):
        return {str(name): value for name, value in found.items()}
    for name in _NESTED:
        if isinstance(found.get(name), Mapping):
            return _state_dict(path, found[name])
    keys = ", ".join(map(str, list(found)[:5])) or "nothing"
    raise ModelError(f"{path}: expected weights by name, or under {' or '.join(_NESTED[:2])}; it holds {keys}")


def _without_prefixes(weights: dict[str, Tensor], wanted: Mapping[str, Any]) -> dict[str, Tensor]:
    """Remove the prefix that wrappers add to every name, if the model has none of these names."""
    if not weights or any(name in wanted for name in weights):
        return weights
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in weights):
            return _without_prefixes({name.removeprefix(prefix): value for name, value in weights.items()}, wanted)
    return weights
