"""Counts: intersections and areas in pixels, the IoU they give, the labels of units and the detectors."""

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

_CHUNK = 1024  # images counted between two chances to interrupt


@dataclass
class Counts:
    """What is counted over images (spec 1.6); int64, so that nothing overflows or rounds.

    intersection  I, [U, C]: pixels where the unit's mask and the concept meet
    unit_area     A, [U, categories]: the mask's pixels in images that carry the category
    concept_area  G, [C]: pixels of the concept
    pixels        [categories]: all pixels of images that carry the category (for the chance level)
    """

    intersection: Int64Array
    unit_area: Int64Array
    concept_area: Int64Array
    pixels: Int64Array

    @classmethod
    def zeros(cls, units: int, vocabulary: Vocabulary) -> Counts:
        """Nothing counted yet."""
        concepts, categories = len(vocabulary), len(vocabulary.categories)
        return cls(
            np.zeros((units, concepts), np.int64),
            np.zeros((units, categories), np.int64),
            np.zeros(concepts, np.int64),
            np.zeros(categories, np.int64),
        )

    def __add__(self, other: Counts) -> Counts:
        """Counts over the images of both, which must be disjoint."""
        return Counts(
            self.intersection + other.intersection,
            self.unit_area + other.unit_area,
            self.concept_area + other.concept_area,
            self.pixels + other.pixels,
        )

    def possible(self, vocabulary: Vocabulary) -> bool:
        """Whether no area is negative, and none larger than what contains it: what a broken file would show."""
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
        """IoU, float64 [U, C] (spec 1.7)."""
        padded = np.concatenate([self.unit_area, np.zeros((len(self.unit_area), 1), np.int64)], axis=1)
        found = iou(self.intersection, padded[:, vocabulary.category], self.concept_area)
        found[:, vocabulary.category < 0] = 0  # a concept without a category meets no image of its category
        return found

    def chance(self, vocabulary: Vocabulary) -> Float64Array:
        """Expected IoU of a random mask of the unit's density with each concept, float64 [U, C].

        d·g/(d + g − d·g) for densities d of the mask and g of the concept over the images of its category
        (spec 1.10); 0 where the category never occurs.
        """
        category = vocabulary.category
        area = np.concatenate([self.unit_area, np.zeros((len(self.unit_area), 1), np.int64)], axis=1)[:, category]
        return chance(area, self.concept_area, np.append(self.pixels, 0)[category])


class LabelsByImage(Protocol):
    """Labels that can be had for a range of images, such as PackedLabels."""

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
        met: LabelsByImage | None = None,  # the labels that each image meets; None: its own
    ) -> None:
        check_option("category_rule", category_rule, CategoryRule)
        self.thresholds, self.grid, self.labels = np.ascontiguousarray(thresholds, np.float32), grid, labels
        self.present: BoolArray = labels.category_present(vocabulary)
        if category_rule == "none":
            self.present = np.ones_like(self.present)
        self._vocabulary, self._met = vocabulary, met or labels
        self._concept_area = labels.concept_area(len(vocabulary))
        image_pixels = labels.grid[:, 0].astype(np.int64) * labels.grid[:, 1]
        self._pixels = image_pixels @ self.present.astype(np.int64)
        self._backend: Backend | None = None  # of the sums
        self._sums: tuple[Any, ...] = ()
        self._axes: dict[tuple[int, int], tuple[AxisTable, AxisTable]] = {}

    @property
    def counts(self) -> Counts:
        """What has been counted; G and the pixels are of all images."""
        sums = Counts.zeros(len(self.thresholds), self._vocabulary)
        if self._backend is not None:
            sums.intersection, sums.unit_area = (self._backend.totals(total) for total in self._sums)
        sums.concept_area, sums.pixels = self._concept_area, self._pixels
        return sums

    def add(self, crops: Crops, first: int, last: int, backend: Backend) -> None:
        """Count the crops of images first ≤ i < last, which are all there, always on the same backend."""
        if self._backend is None:
            units, words = len(self.thresholds), self._vocabulary
            self._backend = backend
            self._sums = backend.zeros((units, len(words))), backend.zeros((units, len(words.categories)))
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
                self.present[begin:end],
                *self._sums,
            )
            backend.count(job)

    def _runs(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Cut images into runs of one label size, at most _CHUNK long."""
        grid = self.labels.grid[first:last]
        changes = np.flatnonzero(np.any(grid[1:] != grid[:-1], axis=1)) + 1
        edges = sorted({0, last - first, *changes.tolist(), *range(0, last - first, _CHUNK)})
        for begin, end in pairwise(edges):
            yield first + begin, first + end
