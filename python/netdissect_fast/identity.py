"""What a run is a run of: its record for run.json, and what must agree before two parts count as one run."""

from __future__ import annotations

import functools
import hashlib
import re
import types
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .config import versions
from .data.dataset import ConceptDataset
from .data.sources import source_of
from .errors import ResumeMismatch
from .layers import unwrap

if TYPE_CHECKING:
    from torch import nn

# Results do not depend on these. Torch's threads and version change last bits of activations: a warning.
_FREE = {"workers", "backend", "threads", "torch_threads"}


class ResumeWarning(UserWarning):
    """Parts of a run were made in ways that may differ in the last bits of activations."""


def model_hash(model: nn.Module) -> str:
    """Return the SHA-256 (hex) of a network's weights: names, dtypes, shapes and bytes of its state dict."""
    import torch

    digest = hashlib.sha256()
    for name, value in sorted(unwrap(model).state_dict().items()):
        if isinstance(value, torch.Tensor):
            digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
            digest.update(value.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().data)
        else:
            digest.update(f"{name} {value!r}\n".encode())
    return digest.hexdigest()


def describe(value: Any) -> str:
    """A setting as text that is the same in every process: functions by name and code, arrays by their bytes."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {describe(item)}" for key, item in value.items()) + "}"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(describe, value)))}}}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(describe, value)) + "]"
    if isinstance(value, functools.partial):
        return f"partial({describe([value.func, value.args, value.keywords])})"
    if isinstance(value, types.MethodType):
        return f"{describe(value.__self__)}.{value.__name__}"
    if isinstance(value, types.FunctionType):
        return f"{value.__qualname__}#{_short(_code(value.__code__) + describe(_bound(value)))}"
    if hasattr(value, "state_dict"):  # a network as a transform
        return f"{type(value).__name__}#{_short(_plain(value) + model_hash(value))}"
    if hasattr(value, "detach"):
        value = value.detach().cpu().float().numpy()
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}#{_short(value.tobytes())}"
    return _plain(value)


def _plain(value: Any) -> str:
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float | None) or (isinstance(value, list) and all(map(_is_plain, value)))


def _short(text: str | bytes) -> str:
    return hashlib.sha256(text if isinstance(text, bytes) else text.encode()).hexdigest()[:16]


def _code(code: types.CodeType) -> str:
    return f"{code.co_code.hex()} {code.co_names} {[_constant(part) for part in code.co_consts]}"


def _constant(part: Any) -> str:
    return _code(part) if isinstance(part, types.CodeType) else describe(part)


def _bound(function: types.FunctionType) -> list[Any]:
    """Defaults and enclosed variables; of enclosed functions, which may enclose this one, only the code."""
    enclosed = []
    for cell in function.__closure__ or ():
        try:
            inside = cell.cell_contents
        except ValueError:  # not yet set
            continue
        enclosed.append(_code(inside.__code__) if isinstance(inside, types.FunctionType) else inside)
    return [function.__defaults__, function.__kwdefaults__, enclosed]


def run_record(model: nn.Module, data: ConceptDataset, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What run.json says of a run; ``settings`` are plain values or go through ``describe``."""
    network = unwrap(model)
    return {
        "model": type(network).__name__,
        "structure": _short(_plain(network)),
        "weights": model_hash(network),
        "settings": {name: value if _is_plain(value) else describe(value) for name, value in settings.items()},
        "versions": versions(),
        "data": {
            "name": _plain(data),
            "images": len(data),
            "fingerprint": data.fingerprint(),
            "source": source_of(data),
            "skipped": len(getattr(getattr(data, "dataset", data), "skipped", ())),
        },
    }


def require_same(begun: Mapping[str, Any], now: Mapping[str, Any], where: str, remedy: str) -> None:
    """Raise ResumeMismatch, saying what differs, unless two records are of one run.

    where    what ``begun`` is, such as a folder
    remedy   what to do, the end of the message
    """
    ours, theirs = _identity(now), _identity(begun)
    different = [
        f"{name} ({_shown(theirs.get(name))} there, {_shown(ours.get(name))} here)"
        for name in ours | theirs
        if ours.get(name) != theirs.get(name)
    ]
    if different:
        raise ResumeMismatch(f"{where} is of another run: {'; '.join(different)}. {remedy}")
    for name in ("torch_threads", "torch"):
        values = [{**record["versions"], **record["settings"]}.get(name) for record in (begun, now)]
        if values[0] != values[1]:
            warnings.warn(
                f"{where} was made with {name} {values[0]}, this run has {values[1]}: "
                "activations may differ in their last bits",
                ResumeWarning,
                stacklevel=3,
            )


def _identity(record: Mapping[str, Any]) -> dict[str, Any]:
    settings = {name: value for name, value in record["settings"].items() if name not in _FREE}
    settings["device"] = str(settings.get("device")).partition(":")[0]  # which of several GPUs
    return {
        "model": record["model"],
        "model structure": record["structure"],
        "model weights": record["weights"],
        **settings,
        "data": record["data"]["fingerprint"],
        "major version": str(record["versions"]["netdissect_fast"]).partition(".")[0],
    }


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
