"""Pictures of units and concepts: strips of photographs, dimmed where a mask is off. Drawn from peaks alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ..backends.cpu import CpuBackend
from ..backends.reference import upsample
from ..concepts import PackedLabels
from ..crops import Crops
from ..data.dataset import ConceptDataset
from ..errors import ArgumentError
from ..grids import AxisTable
from ..results import LayerResult
from ..types import Array, BoolArray, Float32Array, Int64Array

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS = 65_000  # of a JPEG's width
_PHOTO_BYTES = 1 << 28  # kept decoded
_DIM = np.uint8(2)  # outside a mask, pixels are halved this often
_YELLOW = (255, 224, 32)
_HEAT = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], np.float32)


@dataclass(frozen=True)
class Look:
    """How pictures look.

    images    photographs in a strip, at most
    size      pixels on the longer side of each; smaller photographs are not enlarged
    outline   a yellow line along the mask's edge
    heat_map  a second strip that shows how far S is above T
    """

    images: int = 10
    size: int = 224
    outline: bool = False
    heat_map: bool = False

    def __post_init__(self) -> None:
        if self.images < 1 or not 16 <= self.size <= 2048 or self.images * self.size > MOST_PIXELS:
            raise ArgumentError(
                f"expected at least 1 image and pictures of 16 to 2048 pixels, together at most {MOST_PIXELS} pixels "
                f"wide; got {self.images} images of {self.size} pixels"
            )


class Photos:
    """Photographs of a data set as uint8 [Y, X, 3], made small; the latest are kept."""

    def __init__(self, data: ConceptDataset, size: int) -> None:
        self._data, self._size = data, size
        self.get = lru_cache(max(16, _PHOTO_BYTES // (3 * size * size)))(self._get)

    def _get(self, image: int) -> Array:
        photo = self._data.image(image)
        photo.thumbnail((self._size, self._size))
        return np.asarray(photo)


def strip(cells: Sequence[Array]) -> Image:
    """Pictures uint8 [Y, X, 3] side by side, each in the middle of a black square as large as the largest."""
    from PIL import Image

    size = max(side for cell in cells for side in cell.shape[:2])
    row = np.zeros((size, size * len(cells), 3), np.uint8)
    for i, cell in enumerate(cells):
        height, width = cell.shape[:2]
        y, x = (size - height) // 2, i * size + (size - width) // 2
        row[y : y + height, x : x + width] = cell
    return Image.fromarray(row)


def dimmed(photo: Array, mask: BoolArray, outline: bool) -> Array:
    """The photograph, dark where the mask is off; with a line just inside the mask's edge."""
    shift = np.repeat(np.where(mask, np.uint8(0), _DIM), 3, axis=1)
    picture: Array = (photo.reshape(shift.shape) >> shift).reshape(photo.shape)
    if outline:
        picture[mask & ~_inside(mask)] = _YELLOW
    return picture


def _inside(mask: BoolArray) -> BoolArray:
    """Pixels whose four neighbours are on; beyond the picture all are."""
    padded = np.pad(mask, 1, constant_values=True)
    inside: BoolArray = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside


def heated(photo: Array, heat: Float32Array) -> Array:
    """The photograph in grey under a heat map of values 0 (T or less: left dark) to 1."""
    grey = np.repeat(photo.mean(axis=2, keepdims=True) / 2, 3, axis=2)
    colours = np.stack([np.interp(heat, np.linspace(0, 1, 5), _HEAT[:, c]) for c in range(3)], -1)
    strength = np.sqrt(heat)[..., None] * 0.8
    return np.asarray(grey * (1 - strength) + colours * strength, np.uint8)


def enlarged(mask: BoolArray, size: tuple[int, int]) -> BoolArray:
    """A label mask [Y, X] at another size, each pixel that of the label pixel it lies in."""
    rows = np.arange(size[0]) * mask.shape[0] // size[0]
    columns = np.arange(size[1]) * mask.shape[1] // size[1]
    return np.asarray(mask[np.ix_(rows, columns)], bool)


