"""A densely labelled data set drawn from a seed: scenes of objects with parts and materials; textures."""

from __future__ import annotations

import hashlib
import json
import operator
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...concepts import ImageLabels, Vocabulary
from ...errors import ArgumentError, OutputError
from ...storage import new_folder
from ...types import Array
from ..drawing import (
    CATEGORIES,
    CONCEPTS,
    NUMBER,
    SCENES,
    TEXTURES,
    Canvas,
    draw_scene,
    draw_texture,
    name_colours,
)
from ..files.broden_writer import Concept, write_concepts, write_label_map, write_table
from ..files.index import FIXED_COLUMNS
from ..files.splits import split_of

if TYPE_CHECKING:
    from PIL.Image import Image

_DRAWING = 1  # raise when the same arguments produce different pictures or labels
_TEXTURE_SHARE = 0.25  # of the pictures
_MAPS = ("color", "object", "part", "material")  # a scene's label maps; a texture has only the first


class Drawing(NamedTuple):
    """One picture.

    pixels  uint8 RGB [size, size, 3]
    labels  of a scene: maps [4, size//2, size//2] of color, object, part, material; a whole-image scene;
            of a texture: maps [1, size//2, size//2] of color; a whole-image texture
    """

    pixels: Array
    labels: ImageLabels


class Synthetic:
    """The data set that ``write_synthetic`` writes, drawn whenever an image is requested; a ConceptDataset.

    images  N
    seed    of all pictures; picture i is the same in sets of any length
    size    height and width of the pictures in pixels, 32 to 1024; label maps are half as large
    split   "train" or "val": only these pictures; None: all

    >>> import netdissect_fast as nd
    >>> data = nd.Synthetic(images=100, size=64)
    >>> len(data), data.image(0).size, data.labels(0).shape
    (100, (64, 64), (32, 32))
    >>> data.vocabulary.categories
    ('color', 'object', 'part', 'material', 'scene', 'texture')
    """

    def __init__(self, images: int = 1000, seed: int = 0, size: int = 128, split: str | None = None) -> None:
        images, seed, size = operator.index(images), operator.index(seed), operator.index(size)
        if images < 1:
            raise ArgumentError(f"images must be at least 1, got {images}")
        if seed < 0:
            raise ArgumentError(f"seed must be 0 or larger, got {seed}")
        if not 32 <= size <= 1024:
            raise ArgumentError(f"size must be 32..1024 pixels, got {size}")
        if split not in (None, "train", "val"):
            raise ArgumentError(f"split must be train, val or None, got {split!r}")
        self.images, self.seed, self.size, self.split = images, seed, size, split
        self.vocabulary = Vocabulary(
            np.arange(1, len(CONCEPTS) + 1),
            tuple(name for _, name in CONCEPTS),
            np.array([CATEGORIES.index(category) for category, _ in CONCEPTS], np.int32),
            CATEGORIES,
        )
        self._indices = [i for i in range(images) if split in (None, split_of(_image_path(i)))]
        if not self._indices:
            raise ArgumentError(f"none of {images} images is in split {split!r}; request more images")
        self._last: tuple[int, Drawing] | None = None

    def __len__(self) -> int:
        return len(self._indices)

    def __repr__(self) -> str:
        return f"Synthetic(images={self.images}, seed={self.seed}, size={self.size}, split={self.split!r})"

    def source(self) -> dict[str, Any]:
        """Return how to reopen it, as plain values."""
        return {"kind": "synthetic", "images": self.images, "seed": self.seed, "size": self.size, "split": self.split}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}

    def draw(self, index: int) -> Drawing:
        """Draw one picture with its labels."""
        last = self._last
        if last is None or last[0] != index:  # image(i) is often followed by labels(i)
            last = self._last = index, _draw(self._indices[index], self.seed, self.size)
        return last[1]

    def image(self, index: int) -> Image:
        """See ConceptDataset."""
        from PIL import Image

        return Image.fromarray(self.draw(index).pixels)

    def labels(self, index: int) -> ImageLabels:
        """See ConceptDataset."""
        return self.draw(index).labels

    def name(self, index: int) -> str:
        """Return the path that the image has, or would have, under images/."""
        return _image_path(self._indices[index])

    def fingerprint(self) -> str:
        """Return a hash of the arguments and of what is drawn from them."""
        arguments = [_DRAWING, CONCEPTS, self.images, self.seed, self.size, self.split]
        return hashlib.sha256(b"netdissect_fast synthetic" + json.dumps(arguments).encode()).hexdigest()


def _draw(index: int, seed: int, size: int) -> Drawing:
    rng = np.random.Generator(np.random.PCG64([seed, index]))
    canvas = Canvas(size, rng)
    texture = rng.random() < _TEXTURE_SHARE
    name = str(rng.choice(list(TEXTURES if texture else SCENES)))
    (draw_texture if texture else draw_scene)(canvas, name)
    pixels = canvas.picture()
    half = size // 2 * 2
    maps = name_colours(pixels[1:half:2, 1:half:2])[None]
    if not texture:
        maps = np.concatenate([maps, canvas.labels()])
    return Drawing(pixels, ImageLabels(maps, (NUMBER[name],)))


def _image_path(index: int) -> str:
    return f"synthetic/{index:06d}.png"


def write_synthetic(
    path: str | os.PathLike[str], images: int = 1000, seed: int = 0, size: int = 128, progress: bool = False
) -> None:
    """Write the data set in Broden's format to a new folder, completely or not at all.

    The same arguments produce the same bytes. Images are PNG, so that Broden(path) has exactly the images and
    labels of Synthetic(images, seed, size). Raises OutputError if ``path`` exists or cannot be written.
    """
    from PIL import Image
    from tqdm import tqdm

    dataset, folder = Synthetic(images, seed, size), Path(path)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} already exists; choose the name of a new folder")
    concepts = [
        Concept(number, name, {category: 0}, {category: 0.0})
        for number, (category, name) in enumerate(CONCEPTS, start=1)
    ]
    rows: list[list[object]] = []
    with new_folder(folder) as new:
        (new / "images" / "synthetic").mkdir(parents=True)
        for index in tqdm(range(images), "drawing", unit="img", disable=None if progress else True):
            pixels, labels = dataset.draw(index)
            name = dataset.name(index)
            Image.fromarray(pixels).save(new / "images" / name, compress_level=1)
            cells = dict.fromkeys(CATEGORIES, "")
            for category, numbers in zip(_MAPS, labels.maps, strict=False):
                if numbers.any():
                    cells[category] = f"{name[:-4]}_{category}.png"
                    write_label_map(new / "images" / cells[category], numbers)
                    for number, pixels in zip(*np.unique(numbers[numbers > 0], return_counts=True), strict=True):
                        concepts[number - 1].images[category] += 1
                        concepts[number - 1].coverage[category] += pixels / numbers.size
            for number in labels.whole:
                category, _ = CONCEPTS[number - 1]
                cells[category] = str(number)
                concepts[number - 1].images[category] += 1
                concepts[number - 1].coverage[category] += 1
            rows.append([name, split_of(name), size, size, size // 2, size // 2, *cells.values()])
        write_table(new / "index.csv", [*FIXED_COLUMNS, *CATEGORIES], rows)
        write_concepts(new, concepts)
