"""Loading weights into a network: tensors only, every one of them accounted for."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ArgumentError, ModelError, shortened
from .prefixes import Fit, belongs_inside, fits, plain, plain_name, prefixes, shared_part

if TYPE_CHECKING:
    from torch import Tensor, nn

_MOST = 1 << 30  # bytes that any archive may unpack to; a larger one up to 20 times its own size
_DEEPEST = 8  # dicts within dicts of a checkpoint
_SAVE = "save them with torch.save(model.state_dict(), path)"


class WeightsWarning(UserWarning):
    """A checkpoint was read, but not all of it, or not all of the model."""


def load_weights(
    model: nn.Module, path: Path, *, prefix: str | None = None, without_head: str | Sequence[str] | None = None
) -> None:
    """Load the weights in ``path`` into ``model``; all must be present under one prefix, with the right shapes.

    Parameters
    ----------
    model :
        the network; on the meta device, it takes the tensors of the file as they are.
    path :
        safetensors (``.safetensors``), NumPy arrays by name (``.npz``), or a PyTorch checkpoint (any other name): a
        state dict, alone or within dicts. Names of dicts count as parts of a prefix, as in ``state_dict.module``.
    prefix :
        prefix, or part of it, under which the network is; needed if it is there more than once, as are weights and
        their moving average.
    without_head :
        names of modules that keep the weights they have.

    Raises
    ------
    ModelError
        The file cannot be read; a tensor of the model is missing or has another shape; a module of the model has more
        tensors in the file; or several prefixes fit. Then the model is unchanged.
    ArgumentError
        There is no such prefix, or no such head.

    What else is in the file (a loss, another network) is named in a WeightsWarning.
    """
    state = model.state_dict()
    own, tensors = plain(state), read_weights(path)
    names = dict(zip(own, state, strict=True))
    heads = [without_head] if isinstance(without_head, str) else list(without_head or ())
    kept = _under(heads, own)
    # older checkpoints lack this counter, which evaluation does not use
    needed = {n: v for n, v in own.items() if n not in kept and not n.endswith("num_batches_tracked")}
    if not needed:
        raise ModelError(f"{path}: the model has no weights to load{' besides its head' if heads else ''}")
    held, parallel = plain(tensors), plain(tensors, parallel=True)
    if not any(fit.complete for fit in fits(held, needed, prefix)):
        held = parallel if any(fit.complete for fit in fits(parallel, needed, prefix)) else held
    fit = _only_fit(path, held, needed, prefix)
    weights = {n: held[fit.prefix + n] for n in own if n not in kept and fit.prefix + n in held}
    left = [n for n in held if n.removeprefix(fit.prefix) not in weights or not n.startswith(fit.prefix)]
    surplus = _surplus(model, held, left, fit.prefix, heads) if fit.complete else left
    if surplus or not fit.complete:
        raise ModelError(f"{path}: {_misfit(fit, held, needed, surplus)}")
    try:
        meta = any(getattr(value, "is_meta", False) for value in state.values())
        model.load_state_dict({names[n]: value for n, value in weights.items()}, strict=False, assign=meta)
    except RuntimeError as error:
        raise ModelError(f"{path}: cannot be copied into the model: {error}") from error
    if left:
        under = f"the network is under {fit}; " if fit.prefix else ""
        warnings.warn(f"{path}: {under}left over: {_listed(left)}", WeightsWarning, stacklevel=2)
    if kept:
        warnings.warn(f"{path}: not read, as without_head says: {_listed(list(kept))}", WeightsWarning, stacklevel=2)


def _under(heads: Sequence[str], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tensors under ``heads``."""
    for head in heads:
        if not any(name.startswith(f"{head}.") for name in own):
            parts = ", ".join(dict.fromkeys(name.partition(".")[0] for name in own))
            raise ArgumentError(f"without_head={head!r} is no module with weights; the model has {shortened(parts)}")
    return {name: value for name, value in own.items() if name.startswith(tuple(f"{head}." for head in heads))}


