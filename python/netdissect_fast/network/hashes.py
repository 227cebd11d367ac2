"""Values as text that is the same in every process: settings, functions by their code, networks by their weights."""

from __future__ import annotations

import functools
import hashlib
import re
import types
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .layers import unwrap

if TYPE_CHECKING:
    from torch import nn


def model_hash(model: nn.Module) -> str:
    """Return the SHA-256 (hex) of a network's weights: names, dtypes, shapes and bytes of its state dict."""
    digest = hashlib.sha256()
    for name, value in sorted(unwrap(model).state_dict().items()):
        if hasattr(value, "detach"):
            digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
            digest.update(tensor_bytes(value))
        else:
            digest.update(f"{name} {value!r}\n".encode())
    return digest.hexdigest()


def tensor_bytes(tensor: Any) -> memoryview:
    """Return the bytes of a tensor of any dtype on any device, in C order."""
    import torch

    values: memoryview = tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().data
    return values


def describe(value: Any) -> str:
    """Return a setting as text that is the same in every process: functions by name and code, arrays by bytes."""
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
        return f"{value.__qualname__}#{short_hash(_code(value.__code__) + describe(_bound(value)))}"
    if hasattr(value, "state_dict"):  # a network as a transform
        return f"{type(value).__name__}#{short_hash(plain(value) + model_hash(value))}"
    if hasattr(value, "detach"):
        value = value.detach().cpu().float().numpy()
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}#{short_hash(value.tobytes())}"
    return plain(value)


def plain(value: Any) -> str:
    """Return its repr without addresses."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def short_hash(text: str | bytes) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256."""
    return hashlib.sha256(text if isinstance(text, bytes) else text.encode()).hexdigest()[:16]


def _code(code: types.CodeType) -> str:
    return f"{code.co_code.hex()} {code.co_names} {[_constant(part) for part in code.co_consts]}"


def _constant(part: Any) -> str:
    return _code(part) if isinstance(part, types.CodeType) else describe(part)


def _bound(function: types.FunctionType) -> list[Any]:
    """Return defaults, enclosed variables, global networks; of enclosed functions, which may enclose it, the code."""
    enclosed = []
    for cell in function.__closure__ or ():
        try:
            inside = cell.cell_contents
        except ValueError:  # not yet set
            continue
        enclosed.append(_code(inside.__code__) if isinstance(inside, types.FunctionType) else inside)
    used = (function.__globals__.get(name) for name in function.__code__.co_names)
    networks = [value for value in used if hasattr(value, "state_dict") and not isinstance(value, type)]
    return [function.__defaults__, function.__kwdefaults__, enclosed, *networks]
