"""Installed versions, and what this machine can run."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .. import __version__, _core


def versions() -> dict[str, str]:
    """Return the versions of the package, of Python and of the libraries that results depend on."""
    found = {"netdissect_fast": __version__, "python": platform.python_version()}
    for package in ("numpy", "torch", "pillow", "safetensors"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def show_config() -> dict[str, Any]:
    """Return versions, processor, instruction-set variants, threads and GPU, for a bug report."""
    from ..scoring.backends.cpu import available_threads

    return {
        **versions(),
        "machine": f"{platform.system()} {platform.machine()}",
        "isa": _core.isa(),
        "available_isas": _core.available_isas(),
        "threads": available_threads(),
        "cuda": _cuda(),
    }


def _cuda() -> str:
    try:
        import torch
    except ImportError:
        return "torch is not installed"
    if not torch.cuda.is_available():
        return "no CUDA device"
    return ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
