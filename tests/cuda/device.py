"""A device that is not there: its memory, with a limit, and the checks that a real launch makes.

Both test engines are such devices. They differ only in how they run a kernel.
"""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

try:
    from netdissect_fast.backends.cuda import DeviceOutOfMemory
except ImportError:  # the engines can be tested without the backend

    class DeviceOutOfMemory(MemoryError):  # type: ignore[no-redef]
        """The device has no room for an allocation."""


GUARD = 64  # bytes before and after each buffer that nobody may write
GUARD_BYTE = 0xA5
GARBAGE = 0xCB  # what memory holds before it is written
LARGEST_BLOCK, LARGEST_GRID, LARGEST_SHARED = 1024, 2**31 - 1, 48 * 1024


class LaunchError(Exception):
    """What a kernel or its launch does is wrong: the message says what."""


class Buffer:
    """Memory of the device. ``written`` says which bytes were ever written, where the engine watches that."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, guard: int, watched: bool) -> None:
        self.shape, self.dtype = shape, dtype
        self.nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        self._guard = guard
        self._storage = np.full(self.nbytes + 2 * guard, GUARD_BYTE, np.uint8)
        self.bytes = self._storage[guard : guard + self.nbytes]
        self.bytes[:] = GARBAGE
        self.written = np.zeros(self.nbytes, bool) if watched else None

    @property
    def array(self) -> np.ndarray:
        """The memory as it was asked for."""
        return self.bytes.view(self.dtype).reshape(self.shape)

    def check(self) -> None:
        """Raise LaunchError if something wrote beside the buffer."""
        before, after = self._storage[: self._guard], self._storage[self._guard + self.nbytes :]
        if (before != GUARD_BYTE).any() or (after != GUARD_BYTE).any():
            raise LaunchError(f"a kernel wrote beside a buffer of {self.dtype} {self.shape}")


class FakeDevice(ABC):
    """Memory and launches. ``memory``: bytes that can be allocated; more raises DeviceOutOfMemory.

    ``launches`` lists the kernels run so far.
    """

    guard = GUARD
    watched = False

    def __init__(self, memory: int = 2**30) -> None:
        self.memory = memory
        self.used = 0
        self.most_used = 0
        self.launches: list[str] = []
        self._buffers: weakref.WeakSet[Buffer] = weakref.WeakSet()

    # ------------------------------------------------------------------------------------------- memory

    def free_bytes(self) -> int:
        """Bytes that can still be allocated."""
        return self.memory - self.used

    def empty(self, shape: int | tuple[int, ...], dtype: Any) -> Buffer:
        """New memory, full of garbage."""
        shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
        nbytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        if nbytes > self.free_bytes():
            raise DeviceOutOfMemory(f"{nbytes} bytes wanted, {self.free_bytes()} of {self.memory} are free")
        buffer = Buffer(shape, np.dtype(dtype), self.guard, self.watched)
        self.used += nbytes
        self.most_used = max(self.most_used, self.used)
        self._buffers.add(buffer)
        weakref.finalize(buffer, self._give_back, nbytes)
        return buffer

    def _give_back(self, nbytes: int) -> None:
        self.used -= nbytes

    def zeros(self, shape: int | tuple[int, ...], dtype: Any) -> Buffer:
        """New memory, all zero."""
        buffer = self.empty(shape, dtype)
        return self._fill(buffer, 0, np.zeros(buffer.nbytes, np.uint8))

    def to_device(self, array: np.ndarray) -> Buffer:
        """A copy of an array."""
        array = np.asarray(array)
        buffer = self.empty(array.shape, array.dtype)
        return self._fill(buffer, 0, np.ascontiguousarray(array).reshape(-1).view(np.uint8))

    def copy_to(self, handle: Buffer, array: np.ndarray, offset: int = 0) -> None:
        """Write an array of the handle's dtype from its element ``offset`` on."""
        if array.dtype != handle.dtype:
            raise LaunchError(f"copy of {array.dtype} into a buffer of {handle.dtype}")
        self._fill(handle, offset * handle.dtype.itemsize, np.ascontiguousarray(array).reshape(-1).view(np.uint8))

    def _fill(self, buffer: Buffer, first: int, content: np.ndarray) -> Buffer:
        if first < 0 or first + len(content) > buffer.nbytes:
            raise LaunchError(f"copy of {len(content)} bytes to byte {first} of {buffer.nbytes}")
        buffer.bytes[first : first + len(content)] = content
        if buffer.written is not None:
            buffer.written[first : first + len(content)] = True
        return buffer

    def to_host(self, handle: Buffer) -> np.ndarray:
        """A copy of what the memory holds now."""
        return handle.array.copy()

    # ------------------------------------------------------------------------------------------ launches

    @abstractmethod
    def _sizes(self, kernel: str) -> list[int]:
        """Bytes of each argument. Raises LaunchError for an unknown kernel."""

    @abstractmethod
    def _run(self, kernel: str, grid: int, block: int, shared: int, args: Sequence[Buffer | np.generic]) -> None:
        """Run it."""

    def launch(self, kernel: str, grid: int, block: int, shared: int, args: Sequence[Any]) -> None:
        """Run a kernel to its end: ``grid`` blocks of ``block`` threads, ``shared`` bytes of dynamic shared memory."""
        sizes = self._sizes(kernel)
        if not 1 <= grid <= LARGEST_GRID or not 1 <= block <= LARGEST_BLOCK:
            raise LaunchError(f"{kernel}: a grid of {grid} blocks of {block} threads cannot be launched")
        if not 0 <= shared <= LARGEST_SHARED:
            raise LaunchError(f"{kernel}: {shared} bytes of dynamic shared memory, at most {LARGEST_SHARED}")
        if len(args) != len(sizes):
            raise LaunchError(f"{kernel} takes {len(sizes)} arguments, got {len(args)}")
        for position, (arg, size) in enumerate(zip(args, sizes, strict=True)):
            if not isinstance(arg, (Buffer, np.int32, np.int64, np.float32)):
                raise LaunchError(f"{kernel}, argument {position}: {type(arg).__name__}, not a buffer or a NumPy scalar")
            if isinstance(arg, Buffer) and arg not in self._buffers:
                raise LaunchError(f"{kernel}, argument {position}: memory of another device")
            if (8 if isinstance(arg, Buffer) else arg.itemsize) != size:
                raise LaunchError(f"{kernel}, argument {position}: {type(arg).__name__}, but {size} bytes are expected")
        self.launches.append(kernel)
        self._run(kernel, grid, block, shared, args)
        for buffer in self._buffers:
            buffer.check()
