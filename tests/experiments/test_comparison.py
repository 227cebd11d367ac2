"""Results side by side: whatever holds units, by what names, and which concepts come and go."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import netdissect_fast as nd
from netdissect_fast.errors import ArgumentError

from ..results.test_tables import hand_made
from ..support.small_results import dissection

# three units: best labels in scene and object, and their IoU
BEFORE = replace(
    hand_made([["x", "a"], ["y", "b"], ["", "a"]], [[0.3, 0.2], [0.1, 0.5], [0, 0.05]], ("scene", "object")),
    name="before",
)
AFTER = replace(
    hand_made([["x", "a"], ["", "c"], ["x", ""]], [[0.3, 0.2], [0, 0.5], [0.03, 0]], ("scene", "object")), name="after"
)


def test_rows() -> None:
    first, second = nd.compare([BEFORE, AFTER]).rows()
    assert first == {
        "run": "before", "units": 3, "detectors": 3, "ratio": 1.0, "sure": "", "unique": 3, "±": first["±"],
        "scene": 1, "object": 2,
    }  # fmt: skip
    assert (second["detectors"], second["ratio"], second["unique"]) == (2, 2 / 3, 2)
    assert list(second) == list(first)


def test_categories_of_all_tables() -> None:
    other = replace(hand_made([["k"]], [[0.5]], ("knots",)), name="other")
    rows = nd.compare([BEFORE, other]).rows()
    assert [(row["scene"], row["object"], row["knots"]) for row in rows] == [(1, 2, 0), (0, 0, 1)]


def test_changes() -> None:
    assert nd.compare([BEFORE, AFTER]).changes() == [
        {"run": "after", "change": "gained", "category": "object", "concept": "c", "units": 1},
        {"run": "after", "change": "lost", "category": "object", "concept": "a", "units": 1},
        {"run": "after", "change": "lost", "category": "object", "concept": "b", "units": 1},
    ]
    assert nd.compare([BEFORE]).changes() == nd.compare({"one": AFTER, "two": AFTER}).changes() == []
    assert [row["change"] for row in nd.compare([BEFORE, AFTER], iou_threshold=0.4).changes()] == ["gained", "lost"]


def test_per_category_counts_a_unit_in_each() -> None:
    top, both = (nd.compare([BEFORE], count=count).rows()[0] for count in ("top_label", "per_category"))
    assert (top["detectors"], both["detectors"]) == (3, 5)
    assert (both["scene"], both["object"]) == (2, 2)
    with pytest.raises(ArgumentError, match="count"):
        nd.compare([BEFORE], count="twice").rows()  # type: ignore[arg-type]


def test_sure_detectors() -> None:
    """Above the IoU threshold, and q at most 0.05."""
    asked = replace(BEFORE, p=np.array([0.001, 0.5, 0.001]), q=np.array([0.05, 0.9, 0.01]))
    rows = nd.compare({"asked": asked, "strict": replace(asked), "not": BEFORE}).rows()
    assert [row["sure"] for row in rows] == [2, 2, ""]
    assert nd.compare([asked], iou_threshold=0.06).rows()[0]["sure"] == 1


def test_the_spread_of_unique_detectors() -> None:
    """Deterministic; nothing where all units agree; near that of a fresh bootstrap."""
    assert nd.compare([BEFORE]).rows() == nd.compare([BEFORE]).rows()
    alike = replace(hand_made([["a"]] * 5, [[0.5]] * 5, ("object",)), name="alike")
    silent = replace(hand_made([[""]] * 5, [[0.0]] * 5, ("object",)), name="silent")
    assert [row["±"] for row in nd.compare([alike, silent]).rows()] == [0, 0]
    names = [[str(n % 10)] for n in range(40)]
    table = replace(hand_made(names, [[0.5]] * 40, ("object",)), name="many")
    rng = np.random.default_rng(9)
    again = np.std([len(set(rng.choice(40, 40) % 10)) for _ in range(2000)])
    assert nd.compare([table]).rows()[0]["±"] == pytest.approx(again, rel=0.25)


# -------------------------------------------------------------------------------------------------- names


def tables(*args: object, **options: object) -> list[str]:
    return list(nd.compare(*args, **options).tables)  # type: ignore[arg-type]


def test_what_can_be_compared() -> None:
    run = dissection()
    assert tables(run) == list(run)
    assert tables({"net": run}) == [f"net {name}" for name in run]
    assert tables({"net": nd.Dissection({"fc": run["features.3"]}), "csv": BEFORE}) == ["net", "csv"]
    assert tables([run["features.3"], BEFORE]) == ["features.3", "before"]
    rows = nd.compare(run).rows()
    assert [row["detectors"] for row in rows] == [sum(layer.detectors().values()) for layer in run.values()]


def test_csv(tmp_path: Path) -> None:
    for name in ("one", "two"):
        dissection()["features.3"].table.save(tmp_path / f"{name}.csv")
    found = nd.compare([nd.compare_csv(tmp_path / "one.csv"), nd.compare_csv(tmp_path / "two.csv")])
    one, two = found.rows()
    assert one | {"run": "two"} == two
    assert found.changes() == []


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ([], "nothing to compare"),
        ({}, "nothing to compare"),
        ([BEFORE, BEFORE], "same name"),
        ([nd.Dissection({"a": dissection()["features.3"]})], "give a dict"),
        ({"net": dissection(), "net fc:logits@0": BEFORE}, "same name"),
    ],
)
def test_what_cannot(runs: object, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        nd.compare(runs)  # type: ignore[arg-type]


def test_files_and_figure(tmp_path: Path) -> None:
    found = nd.compare([BEFORE, AFTER])
    written = found.save(tmp_path)
    assert [path.name for path in written] == ["comparison.csv", "changes.csv", "comparison.png", "comparison.svg"]
    for name, rows in (("comparison", found.rows()), ("changes", found.changes())):
        with (tmp_path / f"{name}.csv").open(newline="") as file:
            assert list(csv.DictReader(file)) == [{key: str(value) for key, value in row.items()} for row in rows]
    heights = {bars.get_label(): [bar.get_height() for bar in bars] for bars in found.plot().containers}
    assert heights == {"scene": [1, 1], "object": [2, 1]}
    nd.compare([BEFORE]).save(tmp_path)  # without changes
