"""The result folder: saved and loaded to the same bytes, NetDissect's result.csv, broken folders, failing writes."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netdissect_fast as nd
from netdissect_fast.concepts import ImageLabels, Vocabulary
from netdissect_fast.counts import Counts
from netdissect_fast.errors import ArgumentError, DataError, OutputError
from netdissect_fast.results import Dissection, LayerResult, layer_folders, load
from netdissect_fast.storage import read_arrays, write_arrays, write_text

VOCABULARY = Vocabulary(
    np.array([1, 2, 5, 9]),
    ("sky", 'tree, "old"', "tür\nknauf", "<b>wheel</b>"),
    np.array([0, 0, 1, -1], np.int32),
    ("object", "part"),
)


def labels() -> list[ImageLabels]:
    rng = np.random.default_rng(1)
    planes = rng.choice(np.array([0, 1, 2, 5, 9], np.int32), (8, 2, 10, 12))
    return [ImageLabels(maps, (2,) if i % 3 == 0 else ()) for i, maps in enumerate(planes)]


def layer(units: int, size: tuple[int, int], name: str, **options: Any) -> LayerResult:
    maps = np.random.default_rng(units).standard_normal((8, units, *size)).astype(np.float32)
    return nd.score(maps, labels(), VOCABULARY, quantile="0.1", name=name, **options)


def dissection() -> Dissection:
    layers = [
        layer(5, (4, 3), "features.3"),
        layer(3, (7, 7), "features.12", alignment=((30.5, 16.0), (1 / 3, -2.0)), input_size=(224, 227)),
        layer(2, (1, 1), "fc:logits@0", thresholds=[0.1, np.inf]),
    ]
    return Dissection({one.name: one for one in layers}, {"quantile": "0.1", "versions": {"numpy": np.__version__}})


@pytest.fixture
def out(tmp_path: Path) -> Path:
    dissection().save(tmp_path / "out")
    return tmp_path / "out"


def assert_same_layer(got: LayerResult, expected: LayerResult) -> None:
    assert got.name == expected.name
    for counts, wanted in zip(vars(got.counts).values(), vars(expected.counts).values(), strict=True):
        assert (counts.dtype, counts.shape, counts.tobytes()) == (wanted.dtype, wanted.shape, wanted.tobytes())
    for name in ("thresholds", "unit_numbers"):
        array, wanted = getattr(got, name), getattr(expected, name)
        assert (array.dtype, array.tobytes()) == (wanted.dtype, wanted.tobytes())
    assert got.grid == expected.grid
    assert got.units() == expected.units()
    assert (got.peaks is None) == (expected.peaks is None)
    if got.peaks is not None and expected.peaks is not None:
        for array, wanted in zip(got.peaks.crops.arrays, expected.peaks.crops.arrays, strict=True):
            assert (array.dtype, array.tobytes()) == (wanted.dtype, wanted.tobytes())


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
        ArgumentError, match=r"layer 'conv9' was not dissected; there are 'features\.3', 'features\.12'"
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


# ------------------------------------------------------------------------------------------- broken folders

FILES = ["run.json", "features.3/counts.safetensors", "features.3/peaks/peaks.safetensors"]


@pytest.mark.parametrize("file", FILES)
def test_truncated_files(file: str, out: Path) -> None:
    data = (out / file).read_bytes()
    for length in sorted({0, 1, 7, 8, 9, 100, len(data) // 2, len(data) - 2}):
        (out / file).write_bytes(data[:length])
        with pytest.raises(DataError) as caught:
            nd.load(out)
        assert caught.value.path == str(out / file)


@pytest.mark.parametrize("file", ["run.json", "features.12/counts.safetensors"])
def test_missing_files(file: str, out: Path) -> None:
    (out / file).unlink()
    with pytest.raises(DataError) as caught:
        nd.load(out)
    assert caught.value.path == str(out / file)


def test_missing_folders(out: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path, out / "run.json"):
        with pytest.raises(DataError, match="cannot be read"):
            nd.load(path)
    shutil.rmtree(out / "features.3")
    with pytest.raises(DataError, match=r"counts\.safetensors"):
        nd.load(out)


def short(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda arrays: arrays.__setitem__(name, arrays[name][:-1])


def cast(name: str, dtype: type) -> Callable[[dict[str, Any]], None]:
    return lambda arrays: arrays.__setitem__(name, arrays[name].astype(dtype))


def entry(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda arrays: arrays[name].reshape(-1).__setitem__(0, value)


NAMES = ["intersection", "unit_area", "concept_area", "pixels", "thresholds", "unit_numbers"]
BROKEN_COUNTS: dict[str, Callable[[dict[str, Any]], None]] = {
    **{f"no {name}": (lambda a, name=name: a.__delitem__(name)) for name in NAMES},
    **{f"{name} short": short(name) for name in NAMES},
    **{f"{name} int32": cast(name, np.int32) for name in NAMES},
    **{f"{name} flat": (lambda a, name=name: a.__setitem__(name, a[name].reshape(1, -1))) for name in NAMES},
    "thresholds float64": cast("thresholds", np.float64),
    "threshold NaN": entry("thresholds", np.nan),
    "intersection negative": entry("intersection", -1),
    "intersection larger than its concept": entry("intersection", 10**6),
    "intersection larger than the mask": entry("unit_area", 0),
    "area negative": entry("unit_area", -5),
    "concept larger than its images": entry("pixels", 1),
    "unit negative": entry("unit_numbers", -1),
}


@pytest.mark.parametrize("what", BROKEN_COUNTS)
def test_broken_counts(what: str, out: Path) -> None:
    path = out / "features.3" / "counts.safetensors"
    arrays = {name: array.copy() for name, array in read_arrays(path)[0].items()}
    BROKEN_COUNTS[what](arrays)
    write_arrays(path, arrays)
    with pytest.raises(DataError) as caught:
        nd.load(out)
    assert caught.value.path == str(path)


def test_peaks_of_another_layer(out: Path) -> None:
    shutil.copy(out / "features.12/peaks/peaks.safetensors", out / "features.3/peaks/peaks.safetensors")
    with pytest.raises(DataError, match="the layer has 5 units of") as caught:
        nd.load(out)
    assert caught.value.path.endswith("peaks.safetensors")


def at(*keys: Any, value: Any) -> Callable[[Any], None]:
    def change(run: Any) -> None:
        for key in keys[:-1]:
            run = run[key]
        run[keys[-1]] = value

    return change


FIRST = ("layers", "features.3")
BROKEN_RUNS: dict[str, Callable[[Any], None]] = {
    "later format": at("format", value=99),
    "no format": lambda run: run.__delitem__("format"),
    "no layers": lambda run: run.__delitem__("layers"),
    "layers a list": at("layers", value=[]),
    "layer a list": at(*FIRST, value=[1]),
    "no folder": lambda run: run["layers"]["features.3"].__delitem__("folder"),
    "no grid": lambda run: run["layers"]["features.3"].__delitem__("grid"),
    "grid size": at(*FIRST, "grid", "size", value=[4]),
    "grid size zero": at(*FIRST, "grid", "size", value=[0, 3]),
    "grid of another size": at(*FIRST, "grid", "size", value=[4, 4]),
    "grid stride": at(*FIRST, "grid", "stride", value=[0, 0]),
    "grid offset": at(*FIRST, "grid", "offset", value="ab"),
    "grid alignment": at(*FIRST, "grid", "alignment", value="centre"),
    "no vocabulary": lambda run: run.__delitem__("vocabulary"),
    "vocabulary null": at("vocabulary", value=None),
    "numbers text": at("vocabulary", "numbers", value=["a", "b", "c", "d"]),
    "numbers huge": at("vocabulary", "numbers", value=[1, 2, 5, 10**30]),
    "numbers nested": at("vocabulary", "numbers", value=[[1], [2], [5], [9]]),
    "numbers ragged": at("vocabulary", "numbers", value=[1, [2], 5, 9]),
    "numbers descending": at("vocabulary", "numbers", value=[9, 5, 2, 1]),
    "numbers too few": at("vocabulary", "numbers", value=[1, 2]),
    "names numbers": at("vocabulary", "names", value=[1, 2, 3, 4]),
    "names null": at("vocabulary", "names", value=None),
    "name missing": at("vocabulary", "names", value=["a", "b", "c"]),
    "category too large": at("vocabulary", "category", value=[0, 0, 2, -1]),
    "category too small": at("vocabulary", "category", value=[0, 0, 1, -2]),
    "category text": at("vocabulary", "category", value=["object"] * 4),
    "categories numbers": at("vocabulary", "categories", value=[1, 2]),
}


@pytest.mark.parametrize("what", BROKEN_RUNS)
def test_broken_run(what: str, out: Path) -> None:
    run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    BROKEN_RUNS[what](run)
    (out / "run.json").write_text(json.dumps(run), encoding="utf-8")
    with pytest.raises(DataError):
        nd.load(out)


@pytest.mark.parametrize(
    "text",
    ["[]", "null", "1", '"run"', "{}", "{", "\x00", "[" * 100_000, '{"format": ' + "9" * 5000 + "}", "\ud800"],
    ids=lambda text: repr(text[:12]),
)
def test_run_is_something_else(text: str, out: Path) -> None:
    (out / "run.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(DataError):
        nd.load(out)


@pytest.mark.parametrize(
    "folder",
    ["..", "../elsewhere", "/elsewhere", "", ".", "a/b", "features.3/", "features.3/.", "a\0b", 5, None, ["a"]],
)
def test_a_folder_outside_the_result(folder: Any, out: Path) -> None:
    """Whatever run.json says, nothing beside the result folder is read, though it could be."""
    for name in ("elsewhere", "."):
        shutil.copytree(out / "features.3", out.parent / name, dirs_exist_ok=True)
    for file in (out / "features.3").glob("*.*"):
        shutil.copy(file, out)
    run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    if folder == "/elsewhere":
        folder = str(out.parent / "elsewhere")
    run["layers"]["features.3"]["folder"] = folder
    (out / "run.json").write_text(json.dumps(run), encoding="utf-8")
    with pytest.raises(DataError):
        nd.load(out)


# ------------------------------------------------------------------------------------------- failing writes


def disk_full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("failure", "error"), [(disk_full, OutputError), (interrupted, KeyboardInterrupt)], ids=["disk_full", "control_c"]
)
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_write_leaves_the_old_file(
    failure: Callable[..., None], error: type[BaseException], call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    if call == "fsync":
        monkeypatch.setattr(os, "fsync", failure)
    else:
        monkeypatch.setattr(Path, "replace", failure)
    with pytest.raises(error) as caught:
        write_text(path, "new")
    if error is OutputError:
        assert f"cannot write {path}: No space left on device" in str(caught.value)
        assert "free some space or choose another --out" in str(caught.value)
    assert path.read_text() == "old"
    assert listing(tmp_path) == ["file.txt"]
    monkeypatch.undo()
    write_text(path, "new")
    assert path.read_text() == "new"


def test_a_failing_first_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OutputError, match="No space left on device"):
        dissection().save(tmp_path / "out")
    with pytest.raises(DataError):
        nd.load(tmp_path / "out")
    assert not [name for name in listing(tmp_path) if name.endswith((".part", ".json", ".csv", ".safetensors"))]


def test_a_run_whose_saving_fails_halfway_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """run.json comes last: whatever write fails, a folder with half the layers is not taken for a result."""
    whole = dissection()
    replace = Path.replace
    whole.save(tmp_path / "all")
    writes = len([p for p in (tmp_path / "all").rglob("*") if p.is_file()])
    for allowed in range(writes):
        left = iter(range(allowed))

        def limited(self: Path, target: Path, left: Any = left) -> Path:
            if next(left, None) is None:
                disk_full()
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", limited)
        with pytest.raises(OutputError):
            whole.save(tmp_path / str(allowed))
        with pytest.raises(DataError, match=r"run\.json: cannot be read"):
            nd.load(tmp_path / str(allowed))
        monkeypatch.setattr(Path, "replace", replace)


def test_a_failing_second_run_is_never_mixed_with_the_first(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever write fails, the folder loads as the old result, or not at all."""
    old, new = dissection(), dissection()
    for one in new.values():
        one.counts.pixels += 1
    replace = Path.replace
    for allowed in range(4):
        left = iter(range(allowed))

        def limited(self: Path, target: Path, left: Any = left) -> Path:
            if next(left, None) is None:
                disk_full()
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", limited)
        with pytest.raises(OutputError):
            new.save(out)
        monkeypatch.setattr(Path, "replace", replace)
        try:
            loaded = nd.load(out)
        except DataError:
            pass
        else:
            for name in old:
                assert_same_layer(loaded[name], old[name])
        old.save(out)


LIMITED = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from netdissect_fast.errors import OutputError
from netdissect_fast.storage import write_arrays, write_text
path = Path(sys.argv[1])
write_text(path, "old")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
for write in (lambda: write_text(path, "x" * 100_000), lambda: write_arrays(path, {"a": np.zeros(10**6)})):
    try:
        write()
    except OutputError as error:
        print(error)
print(path.read_text(), sorted(p.name for p in path.parent.iterdir()))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_full_disk(tmp_path: Path) -> None:
    """A real write that fails in the middle, in a process that may not write large files."""
    path = tmp_path / "folder" / "file"
    done = subprocess.run([sys.executable, "-c", LIMITED, path], capture_output=True, text=True, timeout=60, check=True)
    lines = done.stdout.splitlines()
    assert lines[:2] == [f"cannot write {path}: File too large; free some space or choose another --out"] * 2
    assert lines[2] == "old ['file']"


def test_unwritable_places(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "taken" / "run.json").mkdir(parents=True)
    for place in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "taken", tmp_path / ("x" * 300)):
        with pytest.raises(OutputError, match="cannot write"):
            dissection().save(place)
    assert (tmp_path / "file").read_text() == "mine"


def test_load_is_the_public_name() -> None:
    assert nd.load is load
