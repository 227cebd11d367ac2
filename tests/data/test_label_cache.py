"""Packed labels on disk: equal to packing afresh, whatever happens to the files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from netdissect_fast.concepts import ImageLabels, PackedLabels
from netdissect_fast.data.dataset import Subset
from netdissect_fast.data.formats.broden import Broden
from netdissect_fast.data.formats.synthetic import Synthetic
from netdissect_fast.data.label_cache import cache_folder, packed_labels
from netdissect_fast.errors import ArgumentError, DataError
from netdissect_fast.storage import read_arrays, write_arrays

from ..support.tiny_broden import write_tiny


class Counting(Synthetic):
    """Counts how often labels are asked for; the first image's size is always asked for."""

    calls = 0

    def labels(self, index: int) -> ImageLabels:
        type(self).calls += index > 0
        return super().labels(index)


@pytest.fixture
def data() -> Counting:
    Counting.calls = 0
    return Counting(12, seed=5, size=48)


@pytest.fixture(scope="module")
def expected() -> PackedLabels:
    data = Synthetic(12, seed=5, size=48)
    return PackedLabels.pack((data.labels(i) for i in range(12)), data.vocabulary)


def equal(a: PackedLabels, b: PackedLabels) -> bool:
    assert {field: value.dtype for field, value in vars(a).items()} == {f: v.dtype for f, v in vars(b).items()}
    return all(np.array_equal(value, getattr(b, field)) for field, value in vars(a).items())


def entry(cache: Path) -> Path:
    (folder,) = (cache / "labels-1").iterdir()
    return folder


@pytest.mark.parametrize("threads", [1, 3, None])
def test_built_once_then_read(data: Counting, expected: PackedLabels, tmp_path: Path, threads: int | None) -> None:
    first = packed_labels(data, tmp_path, threads)
    assert equal(first, expected)
    assert Counting.calls == 11
    second = packed_labels(data, tmp_path, threads)
    assert equal(second, expected)
    assert Counting.calls == 11
    assert entry(tmp_path).name == f"{data.fingerprint()}-24x24"
    assert not second.words.flags.writeable  # mapped


def test_other_data_has_another_entry(data: Counting, tmp_path: Path) -> None:
    packed_labels(data, tmp_path)
    part = Subset.first(data, 5)
    assert len(packed_labels(part, tmp_path)) == 5
    assert len(list((tmp_path / "labels-1").iterdir())) == 2


def test_whole_image_labels_only(tmp_path: Path) -> None:
    data = Broden(write_tiny(tmp_path), categories=["scene"])
    for _ in range(2):
        packed = packed_labels(data, tmp_path / "cache")
        assert packed.words.size == 0
        assert packed.concept_area(6).tolist() == [0, 0, 0, 8 * 12 + 25, 25, 0]


def test_a_map_outlives_its_cache(data: Counting, expected: PackedLabels, tmp_path: Path) -> None:
    packed = packed_labels(data, tmp_path)
    shutil.rmtree(tmp_path)
    assert equal(packed, expected)
    assert equal(packed_labels(data, tmp_path), expected)
    assert Counting.calls == 22


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-8])


def point_outside(file: Path) -> None:
    arrays, _ = read_arrays(file)
    arrays["slot_concept"] = arrays["slot_concept"] + 1000
    write_arrays(file, arrays)


def in_tables(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def spoil(file: Path) -> None:
        arrays, _ = read_arrays(file)
        write_arrays(file, {**arrays, name: change(arrays[name].copy())})

    return spoil


def last_is_infinite(starts: np.ndarray) -> np.ndarray:
    return np.append(starts[:-1], np.inf)


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def change(key: str, value: object) -> Callable[[Path], None]:
    return lambda file: file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("words.bin", truncate),
        ("words.bin", lambda file: file.write_bytes(b"")),
        ("words.bin", lambda file: file.write_bytes(file.read_bytes()[:-3])),
        ("words.bin", Path.unlink),
        ("tables.safetensors", truncate),
        ("tables.safetensors", lambda file: file.write_bytes(b"\xff" * 100)),
        ("tables.safetensors", point_outside),
        ("tables.safetensors", in_tables("word_start", last_is_infinite)),
        ("tables.safetensors", in_tables("grid", lambda grid: grid + 2**30)),
        ("tables.safetensors", in_tables("slot_area", lambda area: area + 24 * 24)),
        ("tables.safetensors", in_tables("whole_start", lambda start: start[:-1])),
        ("tables.safetensors", lambda file: write_arrays(file, {**read_arrays(file)[0], "more": np.zeros(1)})),
        ("tables.safetensors", pipe),
        ("words.bin", pipe),
        ("manifest.json", pipe),
        ("manifest.json", Path.unlink),
        ("manifest.json", truncate),
        ("manifest.json", lambda file: file.write_text("[]")),
        ("manifest.json", change("format", 0)),
        ("manifest.json", change("fingerprint", "0" * 64)),
        ("manifest.json", change("byte_order", "middle")),
        ("", lambda folder: (shutil.rmtree(folder), folder.mkdir())),
        ("", lambda folder: [file.unlink() for file in folder.iterdir()]),
    ],
)
def test_a_broken_cache_is_built_again(
    data: Counting, expected: PackedLabels, tmp_path: Path, name: str, spoil: Callable[[Path], object]
) -> None:
    packed_labels(data, tmp_path)
    spoil(entry(tmp_path) / name)
    assert equal(packed_labels(data, tmp_path), expected)
    assert Counting.calls == 22
    assert equal(packed_labels(data, tmp_path), expected)
    assert Counting.calls == 22
    assert sorted(file.name for file in entry(tmp_path).iterdir()) == [
        "manifest.json",
        "tables.safetensors",
        "words.bin",
    ]