def annotated(photo: Array, labels: PackedLabels, image: int, concept: int, outline: bool) -> Array:
    """The photograph, dark where it is not labelled with the concept (a column of the vocabulary)."""
    return dimmed(photo, enlarged(labels.mask(image, concept), (photo.shape[0], photo.shape[1])), outline)


class UnitMasks:
    """Masks of a layer's units at any resolution: S > T_k, in the geometry of the score."""

    def __init__(self, layer: LayerResult, backend: CpuBackend | None = None) -> None:
        self._layer, self._peaks = layer, layer.require_peaks()
        self._backend = backend or CpuBackend(1)
        self._axes: dict[tuple[int, int], tuple[AxisTable, AxisTable]] = {}

    def crops(self, unit: int, images: Int64Array) -> list[Crops]:
        """The crop of each image, for a unit's position in the layer; an empty one where the unit is silent."""
        mine = self._peaks.of_unit(unit)
        place = np.searchsorted(mine.image, images)
        return [
            mine.take(i + np.flatnonzero(mine.image[i : i + 1] == image))
            for i, image in zip(place, images, strict=True)
        ]

    def mask(self, crop: Crops, size: tuple[int, int]) -> BoolArray:
        """M of one crop, bool [Y, X] of ``size``."""
        if not len(crop):
            return np.zeros(size, bool)
        (mask,) = self._backend.masks(crop, self._layer.thresholds, self._axes_of(size), self._layer.grid.size)
        return np.asarray(mask, bool)

    def heat(self, crop: Crops, size: tuple[int, int], highest: float) -> Float32Array:
        """(S − T) / (highest − T), float32 [Y, X] within 0 … 1; 0 where the mask is off."""
        heat, mask = np.zeros(size, np.float32), self.mask(crop, size)
        if not mask.any():
            return heat
        threshold = float(self._layer.thresholds[crop.unit[0]])
        full = np.full(self._layer.grid.size, threshold, np.float32)
        y, x, height, width = (int(side) for side in crop.box[0])
        full[y : y + height, x : x + width] = crop.values.reshape(height, width)
        above = upsample(full, *self._axes_of(size))[mask].astype(np.float64) - threshold
        heat[mask] = np.clip(above / (highest - threshold), 0, 1)
        return heat

    def _axes_of(self, size: tuple[int, int]) -> tuple[AxisTable, AxisTable]:
        grid = self._layer.grid
        if size not in self._axes:
            self._axes[size] = grid.axis(0, size[0]), grid.axis(1, size[1])
        return self._axes[size]


@dataclass
class Painter:
    """Draws the strips of one layer's units: the photographs on which a unit is highest."""

    masks: UnitMasks
    photos: Photos
    labels: PackedLabels
    look: Look

    def unit(self, unit: int, images: Int64Array, concept: int) -> dict[str, Image]:
        """Strips by kind: "mask"; "concept" where the unit has a label (−1: none); "heat" where the look asks for it.

        unit  position in the layer; images  highest first
        """
        drawn: dict[str, list[Array]] = {"mask": []}
        crops = self.masks.crops(unit, images)
        highest = max((float(crop.values.max()) for crop in crops if len(crop)), default=0.0)
        for image, crop in zip(images.tolist(), crops, strict=True):
            photo = self.photos.get(image)
            size = photo.shape[0], photo.shape[1]
            drawn["mask"].append(dimmed(photo, self.masks.mask(crop, size), self.look.outline))
            if concept >= 0:
                drawn.setdefault("concept", []).append(annotated(photo, self.labels, image, concept, self.look.outline))
            if self.look.heat_map:
                drawn.setdefault("heat", []).append(heated(photo, self.masks.heat(crop, size, highest)))
        return {kind: strip(cells) for kind, cells in drawn.items()}
