"""Eight runs at once share one label cache, cold at first: one packs, all find what a run alone finds."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import netdissect_fast as nd
from netdissect_fast.concepts import ImageLabels
from netdissect_fast.errors import DataError

from ..support.networks import two_layers
from ..support.run_folders import contents

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a fork server and POSIX signals")

IMAGES, RUNS = 24, 8


class Slow(nd.Synthetic):
    """Takes its time over labels, and writes down whose were asked for; not the first's, whose size all ask for."""

    log: Path

    def labels(self, index: int) -> ImageLabels:
        if index:
            time.sleep(0.03)
            with self.log.open("a") as file:
                file.write(f"{index}\n")
        return super().labels(index)


def dissect(folder: Path, cache: Path, barrier: Any) -> None:
    """What each process does, from the same moment."""
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    data = Slow(IMAGES, seed=3, size=32)
    data.log = folder / "labels.txt"
    options = {"quantile": "0.05", "batch_size": 4, "threads": 1, "progress": False}
    barrier.wait(60)
    nd.dissect(two_layers(), data, ["0", "3"], cache=cache, out=folder / "out", **options)


def packed(folder: Path) -> int:
    """Images whose labels this process has decoded."""
    log = folder / "labels.txt"
    return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.mark.parametrize("killed", [False, True], ids=["all_live", "packer_killed"])
def test_eight_runs_share_a_cache(killed: bool, tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # torch is imported once
    barrier = context.Barrier(1 + RUNS)
    alone, *folders = [tmp_path / name for name in ("alone", *map(str, range(RUNS)))]
    runs = {}
    for folder in (alone, *folders):
        folder.mkdir()
        cache = tmp_path / ("own" if folder == alone else "shared")
        runs[folder] = context.Process(target=dissect, args=(folder, cache, barrier))
        runs[folder].start()
    try:
        if killed:
            deadline = time.monotonic() + 60
            while not (packing := [folder for folder in folders if packed(folder) > 2]):
                assert time.monotonic() < deadline
                time.sleep(0.005)
            (victim,) = packing
            runs[victim].kill()
            runs[victim].join(60)
            assert runs[victim].exitcode == -signal.SIGKILL
            assert 2 < packed(victim) < IMAGES - 1
            with pytest.raises(DataError):
                nd.load(victim / "out")
            folders.remove(victim)
        for folder in (alone, *folders):
            runs[folder].join(60)
            assert runs[folder].exitcode == 0
    finally:
        for process in runs.values():
            process.kill()
    assert sorted(map(packed, folders)) == [0] * (len(folders) - 1) + [IMAGES - 1]
    expected = contents(alone / "out")
    assert "run.json" in expected
    for folder in folders:
        assert contents(folder / "out") == expected
    (entry,) = (path for path in (tmp_path / "shared" / "labels-1").iterdir() if path.suffix != ".part")
    assert entry.is_dir()
