"""Overlap of the masks of a layer's units: other units' masks are counted in place of concepts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from ..concepts import PackedImage, PackedLabels
from ..geometry.grids import Grid
from ..scoring.backends.base import Backend, CountJob
from ..scoring.backends.choice import choose
from ..scoring.crops import Crops
from ..scoring.iou import iou
from ..scoring.peaks import Peaks
from ..types import Float32Array, Float64Array, Int32Array, Uint64Array

_WORDS = 1 << 25  # mask words made at once: 256 MB


def mask_overlap(
    peaks: Peaks,
    thresholds: Float32Array,  # [U]
    grid: Grid,
    label_grid: Int32Array,  # [N, 2], (Y, X) of every image
    backend: Backend | None = None,
) -> Float64Array:
    """Return the IoU of the masks of all pairs of units over all images, at label resolution; 0 if both are empty.

    The result is float64 [U, U]. Takes about 32 bytes per pair of units, and time in proportion to the pairs of units
    active in the same image.
    """
    backend = backend or choose()
    units = len(thresholds)
    intersection, area = np.zeros((units, units), np.int64), np.zeros((units, 1), np.int64)
    for first, last in _chunks(peaks.crops, label_grid):
        crops = peaks.crops.of_images(first, last)
        size = int(label_grid[first, 0]), int(label_grid[first, 1])
        axes = grid.axis(0, size[0]), grid.axis(1, size[1])
        labels = _masks_as_labels(crops, first, last, size, backend.masks(crops, thresholds, axes, grid.size))
        present = np.ones((last - first, 1), bool)
        backend.count(CountJob(crops, first, thresholds, axes, grid.size, labels, present, intersection, area))
    return iou(intersection, area, area.T)


def _chunks(crops: Crops, label_grid: Int32Array) -> Iterator[tuple[int, int]]:
    """Yield images [first, last) whose masks are made at once: of one label size, at most _WORDS words."""
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


def _masks_as_labels(crops: Crops, first: int, last: int, size: tuple[int, int], words: Uint64Array) -> PackedLabels:
    """Return packed labels of images first ≤ i < last whose concepts are the units: each labels where its mask is on.

    words [P, tiles]: the masks of the crops
    """
    area = np.bitwise_count(words).sum(axis=1, dtype=np.int32)
    images = []
    for begin, end in pairwise(np.searchsorted(crops.image, np.arange(first, last + 1)).tolist()):
        padding = -(end - begin) % 8
        images.append(
            PackedImage(
                size,
                np.append(crops.unit[begin:end], np.full(padding, -1, np.int32)),
                np.append(area[begin:end], np.zeros(padding, np.int32)),
                np.pad(words[begin:end].T, ((0, 0), (0, padding))),
                np.zeros(0, np.int32),
            )
        )
    return PackedLabels.join(images)
