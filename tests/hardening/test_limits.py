"""Full disks, read-only folders, little memory, loader processes and Ctrl-C.

Without the right to mount, ``unshare -rm pytest tests/hardening/test_limits.py`` runs what is skipped.
"""

from __future__ import annotations

import contextlib
import gc
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tqdm.auto import tqdm

import netdissect_fast as nd
from netdissect_fast.data.formats.synthetic import write_synthetic
from netdissect_fast.data.input.batches import image_batches
from netdissect_fast.errors import OutputError
from netdissect_fast.network.hooks import watch
from netdissect_fast.runs.parts import find_parts
from netdissect_fast.runs.records import ResumeWarning
from netdissect_fast.storage import LOCK, only_writer

from ..support.networks import two_layers

resource = pytest.importorskip("resource", reason="needs POSIX limits")

IMAGES, BATCH = 40, 4
SECONDS = 20  # in which a run must have ended after Ctrl-C; it takes one or two
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def dissect(net: torch.nn.Module, out: Path, cache: Path, **options: Any) -> nd.Dissection:
    data = nd.Synthetic(IMAGES, size=32)
    options = {"quantile": "0.05", "batch_size": BATCH, "checkpoint_every": 0, "threads": 1, **options}
    return nd.dissect(net, data, ["0", "3"], out=out, cache=cache, progress=False, **options)


def contents(out: Path, but: tuple[str, ...] = ("timings.json",)) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()
            and path.name not in but}  # fmt: skip


def passes(net: torch.nn.Module) -> list[int]:
    """Filled with the number of images of each forward pass."""
    sizes: list[int] = []
    net.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    return sizes


# ---------------------------------------------------------------------------------------------------- P26: disks


