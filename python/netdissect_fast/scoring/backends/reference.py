"""The kernels as spec 1 defines them, in NumPy: to be read, and to test the other backends against. Slow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...geometry.grids import AxisTable
from ...types import BoolArray, Float32Array, Uint64Array
from ..crops import Crops, flush
from .base import CountJob, NonFiniteError, OnHost, to_numpy


def widen(maps: Any) -> Float32Array:
    """Return activations as float32, flushed."""
    array, bfloat16 = to_numpy(maps)
    if bfloat16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return flush(array.astype(np.float32))


def upsample(maps: Float32Array, y: AxisTable, x: AxisTable) -> Float32Array:
    """Return S: maps float32 [..., H, W] → [..., Y, X], bilinear, each operation rounded on its own (spec 1.2, 1.3)."""
    with np.errstate(over="ignore", invalid="ignore"):  # overflow follows IEEE 754
        rows = maps[..., x.i0] + x.f * (maps[..., x.i1] - maps[..., x.i0])
        top, bottom = rows[..., y.i0, :], rows[..., y.i1, :]
        result: Float32Array = top + y.f[:, None] * (bottom - top)
    return result


def masks(maps: Float32Array, thresholds: Float32Array, y: AxisTable, x: AxisTable) -> BoolArray:
    """Return M: on iff S > T and one of the four corner samples > T (spec 1.3).

    maps float32 [..., H, W], thresholds float32 broadcasting against [...]; returns bool [..., Y, X].
    """
    t = np.asarray(thresholds, np.float32)[..., None, None]
    above = maps > t
    beside = above[..., x.i0] | above[..., x.i1]
    corner = beside[..., y.i0, :] | beside[..., y.i1, :]
    with np.errstate(invalid="ignore"):
        on: BoolArray = (upsample(maps, y, x) > t) & corner
    return on


def crop_masks(
    crops: Crops, thresholds: Float32Array, axes: tuple[AxisTable, AxisTable], map_size: tuple[int, int]
) -> Iterator[BoolArray]:
    """Yield M of each crop, bool [Y, X]."""
    starts = crops.starts()
    for crop, (y0, x0, height, width) in enumerate(crops.box.astype(int)):
        t = thresholds[crops.unit[crop]]
        # Outside the crop nothing exceeds T, and no pixel with a corner there can be on: any value up to T will do.
        full = np.full(map_size, t, np.float32)
        full[y0 : y0 + height, x0 : x0 + width] = crops.values[starts[crop] : starts[crop + 1]].reshape(height, width)
        yield masks(full, t, *axes)


def kth_largest(crops: Crops, bounds: Float32Array, rank: int) -> Float32Array:
    """Return T, float32 [U]: each unit's ``rank``-th largest value above its bound, else the bound (spec 1.1)."""
    unit, values = crops.above(bounds)
    result = bounds.copy()
    for u in range(len(bounds)):
        mine = np.sort(values[unit == u])[::-1]
        if len(mine) >= rank:
            result[u] = mine[rank - 1]
    return result


def prune(crops: Crops, bounds: Float32Array) -> Crops:
    """Return the crops cut down to what exceeds higher bounds, dilated by one; crops where nothing does are dropped."""
    starts, kept = crops.starts(), Crops.empty()
    for crop, (y0, x0, height, width) in enumerate(crops.box.astype(int)):
        values = crops.values[starts[crop] : starts[crop + 1]].reshape(height, width)
        ys, xs = np.nonzero(values > bounds[crops.unit[crop]])
        if not len(ys):
            continue
        top, left = max(ys.min() - 1, 0), max(xs.min() - 1, 0)
        left_over = values[top : ys.max() + 2, left : xs.max() + 2]
        box = np.array([[y0 + top, x0 + left, *left_over.shape]], np.uint16)
        kept.append(Crops(crops.image[crop : crop + 1], crops.unit[crop : crop + 1], box, left_over.reshape(-1)))
    return kept


class ReferenceBackend(OnHost):
    """The definition, as a backend."""

    name = "reference"
    threads = 1

    def keep(self, maps: Any, bounds: Float32Array, first_image: int) -> Crops:
        """See Backend.keep."""
        values = widen(maps)
        for image, unit in np.argwhere(~np.isfinite(values).all(axis=(2, 3))):
            raise NonFiniteError(first_image + int(image), int(unit))
        above = values > bounds[:, None, None]
        kept = Crops.empty()
        for image, unit in np.argwhere(above.any(axis=(2, 3))):
            ys, xs = np.nonzero(above[image, unit])
            y0, x0 = max(ys.min() - 1, 0), max(xs.min() - 1, 0)
            crop = values[image, unit, y0 : ys.max() + 2, x0 : xs.max() + 2]
            box = np.array([[y0, x0, *crop.shape]], np.uint16)
            number, of = np.array([first_image + image], np.int32), np.array([unit], np.int32)
            kept.append(Crops(number, of, box, crop.reshape(-1)))
        return kept

    def count(self, job: CountJob) -> None:
        """See Backend.count."""
        concepts = [job.labels.masks(image) for image in range(len(job.labels))]
        all_masks = crop_masks(job.crops, job.thresholds, job.axes, job.map_size)
        for unit, number, mask in zip(job.crops.unit, job.crops.image, all_masks, strict=True):
            image = int(number) - job.first_image
            job.unit_area[unit] += int(mask.sum()) * job.present[image]
            for column, concept in concepts[image].items():
                job.intersection[unit, column] += int((mask & concept).sum())

    def masks(
        self, crops: Crops, thresholds: Float32Array, axes: tuple[AxisTable, AxisTable], map_size: tuple[int, int]
    ) -> Uint64Array:
        """See Backend.masks."""
        tiles = [-(-len(axis) // 8) for axis in axes]
        words = np.zeros((len(crops), tiles[0] * tiles[1]), np.uint64)
        for word, mask in zip(words, crop_masks(crops, thresholds, axes, map_size), strict=True):
            for y, x in np.argwhere(mask):  # pixel (y, x) of a tile is bit 8·y + x
                word[y // 8 * tiles[1] + x // 8] |= np.uint64(1) << np.uint64(y % 8 * 8 + x % 8)
        return words
