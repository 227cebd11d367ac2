"""The engine of a real GPU: memory from torch, kernels through CuPy, everything on torch's current stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import BackendUnavailable, import_failure
from ...types import Array
from .engine import DeviceOutOfMemory, source

INSTALL = "pip install 'netdissect-fast[cuda12]' (or [cuda13], as torch.version.cuda says)"


def cupy_is_there() -> bool:
    """Return whether CuPy can be imported."""
    try:
        import cupy  # noqa: F401
    except Exception:  # a CuPy that does not fit the machine may raise anything
        return False
    return True


class CupyEngine:
    """An Engine (engine.py) on CuPy. Handles are torch tensors, so that only torch allocates on the device."""

    def __init__(self, device: Any = None) -> None:
        """Prepare ``device``, a torch.device; None: torch's current CUDA device."""
        try:
            import cupy
        except Exception as error:
            raise BackendUnavailable(
                f"backend 'cuda' needs CuPy, and {import_failure('cupy', error)}: {INSTALL}"
            ) from error
        import torch

        if not torch.cuda.is_available():
            raise BackendUnavailable("backend 'cuda' needs a CUDA device and a torch with CUDA; torch sees none")
        self._cupy, self._torch = cupy, torch
        self._device = device or torch.device("cuda", torch.cuda.current_device())
        # Compiled for this device when a kernel is first requested, and cached on disk by CuPy.
        self._module = cupy.RawModule(code=source(), options=("--std=c++17",))

    def _torch_dtype(self, dtype: Any) -> Any:
        # Older torch has few operations on unsigned types; only the bits matter here.
        signed = {"uint16": "int16", "uint64": "int64", "uint32": "int32"}
        name = np.dtype(dtype).name
        return getattr(self._torch, signed.get(name, name))

    def to_device(self, array: Array) -> Any:
        """See Engine."""
        if not array.size:  # a kernel still needs an address
            return self.empty((1,), array.dtype.type)
        handle = self.empty(array.shape, array.dtype.type)
        self.copy_to(handle, array)
        return handle

    def empty(self, shape: tuple[int, ...], dtype: type) -> Any:
        """See Engine."""
        try:
            return self._torch.empty(shape, dtype=self._torch_dtype(dtype), device=self._device)
        except self._torch.cuda.OutOfMemoryError as error:
            raise DeviceOutOfMemory from error

    def zeros(self, shape: tuple[int, ...], dtype: type) -> Any:
        """See Engine."""
        return self.empty(shape, dtype).zero_()

    def copy_to(self, handle: Any, array: Array) -> None:
        """See Engine."""
        array = np.ascontiguousarray(array)
        if array.dtype.kind == "u" and array.dtype.itemsize > 1:
            array = array.view(array.dtype.name[1:])
        if not array.flags.writeable:  # torch warns about read-only arrays, such as mapped files
            array = array.copy()
        handle.view(-1)[: array.size].copy_(self._torch.from_numpy(array).view(-1))

    def to_host(self, handle: Any, size: int | None = None) -> Array:
        """See Engine."""
        flat = handle if size is None else handle[:size]
        array: Array = flat.cpu().numpy()
        return array

    def launch(self, kernel: str, grid: int, block: int, shared: int, args: Sequence[Any]) -> None:
        """See Engine."""
        torch, cupy = self._torch, self._cupy
        stream = torch.cuda.current_stream(self._device)
        given = [self._view(arg) if isinstance(arg, torch.Tensor) else arg for arg in args]
        with cupy.cuda.Device(self._device.index), _cupy_stream(cupy, stream):
            self._module.get_function(kernel)((grid,), (block,), tuple(given), shared_mem=shared)

    def _view(self, tensor: Any) -> Any:
        if tensor.dtype == self._torch.bfloat16:  # which DLPack consumers may not support
            tensor = tensor.view(self._torch.int16)
        return self._cupy.from_dlpack(tensor)

    def free_bytes(self) -> int:
        """See Engine."""
        free, _ = self._torch.cuda.mem_get_info(self._device)
        cached = self._torch.cuda.memory_reserved(self._device) - self._torch.cuda.memory_allocated(self._device)
        return int(free + cached)


def _cupy_stream(cupy: Any, stream: Any) -> Any:
    """Return torch's stream for CuPy: by its protocol if both support it, by its handle in older versions."""
    if hasattr(cupy.cuda.Stream, "from_external") and hasattr(stream, "__cuda_stream__"):
        return cupy.cuda.Stream.from_external(stream)
    return cupy.cuda.ExternalStream(stream.cuda_stream, stream.device_index)
