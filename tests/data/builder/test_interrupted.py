"""Builds that are broken off, anywhere and in any way, end in the same bytes as one that was not."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netdissect_fast.data.builder import build as builder
from netdissect_fast.data.builder.build import build
from netdissect_fast.data.builder.first_pass import Extractor
from netdissect_fast.data.builder.second_pass import Assembler
from netdissect_fast.data.dataset import DataWarning
from netdissect_fast.errors import InUse, OutputError, ResumeMismatch

from .made import EASY, contents, drawn

IMAGES, CHUNK = 10, 3
MEMORY = Path("/dev/shm")
SOURCES = [drawn("a", 6), drawn("b", 4, seed=1)]


class Stopped(BaseException):
    """As Ctrl-C."""


class Calls:
    """Counts calls of something, and stops the n-th and all after it."""

    def __init__(self, patch: pytest.MonkeyPatch, owner: Any, name: str, fatal: int = 0) -> None:
        self.count = 0
        inner = getattr(owner, name)

        def counted(*arguments: Any) -> Any:
            self.count += 1
            if fatal and self.count >= fatal:
                raise Stopped
            return inner(*arguments)

        patch.setattr(owner, name, counted)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "CHUNK", CHUNK)
    monkeypatch.setattr(os, "sync", lambda: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a build leaves that nothing disturbs."""
    out = tmp_path_factory.mktemp("whole") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, "CHUNK", CHUNK)
        build(SOURCES, out, size=8, **EASY)
    return contents(out)


def test_processes_write_the_same_bytes(whole: dict[str, bytes], tmp_path: Path) -> None:
    build(SOURCES, tmp_path / "out", size=8, **{**EASY, "workers": 2})
    assert contents(tmp_path / "out") == whole
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_chunks_change_nothing_but_the_last_digits_of_sums(whole: dict[str, bytes], tmp_path: Path) -> None:
    builder.CHUNK = 64
    build(SOURCES, tmp_path / "out", size=8, **EASY)
    assert contents(tmp_path / "out") == whole


