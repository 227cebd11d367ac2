"""Tables of units: one row per unit, as NetDissect's result.csv, JSON, pandas or Parquet."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..concepts import Vocabulary
from ..csv_tables import csv_text
from ..errors import ArgumentError, printable, require
from ..scoring.detectors import CountRule, detectors, unique_detectors
from ..scoring.unit_labels import UnitLabels
from ..storage import atomic_file
from ..types import Array, Float64Array, Int64Array

if TYPE_CHECKING:
    from .layer_result import LayerResult

_HEAD = ("unit", "category", "label", "score")
_FIELDS = ("label", "truth", "activation", "intersect", "iou")
_TAIL = ("threshold", "chance")  # ours, after NetDissect's columns
_SURE = ("p", "q")  # after these, if a null was computed


class UnitRow(NamedTuple):
    """One unit: its number (0-based), overall label and category ("" = none), and how good the label is.

    iou: of the label; chance: the IoU expected of a random mask of the same size; threshold: T; detector: whether the
    IoU exceeds the IoU threshold; q: the share of chance among units as good (``Null``), NaN if it was not computed.
    """

    unit: int
    label: str
    category: str
    iou: float
    chance: float
    threshold: float
    detector: bool
    q: float = math.nan


@dataclass(frozen=True)
class UnitTable:
    """The best concept of every unit in every category: the content of a result.csv.

    name        of the layer, or of the file
    vocabulary  names and categories of the concepts
    unit        int64 [U]: the units' numbers, 0-based
    labels      the best concept of each unit in each category, and its IoU
    truth, activation, intersection   int64 [U, categories]: pixels of that concept, of the unit's mask in images that
                carry the category, and of both together
    threshold, chance   float64 [U]: T, and the chance level of the overall label; NaN if a file does not have it
    p, q        float64 [U]: how likely chance scores as high (``Null``); None if it was not computed

    >>> maps = np.array([[[[4, 0], [0, 0]]], [[[0, 0], [0, 3]]]], np.float32)
    >>> words = nd.Vocabulary([7, 9], ("car", "street"), [0, 0], ("object",))
    >>> table = nd.score(maps, np.array([[[7, 0], [0, 0]], [[0, 0], [9, 7]]]), words, quantile="1/4").table
    >>> table.detected()
    {('object', 'car'): 1}
    >>> table.columns[:4], table.to_csv().splitlines()[1]
    (['unit', 'category', 'label', 'score'], '1,object,car,1.0,car,2,2,2,1.0,0.0,0.14285714285714285')
    """

    name: str
    vocabulary: Vocabulary
    unit: Int64Array
    labels: UnitLabels
    truth: Int64Array
    activation: Int64Array
    intersection: Int64Array
    threshold: Float64Array
    chance: Float64Array
    p: Float64Array | None = None
    q: Float64Array | None = None

    def __repr__(self) -> str:
        return printable(f"UnitTable({self.name!r}: {len(self)} units; {', '.join(self.vocabulary.categories)})")

    def __len__(self) -> int:
        return len(self.unit)

    @classmethod
    def of(cls, layer: LayerResult) -> UnitTable:
        """Return the table of a dissected layer."""
        labels, counts = layer.labels, layer.counts
        units = np.arange(len(layer.thresholds))
        known = labels.concept >= 0
        concept = np.where(known, labels.concept, 0)
        if not len(layer.vocabulary):
            nothing = np.zeros(concept.shape, np.int64)
            truth, intersection, chance = nothing, nothing, np.zeros(len(units))
        else:
            truth = np.where(known, counts.concept_area[concept], 0)
            intersection = np.where(known, counts.intersection[units[:, None], concept], 0)
            top = labels.top()[1]
            chance = np.where(top >= 0, layer.chance[units, np.maximum(top, 0)], 0.0)
        thresholds, score = layer.thresholds.astype(np.float64), labels.top()[2]
        sure = (None, None) if layer.null is None else (layer.null.p_values(score), layer.null.q_values(score))
        return cls(
            layer.name, layer.vocabulary, layer.unit_numbers, labels, truth, counts.unit_area, intersection,
            thresholds, chance, *sure,
        )  # fmt: skip

    @cached_property
    def top(self) -> tuple[Array, Array, Float64Array]:
        """Overall label of each unit: category, concept (−1: none) and IoU, as ``UnitLabels.top``."""
        return self.labels.top()

    @cached_property
    def ranked(self) -> Int64Array:
        """Positions of the units by descending IoU of the overall label; ties go to the smaller unit; int64 [U]."""
        return np.lexsort((self.unit, -self.top[2])).astype(np.int64)

    def rows(self, iou_threshold: float = 0.04) -> list[UnitRow]:
        """Return one row per unit, in the order of units."""
        names, categories = self.vocabulary.names, self.vocabulary.categories
        return [
            UnitRow(
                int(self.unit[u]),
                names[concept] if concept >= 0 else "",
                categories[category] if concept >= 0 else "",
                float(score),
                float(self.chance[u]),
                float(self.threshold[u]),
                bool(score > iou_threshold),
                math.nan if self.q is None else float(self.q[u]),
            )
            for u, (category, concept, score) in enumerate(zip(*self.top, strict=True))
        ]

    def detectors(self, iou_threshold: float = 0.04, count: CountRule = "top_label") -> dict[str, int]:
        """Count the units that detect a concept, by category; see ``LayerResult.detectors``."""
        return self._by_category(detectors(self.labels, iou_threshold, count))

    def unique_detectors(self, iou_threshold: float = 0.04, count: CountRule = "top_label") -> dict[str, int]:
        """Count the distinct concepts that are detected, by category; see ``LayerResult.unique_detectors``."""
        return self._by_category(unique_detectors(self.labels, iou_threshold, count))

    def _by_category(self, numbers: Int64Array) -> dict[str, int]:
        return dict(zip(self.vocabulary.categories, numbers.tolist(), strict=True))

    def detected(self, iou_threshold: float = 0.04) -> dict[tuple[str, str], int]:
        """Count the units that detect each concept: (category, concept) → units whose overall label it is.

        Only labels with an IoU above the threshold. Categories are in the data set's order; within a category the
        concept with most units comes first: the bars of the paper's figures.
        """
        found: dict[tuple[str, str], int] = {}
        for row in self.rows(iou_threshold):
            if row.detector:
                found[row.category, row.label] = found.get((row.category, row.label), 0) + 1
        place = {name: i for i, name in enumerate(self.vocabulary.categories)}
        return dict(sorted(found.items(), key=lambda item: (place[item[0][0]], -item[1], item[0][1])))

    @property
    def columns(self) -> list[str]:
        """Names of the columns of result.csv."""
        by_category = [f"{category}-{field}" for category in self.vocabulary.categories for field in _FIELDS]
        return [*_HEAD, *by_category, *_TAIL, *(() if self.q is None else _SURE)]

    def records(self) -> list[dict[str, Any]]:
        """Return one dict per unit, in the order of units, with result.csv's columns; ``unit`` counts from 0 here."""
        names, categories = self.vocabulary.names, self.vocabulary.categories
        columns = [(f"{category}-{field}", c, field) for c, category in enumerate(categories) for field in _FIELDS]
        pixels = {"truth": self.truth, "activation": self.activation, "intersect": self.intersection}
        values = {field: array.tolist() for field, array in pixels.items()}
        values["iou"] = self.labels.score.tolist()
        values["label"] = [[names[n] if n >= 0 else "" for n in row] for row in self.labels.concept]
        return [
            {
                "unit": row.unit,
                "category": row.category,
                "label": row.label,
                "score": row.iou,
                **{name: values[field][u][c] for name, c, field in columns},
                "threshold": row.threshold,
                "chance": row.chance,
                **({} if self.p is None or self.q is None else {"p": float(self.p[u]), "q": float(self.q[u])}),
            }
            for u, row in enumerate(self.rows())
        ]

    def to_csv(self) -> str:
        """Return NetDissect's result.csv (spec 6.2): units from 1, by descending score; our own columns at the end."""
        records, columns = self.records(), self.columns
        ranked = ({**records[u], "unit": records[u]["unit"] + 1} for u in self.ranked)
        return csv_text(columns, ([record[name] for name in columns] for record in ranked))

    def to_json(self) -> str:
        """Return a JSON list of ``records``, with null for what is unknown (NaN)."""
        records = [
            {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in record.items()}
            for record in self.records()
        ]
        return json.dumps(records, ensure_ascii=False, indent=1) + "\n"

    def to_pandas(self) -> Any:
        """Return a pandas.DataFrame of ``records``. Raises MissingExtra without pandas."""
        return require("pandas", "pandas").DataFrame(self.records(), columns=self.columns)

    def save(self, path: str | Path) -> None:
        """Write the table, atomically, in the format that the name ends in: .csv, .json or .parquet.

        Raises ArgumentError for any other name, OutputError if it cannot be written, MissingExtra if Parquet needs
        packages that are not installed.
        """
        path = Path(path)
        if path.suffix not in (".csv", ".json", ".parquet"):
            raise ArgumentError(f"a table can be saved as .csv, .json or .parquet, not as {path.name!r}")
        if path.suffix == ".parquet":
            require("pyarrow", "pandas")
            content = self.to_pandas().to_parquet(index=False)
        else:
            content = (self.to_csv() if path.suffix == ".csv" else self.to_json()).encode()
        with atomic_file(path) as file:
            file.write(content)
