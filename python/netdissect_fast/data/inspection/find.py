"""Finds images by concept."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ...concepts import PackedLabels, Vocabulary
from ...errors import ArgumentError
from ...types import BoolArray, Float64Array, Int64Array
from ..dataset import ConceptDataset
from ..label_cache import packed_labels

_AT_ONCE = 4096  # images


class Found(NamedTuple):
    """An image that has a concept: its number and name, pixels with the concept, and their share of the label grid."""

    image: int
    name: str
    pixels: int
    share: float


class Areas(NamedTuple):
    """The concepts of some images: image, column and pixels, int64 [M], and the pixels of each one's whole image."""

    image: Int64Array
    column: Int64Array
    pixels: Int64Array
    of: Int64Array

    def take(self, which: BoolArray) -> Areas:
        """Return some of them."""
        return Areas(*(array[which] for array in self))


class Matches(NamedTuple):
    """Images with a concept, largest share first: image, pixels int64 [M], share float64 [M]."""

    image: Int64Array
    pixels: Int64Array
    share: Float64Array


def find(
    data: ConceptDataset,
    concept: str | int,
    cache: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    progress: bool = False,
) -> list[Found]:
    """Return the images that have a concept, largest share first; equal ones in the order of the data set.

    concept         name, "category:name", or number; see ``column_of``
    cache, threads  as in ``packed_labels``

    >>> import tempfile, netdissect_fast as nd
    >>> with tempfile.TemporaryDirectory() as cache:
    ...     found = nd.find(nd.Synthetic(images=8, size=64), "sun", cache)
    >>> [image.name for image in found]
    ['synthetic/000006.png']
    """
    column = column_of(data.vocabulary, concept)
    matches = images_with(packed_labels(data, cache, threads, progress), column)
    rows = zip(*(array.tolist() for array in matches), strict=True)
    return [Found(image, data.name(image), pixels, share) for image, pixels, share in rows]


def column_of(vocabulary: Vocabulary, concept: str | int) -> int:
    """Return the position in the vocabulary of a concept given as name, "category:name" or number.

    Raises ArgumentError naming the closest concepts if there is none, and the matching ones if there are several.
    """
    text, numbers = str(concept).strip(), vocabulary.numbers.tolist()
    full = [full_name(vocabulary, column) for column in range(len(vocabulary))]
    for names in (full, vocabulary.names, numbers) if isinstance(concept, str) else (numbers,):
        columns = [column for column, name in enumerate(names) if str(name) == text]
        if len(columns) == 1:
            return columns[0]
        if columns:
            which = ", ".join(f"{full[column]} (number {numbers[column]})" for column in columns)
            raise ArgumentError(f"{text!r} may be any of {which}: use category:name, or the number")
    close = difflib.get_close_matches(text[:200], [*vocabulary.names, *full], 5, 0.6)
    hint = f"; the closest are {', '.join(dict.fromkeys(close))}" if close else ""
    raise ArgumentError(f"there is no concept {text[:200]!r} among the {len(vocabulary)}{hint}")


def full_name(vocabulary: Vocabulary, column: int) -> str:
    """Return category:name of a concept; its bare name if it has no category."""
    return ":".join(filter(None, (category_of(vocabulary, column), vocabulary.names[column])))


def category_of(vocabulary: Vocabulary, column: int) -> str:
    """Return the name of a concept's category; empty if it has none."""
    category = int(vocabulary.category[column])
    return vocabulary.categories[category] if category >= 0 else ""


def images_with(labels: PackedLabels, column: int) -> Matches:
    """Return the images that carry the concept in a column of the vocabulary."""
    parts = [areas.take(areas.column == column) for areas in areas_of(labels)]
    image, _, pixels, of = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    share = pixels / of
    order = np.lexsort((image, -share))
    return Matches(image[order], pixels[order], share[order])


def areas_of(labels: PackedLabels) -> Iterator[Areas]:
    """Yield the concepts of all images, a few thousand images at a time."""
    for first in range(0, len(labels), _AT_ONCE):
        some = labels.of_images(first, first + _AT_ONCE)
        image, column, pixels = some.areas()
        of = some.grid.astype(np.int64).prod(axis=1)[image]
        yield Areas(image.astype(np.int64) + first, column.astype(np.int64), pixels, of)
