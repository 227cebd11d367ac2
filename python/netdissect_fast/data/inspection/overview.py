"""An overview of a data set: images, sizes, and the images and pixels of each category and concept."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from ...concepts import PackedLabels, Vocabulary
from ...types import Array, Int64Array
from ..bands import picture_of, size_of
from ..dataset import ConceptDataset
from ..formats.broden import Broden
from ..label_cache import packed_labels
from .find import areas_of

_SAMPLE = 16  # images opened for their size, if nothing else states it


class ConceptCounts(NamedTuple):
    """One concept.

    images         number of images that have it
    pixels         number of pixels of their label grids that have it
    share_of_them  pixels, as a fraction of all pixels of the images that have it; 0 if none has
    share          pixels, as a fraction of all pixels of all images
    """

    number: int
    name: str
    images: int
    pixels: int
    share_of_them: float
    share: float


@dataclass(frozen=True)
class CategoryCounts:
    """The concepts that belong to a category, those in most images first. ``name`` is empty for those without one.

    images        number of images that have at least one of them
    pixel_labels  number of (image, concept) pairs that are labelled by pixels
    whole_labels  number of those that are labelled for the whole image
    """

    name: str
    images: int
    pixel_labels: int
    whole_labels: int
    concepts: list[ConceptCounts]


@dataclass(frozen=True)
class Overview:
    """What ``overview`` found; sizes are (height, width), and all counts are of images.

    splits       by name, if the data set has any
    image_sizes  if known without opening the images, else those of some images, which ``sampled`` counts
    label_sizes  of the label grids
    """

    data: str
    images: int
    splits: Mapping[str, int]
    image_sizes: Mapping[tuple[int, int], int]
    sampled: int
    label_sizes: Mapping[tuple[int, int], int]
    categories: list[CategoryCounts]

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        plain = {**vars(self), "categories": [asdict(category) for category in self.categories]}
        for category in plain["categories"]:
            category["concepts"] = [concept._asdict() for concept in category["concepts"]]
        for sizes in ("image_sizes", "label_sizes"):
            counts = getattr(self, sizes).items()
            plain[sizes] = [{"height": height, "width": width, "images": n} for (height, width), n in counts]
        return plain


def overview(
    data: ConceptDataset,
    cache: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    progress: bool = False,
) -> Overview:
    """Count a data set's images and labels. ``cache`` and ``threads`` are as in ``packed_labels``.

    >>> import tempfile, netdissect_fast as nd
    >>> with tempfile.TemporaryDirectory() as cache:
    ...     found = nd.overview(nd.Synthetic(images=8, size=64), cache)
    >>> found.images, found.label_sizes
    (8, {(32, 32): 8})
    """
    labels = packed_labels(data, cache, threads, progress)
    sizes, counts = np.unique(labels.grid, axis=0, return_counts=True)
    grids = {(int(y), int(x)): int(n) for (y, x), n in zip(sizes, counts, strict=True)}
    splits, image_sizes, sampled = _images(data)
    return Overview(
        repr(data), len(data), splits, image_sizes, sampled, _common_first(grids), _categories(data.vocabulary, labels)
    )


def _images(data: ConceptDataset) -> tuple[dict[str, int], dict[tuple[int, int], int], int]:
    """Return splits, sizes, and how many images were opened for these."""
    splits: dict[str, int] = {}
    if isinstance(data, Broden):
        splits = dict(sorted(Counter(row.split for row in data.rows).items()))
        sizes = Counter(row.size for row in data.rows if row.size is not None)
        if sizes.total() == len(data):
            return splits, _common_first(sizes), 0
    some = sorted({int(i) for i in np.linspace(0, len(data) - 1, _SAMPLE)})
    found = Counter(size_of(picture_of(data, index)) for index in some)
    return splits, _common_first(found), len(some)


def _common_first(counts: Mapping[tuple[int, int], int]) -> dict[tuple[int, int], int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _categories(vocabulary: Vocabulary, labels: PackedLabels) -> list[CategoryCounts]:
    concepts = _concepts(vocabulary, labels)
    every = Vocabulary(  # with one more category, for concepts that have none
        vocabulary.numbers, vocabulary.names, vocabulary.category % (len(vocabulary.categories) + 1),
        (*vocabulary.categories, ""),
    )  # fmt: skip
    present = np.zeros(len(every.categories), np.int64)
    for first in range(0, len(labels), 4096):
        present += labels.of_images(first, first + 4096).category_present(every).sum(axis=0)
    by_pixels, whole = (_by_category(every, columns) for columns in (labels.slot_concept, labels.whole))
    found = []
    for category, name in enumerate(every.categories):
        mine = [concepts[column] for column in np.flatnonzero(every.category == category)]
        if mine or name:
            mine.sort(key=lambda concept: (-concept.images, -concept.pixels, concept.number))
            counts = int(present[category]), int(by_pixels[category]), int(whole[category])
            found.append(CategoryCounts(name, *counts, mine))
    return found


def _by_category(vocabulary: Vocabulary, columns: Array) -> Int64Array:
    return np.bincount(vocabulary.category[columns[columns >= 0]], minlength=len(vocabulary.categories))


def _concepts(vocabulary: Vocabulary, labels: PackedLabels) -> list[ConceptCounts]:
    images, pixels, of = np.zeros((3, len(vocabulary)), np.int64)
    for areas in areas_of(labels):
        images += np.bincount(areas.column, minlength=len(vocabulary))
        np.add.at(pixels, areas.column, areas.pixels)
        np.add.at(of, areas.column, areas.of)
    every = int(labels.grid.astype(np.int64).prod(axis=1).sum())
    rows = zip(vocabulary.numbers, vocabulary.names, images, pixels, of, strict=True)
    return [
        ConceptCounts(int(number), name, int(n), int(p), int(p) / max(int(o), 1), int(p) / every)
        for number, name, n, p, o in rows
    ]