@pytest.mark.parametrize(
    ("owner", "name", "fatal", "read", "written"),
    [  # images that must be read and written again
        (Extractor, "_extract", 1, 10, 10),
        (Extractor, "_extract", 5, 7, 10),
        (Extractor, "_extract", 10, 1, 10),
        (Extractor, "_write_photo", 8, 4, 10),
        (builder, "add_up", 1, 0, 10),
        (builder, "number_concepts", 1, 0, 10),
        (Assembler, "_row", 1, 0, 10),
        (Assembler, "_row", 7, 0, 4),
        (builder, "write_concepts", 1, 0, 0),
        (builder, "write_index", 1, 0, 0),
        (builder, "_write_notes", 1, 0, 0),
        (os, "sync", 1, 0, 0),
        (Path, "rename", 1, 0, 0),
    ],
)
def test_stopped_and_gone_on_with(
    owner: Any, name: str, fatal: int, read: int, written: int, whole: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        Calls(patch, owner, name, fatal)
        with pytest.raises(Stopped):
            build(SOURCES, out, size=8, **EASY)
    assert [path.name for path in tmp_path.iterdir()] == [".out.building"]
    with pytest.MonkeyPatch.context() as patch:
        reading, writing = Calls(patch, Extractor, "_extract"), Calls(patch, Assembler, "_row")
        build(SOURCES, out, size=8, **EASY)
        assert (reading.count, writing.count) == (read, written)
    assert contents(out) == whole
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_stopped_again_and_again(whole: dict[str, bytes], tmp_path: Path) -> None:
    for fatal in (4, 2, 3, 3):
        with pytest.MonkeyPatch.context() as patch:
            Calls(patch, Extractor, "_extract", fatal)
            with pytest.raises(Stopped):
                build(SOURCES, tmp_path / "out", size=8, **EASY)
    build(SOURCES, tmp_path / "out", size=8, **EASY)
    assert contents(tmp_path / "out") == whole


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A build of ``SOURCES`` into ``out`` that was stopped after a chunk."""
    with pytest.MonkeyPatch.context() as patch:
        Calls(patch, Extractor, "_extract", CHUNK + 1)
        with pytest.raises(Stopped):
            build(SOURCES, tmp_path / "out", size=8, **EASY)
    return tmp_path / ".out.building"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"size": 10}, "size, label_size"),
        ({"label_size": 3}, "label_size"),
        ({"colours": np.zeros((32, 32, 32), np.uint8)}, "colours"),
        ({"limit": 5}, "limit"),
        ({"sources": SOURCES[:1]}, "sources"),
        ({"sources": [SOURCES[0], replace(SOURCES[1], version="changed")]}, "sources"),
        ({"sources": SOURCES[::-1]}, "sources"),
    ],
)
def test_other_settings_or_files(change: dict[str, Any], named: str, begun: Path, tmp_path: Path) -> None:
    options = {"size": 8, "sources": SOURCES, **EASY, **change}
    sources = options.pop("sources")
    left = contents(begun)
    with pytest.raises(
        ResumeMismatch, match=f"was begun with different settings [(]{named}[)]: use the same, or start over"
    ):
        build(sources, tmp_path / "out", **options)
    assert contents(begun) == left
    build(sources, tmp_path / "out", restart=True, **options)
    build(sources, tmp_path / "straight", **options)
    assert contents(tmp_path / "out") == contents(tmp_path / "straight")
    assert {path.name for path in tmp_path.iterdir()} == {"out", "straight"}


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        {"min_frequency": 3},
        {"min_coverage": 0.3},
        {"synonyms": list},
        {"train": 0.5, "salt": "pepper"},
        {"synonyms": lambda names: [f"any {name}" for name in names]},
    ],
)
def test_what_was_read_stays_where_only_other_names_are_asked_for(
    change: dict[str, Any], restart: bool, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        Calls(patch, Assembler, "_row", CHUNK + 2)  # one chunk's label maps are there, and some of another's
        with pytest.raises(Stopped):
            build(SOURCES, tmp_path / "out", size=8, **EASY)
    with pytest.MonkeyPatch.context() as patch:
        reading = Calls(patch, Extractor, "_extract")
        build(SOURCES, tmp_path / "out", size=8, restart=restart, **{**EASY, **change})
    assert reading.count == 0
    build(SOURCES, tmp_path / "straight", size=8, **{**EASY, **change})
    assert contents(tmp_path / "out") == contents(tmp_path / "straight")


def test_restart_goes_on_where_nothing_has_changed(begun: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        reading = Calls(patch, Extractor, "_extract")
        build(SOURCES, tmp_path / "out", size=8, restart=True, **EASY)
    assert reading.count == IMAGES - CHUNK
    assert contents(tmp_path / "out") == whole
    assert not begun.exists()


def test_what_left_broken_images_out_does_not_go_on_as_if_it_had_not(begun: Path, tmp_path: Path) -> None:
    broken = [replace(SOURCES[0], broken=(1, 5)), SOURCES[1]]
    with pytest.MonkeyPatch.context() as patch:
        Calls(patch, Extractor, "_extract", 6)
        with pytest.raises(Stopped):
            build(broken, tmp_path / "out", size=8, strict=False, **EASY)
    with pytest.raises(ResumeMismatch, match=r"different settings [(]strict[)]"):
        build(broken, tmp_path / "out", size=8, **EASY)
    with pytest.warns(DataWarning, match="broken images skipped: 1"):  # the other was read before it broke
        built = build(broken, tmp_path / "out", size=8, strict=False, **EASY)
    assert built.images == IMAGES - 1
    assert not begun.exists()


def spoil(name: str, content: bytes | None) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        if content is None:
            (folder / name).unlink()
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

    return change


@pytest.mark.parametrize(
    ("change", "read"),
    [
        (spoil("work/extracted-00000.safetensors", b"half"), IMAGES),
        (spoil("work/extracted-00000.safetensors", None), IMAGES),
        (spoil("settings.json", b'{"form'), IMAGES),
        (spoil("settings.json", None), IMAGES),
        (spoil("data/images/a/.image4.jpg.4711.part", b"half"), IMAGES - CHUNK),
        (spoil("data/.index.csv.4711.part", b"half"), IMAGES - CHUNK),
        (lambda begun: shutil.rmtree(begun / "data"), IMAGES),  # moved to its place; then killed, and removed there
    ],
)
def test_what_a_killed_build_may_leave(
    change: Callable[[Path], None], read: int, begun: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    change(begun)
    with pytest.MonkeyPatch.context() as patch:
        reading = Calls(patch, Extractor, "_extract")
        build(SOURCES, tmp_path / "out", size=8, **EASY)
    assert reading.count == read
    assert contents(tmp_path / "out") == whole


def test_settings_that_are_no_settings(begun: Path, tmp_path: Path) -> None:
    (begun / "settings.json").write_text("[1, 2]")
    with pytest.raises(ResumeMismatch, match=r"different settings [(]format, version"):
        build(SOURCES, tmp_path / "out", size=8, **EASY)


@pytest.mark.skipif(os.name != "posix", reason="permissions of folders")
def test_a_disk_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("PIL.Image.Image.save", full)
    with pytest.raises(OutputError, match=r"No space left on device; free some space"):
        build(SOURCES, tmp_path / "out", size=8, **EASY)
    assert not (tmp_path / "out").exists()


SCRIPT = """
import os, sys
from pathlib import Path
from tests.data.builder.made import EASY
from tests.data.builder.test_interrupted import SOURCES
from netdissect_fast.data.builder import build as builder
os.sync, builder.CHUNK = lambda: None, 3
what, out = sys.argv[1], Path(sys.argv[2])
"""
HOLD = """
builder.add_up = lambda *_: print("held", flush=True) or sys.stdin.read()
builder.build(SOURCES, out, size=8, **EASY)
"""
ALONE = """
if __name__ == "__main__":
    print("begun", flush=True)
    if not out.exists():
        builder.build(SOURCES, out, size=8, **{**EASY, "workers": int(what)})
"""
KILLED = """
import random, shutil, signal
import PIL.Image, PIL.JpegImagePlugin, PIL.PngImagePlugin, safetensors.numpy, tqdm
from tests.data.builder.made import contents
from tests.support.killing import Writes

def attempt(write):
    child = os.fork()
    if not child:
        try:
            if write:
                Writes(str(out.parent), write).install()
            builder.build(SOURCES, out, size=8, **EASY)
        finally:
            os._exit(3 if sys.exc_info()[0] else 0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

assert attempt(0) == 0
whole, kills, step = contents(out), 0, int(what)
for first in range(1, 10_000, step):
    shutil.rmtree(out)
    write = first + random.Random(first).randrange(step)
    if attempt(write) == 0:
        break
    kills += 1
    if out.exists():  # whole, and only what was beside it not yet removed
        assert contents(out) == whole, write
        shutil.rmtree(out)
    assert attempt(0) == 0
    assert contents(out) == whole, write
    assert [path.name for path in out.parent.iterdir()] == ["out"], write
print(kills)
"""


def script(text: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT + text, *map(str, arguments)],
        cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_builds_at_once(whole: dict[str, bytes], tmp_path: Path) -> None:
    with script(HOLD, "hold", tmp_path / "out") as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            with pytest.raises(InUse, match=f"process {process.pid} "):
                build(SOURCES, tmp_path / "out", size=8, **EASY)
            build(SOURCES, tmp_path / "other", size=8, **EASY)  # beside it
        finally:
            process.kill()
    build(SOURCES, tmp_path / "out", size=8, **EASY)
    assert contents(tmp_path / "out") == contents(tmp_path / "other") == whole


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and finds files in /proc")
def test_killed_at_writes() -> None:
    """``NETDISSECT_KILLS=1000``: at every one."""
    step = 1 if int(os.environ.get("NETDISSECT_KILLS", "30")) >= 200 else 60
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
        with script(KILLED, step, Path(folder, "out")) as process:
            printed, _ = process.communicate(timeout=550)
        assert process.returncode == 0
        assert int(printed) >= 5


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
def test_killed_at_random_with_processes(whole: dict[str, bytes], tmp_path: Path) -> None:
    rng = random.Random(0)
    for _ in range(2):
        with script(ALONE, 1, tmp_path / "out") as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            time.sleep(rng.uniform(0, 2))
            process.send_signal(signal.SIGKILL)
        assert {path.name for path in tmp_path.iterdir()} <= {"out", ".out.building", ".out.lock"}
    if not (tmp_path / "out").exists():
        build(SOURCES, tmp_path / "out", size=8, **EASY)
    assert contents(tmp_path / "out") == whole
