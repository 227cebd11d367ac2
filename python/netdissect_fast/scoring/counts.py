"""Counts: intersections and areas in pixels, the IoU they give, the labels of units and the detectors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from ..concepts import PackedLabels, Vocabulary
from ..errors import ArgumentError
from ..experiments.shuffled_labels import Paired
from ..geometry.grids import AxisTable, Grid
from ..types import BoolArray, Float32Array, Float64Array, Int32Array, Int64Array
from .backends import Backend, CountJob
from .crops import Crops

CategoryRule: TypeAlias = Literal["image", "none"]
CountRule: TypeAlias = Literal["top_label", "per_category"]

_CHUNK = 1024  # images counted between two chances to interrupt


def check_option(name: str, value: str, options: object) -> None:
    """Raise ArgumentError unless ``value`` is one of the Literal's options."""
    if value not in get_args(options):
        raise ArgumentError(f"{name} must be one of {', '.join(get_args(options))}; got {value!r}")


@dataclass
class Counts:
    """What is counted over images (SPEC 6); int64, so that nothing overflows or rounds.

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
        """IoU, float64 [U, C] (SPEC 7)."""
        padded = np.concatenate([self.unit_area, np.zeros((len(self.unit_area), 1), np.int64)], axis=1)
        found = iou(self.intersection, padded[:, vocabulary.category], self.concept_area)
        found[:, vocabulary.category < 0] = 0  # a concept without a category meets no image of its category
        return found

    def chance(self, vocabulary: Vocabulary) -> Float64Array:
        """Expected IoU of a random mask of the unit's density with each concept, float64 [U, C].

        d·g/(d + g − d·g) for densities d of the mask and g of the concept over the images of its category
        (SPEC 1, null check); 0 where the category never occurs.
        """
        category = vocabulary.category
        pixels = np.append(self.pixels, 0)[category].astype(np.float64)
        area = np.concatenate([self.unit_area, np.zeros((len(self.unit_area), 1), np.int64)], axis=1)[:, category]
        with np.errstate(divide="ignore", invalid="ignore"):
            d, g = area / pixels, self.concept_area / pixels
            expected = d * g / (d + g - d * g)
        return np.asarray(np.where(np.isnan(expected), 0.0, expected), np.float64)


def iou(intersection: Int64Array, unit_area: Int64Array, concept_area: Int64Array) -> Float64Array:
    """I / (A + G − I) in float64, 0 where the denominator is 0 (SPEC 7)."""
    union = unit_area + concept_area - intersection
    result: Float64Array = np.divide(intersection, union, out=np.zeros(np.shape(union)), where=union != 0)
    return result


class Counter:
    """Counts crops of one layer against packed labels, image range by image range."""

    def __init__(
        self,
        thresholds: Float32Array,  # [U]
        grid: Grid,
        labels: PackedLabels,  # of all images
        vocabulary: Vocabulary,
        category_rule: CategoryRule = "image",
        paired: Paired | None = None,  # the labels that each image meets; None: its own
    ) -> None:
        check_option("category_rule", category_rule, CategoryRule)
        self.thresholds, self.grid, self.labels = np.ascontiguousarray(thresholds, np.float32), grid, labels
        self.present: BoolArray = labels.category_present(vocabulary)
        if category_rule == "none":
            self.present = np.ones_like(self.present)
        self._vocabulary, self._met = vocabulary, paired or labels
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


@dataclass(frozen=True)
class UnitLabels:
    """The best concept of every unit in every category, and what follows from it (SPEC 8, 9).

    concept  int32 [U, categories]: column of the best concept; −1 where the unit meets none
    score    float64 [U, categories]: its IoU, 0 where there is none
    """

    concept: Int32Array
    score: Float64Array

    @classmethod
    def of(cls, iou: Float64Array, vocabulary: Vocabulary) -> UnitLabels:
        """Per category the concept of largest IoU, ties to the smallest number."""
        shape = len(iou), len(vocabulary.categories)
        concept, score = np.full(shape, -1, np.int32), np.zeros(shape)
        for category in range(shape[1]):
            columns = np.flatnonzero(vocabulary.category == category)
            if not len(columns) or not len(iou):
                continue
            best = iou[:, columns].argmax(axis=1)
            score[:, category] = iou[np.arange(len(iou)), columns[best]]
            concept[:, category] = np.where(score[:, category] > 0, columns[best], -1)
        return cls(concept, score)

    def top(self) -> tuple[Int32Array, Int32Array, Float64Array]:
        """Overall label of each unit: category (−1: none), concept (−1: none) and IoU; ties to the first category."""
        if not self.score.shape[1]:
            nothing = np.full(len(self.score), -1, np.int32)
            return nothing, nothing, np.zeros(len(self.score))
        category = self.score.argmax(axis=1).astype(np.int32)
        unit = np.arange(len(category))
        concept, score = self.concept[unit, category], self.score[unit, category]
        return np.where(concept >= 0, category, -1).astype(np.int32), concept, score

    def _detected(self, iou_threshold: float, count: CountRule) -> list[Int32Array]:
        """Per category, the concept of every unit that counts as a detector there."""
        check_option("count", count, CountRule)
        hit = self.score > iou_threshold
        if count == "top_label":
            hit &= self.top()[0][:, None] == np.arange(self.score.shape[1])
        return [self.concept[hit[:, category], category] for category in range(self.score.shape[1])]

    def detectors(self, iou_threshold: float = 0.04, count: CountRule = "top_label") -> Int64Array:
        """int64 [categories]: units whose label there has an IoU above the threshold."""
        return np.array([len(found) for found in self._detected(iou_threshold, count)], np.int64)

    def unique_detectors(self, iou_threshold: float = 0.04, count: CountRule = "top_label") -> Int64Array:
        """int64 [categories]: distinct labels among the detectors of each category."""
        return np.array([len(np.unique(found)) for found in self._detected(iou_threshold, count)], np.int64)
