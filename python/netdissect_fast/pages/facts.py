"""The facts that pages show, as plain values: templates arrange them and compute nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..concepts import PackedLabels, Vocabulary
from ..results.layer_result import LayerResult
from ..results.tables import UnitRow, UnitTable
from ..scoring.detectors import detectors, unique_detectors
from ..types import Float32Array, Float64Array, Int64Array

TOP_CONCEPTS = 5  # per category, on a unit's page
NEAREST = 6  # similar units on a unit's page
BINS = 32  # of a histogram
UNITS_OF_A_CONCEPT = 10  # per layer, besides those that it labels
IMAGES_OF_A_CONCEPT = 100  # listed on its page


class Bar(NamedTuple):
    """One concept of the bar chart: how many units detect it."""

    concept: str
    category: str
    units: int


class ConceptRow(NamedTuple):
    """One concept of a unit; pixels of both, of the unit's mask in images with the category, and of the concept."""

    column: int  # in the vocabulary
    concept: str
    iou: float
    chance: float
    intersection: int
    unit_area: int
    concept_area: int


class Neighbour(NamedTuple):
    """A unit whose mask overlaps another's."""

    row: UnitRow
    overlap: float


class Histogram(NamedTuple):
    """The activations of a unit above its threshold: number, range, counts per bin, and these relative to the most."""

    values: int
    low: float
    high: float
    bins: list[int]
    heights: list[float]


class TopImage(NamedTuple):
    """An image on which a unit is high."""

    name: str
    maximum: float


class UnitOfConcept(NamedTuple):
    """A unit on a concept's page."""

    layer: Layer
    row: UnitRow
    iou: float  # with this concept
    labelled: bool  # it is the unit's label


@dataclass(frozen=True)
class Layer:
    """One layer of a report, or one table beside it.

    folder   of its pages, relative to the report's
    result   None if only a table is known
    tops     by unit: images on which it is highest, and how high; empty without peaks
    overlap  float64 [U, U] of the units' masks; None if unknown
    """

    table: UnitTable
    folder: str
    iou_threshold: float
    result: LayerResult | None = None
    tops: list[tuple[Int64Array, Float32Array]] = field(default_factory=list)
    overlap: Float64Array | None = None

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.table.name

    @cached_property
    def rows(self) -> list[UnitRow]:
        """One row per unit, in the order of units."""
        return self.table.rows(self.iou_threshold)

    @cached_property
    def ranked(self) -> list[int]:
        """Positions of the units, best first."""
        return [int(u) for u in self.table.ranked]

    @cached_property
    def rank(self) -> dict[int, int]:
        """Position → rank, 1 for the best unit."""
        return {u: rank for rank, u in enumerate(self.ranked, 1)}

    @cached_property
    def bars(self) -> list[Bar]:
        """The paper's bar chart."""
        found = self.table.detected(self.iou_threshold)
        return [Bar(concept, category, units) for (category, concept), units in found.items()]

    @cached_property
    def detectors(self) -> dict[str, int]:
        """Detectors by category, each unit counted by its overall label."""
        return self.table.detectors(self.iou_threshold)

    @cached_property
    def unique(self) -> dict[str, int]:
        """Distinct concepts by category."""
        return self.table.unique_detectors(self.iou_threshold)

    @cached_property
    def per_category(self) -> tuple[int, int]:
        """Detectors and unique detectors as the paper's totals count them."""
        counts = detectors(self.table.labels, self.iou_threshold, "per_category")
        unique = unique_detectors(self.table.labels, self.iou_threshold, "per_category")
        return int(counts.sum()), int(unique.sum())

    @cached_property
    def chance(self) -> float:
        """Median chance level of the units' labels; NaN if unknown."""
        known = self.table.chance[np.isfinite(self.table.chance) & (self.table.top[1] >= 0)]
        return float(np.median(known)) if len(known) else float("nan")

    @cached_property
    def thresholds(self) -> tuple[float, float] | None:
        """The lowest and highest T; None if unknown."""
        known = self.table.threshold[np.isfinite(self.table.threshold)]
        return (float(known.min()), float(known.max())) if len(known) else None

    def column(self, u: int) -> int:
        """Return a unit's label as a column of the vocabulary; −1: none."""
        return int(self.table.top[1][u])

    def page(self, u: int) -> str:
        """Return the path of a unit's page in the layer's folder."""
        return f"unit-{int(self.table.unit[u])}.html"

    def picture(self, u: int, kind: str) -> str:
        """Return the path of a unit's strip in the layer's folder."""
        return f"pictures/{int(self.table.unit[u])}-{kind}.jpg"

    def top_concepts(self, u: int) -> dict[str, list[ConceptRow]]:
        """Return the best concepts of each category, by category; only those that the unit overlaps."""
        if self.result is None:
            return {}
        result, words = self.result, self.result.vocabulary
        found = {}
        for c, category in enumerate(words.categories):
            columns = np.flatnonzero(words.category == c)
            best = columns[np.argsort(-result.iou[u, columns], kind="stable")][:TOP_CONCEPTS]
            found[category] = [
                ConceptRow(
                    int(n),
                    words.names[n],
                    float(result.iou[u, n]),
                    float(result.chance[u, n]),
                    int(result.counts.intersection[u, n]),
                    int(result.counts.unit_area[u, c]),
                    int(result.counts.concept_area[n]),
                )
                for n in best
                if result.iou[u, n] > 0
            ]
        return found

    def histogram(self, u: int) -> Histogram | None:
        """Return that of activations above T, all of which the peaks hold; None without peaks or if none exceeds T."""
        if self.result is None or self.result.peaks is None:
            return None
        low = self.result.thresholds[u]
        values: Float32Array = self.result.peaks.of_unit(u).values
        values = values[values > low]
        if not len(values):
            return None
        high = float(values.max())
        bins = np.histogram(values.astype(np.float64), BINS, (float(low), high))[0]
        return Histogram(len(values), float(low), high, bins.tolist(), (bins / bins.max()).tolist())

    def neighbours(self, u: int) -> list[Neighbour]:
        """Return the units whose masks overlap this one's most, largest overlap first."""
        if self.overlap is None:
            return []
        others = self.overlap[u].copy()
        others[u] = 0
        nearest = np.argsort(-others, kind="stable")[:NEAREST]
        return [Neighbour(self.rows[v], float(others[v])) for v in nearest.tolist() if others[v] > 0]


