"""Pictures of units and concepts: strips of photographs, dimmed where a mask is off. Drawn from peaks alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from ..concepts import PackedLabels
from ..data.dataset import ConceptDataset
from ..errors import ArgumentError
from ..geometry.grids import AxisTable, Grid
from ..scoring.backends.base import Backend, unpack_masks
from ..scoring.backends.choice import choose
from ..scoring.backends.reference import upsample
from ..scoring.crops import Crops
from ..scoring.peaks import Peaks
from ..types import BoolArray, Float32Array, Int64Array

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS = 65_000  # maximum width of a JPEG
_PHOTO_BYTES = 1 << 27  # of decoded photographs kept in each process
_DIM = 4  # outside a mask, pixels are divided by this
_YELLOW = (255, 224, 32)
_HEAT = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], np.float32)


@dataclass(frozen=True)
class Look:
    """The look of pictures.

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


class Photo(NamedTuple):
    """A reduced photograph, RGB, and a dark copy of it."""

    bright: Image
    dark: Image

    @property
    def size(self) -> tuple[int, int]:
        """(Y, X) in pixels."""
        return self.bright.height, self.bright.width


class Photos:
    """Photographs of a data set, at most ``size`` pixels on the longer side; the latest stay in memory."""

    def __init__(self, data: ConceptDataset, size: int) -> None:
        self._data, self._size = data, size
        self.get = lru_cache(max(16, _PHOTO_BYTES // (6 * size * size)))(self._get)

    def _get(self, image: int) -> Photo:
        bright = self._data.image(image).convert("RGB")  # a copy: thumbnail works in place
        bright.thumbnail((self._size, self._size))
        return Photo(bright, bright.point(lambda value: value // _DIM))


def strip(cells: Sequence[Image]) -> Image:
    """Return pictures side by side, each centred in a black square the size of the largest."""
    from PIL import Image

    size = max(side for cell in cells for side in cell.size)
    row = Image.new("RGB", (size * len(cells), size))
    for i, cell in enumerate(cells):
        row.paste(cell, (i * size + (size - cell.width) // 2, (size - cell.height) // 2))
    return row


def dimmed(photo: Photo, mask: BoolArray, outline: bool) -> Image:
    """Return the photograph, dark where the mask (of any size) is off, optionally with a line just inside its edge."""
    from PIL import Image, ImageChops, ImageFilter

    # Use Pillow: NumPy's calls on such small arrays would hold up the other threads.
    on = Image.fromarray(mask.view(np.uint8) * np.uint8(255)).resize(photo.bright.size, Image.Resampling.NEAREST)
    picture = Image.composite(photo.bright, photo.dark, on)
    if outline:
        picture.paste(_YELLOW, mask=ImageChops.subtract(on, on.filter(ImageFilter.MinFilter(3))))
    return picture


def heated(photo: Photo, heat: Float32Array) -> Image:
    """Return the photograph in grey under a heat map of values from 0 (T or less: left dark) to 1."""
    from PIL import Image

    grey = np.repeat(np.asarray(photo.bright.convert("L"))[..., None] / 2, 3, axis=2)
    colours = np.stack([np.interp(heat, np.linspace(0, 1, 5), _HEAT[:, c]) for c in range(3)], -1)
    strength = np.sqrt(heat)[..., None] * 0.8
    return Image.fromarray((grey * (1 - strength) + colours * strength).astype(np.uint8))


class Masks:
    """Masks of crops at any resolution: S > T, in the geometry of the score."""

    def __init__(self, grid: Grid, thresholds: Float32Array, backend: Backend | None = None) -> None:
        self._grid, self._thresholds, self._backend = grid, thresholds, backend or choose(threads=1)
        self._axes: dict[tuple[int, int], tuple[AxisTable, AxisTable]] = {}

    def mask(self, crop: Crops, size: tuple[int, int]) -> BoolArray:
        """Return M of one crop, or of none, as bool [Y, X] of ``size``."""
        if not len(crop):
            return np.zeros(size, bool)
        words = self._backend.masks(crop, self._thresholds, self._axes_of(size), self._grid.size)
        return np.asarray(unpack_masks(words, size)[0])

    def heat(self, crop: Crops, size: tuple[int, int], highest: float) -> Float32Array:
        """Return (S − T) / (highest − T), float32 [Y, X] clipped to 0 … 1; 0 where the mask is off."""
        heat, mask = np.zeros(size, np.float32), self.mask(crop, size)
        if not mask.any():
            return heat
        threshold = float(self._thresholds[crop.unit[0]])
        full = np.full(self._grid.size, threshold, np.float32)
        y, x, height, width = (int(side) for side in crop.box[0])
        full[y : y + height, x : x + width] = crop.values.reshape(height, width)
        above = upsample(full, *self._axes_of(size))[mask].astype(np.float64) - threshold
        heat[mask] = np.clip(above / (highest - threshold), 0, 1)
        return heat

    def _axes_of(self, size: tuple[int, int]) -> tuple[AxisTable, AxisTable]:
        if size not in self._axes:
            self._axes[size] = self._grid.axis(0, size[0]), self._grid.axis(1, size[1])
        return self._axes[size]


class Strips(Protocol):
    """Strips that are drawn together, with all they need except the photographs; sent between processes."""

    def draw(self, photos: Photos, look: Look) -> dict[str, Image]:
        """Return the strips, by kind."""
        ...


@dataclass(frozen=True)
class UnitStrips:
    """Photographs on which a unit is high: "mask"; "concept" if it has a label; "heat" if the look requests it.

    images    their numbers
    crops     the unit's crop on each, or an empty one
    masks     of the layer
    labelled  where each carries the unit's label, bool [Y, X]; empty if the unit has none
    """

    images: list[int]
    crops: list[Crops]
    masks: Masks
    labelled: list[BoolArray]

    @classmethod
    def of(
        cls, peaks: Peaks, masks: Masks, labels: PackedLabels, unit: int, images: Int64Array, concept: int
    ) -> UnitStrips:
        """Prepare the strips of a unit, given its position in the layer and the column of its label (−1: none)."""
        mine = peaks.of_unit(unit)
        place = np.searchsorted(mine.image, images)
        crops = [mine.take(p + np.flatnonzero(mine.image[p : p + 1] == i)) for p, i in zip(place, images, strict=True)]
        labelled = [labels.mask(int(image), concept) for image in images] if concept >= 0 else []
        return cls(images.tolist(), crops, masks, labelled)

    def draw(self, photos: Photos, look: Look) -> dict[str, Image]:
        """See Strips."""
        all_photos = [photos.get(image) for image in self.images]
        both = list(zip(all_photos, self.crops, strict=True))
        cells = {"mask": [dimmed(photo, self.masks.mask(crop, photo.size), look.outline) for photo, crop in both]}
        if self.labelled:
            beside = zip(all_photos, self.labelled, strict=True)
            cells["concept"] = [dimmed(photo, mask, look.outline) for photo, mask in beside]
        if look.heat_map:
            highest = max((float(crop.values.max()) for crop in self.crops if len(crop)), default=0.0)
            cells["heat"] = [heated(photo, self.masks.heat(crop, photo.size, highest)) for photo, crop in both]
        return {kind: strip(pictures) for kind, pictures in cells.items()}


@dataclass(frozen=True)
class ConceptStrip:
    """Photographs that carry a concept, and where, bool [Y, X]."""

    images: list[int]
    labelled: list[BoolArray]

    def draw(self, photos: Photos, look: Look) -> dict[str, Image]:
        """See Strips."""
        both = zip(self.images, self.labelled, strict=True)
        return {"concept": strip([dimmed(photos.get(image), mask, look.outline) for image, mask in both])}
