"""The result folder: saved and loaded to the same bytes; NetDissect's result.csv."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import netdissect_fast as nd
from netdissect_fast.concepts import ImageLabels, Vocabulary
from netdissect_fast.errors import ArgumentError
from netdissect_fast.results.layer_result import LayerResult
from netdissect_fast.results.run_result import Dissection, layer_folders
from netdissect_fast.scoring.counts import Counts

from ..support.small_results import VOCABULARY, assert_same_layer, dissection, labels, layer


@pytest.fixture
def out(tmp_path: Path) -> Path:
    dissection().save(tmp_path / "out")
    return tmp_path / "out"


# ------------------------------------------------------------------------------------------ save and load


def test_roundtrip(out: Path) -> None:
    saved, loaded = dissection(), nd.load(out)
    assert list(loaded) == list(saved)
    assert loaded.run == saved.run
    for field in fields(Vocabulary):
        np.testing.assert_array_equal(getattr(loaded.vocabulary, field.name), getattr(saved.vocabulary, field.name))
    for name in saved:
        assert_same_layer(loaded[name], saved[name])
    assert loaded["features.3"].thresholds.dtype == np.float32


def test_saving_twice_gives_the_same_bytes(out: Path, tmp_path: Path) -> None:
    def files(folder: Path) -> dict[str, bytes]:
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    first = files(out)
    assert sorted(first) == sorted(
        ["run.json"]
        + [f"{name}/{file}" for name in ("features.3", "features.12", "fc_logits@0")
           for file in ("counts.safetensors", "result.csv", "peaks/peaks.safetensors")
           if (name, file) != ("fc_logits@0", "peaks/peaks.safetensors")]
    )  # fmt: skip
    nd.load(out).save(tmp_path / "again")
    assert files(tmp_path / "again") == first
    dissection().save(out)
    assert files(out) == first


def test_loaded_layers_answer_further_questions(out: Path) -> None:
    saved, loaded = dissection()["features.12"], nd.load(out)["features.12"]
    for unit in range(3):
        for got, expected in zip(loaded.top(unit), saved.top(unit), strict=True):
            np.testing.assert_array_equal(got, expected)
    packed = nd.PackedLabels.pack(labels(), VOCABULARY)
    again = nd.score_peaks(loaded.require_peaks(), loaded.grid, packed, VOCABULARY, quantile="0.02")
    maps = np.random.default_rng(3).standard_normal((8, 3, 7, 7)).astype(np.float32)
    fresh = nd.score(
        maps, labels(), VOCABULARY, quantile="0.02", alignment=((30.5, 16.0), (1 / 3, -2.0)), input_size=(224, 227)
    )
    np.testing.assert_array_equal(again.counts.intersection, fresh.counts.intersection)
    np.testing.assert_array_equal(again.thresholds, fresh.thresholds)


def test_saving_over_an_older_result_leaves_nothing_of_it(out: Path) -> None:
    """Peaks of an older run must not pass for peaks of a run that had none."""
    newer = layer(5, (4, 3), "features.3", thresholds=np.zeros(5))
    Dissection({"features.3": newer}).save(out)
    loaded = nd.load(out)
    assert list(loaded) == ["features.3"]
    assert_same_layer(loaded["features.3"], newer)


@pytest.mark.parametrize("units", [0, 1])
def test_empty_results(units: int, tmp_path: Path) -> None:
    """No units, or nothing labelled."""
    nothing = Vocabulary(np.zeros(0, np.int64), (), np.zeros(0, np.int32), ())
    images = [ImageLabels(np.zeros((0, 4, 4), np.int32))] * 2
    one = nd.score(np.ones((2, units, 3, 3), np.float32), images, nothing, thresholds=np.zeros(units))
    Dissection({"layer": one}).save(tmp_path)
    assert_same_layer(nd.load(tmp_path)["layer"], one)
    assert len((tmp_path / "layer" / "result.csv").read_text().splitlines()) == 1 + units


ODD_NAMES = ["layer4", "Layer4", "LAYER4", "layer4_", "a/b", "a\\b", "a b", "..", ".", "", "../../etc", "/etc", "peaks",
             "encoder:hidden_states.-1", "block@1:0", "größe", "图层", "*?|<>", "x" * 300, "x" * 301, "run.json",
             "\n", "result.csv", ".hidden", "ends."]  # fmt: skip


def test_odd_layer_names(tmp_path: Path) -> None:
    """Each layer has a folder of its own inside the result, also where file systems ignore case."""
    folders = layer_folders(dict.fromkeys(ODD_NAMES))
    assert len({folder.lower() for folder in folders.values()}) == len(ODD_NAMES)
    for folder in folders.values():
        assert Path(folder).name == folder not in ("", ".", "..", "run.json")
        assert len(folder.encode()) < 256
    assert folders["layer4"] == "layer4"
    assert folders["block@1:0"] == "block@1_0"
    one = layer(2, (2, 2), "any")
    layers = {}
    for i, name in enumerate(ODD_NAMES):
        counts = Counts(one.counts.intersection, one.counts.unit_area, one.counts.concept_area, one.counts.pixels + i)
        layers[name] = LayerResult(name, counts, one.thresholds, VOCABULARY, one.grid, one.unit_numbers)
    Dissection(layers).save(tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    loaded = nd.load(tmp_path / "out")
    assert list(loaded) == ODD_NAMES
    for name, wanted in layers.items():
        assert_same_layer(loaded[name], wanted)


def test_unknown_layer_names_the_others() -> None:
    with pytest.raises(
        ArgumentError, match=r"layer 'conv9' was not dissected; the result has 'features\.3', 'features\.12'"
    ):
        dissection()["conv9"]


# ---------------------------------------------------------------------------------------------- result.csv


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "result.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_result_csv_columns(out: Path) -> None:
    head = next(csv.reader(io.StringIO((out / "features.3" / "result.csv").read_text(encoding="utf-8"))))
    fields = ("label", "truth", "activation", "intersect", "iou")
    expected = ["unit", "category", "label", "score"]
    for category in ("object", "part"):
        expected += [f"{category}-{field}" for field in fields]
    assert head[: len(expected)] == expected
    assert head[len(expected) :] == ["threshold", "chance"]


@pytest.mark.data
def test_result_csv_begins_like_netdissects(shared_data: Path, tmp_path: Path) -> None:
    with (shared_data / "golden" / "caffe_reference_places205.csv").open(newline="") as file:
        published = next(csv.reader(file))
    categories = [name.removesuffix("-label") for name in published if name.endswith("-label")]
    words = Vocabulary(np.array([1]), ("one",), np.zeros(1, np.int32), tuple(categories))
    one = nd.score(np.ones((1, 1, 2, 2), np.float32), np.ones((1, 2, 2), int), words, thresholds=[0])
    one.save(tmp_path)
    with (tmp_path / "result.csv").open(newline="") as file:
        assert next(csv.reader(file))[: len(published)] == published


def test_result_csv_rows(out: Path) -> None:
    """Numbers are exact: integers as integers, floats as Python's repr; names come back whatever they contain."""
    for name in ("features.3", "features.12", "fc_logits@0"):
        rows = table(out / name)
        one = nd.load(out)[name.replace("fc_logits", "fc:logits")]
        assert sorted(int(row["unit"]) for row in rows) == list(range(1, len(one.thresholds) + 1))
        scores = [float(row["score"]) for row in rows]
        assert scores == sorted(scores, reverse=True)
        for row in rows:
            unit = int(row["unit"]) - 1
            expected = one.units()[unit]
            assert (row["label"], row["category"]) == (expected.label, expected.category)
            assert row["score"] == repr(expected.iou)
            assert row["threshold"] == repr(float(one.thresholds[unit]))
            assert row["chance"] == repr(expected.chance)
            for c, category in enumerate(VOCABULARY.categories):
                column = one.labels.concept[unit, c]
                assert row[f"{category}-activation"] == str(one.counts.unit_area[unit, c])
                assert row[f"{category}-iou"] == repr(float(one.labels.score[unit, c]))
                if column >= 0:
                    assert row[f"{category}-label"] == VOCABULARY.names[column]
                    assert row[f"{category}-truth"] == str(one.counts.concept_area[column])
                    assert row[f"{category}-intersect"] == str(one.counts.intersection[unit, column])


