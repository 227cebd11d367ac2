"""A device that is not there: its memory, with a limit, and the checks that a real launch makes.

Both test engines are such devices. They differ only in how they run a kernel.
"""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

try:
    from netdissect_fast.scoring.backends.engine import DeviceOutOfMemory
except ImportError:  # the engines can be tested without the backend

    class DeviceOutOfMemory(MemoryError):  # type: ignore[no-redef]
        """The device has no room for an allocation."""


GUARD = 4096  # bytes before and after each buffer that nobody may write
GUARD_BYTE = 0xA5
GARBAGE = 0xCB  # what memory holds before it is written
LARGEST_BLOCK, LARGEST_GRID, LARGEST_SHARED = 1024, 2**31 - 1, 48 * 1024


class LaunchError(Exception):
    """What a kernel or its launch does is wrong: the message says what."""


class Allocation:
    """One piece of memory between guards."""

    def __init__(self, nbytes: int, guard: int) -> None:
        self._guard = guard
        self._storage = np.full(nbytes + 2 * guard, GUARD_BYTE, np.uint8)
        self.bytes = self._storage[guard : guard + nbytes]
        self.bytes[:] = GARBAGE

    def check(self) -> None:
        """Raise LaunchError if something wrote beside the memory."""
        before, after = self._storage[: self._guard], self._storage[self._guard + len(self.bytes) :]
        if (before != GUARD_BYTE).any() or (after != GUARD_BYTE).any():
            raise LaunchError(f"a kernel wrote beside a buffer of {len(self.bytes)} bytes")


@dataclass(frozen=True, eq=False)
class Buffer:
    """An array on the device, or rows of one. ``written``: which bytes hold something, where that is watched."""

    shape: tuple[int, ...]
    dtype: np.dtype
    bytes: np.ndarray
    written: np.ndarray | None
    memory: Allocation  # kept alive by its views

    @property
    def array(self) -> np.ndarray:
        """The memory as it was asked for."""
        return self.bytes.view(self.dtype).reshape(self.shape)

    def __getitem__(self, rows: slice) -> Buffer:
        """A view of rows."""
        first, last, step = rows.indices(self.shape[0])
        if step != 1:
            raise LaunchError("a view must be of consecutive rows")
        each = self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=np.int64))
        part = slice(first * each, max(first, last) * each)
        written = None if self.written is None else self.written[part]
        return Buffer((max(first, last) - first, *self.shape[1:]), self.dtype, self.bytes[part], written, self.memory)


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
        self._allocations: weakref.WeakSet[Allocation] = weakref.WeakSet()

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
        memory = Allocation(nbytes, self.guard)
        self.used += nbytes
        self.most_used = max(self.most_used, self.used)
        self._allocations.add(memory)
        weakref.finalize(memory, self._give_back, nbytes)
        written = np.zeros(nbytes, bool) if self.watched else None
        return Buffer(shape, np.dtype(dtype), memory.bytes, written, memory)

    def _give_back(self, nbytes: int) -> None:
        self.used -= nbytes

    def zeros(self, shape: int | tuple[int, ...], dtype: Any) -> Buffer:
        """New memory, all zero."""
        buffer = self.empty(shape, dtype)
        return self._fill(buffer, np.zeros(len(buffer.bytes), np.uint8))

    def to_device(self, array: np.ndarray) -> Buffer:
        """A copy of an array."""
        array = np.asarray(array)
        buffer = self.empty(array.shape, array.dtype)
        return self._fill(buffer, np.ascontiguousarray(array).reshape(-1).view(np.uint8))

    def copy_to(self, handle: Buffer, array: np.ndarray) -> None:
        """Overwrite the beginning of an array on the device."""
        if array.dtype != handle.dtype:
            raise LaunchError(f"copy of {array.dtype} into a buffer of {handle.dtype}")
        self._fill(handle, np.ascontiguousarray(array).reshape(-1).view(np.uint8))

    def _fill(self, buffer: Buffer, content: np.ndarray) -> Buffer:
        if len(content) > len(buffer.bytes):
            raise LaunchError(f"copy of {len(content)} bytes to a buffer of {len(buffer.bytes)}")
        buffer.bytes[: len(content)] = content
        if buffer.written is not None:
            buffer.written[: len(content)] = True
        return buffer

    def to_host(self, handle: Buffer, size: int | None = None) -> np.ndarray:
        """A copy of the first ``size`` entries; they must have been written, where the engine watches that."""
        part = handle if size is None else handle[:size]
        if part.written is not None and not part.written.all():
            raise LaunchError(f"memory that was never written is copied to the host: {part.dtype} {part.shape}")
        if size is not None and size > handle.shape[0]:
            raise LaunchError(f"{size} entries wanted of an array of {handle.shape[0]}")
        return part.array.copy()

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
                raise LaunchError(
                    f"{kernel}, argument {position}: {type(arg).__name__}, not a buffer or a NumPy scalar"
                )
            if isinstance(arg, Buffer) and arg.memory not in self._allocations:
                raise LaunchError(f"{kernel}, argument {position}: memory of another device")
            if (8 if isinstance(arg, Buffer) else arg.itemsize) != size:
                raise LaunchError(f"{kernel}, argument {position}: {type(arg).__name__}, but {size} bytes are expected")
        self.launches.append(kernel)
        self._run(kernel, grid, block, shared, args)
        for memory in self._allocations:
            memory.check()