def _only_fit(path: Path, held: Mapping[str, Tensor], needed: Mapping[str, Tensor], prefix: str | None) -> Fit:
    """Return where the network is. Raises if that is several places, or not the requested one."""
    found = fits(held, needed, prefix)
    if len(found) == 1:
        return found[0]
    if not found:
        there = ", ".join(repr(name.removesuffix(".")) for name in list(prefixes(held, needed))[:5]) or "no prefix"
        raise ArgumentError(f"{path}: nothing of the model is under prefix {prefix!r}; it is under {shortened(there)}")
    there = shortened(", ".join(map(str, found)))
    raise ModelError(
        f"{path}: holds the network {len(found)} times, under {there}; choose one with --weights-prefix (in Python, "
        "prefix=)"
    )


def _surplus(
    model: nn.Module, held: Mapping[str, Tensor], left: Sequence[str], prefix: str, heads: Sequence[str]
) -> list[str]:
    """Return those of the left names that belong to modules of the model; tables of indices are computed anew."""
    modules = {plain_name(name): module for name, module in model.named_modules(remove_duplicate=False)}
    inside = [n for n in left if n.startswith(prefix) and held[n].is_floating_point()]
    inside = [n for n in inside if not n.removeprefix(prefix).startswith(tuple(f"{head}." for head in heads))]
    return [n for n in inside if belongs_inside(n.removeprefix(prefix), modules)]


def _misfit(fit: Fit, held: Mapping[str, Tensor], needed: Mapping[str, Tensor], surplus: Sequence[str]) -> str:
    """Say what does not fit, and what can be done about it."""
    shapes = [
        f"{n} {list(held[fit.prefix + n].shape)} where the model has {list(needed[n].shape)}" for n in fit.reshaped
    ]
    kinds = (("missing", fit.missing), ("not in the model", surplus), ("of a different shape", shapes))
    problems = "; ".join(f"{len(names)} {what}: {_first(names, 3)}" for what, names in kinds if names)
    text = f"does not fit the model{f', under {fit}' if fit.prefix else ''}: {problems}"
    lacking = [*fit.missing, *fit.reshaped]
    if not lacking:
        return (
            f"{text}; they belong to modules that the model has: build the model that was saved, or remove them from "
            "the file if it computes the same without them"
        )
    head = shared_part(lacking)
    if head and len(lacking) < len(needed):
        text += (
            f"; to leave {head} as it is, with random weights in {shortened(', '.join(lacking))}, if no layer that you "
            f"dissect comes after it: --without-head {head} (in Python, without_head={head!r})"
        )
    return text


def _listed(names: Sequence[str]) -> str:
    return f"{len(names)} tensor{'s' if len(names) > 1 else ''} ({_first(names, 6)})"


def _first(names: Sequence[str], count: int) -> str:
    return f"{shortened(', '.join(names[:count]))}{', ...' if len(names) > count else ''}"


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors in a weights file without running anything in it; those in dicts within it by dotted names.

    Raises ModelError if that fails.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such weights file")
    if path.suffix == ".safetensors":
        found: Any = _read_safetensors(path)
    elif path.suffix == ".npz":
        found = _read_npz(path)
    else:
        found = _read_checkpoint(path)
    if not isinstance(found, Mapping):
        raise ModelError(f"{path}: expected weights by name, got a {type(found).__name__}; {_SAVE}")
    tensors: dict[str, Tensor] = {}
    _collect(path, found, "", tensors, set())
    if not tensors:
        keys = shortened(", ".join(map(str, list(found)[:5])) or "nothing")
        raise ModelError(f"{path}: expected weights by name, or under state_dict or the like; it holds {keys}")
    return tensors


def _collect(path: Path, found: Mapping[Any, Any], prefix: str, tensors: dict[str, Tensor], seen: set[int]) -> None:
    """Add the tensors in a dict and the dicts within it; those under numbers and in lists are an optimizer's."""
    import torch

    if id(found) in seen or prefix.count(".") > _DEEPEST or not all(isinstance(name, str) for name in found):
        return
    seen.add(id(found))  # the same dict under two names is one network
    for name, value in found.items():
        if isinstance(value, Mapping):
            _collect(path, value, f"{prefix}{name}.", tensors, seen)
        elif isinstance(value, torch.Tensor):
            if prefix + name in tensors:
                raise ModelError(f"{path}: holds two tensors named {shortened(prefix + name)}")
            tensors[prefix + name] = value


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