def test_result_csv_ties_and_units_without_a_label(tmp_path: Path) -> None:
    """Equal scores by unit; a unit that meets nothing comes last, with empty cells and score 0."""
    words = Vocabulary(np.array([1, 2]), ("one", "two"), np.array([0, 1], np.int32), ("a", "b"))
    intersection = np.array([[0, 0], [5, 0], [0, 5], [5, 0], [10, 0]])
    area = np.array([[3, 0], [10, 0], [0, 10], [10, 0], [10, 0]])
    counts = Counts(intersection, area, np.array([10, 10]), np.array([100, 100]))
    grid = layer(1, (2, 2), "any").grid
    numbers = np.array([7, 4, 3, 2, 0])  # a chosen subset, in any order
    LayerResult("x", counts, np.zeros(5, np.float32), words, grid, numbers).save(tmp_path)
    rows = table(tmp_path)
    assert [row["unit"] for row in rows] == ["1", "3", "4", "5", "8"]
    assert [row["score"] for row in rows] == ["1.0", *[repr(1 / 3)] * 3, "0.0"]
    assert [row["label"] for row in rows] == ["one", "one", "two", "one", ""]
    last = rows[-1]
    assert [last[name] for name in ("category", "a-label", "b-label", "a-iou")] == ["", "", "", "0.0"]
    assert last["a-activation"] == "3"


def test_files_are_utf8_with_unix_line_ends(out: Path) -> None:
    text = (out / "features.3" / "result.csv").read_bytes()
    assert b"\r" not in text
    assert text.endswith(b"\n")
    assert "tür\nknauf" in json.loads((out / "run.json").read_text(encoding="utf-8"))["vocabulary"]["names"]
    assert b"t\xc3\xbcr" in (out / "run.json").read_bytes()
