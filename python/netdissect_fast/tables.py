"""Tables of units: rows for people, and result.csv in NetDissect's columns."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from .results import LayerResult


class UnitRow(NamedTuple):
    """One unit: its number (0-based), overall label and category ("" = none), and how good the label is.

    iou of the label; chance: the IoU a random mask of the same size would reach; threshold: T; detector: IoU
    above the IoU threshold.
    """

    unit: int
    label: str
    category: str
    iou: float
    chance: float
    threshold: float
    detector: bool


def unit_rows(layer: LayerResult, iou_threshold: float = 0.04) -> list[UnitRow]:
    """One row a unit, in the order of units."""
    names, categories = layer.vocabulary.names, layer.vocabulary.categories
    category, concept, score = layer.labels.top()
    return [
        UnitRow(
            int(layer.unit_numbers[u]),
            names[concept[u]] if concept[u] >= 0 else "",
            categories[category[u]] if concept[u] >= 0 else "",
            float(score[u]),
            float(layer.chance[u, concept[u]]) if concept[u] >= 0 else 0.0,
            float(layer.thresholds[u]),
            bool(score[u] > iou_threshold),
        )
        for u in range(len(score))
    ]


def result_csv(layer: LayerResult) -> str:
    """NetDissect's result.csv (SPEC 6): units from 1, by descending score; our own columns at the end."""
    categories, names = layer.vocabulary.categories, layer.vocabulary.names
    head = ["unit", "category", "label", "score"]
    for name in categories:
        head += [f"{name}-{field}" for field in ("label", "truth", "activation", "intersect", "iou")]
    rows = unit_rows(layer)
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    write([*head, "threshold", "chance"])
    counts, best = layer.counts, layer.labels
    for u in np.lexsort((layer.unit_numbers, -np.array([row.iou for row in rows]))):
        row = rows[u]
        cells: list[object] = [row.unit + 1, row.category, row.label, repr(row.iou)]
        for c, concept in enumerate(best.concept[u]):
            known = concept >= 0
            cells += [
                names[concept] if known else "",
                int(counts.concept_area[concept]) if known else 0,
                int(counts.unit_area[u, c]),
                int(counts.intersection[u, concept]) if known else 0,
                repr(float(best.score[u, c])),
            ]
        write([*cells, repr(row.threshold), repr(row.chance)])
    return text.getvalue()
