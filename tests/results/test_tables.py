"""Tables of units: what they say of a layer, every format they are written in, and anybody's result.csv."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import netdissect_fast as nd
from netdissect_fast.concepts import Vocabulary
from netdissect_fast.errors import ArgumentError, DataError, MissingExtra, OutputError
from netdissect_fast.results.layer_result import LayerResult
from netdissect_fast.results.tables import UnitTable
from netdissect_fast.scoring.counts import Counts
from netdissect_fast.scoring.unit_labels import UnitLabels

from ..scoring.test_golden import PUBLISHED
from ..support.small_results import VOCABULARY, dissection, layer
from ..support.strategies import rngs, vocabularies

LAYERS = list(dissection())
NOTHING = Vocabulary([], (), [], ())


@pytest.fixture(params=LAYERS)
def one(request: pytest.FixtureRequest) -> LayerResult:
    return dissection()[request.param]


def assert_same_table(got: UnitTable, expected: UnitTable) -> None:
    """All that a file can hold; concepts by name, since a file does not know the others."""

    def names(table: UnitTable) -> list[list[str]]:
        return [[table.vocabulary.names[n] if n >= 0 else "" for n in row] for row in table.labels.concept]

    assert names(got) == names(expected)
    assert got.vocabulary.categories == expected.vocabulary.categories
    for field in ("unit", "truth", "activation", "intersection", "threshold", "chance"):
        array, wanted = getattr(got, field), getattr(expected, field)
        assert array.dtype == wanted.dtype, field
        np.testing.assert_array_equal(array, wanted, err_msg=field)
    np.testing.assert_array_equal(got.labels.score, expected.labels.score)


# ---------------------------------------------------------------------------------------------- of a layer


@given(rngs(), vocabularies(), st.integers(0, 6))
def test_table_of_any_counts(rng: np.random.Generator, vocabulary: Vocabulary, units: int) -> None:
    """Each cell is the count, area or chance of the unit's best concept, written out one by one."""
    concepts, categories = len(vocabulary), len(vocabulary.categories)
    intersection = rng.integers(0, 4, (units, concepts))
    counts = Counts(
        intersection,
        rng.integers(10, 20, (units, categories)),
        intersection.max(axis=0, initial=0) + rng.integers(0, 5, concepts),
        np.full(categories, 100),
    )
    numbers, thresholds = rng.permutation(20)[:units], rng.standard_normal(units).astype(np.float32)
    one = LayerResult("any", counts, thresholds, vocabulary, layer(1, (2, 2), "any").grid, numbers)
    table = one.table
    assert (len(table), table.name, table.vocabulary) == (units, "any", vocabulary)
    np.testing.assert_array_equal(table.unit, numbers)
    np.testing.assert_array_equal(table.threshold, thresholds)
    assert table.threshold.dtype == np.float64
    np.testing.assert_array_equal(table.activation, counts.unit_area)
    for u in range(units):
        for c in range(categories):
            n = int(one.labels.concept[u, c])
            expected = (int(counts.concept_area[n]), int(intersection[u, n])) if n >= 0 else (0, 0)
            assert (table.truth[u, c], table.intersection[u, c]) == expected
            ious = [one.iou[u, i] for i in range(concepts) if vocabulary.category[i] == c]
            assert table.labels.score[u, c] == max(ious, default=0)
        best = int(one.labels.top()[1][u])
        assert table.chance[u] == (one.chance[u, best] if best >= 0 else 0)


def test_rows_and_ranks(one: LayerResult) -> None:
    rows = one.table.rows(0.05)
    assert rows == one.units(0.05)
    for u, row in enumerate(rows):
        assert row.unit == one.unit_numbers[u]
        assert row.iou == one.table.labels.score[u].max()
        assert row.detector == (row.iou > 0.05)
        if not row.label:
            assert (row.category, row.iou, row.chance) == ("", 0, 0)
        else:
            concept = VOCABULARY.names.index(row.label)
            assert row.category == VOCABULARY.categories[VOCABULARY.category[concept]]
            assert (row.iou, row.chance) == (one.iou[u, concept], one.chance[u, concept])
    ranked = [rows[u] for u in one.table.ranked]
    assert ranked == sorted(rows, key=lambda row: (-row.iou, row.unit))


