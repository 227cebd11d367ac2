"""Concepts and their pixels: the vocabulary of a data set, the labels of an image, labels packed for counting."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from . import _core
from .errors import ArgumentError, ShapeError
from .types import Array, BoolArray, Float64Array, Int32Array, Int64Array, Uint64Array

LARGEST = 2**31 - 1  # concept number
_TABLE = 1 << 20  # numbers up to here are looked up in a table of all numbers, larger ones by bisection


@dataclass(frozen=True)
class Vocabulary:
    """The C concepts of a data set, in ascending order of their numbers.

    numbers     int64 [C], 1 to 2³¹ − 1: the values in label maps
    names       C names
    category    int32 [C]: index into ``categories`` of the primary category; −1 for a concept without one
    categories  names of the categories, in the data set's order

    Raises ShapeError or ArgumentError if these do not fit together.

    >>> words = nd.Vocabulary([3, 7, 9], ("wheel", "car", "street"), [1, 0, 2], ("object", "part", "scene"))
    >>> len(words), words.columns.tolist()
    (3, [-1, -1, -1, 0, -1, -1, -1, 1, -1, 2])
    """

    numbers: Int64Array
    names: tuple[str, ...]
    category: Int32Array
    categories: tuple[str, ...]

    def __post_init__(self) -> None:
        for name, dtype in (("numbers", np.int64), ("category", np.int32)):  # lists are accepted
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype))
        if not self.numbers.shape == (len(self.names),) == self.category.shape:
            raise ShapeError(
                f"a vocabulary needs one name and one category per concept, got {self.numbers.size} numbers, "
                f"{len(self.names)} names, {self.category.size} categories"
            )
        if len(self.numbers) and (self.numbers[0] < 1 or np.any(np.diff(self.numbers) <= 0)):
            raise ArgumentError("concept numbers must be ≥ 1, ascending and distinct; 0 means unlabelled")
        if len(self.numbers) and self.numbers[-1] > LARGEST:
            raise ArgumentError(f"concept numbers must be 1 to {LARGEST}, got {self.numbers[-1]}; renumber them")
        if np.any(self.category < -1) or np.any(self.category >= len(self.categories)):
            raise ArgumentError(
                f"a concept's category must be an index into the {len(self.categories)} categories, or −1 for none"
            )

    def __len__(self) -> int:
        return len(self.numbers)

    @cached_property
    def columns(self) -> Int32Array:
        """int32 [largest number + 1]: number → column in 0..C−1; −1 for numbers that are not a concept.

        ``columns_of`` needs no memory for numbers in between.
        """
        columns = np.full(int(self.numbers[-1]) + 1 if len(self) else 1, -1, np.int32)
        columns[self.numbers] = np.arange(len(self), dtype=np.int32)
        columns.flags.writeable = False
        return columns

    @property
    def dense(self) -> bool:
        """Whether the numbers are small enough for ``columns``."""
        return not len(self) or bool(self.numbers[-1] <= _TABLE)

    def columns_of(self, numbers: Array) -> Int32Array:
        """Return the column of each number, in the shape of ``numbers``; −1 for those that are not a concept.

        >>> words = nd.Vocabulary([3, 2**31 - 1], ("wheel", "car"), [0, 0], ("object",))
        >>> words.columns_of(np.array([0, 3, 4, 2**31 - 1])).tolist()
        [-1, 0, -1, 1]
        """
        numbers = np.asarray(numbers)
        if not len(self):
            return np.full(numbers.shape, -1, np.int32)
        column = np.minimum(np.searchsorted(self.numbers, numbers), len(self) - 1)
        return np.where(self.numbers[column] == numbers, column, -1).astype(np.int32)

    @staticmethod
    def primary(coverage: Float64Array) -> Int32Array:  # [C, categories]
        """Return the primary category of each concept: its largest coverage; ties go to the first (spec 1.5).

        ``coverage`` float64 [C, categories]; NaN if a concept is not in a category. Returns int32 [C],
        −1 for concepts without a category.
        """
        if coverage.shape[1] == 0:
            return np.full(len(coverage), -1, np.int32)
        known = ~np.isnan(coverage)
        best = np.where(known, coverage, -np.inf).argmax(axis=1)
        return np.where(known.any(axis=1), best, -1).astype(np.int32)


@dataclass(frozen=True)
class ImageLabels:
    """The labels of one image.

    maps   integers [L, Y, X]: L ≥ 0 label maps of concept numbers, 0 = unlabelled; they may overlap (OR)
    whole  concept numbers that hold for the whole image

    >>> street = nd.ImageLabels(np.array([[[7, 7, 0], [7, 7, 0]], [[0, 0, 0], [3, 0, 0]]]), whole=(9,))
    >>> street.shape, len(street.maps)
    ((2, 3), 2)
    """

    maps: Int32Array
    whole: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """(Y, X) of the label grid."""
        return self.maps.shape[1], self.maps.shape[2]


@dataclass(frozen=True)
class PackedLabels:
    """Labels of N images in the form that the ``count`` kernel reads: flat arrays, possibly mapped from a file.

    A label grid is divided into 8×8 tiles, row by row; pixel (y, x) of a tile is bit 8·y + x of a 64-bit word.
    An image's words are [tiles, slots]: a slot is one concept of the image, slots padded to a multiple of 8.

    grid       int32 [N, 2]: (Y, X)
    slot_start int64 [N+1], slot_concept int32: columns of the concepts in an image's slots, −1 in padding
    slot_area  int32: pixels of each slot's concept
    word_start int64 [N+1], words uint64
    whole_start int64 [N+1], whole int32: columns of the whole-image concepts

    >>> words = nd.Vocabulary([3, 7, 9], ("wheel", "car", "street"), [1, 0, 2], ("object", "part", "scene"))
    >>> street = nd.ImageLabels(np.array([[[7, 7, 0], [7, 7, 0]], [[0, 0, 0], [3, 0, 0]]]), whole=(9,))
    >>> packed = nd.PackedLabels.pack([street], words)
    >>> len(packed), packed.concept_area(len(words)).tolist()  # pixels of wheel, car, street
    (1, [1, 4, 6])
    >>> packed.mask(image=0, concept=1).astype(int).tolist()
    [[1, 1, 0], [1, 1, 0]]
    """

    grid: Int32Array
    slot_start: Int64Array
    slot_concept: Int32Array
    slot_area: Int32Array
    word_start: Int64Array
    words: Uint64Array
    whole_start: Int64Array
    whole: Int32Array

    def __len__(self) -> int:
        return len(self.grid)

    @classmethod
    def pack(cls, labels: Iterable[ImageLabels], vocabulary: Vocabulary) -> PackedLabels:
        """Pack the labels of images, in order. Raises ArgumentError for a number outside the vocabulary."""
        return cls.join([pack_image(image, vocabulary) for image in labels])

    @classmethod
    def join(cls, images: Sequence[PackedImage]) -> PackedLabels:
        """Concatenate the packed labels of single images."""

        def flat(arrays: Sequence[Array], dtype: type) -> Array:
            return np.concatenate([np.zeros(0, dtype), *(a.reshape(-1) for a in arrays)])

        def starts(arrays: Sequence[Array]) -> Int64Array:
            return starts_of(np.array([a.size for a in arrays], np.int64))

        concepts, words = [i.concepts for i in images], [i.words for i in images]
        whole = [i.whole for i in images]
        return cls(
            grid=np.array([i.grid for i in images], np.int32).reshape(-1, 2),
            slot_start=starts(concepts),
            slot_concept=flat(concepts, np.int32),
            slot_area=flat([i.areas for i in images], np.int32),
            word_start=starts(words),
            words=flat(words, np.uint64),
            whole_start=starts(whole),
            whole=flat(whole, np.int32),
        )

    def of_images(self, first: int, last: int) -> PackedLabels:
        """Return images ``first`` ≤ i < ``last``; the flat arrays are shared, the starts still point into them."""
        return replace(
            self,
            grid=self.grid[first:last],
            slot_start=self.slot_start[first : last + 1],
            word_start=self.word_start[first : last + 1],
            whole_start=self.whole_start[first : last + 1],
        )

    def take(self, order: Int64Array) -> PackedLabels:
        """Return a copy of the labels of these images, in this order."""

        def flat(values: Array, start: Int64Array) -> Array:
            parts = [values[start[image] : start[image + 1]] for image in order]
            return np.concatenate([values[:0], *parts])

        def begins(start: Int64Array) -> Int64Array:
            return starts_of(start[order + 1] - start[order])

        return PackedLabels(
            grid=self.grid[order],
            slot_start=begins(self.slot_start),
            slot_concept=flat(self.slot_concept, self.slot_start),
            slot_area=flat(self.slot_area, self.slot_start),
            word_start=begins(self.word_start),
            words=flat(self.words, self.word_start),
            whole_start=begins(self.whole_start),
            whole=flat(self.whole, self.whole_start),
        )

    def masks(self, image: int) -> dict[int, BoolArray]:
        """Return L: column of each concept of an image → bool [Y, X] (spec 1.4)."""
        size = int(self.grid[image, 0]), int(self.grid[image, 1])
        concepts = self.slot_concept[slice(*self.slot_start[image : image + 2])]
        words = self.words[slice(*self.word_start[image : image + 2])]
        planes = unpack(words.reshape(-1, len(concepts)), size) if len(concepts) else ()
        found = {int(column): plane for column, plane in zip(concepts, planes, strict=True) if column >= 0}
        for column in self.whole[slice(*self.whole_start[image : image + 2])]:
            found[int(column)] = np.ones(size, bool)
        return found

    def mask(self, image: int, concept: int) -> BoolArray:
        """Return L of one concept of an image, by its column, bool [Y, X]; all off if the image does not carry it."""
        size = int(self.grid[image, 0]), int(self.grid[image, 1])
        if concept in self.whole[slice(*self.whole_start[image : image + 2])]:
            return np.ones(size, bool)
        concepts = self.slot_concept[slice(*self.slot_start[image : image + 2])]
        slot = np.flatnonzero(concepts == concept)
        words = self.words[slice(*self.word_start[image : image + 2])]
        return (
            np.asarray(unpack(words.reshape(-1, len(concepts))[:, slot], size)[0])
            if len(slot)
            else np.zeros(size, bool)
        )

    def areas(self) -> tuple[Int32Array, Int32Array, Int64Array]:
        """Return every concept of every image: image, column and pixels, each [M], images ascending."""
        slots, whole = slice(self.slot_start[0], self.slot_start[-1]), slice(self.whole_start[0], self.whole_start[-1])
        images = np.arange(len(self), dtype=np.int32)
        image = np.concatenate([np.repeat(images, np.diff(s)) for s in (self.slot_start, self.whole_start)])
        concept = np.concatenate([self.slot_concept[slots], self.whole[whole]])
        image_pixels = self.grid[:, 0].astype(np.int64) * self.grid[:, 1]
        pixels = np.concatenate(
            [self.slot_area[slots].astype(np.int64), np.repeat(image_pixels, np.diff(self.whole_start))]
        )
        order = np.flatnonzero(concept >= 0)
        order = order[np.argsort(image[order], kind="stable")]
        return image[order], concept[order], pixels[order]

    def concept_area(self, concepts: int) -> Int64Array:
        """Return G, int64 [C]: pixels that carry each concept, over all images (spec 1.6)."""
        area = np.zeros(concepts, np.int64)
        _, concept, pixels = self.areas()
        np.add.at(area, concept, pixels)
        return area

    def category_present(self, vocabulary: Vocabulary) -> BoolArray:
        """Return P, bool [N, categories]: images that carry a concept of each primary category (spec 1.5)."""
        present = np.zeros((len(self), len(vocabulary.categories) + 1), bool)  # last column: no category
        image, concept, _ = self.areas()
        present[image, vocabulary.category[concept]] = True
        return np.ascontiguousarray(present[:, :-1])


@dataclass(frozen=True)
class PackedImage:
    """One image's share of PackedLabels: concepts and areas int32 [slots], words uint64 [tiles, slots], whole int32."""

    grid: tuple[int, int]
    concepts: Int32Array
    areas: Int32Array
    words: Uint64Array
    whole: Int32Array


