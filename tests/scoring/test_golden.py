"""Published per-unit tables of NetDissect: our IoU and our counting rules give the published numbers."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from netdissect_fast.concepts import Vocabulary
from netdissect_fast.scoring.detectors import detectors, unique_detectors
from netdissect_fast.scoring.iou import iou
from netdissect_fast.scoring.unit_labels import UnitLabels

pytestmark = pytest.mark.data

CATEGORIES = ("object", "part", "scene", "material", "texture", "color")


@dataclass(frozen=True)
class Published:
    """detectors/unique by category in the order of CATEGORIES, under both counting rules."""

    units: int
    top_label: list[tuple[int, int]]
    per_category: list[tuple[int, int]]
    detectors: int
    unique: int
    summed_unique: int  # "all" in the paper's figures
    summed_detectors: int


PUBLISHED = {
    "caffe_reference_places205": Published(
        256,
        [(64, 30), (8, 6), (5, 3), (2, 1), (27, 19), (1, 1)],
        [(78, 36), (14, 8), (17, 12), (4, 1), (31, 20), (2, 2)],
        107, 60, 79, 146,
    ),
    "caffe_reference_places365": Published(
        256,
        [(60, 32), (9, 6), (8, 6), (2, 2), (38, 25), (1, 1)],
        [(81, 40), (17, 9), (21, 13), (3, 2), (47, 25), (2, 2)],
        118, 72, 91, 171,
    ),
    "ResNet-152-model_places365": Published(
        2048,
        [(437, 61), (78, 14), (743, 159), (9, 4), (184, 39), (1, 1)],
        [(774, 84), (308, 26), (1045, 188), (19, 5), (300, 42), (2, 2)],
        1452, 278, 347, 2448,
    ),
}  # fmt: skip

Rows = list[dict[str, str]]


def read(shared_data: Path, name: str) -> Rows:
    with (shared_data / "golden" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def column(rows: Rows, name: str) -> np.ndarray:
    """Pixel counts: some columns are written as floats, all are whole numbers."""
    values = np.array([float(row[name]) for row in rows])
    assert (values == np.floor(values)).all()
    return values.astype(np.int64)


def vocabulary_of(rows: Rows) -> Vocabulary:
    """Every label that is the best of its category somewhere; a name in two categories is two concepts."""
    found = [
        (c, name) for c, category in enumerate(CATEGORIES) for name in sorted({r[f"{category}-label"] for r in rows})
    ]
    return Vocabulary(
        np.arange(1, len(found) + 1),
        tuple(name for _, name in found),
        np.array([c for c, _ in found], np.int32),
        CATEGORIES,
    )


def labels_of(rows: Rows) -> tuple[UnitLabels, Vocabulary]:
    """Recomputed from truth, activation and intersect: the IoU of each unit with the best label of each category."""
    vocabulary = vocabulary_of(rows)
    place = {(int(c), name): i for i, (c, name) in enumerate(zip(vocabulary.category, vocabulary.names, strict=True))}
    scores = np.zeros((len(rows), len(vocabulary)))
    for c, category in enumerate(CATEGORIES):
        counts = [column(rows, f"{category}-{field}") for field in ("intersect", "activation", "truth")]
        columns = [place[c, row[f"{category}-label"]] for row in rows]
        scores[np.arange(len(rows)), columns] = iou(*counts)
    return UnitLabels.of(scores, vocabulary), vocabulary


@pytest.mark.parametrize("name", PUBLISHED)
def test_iou_column(name: str, shared_data: Path) -> None:
    rows = read(shared_data, name)
    assert len(rows) == PUBLISHED[name].units
    for category in CATEGORIES:
        got = iou(*(column(rows, f"{category}-{field}") for field in ("intersect", "activation", "truth")))
        np.testing.assert_allclose(got, [float(row[f"{category}-iou"]) for row in rows], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", PUBLISHED)
def test_overall_label(name: str, shared_data: Path) -> None:
    """label, category and score follow from the columns of the categories."""
    rows = read(shared_data, name)
    labels, vocabulary = labels_of(rows)
    category, concept, score = labels.top()
    assert [CATEGORIES[c] for c in category] == [row["category"] for row in rows]
    assert [vocabulary.names[c] for c in concept] == [row["label"] for row in rows]
    np.testing.assert_allclose(score, [float(row["score"]) for row in rows], rtol=0, atol=1e-12)
    assert (np.diff(score) <= 0).all(), "rows are sorted by score"


@pytest.mark.parametrize("name", PUBLISHED)
def test_detectors(name: str, shared_data: Path) -> None:
    expected = PUBLISHED[name]
    labels, _ = labels_of(read(shared_data, name))
    for rule, cells in (("top_label", expected.top_label), ("per_category", expected.per_category)):
        found, unique = detectors(labels, 0.04, rule), unique_detectors(labels, 0.04, rule)
        assert list(zip(found.tolist(), unique.tolist(), strict=True)) == cells, rule
    assert detectors(labels).sum() == expected.detectors
    assert unique_detectors(labels).sum() == expected.unique
    assert detectors(labels, 0.04, "per_category").sum() == expected.summed_detectors
    assert unique_detectors(labels, 0.04, "per_category").sum() == expected.summed_unique


@pytest.mark.parametrize(
    ("name", "unit", "category", "label", "counts", "expected"),
    [
        ("caffe_reference_places365", 107, "object", "road", (13092677, 3044167, 2171174), 0.155465079727646),
        ("caffe_reference_places365", 79, "object", "car", (5435238, 2264525, 938314), 0.138774),
        ("caffe_reference_places365", 79, "part", "wheel", (1540612, 1928590, 364504), 0.117404),
        ("ResNet-152-model_places365", 924, "object", "train", (1646804, 2843788, 1018097), 0.293189),
    ],
)
def test_published_rows(
    name: str, unit: int, category: str, label: str, counts: tuple[int, int, int], expected: float, shared_data: Path
) -> None:
    (row,) = (row for row in read(shared_data, name) if int(row["unit"]) == unit)
    assert row[f"{category}-label"] == label
    truth, activation, intersect = (int(float(row[f"{category}-{f}"])) for f in ("truth", "activation", "intersect"))
    assert (truth, activation, intersect) == counts
    got = float(iou(*(np.array([n]) for n in (intersect, activation, truth)))[0])
    assert got == pytest.approx(expected, abs=5e-7)