def test_ranked_breaks_ties_by_number_not_by_place() -> None:
    table = hand_made([["x"], ["x"], ["x"], [""]], [[0.5], [0.5], [0.6], [0]], ("a",))
    table = replace(table, unit=np.array([9, 3, 4, 1]))
    assert table.unit[table.ranked].tolist() == [4, 3, 9, 1]


def hand_made(labels: list[list[str]], scores: list[list[float]], categories: tuple[str, ...]) -> UnitTable:
    """A table of these labels, unit by category, with these IoUs."""
    found = sorted({(c, name) for row in labels for c, name in enumerate(row) if name})
    vocabulary = Vocabulary(range(1, len(found) + 1), tuple(n for _, n in found), [c for c, _ in found], categories)
    concept = np.array([[found.index((c, name)) if name else -1 for c, name in enumerate(row)] for row in labels])
    areas, units = np.zeros(concept.shape, np.int64), len(labels)
    score = np.array(scores, float)
    return UnitTable(
        "made", vocabulary, np.arange(units), UnitLabels(concept.astype(np.int32), score), areas, areas, areas,
        np.zeros(units), np.zeros(units),
    )  # fmt: skip


# By category in the data set's order (which is not alphabetical), then most units, then name.
MADE = hand_made(
    [["b", ""], ["a", ""], ["c", "m"], ["c", ""], ["", "z"], ["", "y"], ["", "z"], ["a", "y"], ["low", ""], ["", ""]],
    [[0.1, 0], [0.1, 0], [0.2, 0.1], [0.3, 0], [0, 0.9], [0, 0.8], [0, 0.7], [0.05, 0.5], [0.04, 0], [0, 0]],
    ("scene", "object"),
)


def test_detected_order() -> None:
    assert list(MADE.detected().items()) == [
        (("scene", "c"), 2),
        (("scene", "a"), 1),
        (("scene", "b"), 1),
        (("object", "y"), 2),
        (("object", "z"), 2),
    ]
    assert list(MADE.detected(0.3).items()) == [(("object", "y"), 2), (("object", "z"), 2)]
    assert MADE.detected(0.9) == {}, "an IoU must exceed the threshold"


@pytest.mark.parametrize("threshold", [0, 0.04, 0.05, 0.3, 0.9])
def test_detected_adds_up_to_detectors(threshold: float) -> None:
    for table in (MADE, *(one.table for one in dissection().values())):
        for numbers, each in ((table.detectors(threshold), lambda n: n), (table.unique_detectors(threshold), bool)):
            found = dict.fromkeys(table.vocabulary.categories, 0)
            for (category, _), units in table.detected(threshold).items():
                found[category] += each(units)
            assert numbers == found


# ------------------------------------------------------------------------------------------------- formats


def test_records_are_the_csv_in_the_order_of_units(one: LayerResult) -> None:
    records = one.table.records()
    assert [record["unit"] for record in records] == one.unit_numbers.tolist()
    for line in csv.DictReader(io.StringIO(one.table.to_csv())):
        record = records[one.unit_numbers.tolist().index(int(line["unit"]) - 1)]
        assert list(line) == list(record)
        assert {name: str(value) for name, value in record.items()} == {**line, "unit": str(record["unit"])}
    kinds = {"label": str, "category": str, "truth": int, "activation": int, "intersect": int, "unit": int}
    for name, value in records[0].items():
        assert type(value) is kinds.get(name.rpartition("-")[2], float), name