BUILD = """
import sys, time
from netdissect_fast.data.formats.synthetic import Synthetic
from netdissect_fast.data.label_cache import packed_labels
class Slow(Synthetic):
    def labels(self, index):
        time.sleep(float(sys.argv[2]))
        print(index, flush=True)
        return super().labels(index)
packed = packed_labels(Slow(12, seed=5, size=48), sys.argv[1], 1)
print("words", packed.words.sum())
"""


def builder(cache: Path, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", BUILD, str(cache), str(seconds)], stdout=subprocess.PIPE, text=True
    )


def test_of_several_processes_one_builds(expected: PackedLabels, tmp_path: Path) -> None:
    processes = [builder(tmp_path, 0.02) for _ in range(8)]
    decoded = []
    for process in processes:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        *numbers, words = out.splitlines()
        assert words == f"words {expected.words.sum()}"
        decoded.append(len(numbers))
    assert sorted(decoded) == [1] * 7 + [13]  # all ask for the first, for its size
    assert entry(tmp_path).name.endswith("-24x24")  # one entry, no leftovers


def test_a_killed_builder_leaves_nothing_that_matters(data: Counting, expected: PackedLabels, tmp_path: Path) -> None:
    process = builder(tmp_path, 0.2)
    assert process.stdout is not None
    while process.stdout.readline().strip() != "3":
        assert process.poll() is None
    process.kill()
    process.communicate(timeout=60)
    (left,) = (tmp_path / "labels-1").glob("*.part")
    assert equal(packed_labels(data, tmp_path), expected)
    old = time.time() - 2 * 24 * 3600
    os.utime(left, (old, old))
    shutil.rmtree(tmp_path / "labels-1" / f"{data.fingerprint()}-24x24")
    packed_labels(data, tmp_path)
    assert entry(tmp_path).name.endswith("-24x24")  # an old leftover is removed


def test_errors_of_the_data_propagate_and_leave_nothing(tmp_path: Path) -> None:
    tiny = write_tiny(tmp_path / "tiny")
    (tiny / "images" / "a" / "two_object.png").write_bytes(b"")
    cache = tmp_path / "cache"
    with pytest.raises(DataError, match=r"line 3: images/a/two_object\.png is empty"):
        packed_labels(Broden(tiny), cache)
    assert list((cache / "labels-1").iterdir()) == []


def test_interrupting_leaves_nothing(data: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Synthetic, index: int) -> ImageLabels:
        if index == 7:
            raise KeyboardInterrupt
        return Synthetic.labels(self, index)

    monkeypatch.setattr(Counting, "labels", interrupted)
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        packed_labels(data, tmp_path)
    assert list((tmp_path / "labels-1").iterdir()) == []
    assert threading.active_count() == before


def test_a_number_outside_the_vocabulary_names_the_image(
    data: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = ImageLabels(np.full((1, 24, 24), 9999, np.int32))
    monkeypatch.setattr(Counting, "labels", lambda self, index: wrong)
    with pytest.raises(ArgumentError, match=r"synthetic/000000\.png: concept number 9999"):
        packed_labels(data, tmp_path)


def test_without_a_writable_folder_one_warning(data: Counting, expected: PackedLabels, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.warns(UserWarning, match="packed labels are not cached") as caught:
        packed = packed_labels(data, blocked)
    assert len(caught) == 1
    assert equal(packed, expected)


def test_a_full_disk_is_one_warning(data: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(UserWarning, match="No space left on device") as caught:
        packed_labels(data, tmp_path)
    assert len(caught) == 1
    assert list((tmp_path / "labels-1").iterdir()) == []


def test_a_read_only_cache_is_read(data: Counting, expected: PackedLabels, tmp_path: Path) -> None:
    packed_labels(data, tmp_path)
    for folder in (tmp_path / "labels-1", entry(tmp_path)):
        folder.chmod(0o555)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert equal(packed_labels(data, tmp_path), expected)
    finally:
        for folder in (tmp_path / "labels-1", entry(tmp_path)):
            folder.chmod(0o755)
    assert Counting.calls == 11


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("NETDISSECT_FAST_CACHE", raising=False)
    assert cache_folder() == tmp_path / "xdg" / "netdissect-fast"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "netdissect-fast"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == tmp_path / "Library" / "Caches" / "netdissect-fast"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_folder() == tmp_path / "local" / "netdissect-fast"
    monkeypatch.setenv("NETDISSECT_FAST_CACHE", str(tmp_path / "env"))
    assert cache_folder() == tmp_path / "env"
    assert cache_folder(tmp_path / "chosen") == tmp_path / "chosen"


def test_without_a_home_one_warning(data: Counting, expected: PackedLabels, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.delenv("NETDISSECT_FAST_CACHE", raising=False)
    with pytest.warns(UserWarning, match="choose a folder with --cache"):
        assert equal(packed_labels(data), expected)


def test_threads_are_checked(data: Counting, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="threads must be at least 1, got 0"):
        packed_labels(data, tmp_path, threads=0)