def mount(folder: Path, *options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    return bool(shutil.which("mount")) and not subprocess.run(command, capture_output=True).returncode


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB, which ``mount(disk, "remount", ...)`` changes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mount(folder, "size=1000k"):
        pytest.skip("may not mount a file system: try under `unshare -rm`")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@contextlib.contextmanager
def file_size(size: int) -> Iterator[None]:
    """No file of this process may become larger; writing then fails, much as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def full_later(kind: str, out: Path, whole: dict[str, bytes]) -> Iterator[None]:
    """Room for the first checkpoints, but not for all of the result."""
    if kind == "file size":
        with file_size(6 * max(map(len, whole.values())) // 10):
            yield
        return
    blocks = sum(-(-len(content) // 4096) for content in whole.values())
    assert mount(out.parent, "remount", f"size={4096 * 13 * blocks // 10}")
    yield
    assert mount(out.parent, "remount", "size=10m")


@pytest.mark.parametrize("kind", ["file system", "file size"])
def test_a_disk_that_is_full_midway(kind: str, request: pytest.FixtureRequest, tmp_path: Path, cache: Path) -> None:
    """A warning for each checkpoint that is not written, an error at the end; then the same command goes on."""
    dissect(two_layers(), tmp_path / "whole", cache)
    whole = contents(tmp_path / "whole")
    folder = request.getfixturevalue("disk") if kind == "file system" else tmp_path
    out = folder / "out"
    with full_later(kind, out, whole):
        with (
            pytest.warns(ResumeWarning, match="no checkpoint at image .*; the run continues: cannot write") as warned,
            pytest.raises(OutputError, match="cannot write"),
        ):
            dissect(two_layers(), out, cache)
        with pytest.raises(nd.NetDissectError):
            nd.load(out)
        (part,) = find_parts(out)
        assert set(part.collected()) == {"0", "3"}
        assert part.span == (0, IMAGES - BATCH * len(warned))
        assert not [path for path in out.rglob("*") if path.suffix == ".part" or path.name == LOCK]
    net = two_layers()
    sizes = passes(net)
    dissect(net, out, cache)
    assert sizes == [1] + [BATCH] * len(warned)
    assert contents(out) == whole


def test_a_disk_that_is_too_small_from_the_start(disk: Path, cache: Path) -> None:
    """The error says how much is needed and free. One image was looked at, which tells the sizes of the layers."""
    for filled in (0, 900_000, 2_000_000):
        with contextlib.suppress(OSError):
            (disk / "filled").write_bytes(bytes(filled))
        net = two_layers(300)
        sizes = passes(net)
        with pytest.raises(OutputError, match=r"the result will need at least 4 MB, but [01] MB are free; free some"):
            dissect(net, disk / "out", cache, quantile="0.2")
        assert sizes == [1]
        assert not list((disk / "out").iterdir())


def test_files_that_cannot_be_written_from_the_start(tmp_path: Path, cache: Path) -> None:
    net = two_layers()
    sizes = passes(net)
    with file_size(0), pytest.raises(OutputError, match="cannot write"):
        dissect(net, tmp_path / "out", cache)
    assert sizes == [1]
    assert not list((tmp_path / "out").iterdir())


def test_a_folder_that_is_read_only(disk: Path, cache: Path) -> None:
    dissect(two_layers(), disk / "out", cache)
    assert mount(disk, "remount", "ro")
    net = two_layers()
    sizes = passes(net)
    with pytest.raises(OutputError, match=r"cannot write .*: Read-only file system"):
        dissect(net, disk / "out", cache)
    assert not sizes
    assert set(nd.load(disk / "out")) == {"0", "3"}


def test_a_folder_without_permission(tmp_path: Path, cache: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o555)
    net = two_layers()
    sizes = passes(net)
    with pytest.raises(OutputError, match=r"cannot write .*: Permission denied"):
        dissect(net, tmp_path / "out", cache)
    assert not sizes


# --------------------------------------------------------------------------------------------------- P27: memory

WIDE = """
import functools, json, re, resource, sys
from pathlib import Path
import torch
import netdissect_fast as nd
from netdissect_fast.data.formats import synthetic

UNITS, PICTURES, IMAGES, LESS = 16384, 20, 200, 3

def size_of(what):
    return 1024 * int(re.search(what + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

synthetic._draw = functools.cache(synthetic._draw)
torch.set_num_threads(1)
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Conv2d(3, UNITS, 2, stride=2)).eval()
net.input_size, net.mean, net.std = (3, 32, 32), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
data = nd.Synthetic(IMAGES, size=32)
options = {"batch_size": 4, "threads": 1, "cache": sys.argv[1]}
held, add = [], nd.Peaks.add

def watched(self, *arguments):
    add(self, *arguments)
    held.append(self.nbytes)

expected = nd.estimate(net, data, "0", **options).layers["0"]
nd.Peaks.add = watched
before = size_of("VmSize")
resource.setrlimit(resource.RLIMIT_AS, 2 * (before + expected.dense_bytes // LESS,))
result = nd.dissect(net, data, "0", progress=False, **options)
answer = {"dense": expected.dense_bytes, "expected": expected.peak_bytes, "held": max(held)}
answer |= {"store": expected.store_bytes, "stored": result["0"].peaks.nbytes}
print(json.dumps(answer | {"grown": size_of("VmPeak") - before, "units": len(result["0"].thresholds)}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits address space")
def test_a_wide_layer_in_little_memory(tmp_path: Path) -> None:
    """16,384 units under a third of the address space that their activations would take, beyond torch's own.

    What the estimate can be held to is the store of peaks, which is most of what grows with the images. A batch of
    activations, the labels and passing copies come on top, and are in what the process has grown by.
    """
    command = [sys.executable, "-c", WIDE, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    print({name: f"{size / 1e6:.0f} MB" for name, size in found.items() if name != "units"})
    assert found["units"] == 16384
    assert found["grown"] <= found["dense"] / 3
    assert found["held"] <= found["expected"]
    assert found["stored"] <= 1.05 * found["store"]


# ------------------------------------------------------------------------------------------ P14: processes, Ctrl-C


@pytest.fixture
def start_method(request: pytest.FixtureRequest) -> Iterator[str]:
    """How multiprocessing starts processes; as before afterwards."""
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(request.param, force=True)
    yield request.param
    multiprocessing.set_start_method(before, force=True)


def living() -> set[str]:
    """Threads and child processes of this process, tqdm's own thread, which stays once it is there, among them."""
    tqdm(disable=True)
    gc.collect()
    return {thread.name for thread in threading.enumerate()} | {p.name for p in multiprocessing.active_children()}


def left_living(before: set[str]) -> set[str]:
    """What lives once all is as before, or after ten seconds: a queue's thread ends just after who closed it."""
    deadline = time.monotonic() + 10
    while living() != before and time.monotonic() < deadline:
        time.sleep(0.05)
    return living()


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("start_method", ["fork", "spawn"], indirect=True)
def test_loader_processes_change_nothing(start_method: str, tmp_path: Path, cache: Path) -> None:
    before = living()
    for workers in (0, 2):
        dissect(two_layers(), tmp_path / str(workers), cache, workers=workers, checkpoint_every=1000)
    assert left_living(before) == before
    record = ("timings.json", "run.json")
    assert contents(tmp_path / "0", record) == contents(tmp_path / "2", record)
    runs = [json.loads((tmp_path / name / "run.json").read_text()) for name in "02"]
    assert [run["settings"].pop("workers") for run in runs] == [0, 2]
    assert len({run.pop("checksum") for run in runs}) == 2
    assert runs[0] == runs[1]


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_exception_in_a_callback_ends_loaders(error: type[BaseException], tmp_path: Path, cache: Path) -> None:
    """Of consume(), and of a transform in a whole run. The exception with its frames is still there when we look."""
    before, calls, data = living(), [], nd.Synthetic(IMAGES, size=32)

    def fail(*_: object) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise error

    net = two_layers()
    preprocess = nd.Preprocess((32, 32), mean=0.5, std=0.25)
    with pytest.raises((error, nd.NetDissectError)) as caught, watch(net, "3", fail) as run:
        list(map(run, (batch for _, batch in image_batches(data, preprocess, BATCH, workers=2))))
    assert left_living(before) == before
    calls.clear()
    net[0].register_forward_pre_hook(fail)
    with pytest.raises((error, nd.NetDissectError)) as again:
        dissect(net, tmp_path / "out", cache, workers=2)
    assert left_living(before) == before
    assert caught.tb
    assert again.tb
    assert not (tmp_path / "out" / LOCK).exists()


def session(number: int) -> list[str]:
    """Processes of a session, by command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int((process / "stat").read_text().rpartition(")")[2].split()[3]) == number:
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("command")
    write_synthetic(folder / "scenes", images=400, size=64)
    (folder / "net.py").write_text(
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.support.networks import two_layers\ndef make(): return two_layers()\n"
    )
    return [sys.executable, "-m", "netdissect_fast", "dissect", "--model", f"{folder}/net.py:make", "--layers", "0,3",
            "--data", f"{folder}/scenes", "--cache", f"{folder}/cache", "--batch-size", "2", "--checkpoint-every", "0",
            "--threads", "1"]  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize(("workers", "to"), [(2, "all, as a terminal does"), (2, "the process"), (0, "the process")])
def test_ctrl_c(workers: int, to: str, command: list[str], tmp_path: Path) -> None:
    """Status 130 within seconds; no process and no lock stays, and what was done is on disk."""
    out = tmp_path / "out"
    command = [*command, "--out", str(out), "--workers", str(workers)]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 100
            while not list(out.glob("parts/[0-9]*-[0-9]*")) and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            begun = time.monotonic()
            (os.killpg if to.startswith("all") else os.kill)(process.pid, signal.SIGINT)
            _, text = process.communicate(timeout=SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    print(f"ended after {time.monotonic() - begun:.1f} s")
    assert process.returncode == 130, text
    assert text.startswith("netdissect-fast: interrupted; no half-written result was left")
    assert text.count("\n") == 1
    assert session(process.pid) == []
    assert not (out / LOCK).exists()
    assert not list(out.rglob("*.part"))
    with only_writer(out):
        (part,) = find_parts(out)
    assert set(part.collected()) == {"0", "3"}
