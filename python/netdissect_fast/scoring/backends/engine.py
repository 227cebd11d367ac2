"""The interface of a device that the CUDA backend runs on, and the source of its kernels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any, Protocol

from ...types import Array

WARPS = 8  # of a block
BLOCK = 32 * WARPS  # threads
VALUE_BITS = 40  # crops << 40 | values
CONSTANTS = f"constexpr int kKeepWarps = {WARPS}, kValueBits = {VALUE_BITS};"  # shared with the kernels


class DeviceOutOfMemory(Exception):
    """The device has no room for an allocation."""


class Engine(Protocol):
    """A device that runs the kernels.

    Handles stand for arrays on it; they have ``.shape``, and ``handle[first:last]`` is a view of rows.
    """

    def to_device(self, array: Array) -> Any:
        """Return a copy on the device. Raises DeviceOutOfMemory."""
        ...

    def empty(self, shape: tuple[int, ...], dtype: type) -> Any:
        """Return an uninitialised array. Raises DeviceOutOfMemory."""
        ...

    def zeros(self, shape: tuple[int, ...], dtype: type) -> Any:
        """Return an array of zeros. Raises DeviceOutOfMemory."""
        ...

    def copy_to(self, handle: Any, array: Array) -> None:
        """Overwrite the beginning of an array on the device."""
        ...

    def to_host(self, handle: Any, size: int | None = None) -> Array:
        """Return a copy of the first ``size`` entries (None: all), once everything launched before has run."""
        ...

    def launch(self, kernel: str, grid: int, block: int, shared: int, args: Sequence[Any]) -> None:
        """Run ``grid`` blocks of ``block`` threads; args are handles and NumPy scalars."""
        ...

    def free_bytes(self) -> int:
        """Return how many bytes can still be allocated."""
        ...


@cache
def source() -> str:
    """Return the source of the module with all kernels."""
    folder = resources.files("netdissect_fast") / "gpu"
    files = (folder / name for name in ("common.cuh", "keep.cu", "count.cu"))
    return "\n".join([CONSTANTS, *(path.read_text(encoding="utf-8") for path in files)])