def test_json(one: LayerResult) -> None:
    """Valid JSON whatever the numbers: what is not finite as null, all else as it is."""
    unknown = replace(one.table, chance=np.full(len(one.thresholds), np.nan))
    text = unknown.to_json()
    records = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert text.endswith("\n")
    for record, expected in zip(records, one.table.records(), strict=True):
        threshold = expected["threshold"] if math.isfinite(expected["threshold"]) else None
        assert record == {**expected, "threshold": threshold, "chance": None}
    assert any(record["threshold"] is None for record in records) == (one.name == "fc:logits@0")


def test_pandas_of_a_layer(one: LayerResult) -> None:
    frame = one.to_pandas()
    assert frame.to_dict("records") == one.table.records()
    assert frame.index.tolist() == list(range(len(one.thresholds)))
    assert frame["object-truth"].dtype == np.int64
    assert frame["object-iou"].dtype == np.float64


def test_pandas_of_all_layers() -> None:
    result = dissection()
    frame = result.to_pandas()
    assert frame.columns.tolist() == ["layer", *result["features.3"].table.records()[0]]
    expected = [{"layer": name, **record} for name, one in result.items() for record in one.table.records()]
    assert frame.to_dict("records") == expected
    assert frame["unit"].dtype == np.int64


def test_save(tmp_path: Path, one: LayerResult) -> None:
    path = tmp_path / "made" / "table.csv"  # folders are made
    one.table.save(path)
    assert path.read_bytes().decode() == one.table.to_csv()
    one.table.save(str(path.with_suffix(".json")))
    assert path.with_suffix(".json").read_bytes().decode() == one.table.to_json()
    one.table.save(path.with_suffix(".parquet"))
    pd.testing.assert_frame_equal(pd.read_parquet(path.with_suffix(".parquet")), one.to_pandas())
    assert sorted(file.suffix for file in path.parent.iterdir()) == [".csv", ".json", ".parquet"]


@pytest.mark.parametrize("name", ["table", "table.xlsx", "table.csv.gz", "table.CSV", ".csv"])
def test_save_refuses_other_formats(name: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=rf"\.csv, \.json or \.parquet, not as '{name}'"):
        MADE.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_save_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        MADE.save(tmp_path / "file" / "table.csv")


@pytest.mark.parametrize(
    ("missing", "action"),
    [
        ("pandas", MADE.to_pandas),
        ("pandas", lambda: dissection().to_pandas()),
        ("pandas", lambda: dissection()["features.3"].to_pandas()),
        ("pandas", lambda: MADE.save("table.parquet")),
        ("pyarrow", lambda: MADE.save("table.parquet")),
    ],
)
def test_missing_packages(
    missing: str, action: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtra, match=rf"{missing} is not installed: pip install 'netdissect-fast\[pandas\]'"):
        action()
    assert not list(tmp_path.iterdir())
    MADE.save("table.csv")  # needs neither
    MADE.save("table.json")


def test_no_concepts() -> None:
    one = nd.score(np.ones((2, 3, 2, 2), np.float32), np.zeros((2, 4, 4), int), NOTHING, thresholds=[0, 0, 2])
    assert one.table.detected() == one.table.detectors() == {}
    assert [record["label"] for record in one.table.records()] == ["", "", ""]
    assert one.table.ranked.tolist() == [0, 1, 2]
    assert one.to_pandas().columns.tolist() == ["unit", "category", "label", "score", "threshold", "chance"]


# --------------------------------------------------------------------------------------------- compare_csv