def starts_of(sizes: Int64Array) -> Int64Array:
    """Return where each of n adjacent pieces of these sizes begins, and where the last ends; int64 [n + 1]."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])


def unpack(words: Uint64Array, size: tuple[int, int]) -> BoolArray:
    """Unpack words [tiles, slots] of a grid of ``size`` (Y, X) to bool [slots, Y, X]."""
    tiles = ((size[0] + 7) // 8, (size[1] + 7) // 8)
    bits = np.unpackbits(np.ascontiguousarray(words).astype("<u8").view(np.uint8), bitorder="little")
    # [tile rows, tile columns, slots, 8, 8] → [slots, Y, X]
    planes = bits.reshape(*tiles, words.shape[-1], 8, 8).transpose(2, 0, 3, 1, 4)
    return planes.reshape(-1, tiles[0] * 8, tiles[1] * 8)[:, : size[0], : size[1]].astype(bool)


def pack_image(labels: ImageLabels, vocabulary: Vocabulary) -> PackedImage:
    """Pack one image's labels. A whole-image concept takes no words. ArgumentError for numbers of no concept."""
    numbers = [number for number in labels.whole if number]
    found = vocabulary.columns_of(np.array([n if 0 < n <= LARGEST else -1 for n in numbers], np.int64))
    if (found < 0).any():
        number = numbers[int(np.argmax(found < 0))]
        raise ArgumentError(f"concept number {number} (whole image) is not in the vocabulary")
    whole = np.unique(found)
    maps = numbers_of_maps(labels.maps)
    columns = vocabulary.columns if vocabulary.dense else np.arange(-1, len(vocabulary), dtype=np.int32)
    if not vocabulary.dense:  # in place of the numbers their places among all, from 1: these are in the same order
        place = vocabulary.columns_of(maps) + 1
        unknown = maps[(place == 0) & (maps != 0)]
        if unknown.size:
            raise ArgumentError(f"concept number {unknown[0]} (label map) is not in the vocabulary")
        maps = place
    try:
        concepts, areas, words = _core.pack(maps, columns, whole)
    except ValueError as error:
        raise ArgumentError(str(error)) from None
    return PackedImage(labels.shape, concepts, areas, words, whole)


def numbers_of_maps(maps: Array) -> Int32Array:
    """Return label maps as contiguous int32. Raises ArgumentError for a number that does not fit: it would wrap."""
    maps = np.asarray(maps)
    if maps.size and not np.can_cast(maps.dtype, np.int32):
        for number in (maps.min(), maps.max()):
            if not -LARGEST <= number <= LARGEST:
                raise ArgumentError(f"concept numbers must be 1 to {LARGEST} (0: unlabelled), got {number}")
    return np.ascontiguousarray(maps, np.int32)
