"""keep and count on a GPU: the kernels of csrc/gpu, launched through CuPy on torch's device, stream and memory.

Crops collect in a store on the device and are copied to the host only when it fills: once in many batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...concepts import PackedLabels
from ...errors import CapacityError
from ...geometry.grids import AxisTable
from ...types import Array, Float32Array, Int64Array, Uint64Array
from ..crops import Crops
from .base import CountJob, NonFiniteError, Stage, to_numpy
from .cpu import CpuBackend
from .engine import BLOCK, VALUE_BITS, WARPS, DeviceOutOfMemory, Engine

_SHARE = 0.25  # of the free memory, at most, for one layer's store
_MOST_CROPS = 1 << (63 - VALUE_BITS)
_NO_ROOM = (
    "the GPU has too little memory left beside the network to {} a single image's maps: use a smaller batch size (half "
    "the current one), fewer layers at a time, or device='cpu'"
)
_NOTHING = np.iinfo(np.uint64).max


@dataclass(frozen=True)
class _Maps:
    """Maps [B, U, H, W] on the device, as the arguments of keep."""

    handle: Any
    shape: tuple[int, int, int, int]
    strides: tuple[int, int, int, int]  # in elements
    suffix: str  # of the kernel, for the dtype

    @classmethod
    def of(cls, maps: Any, engine: Engine) -> _Maps:
        """View a torch tensor on the device; copy host arrays to it, with units last if they are last on the host."""
        if not getattr(maps, "is_cuda", False):
            array, bfloat16 = to_numpy(maps)
            _, units, height, width = shape = array.shape
            suffix = "bf16" if bfloat16 else f"f{8 * array.itemsize}"
            if array.strides[1] == array.itemsize and units > 1:
                handle = engine.to_device(np.ascontiguousarray(array.transpose(0, 2, 3, 1)))
                return cls(handle, shape, (height * width * units, 1, width * units, units), suffix)
            handle = engine.to_device(np.ascontiguousarray(array))
            return cls(handle, shape, (units * height * width, height * width, width, 1), suffix)
        import torch

        maps = maps.detach()
        suffixes = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}
        if maps.dtype not in suffixes:
            maps = maps.float()
        return cls(maps, tuple(maps.shape), tuple(maps.stride()), suffixes[maps.dtype])

    def images(self, first: int, last: int) -> _Maps:
        """Return images ``first`` ≤ i < ``last``, as a view."""
        shape = (last - first, *self.shape[1:])
        return _Maps(self.handle[first:last], shape, self.strides, self.suffix)

    @property
    def planes(self) -> bool:
        """True if the positions of a map are contiguous in memory."""
        return self.strides[3] == 1 and self.strides[2] == self.shape[3]


class CudaStage:
    """Crops of one layer gathered on the device. See Stage."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._bounds_on_host: Float32Array | None = None
        self._bounds: Any = None
        self._arrays: tuple[Any, ...] = ()  # image, unit, box, start, values
        self._used: Any = None
        self._nonfinite: Any = None
        self._capacity = (0, 0)  # crops, values
        self._most = (0, 0)  # upper bound of what is in the store, known without asking the device
        self._units = 1
        self._ready = Crops.empty()  # on the host, to be returned by keep

    def keep(self, maps: Any, bounds: Float32Array, first_image: int) -> Crops:
        """See Stage.keep."""
        try:
            view = _Maps.of(maps, self._engine)
        except DeviceOutOfMemory:
            raise CapacityError(_NO_ROOM.format("keep")) from None
        if 0 in view.shape:
            return Crops.empty()
        self._units = view.shape[1]
        _in_pieces(
            view.shape[0],
            lambda first, last: self._keep(view.images(first, last), bounds, first_image + first),
            "keep",
        )
        ready, self._ready = self._ready, Crops.empty()
        return ready

    def _keep(self, maps: _Maps, bounds: Float32Array, first_image: int) -> None:
        images, units, height, width = maps.shape
        need = images * units, images * units * height * width
        if any(most + more > room for most, more, room in zip(self._most, need, self._capacity, strict=True)):
            self._most = self._count()  # most batches fill little of what they could
        if any(most + more > room for most, more, room in zip(self._most, need, self._capacity, strict=True)):
            self._ready.append(self.drain())
            self._reserve(need)
        if self._bounds_on_host is not bounds:
            self._bounds = self._engine.to_device(np.ascontiguousarray(bounds, np.float32))
            self._bounds_on_host = bounds
        warps = images * units if maps.planes else images * -(-units // 32)
        sizes = [np.int32(n) for n in maps.shape]
        strides = [np.int64(n) for n in maps.strides]
        args = [maps.handle, *sizes, *strides, self._bounds, np.int32(first_image), *self._arrays]
        name = f"{'keep_planes' if maps.planes else 'keep_side_by_side'}_{maps.suffix}"
        self._engine.launch(name, -(-warps // WARPS), BLOCK, 0, [*args, self._used, self._nonfinite])
        self._most = (self._most[0] + need[0], self._most[1] + need[1])

    def _reserve(self, need: tuple[int, int]) -> None:
        """Make room for ``need`` crops and values, and for several times that if memory allows."""
        engine = self._engine
        if need[0] <= self._capacity[0] and need[1] <= self._capacity[1]:
            return
        self._arrays, self._capacity = (), (0, 0)  # free the old store first
        each = need[0] * (4 + 4 + 8 + 8) + need[1] * 4
        times = max(1, min(8, int(_SHARE * engine.free_bytes()) // each))
        crops, values = times * need[0], times * need[1]
        if crops >= _MOST_CROPS or values >= 1 << VALUE_BITS:
            raise DeviceOutOfMemory
        kinds: Sequence[tuple[int, type]] = [
            (crops, np.int32),
            (crops, np.int32),
            (crops, np.uint64),
            (crops, np.int64),
            (values, np.float32),
        ]
        arrays = tuple(engine.empty((size,), kind) for size, kind in kinds)
        self._used = engine.zeros((1,), np.uint64)
        self._nonfinite = engine.to_device(np.full(1, _NOTHING, np.uint64))
        self._arrays, self._capacity = arrays, (crops, values)

    def _count(self) -> tuple[int, int]:
        """Return the numbers of crops and values in the store; waits for the device. Raises NonFiniteError."""
        if not self._arrays:
            return 0, 0
        used = int(self._engine.to_host(self._used)[0])
        bad = int(self._engine.to_host(self._nonfinite).view(np.uint64)[0])
        if bad != _NOTHING:
            raise NonFiniteError(bad // self._units, bad % self._units)
        return used >> VALUE_BITS, used & ((1 << VALUE_BITS) - 1)

    def drain(self) -> Crops:
        """See Stage.drain."""
        crops, values = self._count()
        self._most = (0, 0)
        if not crops:
            return Crops.empty()
        sizes = (crops, crops, crops, crops, values)
        image, unit, box, start, held = (
            self._engine.to_host(array, size) for array, size in zip(self._arrays, sizes, strict=True)
        )
        self._engine.copy_to(self._used, np.zeros(1, np.uint64))
        order = np.argsort(start)  # Crops stores values in the order of its crops
        box = box.view(np.uint16).reshape(-1, 4)
        return Crops(image[order], unit[order], box[order], held).ordered()


class CudaBackend:
    """keep and count on one device. ``engine`` runs them; the default is CuPy on torch's current device."""

    name = "cuda"
    threads = 1  # of the host

    def __init__(self, engine: Engine | None = None) -> None:
        if engine is None:
            from .cupy import CupyEngine

            engine = CupyEngine()
        self.engine = engine

    def stage(self) -> Stage:
        """See Backend.stage."""
        return CudaStage(self.engine)

    def keep(self, maps: Any, bounds: Float32Array, first_image: int) -> Crops:
        """See Backend.keep."""
        stage = self.stage()
        crops = stage.keep(maps, bounds, first_image)
        crops.append(stage.drain())
        return crops

    def zeros(self, shape: tuple[int, ...]) -> Any:
        """See Backend.zeros."""
        return self.engine.zeros(shape, np.int64)

    def totals(self, accumulator: Any) -> Int64Array:
        """See Backend.totals."""
        return self.engine.to_host(accumulator)

    def masks(
        self, crops: Crops, thresholds: Float32Array, axes: tuple[AxisTable, AxisTable], map_size: tuple[int, int]
    ) -> Uint64Array:
        """See Backend.masks. On the CPU: crops are on the host, and reports draw few masks at a time."""
        return CpuBackend().masks(crops, thresholds, axes, map_size)

    def count(self, job: CountJob) -> None:
        """See Backend.count."""
        crops, first_image, labels = job.crops, job.first_image, job.labels
        send = self.engine.to_device
        tables = [
            send(np.ascontiguousarray(array))
            for table, size in zip(job.axes, job.map_size, strict=True)
            for array in (table.i0, table.i1, table.f, *_inverse(table, size))
        ]
        thresholds = send(job.thresholds)
        starts = crops.starts()

        def some(first: int, last: int) -> None:
            part = crops.of_images(first_image + first, first_image + last, starts)
            if not len(part):
                return
            image, unit, box, values = part.arrays
            where = [send(np.ascontiguousarray(a)) for a in (image, unit, box, part.starts(), values)]
            some_labels = labels.of_images(first, last)
            known = [send(array) for array in _rebased(some_labels)]
            grid = min(-(-len(part) // WARPS), 1 << 16)
            self.engine.launch(
                "count",
                grid,
                BLOCK,
                0,
                [
                    np.int32(len(part)),
                    *where,
                    np.int32(first_image + first),
                    thresholds,
                    *tables,
                    np.int32(labels.grid[0, 1]),
                    *known,
                    send(np.ascontiguousarray(job.present[first:last]).view(np.uint8)),
                    np.int32(job.present.shape[1]),
                    np.int32(job.intersection.shape[1]),
                    job.intersection,
                    job.unit_area,
                ],
            )

        _in_pieces(len(labels), some, "count")


def _inverse(table: AxisTable, features: int) -> tuple[Array, Array]:
    """Return, for each feature, the first pixel with i0 ≥ it, and one past the last pixel with i1 ≤ it."""
    feature = np.arange(features)
    begin = np.searchsorted(table.i0, feature, side="left")
    end = np.searchsorted(table.i1, feature, side="right")
    return begin.astype(np.int32), end.astype(np.int32)


def _rebased(labels: PackedLabels) -> list[Array]:
    """Return slot_start, slot_concept, word_start, words, whole_start, whole of these images alone."""
    arrays: list[Array] = []
    for start, flat in (
        (labels.slot_start, labels.slot_concept),
        (labels.word_start, labels.words),
        (labels.whole_start, labels.whole),
    ):
        arrays += [start - start[0], np.ascontiguousarray(flat[start[0] : start[-1]])]
    return arrays


def _in_pieces(images: int, work: Callable[[int, int], None], what: str) -> None:
    """Do work(first, last) over all images; while the device has no room, over half as many at a time."""
    first, step = 0, images
    while first < images:
        last = min(first + step, images)
        try:
            work(first, last)
        except DeviceOutOfMemory:
            if step == 1:
                raise CapacityError(_NO_ROOM.format(what)) from None
            step = max(1, step // 2)
            continue
        first = last