def test_our_own_file_comes_back(tmp_path: Path, one: LayerResult) -> None:
    path = tmp_path / "result.csv"
    one.table.save(path)
    got = nd.compare_csv(path)
    assert got.name == "result"
    order = np.argsort(one.unit_numbers)
    in_order = {f.name: getattr(one.table, f.name)[order] for f in fields(UnitTable)[4:-2]}
    labels = UnitLabels(one.labels.concept[order], one.labels.score[order])
    assert_same_table(got, replace(one.table, unit=one.table.unit[order], labels=labels, **in_order))
    assert got.to_csv() == one.table.to_csv()
    for rule in ("top_label", "per_category"):
        assert got.detectors(0.03, rule) == one.detectors(0.03, rule)
        assert got.unique_detectors(0.03, rule) == one.unique_detectors(0.03, rule)
    got.save(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == path.read_bytes()


@pytest.mark.data
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_tables(name: str, shared_data: Path, tmp_path: Path) -> None:
    expected, path = PUBLISHED[name], shared_data / "golden" / f"{name}.csv"
    table = nd.compare_csv(path)
    assert (len(table), table.name) == (expected.units, name)
    assert table.unit.tolist() == list(range(expected.units)), "units count from 0 here"
    assert table.vocabulary.categories == ("object", "color", "material", "scene", "texture", "part")
    for rule, cells in (("top_label", expected.top_label), ("per_category", expected.per_category)):
        detectors, unique = table.detectors(count=rule), table.unique_detectors(count=rule)
        order = ("object", "part", "scene", "material", "texture", "color")
        assert [(detectors[c], unique[c]) for c in order] == cells, rule
    assert sum(table.detected().values()) == expected.detectors
    assert len(table.detected()) == expected.unique
    with path.open(encoding="utf-8", newline="") as file:
        published = list(csv.DictReader(file))
    written = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert [(r["unit"], r["category"], r["label"]) for r in written] == [
        (r["unit"], r["category"], r["label"]) for r in published
    ]
    assert [float(r["score"]) for r in written] == [float(r["score"]) for r in published]
    assert {r["threshold"] for r in written} | {r["chance"] for r in written} == {"nan"}
    table.save(tmp_path / f"{name}.csv")
    assert_same_table(nd.compare_csv(tmp_path / f"{name}.csv"), table)


HEADER = "unit,category,label,score," + ",".join(
    f"{category}-{field}"
    for category in ("scene", "object")  # not alphabetical
    for field in ("label", "truth", "activation", "intersect", "iou")
)
ROWS = ["3,object,dog,0.5,street,10,9,1,0.05,dog,10,9,6,0.5", "1,object,cat,0.2,,10,9,7,0.9,cat,30,9.0,6,0.2"]
GOOD = "\n".join([HEADER, *ROWS]) + "\n"


def read(tmp_path: Path, content: str | bytes) -> UnitTable:
    path = tmp_path / "tally.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return nd.compare_csv(path)


def test_a_foreign_file(tmp_path: Path) -> None:
    table = read(tmp_path, GOOD)
    assert table.name == "tally"
    assert table.vocabulary.categories == ("scene", "object")
    assert table.vocabulary.names == ("street", "cat", "dog")
    assert table.vocabulary.category.tolist() == [0, 1, 1]
    assert table.unit.tolist() == [0, 2]
    assert table.activation.tolist() == [[9, 9], [9, 9]]
    assert table.truth.tolist() == [[10, 30], [10, 10]]
    assert np.isnan([table.threshold, table.chance]).all()
    assert [(row.unit, row.label, row.category, row.iou) for row in table.rows()] == [
        (0, "cat", "object", 0.2),
        (2, "dog", "object", 0.5),
    ]


def test_an_empty_label_is_no_label(tmp_path: Path) -> None:
    """Published tables have such cells, with an IoU."""
    table = read(tmp_path, GOOD)
    assert table.labels.concept[0].tolist() == [-1, 1]
    assert table.labels.score[0].tolist() == [0, 0.2]
    assert table.detectors(count="per_category") == {"scene": 1, "object": 2}
    blank = read(tmp_path, GOOD.replace("cat,30", " ,30"))
    assert (blank.rows()[0].label, blank.rows()[0].category, blank.rows()[0].iou) == ("", "", 0)
    assert blank.ranked.tolist() == [1, 0]


def test_one_name_in_two_categories_is_two_concepts(tmp_path: Path) -> None:
    table = read(tmp_path, GOOD.replace("street", "dog"))
    assert table.vocabulary.names == ("dog", "cat", "dog")
    assert table.unique_detectors(count="per_category") == {"scene": 1, "object": 2}


def test_what_other_tools_write(tmp_path: Path) -> None:
    """A byte order mark, CRLF, blank lines, columns of their own; units and pixels written as floats."""
    lines = [f"{HEADER},notes", *(f"{row},any" for row in ROWS)]
    odd = "\ufeff" + "\r\n\r\n".join(lines).replace("\n3,", "\n3.0,").replace("30,9.0", "3e1,9.0")
    assert_same_table(read(tmp_path, odd), read(tmp_path, GOOD))


def test_our_columns_in_a_foreign_file(tmp_path: Path) -> None:
    """Thresholds may be negative or unknown."""
    content = "\n".join([f"{HEADER},chance,threshold", ROWS[0] + ",0.25,-1.5", ROWS[1] + ",,"])
    table = read(tmp_path, content)
    np.testing.assert_array_equal(table.threshold, [np.nan, -1.5])
    np.testing.assert_array_equal(table.chance, [np.nan, 0.25])
    assert json.loads(table.to_json())[0]["threshold"] is None


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("unit,", "neuron,", 1, "has no column unit"),
        ("unit,category", "unit,unit", 1, "must be distinct"),
        ("object-iou", "object-score", None, r"is not a NetDissect result\.csv: it has no column object-iou$"),
        (
            "scene-activation,scene-intersect",
            "a,b",
            None,
            "has no column scene-activation, scene-intersect$",
        ),
        ("-label", "-name", None, "has no column object-label, object-truth"),
        ("\n" + "\n".join(ROWS), "", None, "has no units"),
        ("\n1,", "\n0,", 3, "unit must be 1 or more: NetDissect's files count units from 1"),
        ("\n1,", "\n,", 3, "unit must be 1 or more"),
        ("\n1,", "\n3,", 3, "unit 3 is listed twice"),
        ("\n3,", "\n-3,", 2, "unit must be an integer ≥ 0, got '-3'"),
        ("\n3,", "\n3.5,", 2, r"unit must be an integer ≥ 0, got '3\.5'"),
        ("9.0", "9.5", 3, r"object-activation must be a whole number of pixels, got 9\.5"),
        ("9.0", "1e300", 3, "object-activation must be a whole number of pixels"),
        ("9.0", "-9", 3, "object-activation must be a number ≥ 0"),
        ("street,10", "street,ten", 2, "scene-truth must be a number ≥ 0, got 'ten'"),
        ("6,0.5", "6,1.5", 2, r"object-iou must lie between 0 and 1, got 1\.5"),
        ("6,0.5", "6,nan", 2, "object-iou must be a number ≥ 0, got 'nan'"),
        ("6,0.5", "6,-0.5", 2, r"object-iou must be a number ≥ 0, got '-0\.5'"),
        ("6,0.5", "6", 2, "expected 14 cells as in the header, got 13"),
        ("6,0.5", '6,"0.5', 3, "is not a csv file"),
        ("street", "str\0et", 2, "NUL"),
        (GOOD, "", None, "is empty"),
        (GOOD, "\n\n", None, "has no header"),
    ],
)
def test_malformed(old: str, new: str, line: int | None, reason: str, tmp_path: Path) -> None:
    assert old in GOOD
    with pytest.raises(DataError, match=reason) as caught:
        read(tmp_path, GOOD.replace(old, new))
    assert (caught.value.line, caught.value.path) == (line, str(tmp_path / "tally.csv"))


@pytest.mark.parametrize("column", ["threshold", "chance"])
def test_malformed_columns_of_ours(column: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"line 3: {column} must be a number, got 'high'"):
        read(tmp_path, f"{HEADER},{column}\n{ROWS[0]},1\n{ROWS[1]},high\n")


def test_not_text_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 3: is not UTF-8 text \(byte 0xe9\)"):
        read(tmp_path, GOOD.replace("cat,30", "caté,30").encode("latin-1"))
    for path, reason in ((tmp_path, "not a regular file"), (tmp_path / "absent.csv", "does not exist")):
        with pytest.raises(DataError, match=reason):
            nd.compare_csv(path)
