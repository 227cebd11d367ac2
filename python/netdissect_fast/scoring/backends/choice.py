"""The choice of a backend by name or by device."""

from __future__ import annotations

import warnings

from ...errors import ArgumentError
from .base import Backend

NAMES = ("cpu", "cuda", "reference")


def choose(name: str = "auto", threads: int | None = None, device: str = "cpu") -> Backend:
    """Return the backend of that name; ``auto`` follows ``device``, where the activations are: "cpu" or "cuda".

    ``threads``: None = all cores of this process. Without CuPy, activations on a GPU are scored on the CPU, with one
    warning that says what to install. Raises ArgumentError for an unknown name, BackendUnavailable for one that this
    machine cannot run.
    """
    if name == "auto" and device == "cuda":
        from .cupy import INSTALL, cupy_is_there

        if cupy_is_there():
            name = "cuda"
        else:
            warnings.warn(
                f"CuPy cannot be imported, so activations are copied to the CPU to be scored: {INSTALL}", stacklevel=3
            )
    if name == "reference":
        from .reference import ReferenceBackend

        return ReferenceBackend()
    if name in ("auto", "cpu"):
        from .cpu import CpuBackend

        return CpuBackend(threads)
    if name == "cuda":
        from .cuda import CudaBackend

        return CudaBackend()
    raise ArgumentError(f"backend {name!r} is unknown; choose one of: auto, {', '.join(NAMES)}")
