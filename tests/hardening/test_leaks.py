"""Run after run, nothing is left behind: memory, open files, threads and objects stay as they are after the first few.

LEAK_RUNS=1000 does a thousand of each kind, which takes minutes; it is fewer of all but the cheapest otherwise.
"""

from __future__ import annotations

import ctypes
import gc
import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

import netdissect_fast as nd
from netdissect_fast.errors import ActivationError

from ..support.networks import two_layers

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")

RUNS = int(os.environ.get("LEAK_RUNS", "0"))
WARM_UP = 20  # runs: caches fill
TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc: free memory goes back to the system
DATA = nd.Synthetic(4, seed=3, size=32)
NET = two_layers(16)
MAPS = np.random.default_rng(0).random((4, 64, 9, 9), np.float32)
LABELS = np.random.default_rng(0).integers(0, 9, (4, 32, 32))


class Held(NamedTuple):
    """What the process holds. Objects are those that the garbage collector knows."""

    memory: int
    files: int
    threads: int
    objects: int

    @classmethod
    def now(cls) -> Held:
        gc.collect()
        if TRIM is not None:
            TRIM(0)
        memory = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        files, threads = (len(list(Path("/proc/self", kind).iterdir())) for kind in ("fd", "task"))
        return cls(memory, files, threads, len(gc.get_objects()))

    def over(self, before: Held, runs: int) -> list[str]:
        """What grew: a file or thread at all, an object in ten runs, 1 kB a run and 4 MB, some of it malloc's."""
        allowed = Held(4_000_000 + 1000 * runs, 0, 0, runs // 10)
        found = zip(self._fields, before, self, allowed, strict=True)
        return [f"{name} grew from {old} to {new}" for name, old, new, more in found if new > old + more]


def left_by(work: Callable[[], object], runs: int) -> list[str]:
    """What has grown when the work has been done so many times."""
    for _ in range(WARM_UP):
        work()
    before = Held.now()
    for _ in range(runs):
        work()
    deadline = time.monotonic() + 2
    while (grown := Held.now().over(before, runs)) and time.monotonic() < deadline:
        time.sleep(0.1)  # the system takes its time to end a thread that has been joined
    return grown


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NETDISSECT_FAST_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
    torch.set_num_threads(threads)


def dissect(**options: object) -> nd.Dissection:
    return nd.dissect(NET, DATA, ["0", "3"], quantile="0.2", batch_size=2, progress=False, **options)


def test_dissect() -> None:
    assert not left_by(dissect, RUNS or 120)


def test_dissect_save_and_load(tmp_path: Path) -> None:
    def work() -> None:
        dissect(out=tmp_path, resume=False)
        assert nd.load(tmp_path)["3"].require_peaks().count(0)

    assert not left_by(work, RUNS or 30)


def test_dissect_that_fails(tmp_path: Path) -> None:
    """In the middle of a run, with labels being packed and a checkpoint on disk."""
    batches = [0]

    def broken(maps: torch.Tensor) -> torch.Tensor:
        batches[0] += 1
        return maps * (float("nan") if batches[0] % 3 == 0 else 1)

    def work() -> None:
        batches[0] = 0
        with pytest.raises(ActivationError):
            dissect(out=tmp_path, resume=False, checkpoint_every=0, transform={"3": broken})

    assert not left_by(work, RUNS or 30)


def test_score() -> None:
    assert not left_by(lambda: nd.score(MAPS, LABELS, quantile="0.2"), RUNS or 500)


# ------------------------------------------------------------------------------------- leaks that must show


@pytest.mark.parametrize("kind", Held._fields)
def test_a_planted_leak_shows(kind: str) -> None:
    """As many of one kind as runs would leave if each left one."""
    runs, ended = 100, threading.Event()

    def thread() -> threading.Thread:
        waiting = threading.Thread(target=ended.wait)
        waiting.start()
        return waiting

    leaks: dict[str, Callable[[], object]] = {
        "memory": lambda: bytes(range(250)) * 4000,  # more than the heap may have free
        "files": lambda: stack.enter_context(Path("/proc/self/statm").open()),  # noqa: SIM115
        "threads": thread,
        "objects": list,
    }
    with ExitStack() as stack:
        stack.callback(ended.set)
        before = Held.now()
        kept = [leaks[kind]() for _ in range(runs)]
        found = Held.now().over(before, len(kept))
    assert any(line.startswith(kind) for line in found), found
