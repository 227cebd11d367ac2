"""Fixed cases of keep and count that reach every branch of the kernels, and whether an engine agrees with reference.py.

Small, and free of torch: the mutation check runs them hundreds of times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np

from netdissect_fast.concepts import ImageLabels, PackedLabels, Vocabulary
from netdissect_fast.geometry.grids import AxisTable, make_grid
from netdissect_fast.scoring.backends import cuda
from netdissect_fast.scoring.backends.base import CountJob, NonFiniteError
from netdissect_fast.scoring.backends.reference import ReferenceBackend
from netdissect_fast.scoring.crops import Crops, flush

from .device import Buffer, FakeDevice

REFERENCE = ReferenceBackend()
TINY = np.float32(2.0**-72)
EDGE = np.array([TINY, np.nextafter(TINY, np.float32(0)), np.nextafter(TINY, np.float32(1)), 2.0**-73, 1e-45, 0, -0.0,
                 1, 2.0**-60], np.float32)  # fmt: skip
LARGEST = np.finfo(np.float32).max


# --------------------------------------------------------------------------------------------------- keep


@dataclass(frozen=True)
class KeepCase:
    """Batches of maps, as the dtype and layout that a network would leave them in on the device.

    layout: "planes", "channels_last" or "rows_apart" (each row followed by something else)
    """

    name: str
    batches: Sequence[np.ndarray]  # each [B, U, H, W] float32, exact in the suffix's dtype
    bounds: np.ndarray
    suffix: str = "f32"
    layout: str = "planes"
    first_image: int = 3


def in_dtype(maps: np.ndarray, suffix: str) -> np.ndarray:
    """float32 → what lies in memory: float32, float16, or bfloat16 as 16-bit words (cut off)."""
    if suffix == "f32":
        return maps
    if suffix == "f16":
        with np.errstate(over="ignore"):
            return maps.astype(np.float16)
    return (maps.view(np.uint32) >> 16).astype(np.uint16)


def widened(stored: np.ndarray) -> np.ndarray:
    """The float32 that such memory stands for."""
    if stored.dtype == np.uint16:
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32)


def on_device(engine: FakeDevice, maps: np.ndarray, layout: str) -> Any:
    """Maps in device memory as torch would hand them over (in_dtype's arrays)."""
    images, units, height, width = maps.shape
    gap = 3 if layout == "rows_apart" else 0
    if layout == "channels_last":
        memory = np.ascontiguousarray(maps.transpose(0, 2, 3, 1))
        strides = (height * width * units, 1, width * units, units)
    else:
        memory = np.full((images, units, height, width + gap), 0xFF, np.uint8).astype(maps.dtype)
        memory[..., :width] = maps
        strides = (units * height * (width + gap), height * (width + gap), width + gap, 1)
    suffix = "bf16" if maps.dtype == np.uint16 else f"f{8 * maps.itemsize}"
    return cuda._Maps(engine.to_device(memory), maps.shape, strides, suffix)


def keep_on(engine: Any, case: KeepCase) -> Crops:
    """The crops that the kernels find, by way of the backend's store."""
    stage = cuda.CudaStage(engine)
    crops, first = Crops.empty(), case.first_image
    with patch.object(cuda._Maps, "of", lambda maps, engine: maps):  # they are on the device already
        for batch in case.batches:
            maps = on_device(engine, in_dtype(batch, case.suffix), case.layout)
            crops.append(stage.keep(maps, case.bounds, first))
            first += len(batch)
    crops.append(stage.drain())
    return crops


def keep_by_definition(case: KeepCase) -> Crops:
    crops, first = Crops.empty(), case.first_image
    for batch in case.batches:
        crops.append(REFERENCE.keep(widened(in_dtype(batch, case.suffix)), case.bounds, first))
        first += len(batch)
    return crops


def outcome(work: Callable[[], Crops]) -> tuple[object, ...]:
    """Everything that can be seen of a call of keep."""
    try:
        crops = work()
    except NonFiniteError as error:
        return "not finite", error.image, error.unit
    return tuple((a.dtype.str, a.shape, a.tobytes()) for a in crops.arrays)


def keep_agrees(engine: Any, case: KeepCase) -> bool:
    return outcome(lambda: keep_on(engine, case)) == outcome(lambda: keep_by_definition(case))


def keep_cases() -> Iterator[KeepCase]:
    """Every branch of the keep kernels."""
    rng = np.random.default_rng(11)

    def relu(*shape: int) -> np.ndarray:
        return np.maximum(rng.standard_normal(shape), 0).astype(np.float32)

    def bounds(maps: np.ndarray, level: float) -> np.ndarray:
        return flush(np.quantile(maps, level, axis=(0, 2, 3), method="nearest").astype(np.float32))

    for layout in ("planes", "channels_last", "rows_apart"):
        for suffix in ("f32", "f16", "bf16"):
            maps = widened(in_dtype(relu(2, 37, 7, 7), suffix))
            yield KeepCase(f"7×7 with ties {layout} {suffix}", [maps], bounds(maps, 0.97), suffix, layout)
        points = relu(1, 70, 1, 1)
        yield KeepCase(f"1×1 {layout}", [points], np.full(70, 0.5, np.float32), layout=layout)
        full = relu(12, 32, 2, 2)
        yield KeepCase(f"32 units {layout}", [full], np.full(32, 1.2, np.float32), layout=layout)
        corners = np.zeros((1, 9, 5, 40), np.float32)
        for unit, (y, x) in enumerate([(0, 0), (0, 39), (4, 0), (4, 39), (2, 20), (1, 38), (3, 1), (0, 31), (0, 32)]):
            corners[0, unit, y, x] = 1 + unit
        yield KeepCase(f"single points {layout}", [corners], np.zeros(9, np.float32), layout=layout)
        edges = rng.choice(np.concatenate([EDGE, -EDGE]), (2, 9, 3, 5)).astype(np.float32)
        choices = np.array([0, TINY, -TINY, -np.inf, 0.5, -1], np.float32)
        yield KeepCase(f"around 2⁻⁷² {layout}", [edges], np.resize(choices, 9), layout=layout)
        batches = [relu(n, 5, 6, 4) for n in (1, 3, 2)]
        yield KeepCase(f"three batches {layout}", batches, np.full(5, 1.5, np.float32), layout=layout)
        yield KeepCase(f"nothing {layout}", [relu(2, 9, 4, 4)], np.full(9, 99, np.float32), layout=layout)
        for value in (np.nan, -np.inf):
            broken = relu(3, 35, 5, 9)
            broken[2, 34, 4, 8] = broken[1, 33, 0, 0] = broken[1, 34, 1, 1] = broken[2, 0, 2, 2] = value
            yield KeepCase(f"{value} {layout}", [broken], np.full(35, 1.5, np.float32), layout=layout)
    bits = np.concatenate([np.arange(0, 0x7C00, 29), np.arange(0x8000, 0xFC00, 29)]).astype(np.uint16)
    halves = np.resize(bits, 2 * 33 * 34).view(np.float16).astype(np.float32).reshape(1, 2, 33, 34)
    for layout in ("planes", "channels_last"):
        yield KeepCase(f"every kind of half {layout}", [halves], np.full(2, -np.inf, np.float32), "f16", layout)
        broken = relu(1, 5, 4, 4)
        broken[0, 3, 1, 2] = np.inf
        yield KeepCase(f"half infinity {layout}", [broken], np.full(5, 9, np.float32), "f16", layout)
    large = np.zeros((1, 3, 70, 65), np.float32)
    large[0, 1, 20:50, 3:60] = 2
    yield KeepCase("70×65", [large], np.ones(3, np.float32))


# -------------------------------------------------------------------------------------------------- count


@dataclass(frozen=True)
class CountCase:
    """What Backend.count takes; crops are those of ``maps`` above ``bounds``."""

    name: str
    maps: np.ndarray
    bounds: np.ndarray
    thresholds: np.ndarray
    axes: tuple[AxisTable, AxisTable]
    packed: PackedLabels
    present: np.ndarray
    concepts: int
    first_image: int = 7


def count_with(backend: Any, case: CountCase) -> tuple[np.ndarray, np.ndarray]:
    """I and A; counted twice over, so that adding to what is there is seen too."""
    crops = REFERENCE.keep(case.maps, case.bounds, case.first_image)
    intersection = backend.zeros((case.maps.shape[1], case.concepts))
    area = backend.zeros((case.maps.shape[1], case.present.shape[1]))
    given = (case.thresholds, case.axes, case.maps.shape[2:], case.packed, case.present, intersection, area)
    for _ in range(2):
        backend.count(CountJob(crops, case.first_image, *given))
    return backend.totals(intersection), backend.totals(area)


def count_agrees(engine: Any, case: CountCase) -> bool:
    got, expected = count_with(cuda.CudaBackend(engine), case), count_with(REFERENCE, case)
    return all(map(np.array_equal, got, expected))


def count_case(
    name: str, maps: np.ndarray, axes: tuple[AxisTable, AxisTable], seed: int, level: float = 0.9,
    concepts: int = 12, categories: int = 3, layers: int = 2, whole: int = 1, block: int = 3,
) -> CountCase:  # fmt: skip
    """Random labels in blocks; thresholds that some values equal, bounds not above them."""
    rng = np.random.default_rng(seed)
    size = len(axes[0].i0), len(axes[1].i0)
    category = rng.integers(0, categories, concepts).astype(np.int32)
    names = tuple(f"concept{n}" for n in range(concepts))
    vocabulary = Vocabulary(np.arange(1, concepts + 1), names, category, tuple(f"c{i}" for i in range(categories)))
    labels = []
    for _ in maps:
        coarse = rng.integers(0, concepts + 1, (layers, -(-size[0] // block), -(-size[1] // block)))
        planes = np.kron(coarse, np.ones((1, block, block), np.int64))[:, : size[0], : size[1]].astype(np.int32)
        labels.append(ImageLabels(planes, tuple(int(n) for n in rng.integers(1, concepts + 1, whole))))
    packed = PackedLabels.pack(labels, vocabulary)
    thresholds = flush(np.quantile(maps, level, axis=(0, 2, 3), method="nearest").astype(np.float32))
    bounds = np.where(rng.random(len(thresholds)) < 0.5, thresholds, thresholds - np.float32(0.3)).astype(np.float32)
    present = rng.random((len(maps), categories)) < 0.6
    return CountCase(name, maps, flush(bounds), thresholds, axes, packed, present, concepts)


def count_cases() -> Iterator[CountCase]:
    """Every branch of the count kernel."""
    rng = np.random.default_rng(12)

    def relu(*shape: int) -> np.ndarray:
        return np.maximum(rng.standard_normal(shape), 0).astype(np.float32)

    def axes(alignment: Any, size: tuple[int, int], pixels: tuple[int, int]) -> tuple[AxisTable, AxisTable]:
        grid = make_grid(alignment, None, size, (64, 64))
        return grid.axis(0, pixels[0]), grid.axis(1, pixels[1])

    yield count_case("7×9 on 40×37", relu(3, 9, 7, 9), axes("half_pixel", (7, 9), (40, 37)), 1)
    yield count_case("8×8 tiles, all", relu(2, 3, 8, 8), axes("half_pixel", (8, 8), (16, 24)), 2, level=0.0)
    yield count_case("one pixel", relu(2, 9, 3, 3), axes("half_pixel", (3, 3), (1, 1)), 3, level=0.3)
    yield count_case("1×1 maps", relu(4, 9, 1, 1), axes("half_pixel", (1, 1), (9, 17)), 4, level=0.4)
    yield count_case("corners aligned", relu(2, 9, 5, 6), axes("align_corners", (5, 6), (33, 23)), 5)
    yield count_case("maps larger", relu(2, 9, 21, 19), axes("half_pixel", (21, 19), (8, 9)), 6)
    outside = axes(((9.0, 7.0), (-30.0, 25.0)), (6, 5), (33, 20))
    yield count_case("grid partly outside", relu(2, 9, 6, 5), outside, 7)
    yield count_case("300 concepts", relu(1, 6, 5, 5), axes("half_pixel", (5, 5), (60, 64)), 8, concepts=300, block=2)
    yield count_case("whole images", relu(2, 4, 4, 4), axes("half_pixel", (4, 4), (9, 9)), 9, concepts=120, whole=90,
                     categories=70)  # fmt: skip
    yield count_case("no labels", relu(2, 4, 4, 4), axes("half_pixel", (4, 4), (9, 9)), 10, layers=0, whole=0)
    huge = rng.choice(np.array([LARGEST, -LARGEST, LARGEST / 2, -1, 0, 1], np.float32), (2, 7, 5, 5))
    yield count_case("overflow", huge, axes("half_pixel", (5, 5), (20, 20)), 11, level=0.6)
    fine = axes("half_pixel", (5, 5), (40, 40))
    values = np.array([LARGEST, LARGEST / 2, -LARGEST, -1], np.float32)
    more = np.random.default_rng(13).choice(values, (2, 30, 5, 5), p=(0.1, 0.3, 0.3, 0.3))
    yield count_case("overflow beside the threshold", more, fine, 16, level=0.8)
    thirds = (rng.integers(0, 4, (3, 7, 6, 6)) / 3).astype(np.float32)
    yield count_case("thirds", thirds, axes("half_pixel", (6, 6), (31, 33)), 12, level=0.7)
    tiny = rng.choice(np.concatenate([EDGE[:7], -EDGE[:7]]), (2, 9, 5, 5)).astype(np.float32)
    yield count_case("around 2⁻⁷²", tiny, axes("half_pixel", (5, 5), (17, 19)), 13, level=0.5)
    edge = np.full((1, 40, 4, 4), -1, np.float32)
    edge[0, np.arange(40), rng.integers(0, 4, 40), rng.integers(0, 4, 40)] = 1
    case = count_case("spikes", edge, axes("half_pixel", (4, 4), (33, 31)), 14)
    half = np.full(40, 0.5, np.float32)
    yield CountCase("spikes", edge, -half, half, case.axes, case.packed, case.present, case.concepts)
    # Pixel values that equal the threshold, or that only a fused multiply-add would put above it
    near = (1 + rng.integers(-3, 4, (3, 16, 6, 6)) * 2.0**-23).astype(np.float32)
    yield count_case("rounding", near, axes("half_pixel", (6, 6), (40, 40)), 15, level=0.6)


# ------------------------------------------------------------------------------------------------- shapes


class Reshaped:
    """An engine that runs count with a grid and a block of other sizes than the backend chose."""

    def __init__(self, engine: FakeDevice, grid: int, block: int) -> None:
        self._engine, self._grid, self._block = engine, grid, block

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def launch(self, kernel: str, grid: int, block: int, shared: int, args: Sequence[Buffer | np.generic]) -> None:
        if kernel == "count":
            grid, block = self._grid, self._block
        self._engine.launch(kernel, grid, block, shared, args)
