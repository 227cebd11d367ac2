"""How much the masks of a layer's units overlap: other units' masks are counted in the place of concepts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from .backends.cpu import CpuBackend
from .concepts import PackedImage, PackedLabels, Vocabulary
from .counts import Counter, Counts
from .crops import Crops
from .grids import Grid
from .peaks import Peaks
from .types import Float32Array, Float64Array, Int32Array

_WORDS = 1 << 25  # mask words made at once: 256 MB


def mask_overlap(
    peaks: Peaks,
    thresholds: Float32Array,  # [U]
    grid: Grid,
    label_grid: Int32Array,  # [N, 2], (Y, X) of every image
    backend: CpuBackend | None = None,
) -> Float64Array:
    """IoU of the masks of every two units over all images, at label resolution; float64 [U, U], 0 where both are empty.

    Takes 16 bytes for every two units, and time in proportion to the pairs of units that are active in one image.
    """
    backend = backend or CpuBackend()
    units = len(thresholds)
    vocabulary = Vocabulary(np.arange(1, units + 1), ("",) * units, np.zeros(units, np.int32), ("unit",))
    counts = Counts.zeros(units, vocabulary)
    for first, last in _chunks(peaks.crops, label_grid):
        crops = peaks.crops.of_images(first, last)
        crops = Crops(crops.image - np.int32(first), crops.unit, crops.box, crops.values)
        labels = _masks_as_labels(crops, thresholds, grid, label_grid[first:last], backend)
        counter = Counter(thresholds, grid, labels, vocabulary, category_rule="none")
        counter.add(crops, 0, last - first, backend)
        counts = counts + counter.counts
    return counts.iou(vocabulary)


def _chunks(crops: Crops, label_grid: Int32Array) -> Iterator[tuple[int, int]]:
    """Images [first, last) whose masks are made at once: of one label size, at most _WORDS words."""
    tiles = np.prod((label_grid.astype(np.int64) + 7) // 8, axis=1)
    words = np.bincount(crops.image, minlength=len(label_grid)) * tiles
    first = total = 0
    for image in range(len(label_grid)):
        total += int(words[image])
        if image > first and (total > _WORDS or np.any(label_grid[image] != label_grid[first])):
            yield first, image
            first, total = image, int(words[image])
    if first < len(label_grid):
        yield first, len(label_grid)


def _masks_as_labels(
    crops: Crops, thresholds: Float32Array, grid: Grid, label_grid: Int32Array, backend: CpuBackend
) -> PackedLabels:
    """Packed labels of images of one size whose concepts are the units: where a unit's mask is on."""
    size = int(label_grid[0, 0]), int(label_grid[0, 1])
    words = backend.mask_words(crops, thresholds, (grid.axis(0, size[0]), grid.axis(1, size[1])), grid.size)
    area = np.bitwise_count(words).sum(axis=1, dtype=np.int32)
    edges = np.searchsorted(crops.image, np.arange(len(label_grid) + 1))
    images = []
    for first, last in pairwise(edges.tolist()):
        padding = -(last - first) % 8
        images.append(
            PackedImage(
                size,
                np.append(crops.unit[first:last], np.full(padding, -1, np.int32)),
                np.append(area[first:last], np.zeros(padding, np.int32)),
                np.pad(words[first:last].T, ((0, 0), (0, padding))),
                np.zeros(0, np.int32),
            )
        )
    return PackedLabels.join(images)
