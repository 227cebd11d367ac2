"""Counts: intersections and areas in pixels; sums over images, totals of a data set's labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from ..concepts import PackedLabels, Vocabulary
from ..errors import check_option
from ..geometry.grids import AxisTable, Grid
from ..types import BoolArray, Float32Array, Float64Array, Int64Array
from .backends.base import Backend, CountJob
from .crops import Crops
from .iou import chance, iou

CategoryRule: TypeAlias = Literal["image", "none"]

_CHUNK = 1024  # images counted between two chances to be interrupted


@dataclass
class Sums:
    """The pixels that the masks of some images cover (spec 1.6); sums over disjoint images add up to the sums over all.

    intersection  I, int64 [U, C]: pixels of both the unit's mask and the concept
    unit_area     A, int64 [U, categories]: pixels of the mask in images that carry the category
    """

    intersection: Int64Array
    unit_area: Int64Array

    @classmethod
    def zeros(cls, units: int, vocabulary: Vocabulary) -> Sums:
        """Return the sums over no images."""
        concepts, categories = len(vocabulary), len(vocabulary.categories)
        return cls(np.zeros((units, concepts), np.int64), np.zeros((units, categories), np.int64))

    def __add__(self, other: Sums) -> Sums:
        """Return the sums over the images of both, which must be disjoint."""
        return Sums(self.intersection + other.intersection, self.unit_area + other.unit_area)


@dataclass(frozen=True)
class Totals:
    """The pixels that the labels of a whole data set cover (spec 1.6), independent of the units.

    concept_area  G, int64 [C]: pixels of the concept
    pixels        int64 [categories]: all pixels of images that carry the category (for the chance level)
    present       P, bool [N, categories]: which images carry the category; all of them with category rule "none"
    """

    concept_area: Int64Array
    pixels: Int64Array
    present: BoolArray

    @classmethod
    def of(cls, labels: PackedLabels, vocabulary: Vocabulary, category_rule: CategoryRule = "image") -> Totals:
        """Add up the labels of all images. Raises ArgumentError for an unknown rule."""
        check_option("category_rule", category_rule, CategoryRule)
        present = labels.category_present(vocabulary)
        if category_rule == "none":
            present = np.ones_like(present)
        image_pixels = labels.grid[:, 0].astype(np.int64) * labels.grid[:, 1]
        return cls(labels.concept_area(len(vocabulary)), image_pixels @ present.astype(np.int64), present)


@dataclass
class Counts:
    """The pixel counts over all images of a data set (spec 1.6); int64, so that nothing overflows or rounds.

    intersection  I, [U, C]: pixels of both the unit's mask and the concept
    unit_area     A, [U, categories]: pixels of the mask in images that carry the category
    concept_area  G, [C]: pixels of the concept
    pixels        [categories]: all pixels of images that carry the category (for the chance level)

    >>> words = nd.Vocabulary([1, 2], ("car", "street"), [0, 1], ("object", "scene"))
    >>> counts = nd.Counts(np.array([[6, 4]]), np.array([[10, 12]]), np.array([8, 16]), np.array([32, 32]))
    >>> counts.iou(words).round(3).tolist(), counts.chance(words).round(3).tolist()
    ([[0.5, 0.167]], [[0.161, 0.273]])
    """

    intersection: Int64Array
    unit_area: Int64Array
    concept_area: Int64Array
    pixels: Int64Array

    @classmethod
    def of(cls, sums: Sums, totals: Totals) -> Counts:
        """Combine the sums over all images with the totals of their labels."""
        return cls(sums.intersection, sums.unit_area, totals.concept_area, totals.pixels)

    def consistent(self, vocabulary: Vocabulary) -> bool:
        """Return whether no area is negative or larger than what contains it, as one in a broken file would be."""
        known = vocabulary.category >= 0
        category = vocabulary.category[known]
        return bool(
            all((area >= 0).all() for area in vars(self).values())
            and (self.intersection <= self.concept_area).all()
            and (self.intersection[:, known] <= self.unit_area[:, category]).all()
            and (self.concept_area[known] <= self.pixels[category]).all()
            and (self.unit_area <= self.pixels).all()
            and (self.pixels < 2**62).all()  # so that no sum overflows
        )

    def iou(self, vocabulary: Vocabulary) -> Float64Array:
        """Return the IoU of every unit with every concept, float64 [U, C] (spec 1.7)."""
        padded = np.concatenate([self.unit_area, np.zeros((len(self.unit_area), 1), np.int64)], axis=1)
        found = iou(self.intersection, padded[:, vocabulary.category], self.concept_area)
        found[:, vocabulary.category < 0] = 0  # by definition (spec 1.5)
        return found

    def chance(self, vocabulary: Vocabulary) -> Float64Array:
        """Return the expected IoU of a random mask of the unit's density with each concept, float64 [U, C].

        d·g/(d + g − d·g) for densities d of the mask and g of the concept over the images of its category
        (spec 1.10); 0 if the category never occurs.
        """
        category = vocabulary.category
        area = np.concatenate([self.unit_area, np.zeros((len(self.unit_area), 1), np.int64)], axis=1)[:, category]
        return chance(area, self.concept_area, np.append(self.pixels, 0)[category])


class LabelsByImage(Protocol):
    """Labels that can be read for a range of images, such as PackedLabels."""

    def of_images(self, first: int, last: int) -> PackedLabels:
        """Return the labels of images ``first`` ≤ i < ``last``."""
        ...


class Counter:
    """Counts crops of one layer against packed labels, image range by image range."""

    def __init__(
        self,
        thresholds: Float32Array,  # [U]
        grid: Grid,
        labels: PackedLabels,  # of all images
        vocabulary: Vocabulary,
        category_rule: CategoryRule = "image",
        met: LabelsByImage | None = None,  # the labels each image is counted against; None: its own
    ) -> None:
        self.thresholds, self.grid, self.labels = np.ascontiguousarray(thresholds, np.float32), grid, labels
        self.totals = Totals.of(labels, vocabulary, category_rule)
        self._vocabulary, self._met = vocabulary, met or labels
        self._backend: Backend | None = None  # of the accumulators
        self._accumulators: tuple[Any, Any] | None = None  # I, A
        self._axes: dict[tuple[int, int], tuple[AxisTable, AxisTable]] = {}

    @property
    def sums(self) -> Sums:
        """The sums over the images counted so far."""
        if self._backend is None or self._accumulators is None:
            return Sums.zeros(len(self.thresholds), self._vocabulary)
        return Sums(*(self._backend.totals(accumulator) for accumulator in self._accumulators))

    @property
    def counts(self) -> Counts:
        """The counts, once all images have been counted."""
        return Counts.of(self.sums, self.totals)

    def add(self, crops: Crops, first: int, last: int, backend: Backend) -> None:
        """Count all crops of images first ≤ i < last. Every call must use the same backend."""
        if self._backend is None or self._accumulators is None:
            units, words = len(self.thresholds), self._vocabulary
            self._backend = backend
            self._accumulators = backend.zeros((units, len(words))), backend.zeros((units, len(words.categories)))
        starts = crops.starts()
        for begin, end in self._runs(first, last):
            size = (int(self.labels.grid[begin, 0]), int(self.labels.grid[begin, 1]))
            if size not in self._axes:
                self._axes[size] = self.grid.axis(0, size[0]), self.grid.axis(1, size[1])
            job = CountJob(
                crops.of_images(begin, end, starts),
                begin,
                self.thresholds,
                self._axes[size],
                self.grid.size,
                self._met.of_images(begin, end),
                self.totals.present[begin:end],
                *self._accumulators,
            )
            backend.count(job)

    def _runs(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Divide images into runs of one label size, at most _CHUNK long."""
        grid = self.labels.grid[first:last]
        changes = np.flatnonzero(np.any(grid[1:] != grid[:-1], axis=1)) + 1
        edges = sorted({0, last - first, *changes.tolist(), *range(0, last - first, _CHUNK)})
        for begin, end in pairwise(edges):
            yield first + begin, first + end


def count_crops(
    crops: Crops,
    thresholds: Float32Array,
    grid: Grid,
    labels: PackedLabels,
    vocabulary: Vocabulary,
    backend: Backend,
    category_rule: CategoryRule = "image",
    met: LabelsByImage | None = None,
) -> Counts:
    """Count the crops of all images of a data set against its labels, in one go.

    thresholds  float32 [U]
    met         the labels each image is counted against; None: its own
    """
    counter = Counter(thresholds, grid, labels, vocabulary, category_rule, met)
    counter.add(crops, 0, len(labels), backend)
    return counter.counts