@dataclass(frozen=True)
class Concepts:
    """The concepts of a data set, which units detect them and which images carry them.

    areas   edges int64 [C+1] into images and pixels, [M] each, grouped by concept; None without the data set
    """

    vocabulary: Vocabulary
    layers: list[Layer]
    areas: tuple[Any, Any, Int64Array] | None

    @classmethod
    def of(cls, vocabulary: Vocabulary, layers: list[Layer], labels: PackedLabels | None) -> Concepts:
        """Group the areas of ``labels`` by concept; None: without the data set."""
        return cls(vocabulary, layers, None if labels is None else _by_concept(labels, len(vocabulary)))

    @property
    def shown(self) -> list[int]:
        """Columns of the concepts that have a page: all except those of omitted categories."""
        return [n for n in range(len(self.vocabulary)) if self.vocabulary.category[n] >= 0 or self.area(n)]

    def page(self, column: int) -> str:
        """Return the path of a concept's page in the folder of concepts."""
        return f"{int(self.vocabulary.numbers[column])}.html"

    def picture(self, column: int) -> str:
        """Return the path of a concept's strip in the same folder."""
        return f"pictures/{int(self.vocabulary.numbers[column])}.jpg"

    def category(self, column: int) -> str:
        """Return the primary category; "" if the concept has none."""
        c = int(self.vocabulary.category[column])
        return self.vocabulary.categories[c] if c >= 0 else ""

    def images(self, column: int) -> tuple[Int64Array, Int64Array]:
        """Return the images with the concept and its pixels there, most pixels first; ties go to the smaller number."""
        if self.areas is None:
            nothing = np.zeros(0, np.int64)
            return nothing, nothing
        edges, image, pixels = self.areas
        mine = slice(int(edges[column]), int(edges[column + 1]))
        order = np.lexsort((image[mine], -pixels[mine]))
        return image[mine][order].astype(np.int64), pixels[mine][order]

    def area(self, column: int) -> int:
        """Return the pixels of the concept over all images."""
        return next(int(layer.result.counts.concept_area[column]) for layer in self.layers if layer.result is not None)

    def detectors(self, layer: Layer, column: int) -> int:
        """Return how many units of a layer detect the concept."""
        return int(((layer.table.top[1] == column) & (layer.table.top[2] > layer.iou_threshold)).sum())

    def units(self, column: int) -> list[UnitOfConcept]:
        """Return the units that it labels and the best others of each layer; by layer, best first.

        A concept without a category has no units: no area of theirs belongs to it, so it has no IoU.
        """
        found: list[UnitOfConcept] = []
        if self.vocabulary.category[column] < 0:
            return found
        for layer in self.layers:
            if layer.result is None:
                continue
            iou = layer.result.iou[:, column]
            labelled = layer.table.top[1] == column
            order = np.argsort(-iou, kind="stable")
            others = order[~labelled[order]][:UNITS_OF_A_CONCEPT]
            shown = labelled.copy()
            shown[others] = True
            found += [
                UnitOfConcept(layer, layer.rows[u], float(iou[u]), bool(labelled[u]))
                for u in order[shown[order]].tolist()
                if iou[u] > 0
            ]
        return found


def _by_concept(labels: PackedLabels, concepts: int) -> tuple[Any, Any, Int64Array]:
    """Return edges int64 [C+1] into images and pixels, [M] each, grouped by concept."""
    image, column, pixels = labels.areas()
    order = np.argsort(column, kind="stable")
    edges = np.searchsorted(column[order], np.arange(concepts + 1))
    return edges, image[order], pixels[order]
