"""Broken result folders and failing writes: a clear error, and nothing half written."""

from __future__ import annotations

import errno
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netdissect_fast as nd
from netdissect_fast.errors import DataError, OutputError
from netdissect_fast.results.run_result import load
from netdissect_fast.storage import MAX_JSON, read_arrays, write_arrays, write_text

from ..support.small_results import assert_same_layer, dissection, without_checksum


@pytest.fixture
def out(tmp_path: Path) -> Path:
    dissection().save(tmp_path / "out")
    return tmp_path / "out"


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
    "areas whose sum overflows": lambda a: [a[name].fill(2**62) for name in ("unit_area", "concept_area", "pixels")],
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
    "grid size huge": at("layers", "fc:logits@0", "grid", "size", value=[2**31, 1]),  # a layer without peaks
    "grid input size huge": at(*FIRST, "grid", "input_size", value=[10**400, 1]),
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
    "name of half a character": at("vocabulary", "names", value=["a", "b", "c", "\ud800"]),
    "layer of half a character": lambda run: run["layers"].update({"\ud800": run["layers"].pop("features.3")}),
}


@pytest.mark.parametrize("what", BROKEN_RUNS)
def test_broken_run(what: str, out: Path) -> None:
    run = without_checksum(out)
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
    run = without_checksum(out)
    if folder == "/elsewhere":
        folder = str(out.parent / "elsewhere")
    run["layers"]["features.3"]["folder"] = folder
    (out / "run.json").write_text(json.dumps(run), encoding="utf-8")
    with pytest.raises(DataError):
        nd.load(out)


EVERY = [*FILES, "features.3/result.csv"]


def read(out: Path, file: str) -> object:
    return nd.compare_csv(out / file) if file.endswith(".csv") else nd.load(out)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no such files")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "link to itself", "link to another kind of file"])
@pytest.mark.parametrize("file", EVERY)
def test_files_of_other_kinds(file: str, kind: str, out: Path) -> None:
    """Nothing waits for a pipe or reads a device to its end."""
    path = out / file
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"device": "/dev/zero", "link to itself": path.name}.get(kind, __file__))
    with pytest.raises(DataError) as caught:
        read(out, file)
    assert caught.value.path == str(path)


def test_links_are_followed_in_reading_and_replaced_in_writing(out: Path, tmp_path: Path) -> None:
    """What a planted link points to is never written to."""
    whole = nd.load(out)
    shutil.move(out, tmp_path / "elsewhere")
    for file in (tmp_path / "elsewhere").rglob("*.*"):
        if file.is_file():
            link = out / file.relative_to(tmp_path / "elsewhere")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)
    before = {file: file.read_bytes() for file in (tmp_path / "elsewhere").rglob("*.*") if file.is_file()}
    loaded = nd.load(out)
    for name in whole:
        assert_same_layer(loaded[name], whole[name])
        loaded[name].counts.pixels += 1
    loaded.save(out)
    assert before == {file: file.read_bytes() for file in before}
    assert not any((out / file.relative_to(tmp_path / "elsewhere")).is_symlink() for file in before)


def test_a_json_file_has_a_largest_size(out: Path) -> None:
    """A hole of a terabyte costs nothing to plant; it is not read."""
    with (out / "run.json").open("r+b") as file:
        file.truncate(MAX_JSON + 1)
    with pytest.raises(DataError, match=r"run\.json: has 100000001 bytes, more than the 100000000 expected"):
        nd.load(out)


@pytest.mark.parametrize("file", FILES[1:])
def test_a_safetensors_header_has_a_largest_size(file: str, out: Path) -> None:
    with (out / file).open("r+b") as content:
        content.write(struct.pack("<Q", 100_000_001))
        content.truncate(200_000_000)
    with pytest.raises(DataError, match=r"safetensors: is not a readable safetensors file: .*header too large"):
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
        assert "free some space or choose a different --out" in str(caught.value)
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


def failing_after(allowed: int) -> Any:
    """A Path.replace for a disk that is full after ``allowed`` files."""
    replace, left = Path.replace, iter(range(allowed))

    def limited(self: Path, target: Path) -> Path:
        if next(left, None) is None:
            disk_full()
        return replace(self, target)

    return limited


def test_a_run_whose_saving_fails_halfway_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """run.json comes last: whatever write fails, a folder with half the layers is not taken for a result."""
    whole = dissection()
    replace = Path.replace
    whole.save(tmp_path / "all")
    writes = len([p for p in (tmp_path / "all").rglob("*") if p.is_file()])
    for allowed in range(writes):
        monkeypatch.setattr(Path, "replace", failing_after(allowed))
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
        monkeypatch.setattr(Path, "replace", failing_after(allowed))
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
    assert lines[:2] == [f"cannot write {path}: File too large; free some space or choose a different --out"] * 2
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
