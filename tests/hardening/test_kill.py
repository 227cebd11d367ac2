"""Runs killed at every write and at random moments: the next run ends as if nothing had happened.

``NETDISSECT_KILLS=1000 pytest tests/hardening/test_kill.py`` kills that often at random, and at every write of a
longer run.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import netdissect_fast as nd
from netdissect_fast.runs.parts import find_parts

from ..support.killing import BATCH, IMAGES, Job, Server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and finds files in /proc")

KILLS = int(os.environ.get("NETDISSECT_KILLS", "30"))
LONG = KILLS >= 200
SOME = 1 if LONG else 3  # of so many kills one run is gone on with, where the walk is about something else
MEMORY = Path("/dev/shm")
GIVEN = {"0": [0.5] * 6, "3": [0.1] * 12}  # thresholds


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder, in memory where possible: on a disk most of the time would go into fsync."""
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
        yield Path(folder)


def files(folder: Path) -> dict[str, bytes | None]:
    """All that is in a result folder, but for how long it took."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*")}
    assert found.pop("timings.json").is_file()
    return {name: path.read_bytes() if path.is_file() else None for name, path in found.items()}


def loaded(out: Path) -> dict[str, Any] | None:
    """All numbers of the result there; None where there is none."""
    try:
        result = nd.load(out)
    except nd.NetDissectError:
        return None
    numbers: dict[str, Any] = {"run": {name: value for name, value in result.run.items() if name != "timings"}}
    for name, layer in result.items():
        peaks = () if layer.peaks is None else layer.peaks.crops.arrays
        arrays = [*vars(layer.counts).values(), layer.thresholds, layer.unit_numbers, *peaks]
        numbers[name] = [(array.dtype.str, array.shape, array.tobytes()) for array in arrays]
    return numbers


def progress(out: Path) -> int:
    """Of how many images the activations need not be computed again."""
    return IMAGES if loaded(out) else sum(part.span.images for part in find_parts(out))


class Walk:
    """Runs in ``place / "run"``, each killed at the next write, until one ends by itself."""

    def __init__(self, server: Server, place: Path, broken: str | None = None, first: int = 1) -> None:
        self.server, self.place, self.run, self.out = server, place, place / "run", place / "run" / "out"
        self.broken = {} if broken is None else {"broken": broken}
        self.first, self.kills = first, 0

    def whole(self, **options: Any) -> tuple[dict[str, bytes | None], dict[str, Any] | None]:
        """What is left by an undisturbed run."""
        options = {"out": self.place / "whole", "cache": self.place / "cache", **options}
        self.server.finish("dissect", options)
        return files(options["out"]), loaded(options["out"])

    def killed(self, what: str, options: Job, begin: Callable[[], object] = int, folder: str = "out") -> Iterator[None]:
        """``begin`` says what is there before each run, ``folder`` in which folder of the run's they are killed."""
        for n in itertools.count(self.first):
            shutil.rmtree(self.run, ignore_errors=True)
            self.run.mkdir()
            begin()
            answer = self.server(what, options, folder=self.run / folder, write=n, **self.broken)
            if answer["status"] == 0:
                assert (answer["error"], answer["writes"]) == ("", n - 1)
                return
            assert answer["status"] == -signal.SIGKILL
            self.kills += 1
            yield


def walk_through_a_run(walk: Walk, images: int) -> None:
    files_wanted, result = walk.whole(images=images)
    options = {"images": images, "out": walk.out, "cache": walk.place / "cache"}
    least = 0
    for _ in walk.killed("dissect", options):
        assert loaded(walk.out) in (None, result), "a wrong result"
        assert progress(walk.out) >= least, "work was lost"
        least = progress(walk.out)
        walk.server.finish("dissect", options)
        assert files(walk.out) == files_wanted


def walk_over_an_older_result(walk: Walk) -> None:
    """No mixture of two results is ever taken for one."""
    options = {"images": BATCH, "out": walk.out, "cache": walk.place / "cache", "checkpoint_every": 1000}
    files_wanted, result = walk.whole(images=BATCH)
    _, older = walk.whole(images=2 * BATCH, quantile="0.05", out=walk.place / "older")
    for _ in walk.killed("dissect", options, lambda: shutil.copytree(walk.place / "older", walk.out)):
        assert loaded(walk.out) in (None, older, result), "a mixture"
        if walk.kills % SOME == 0:
            walk.server.finish("dissect", options)
            assert files(walk.out) == files_wanted


def walk_through_a_shard(walk: Walk) -> None:
    options: Job = {"images": 2 * BATCH, "cache": walk.place / "cache", "out": walk.place / "shard"}
    files_wanted, _ = walk.whole(images=2 * BATCH)
    walk.server.finish("dissect", {**options, "shard": (1, 2)})
    options["out"] = walk.out
    for _ in walk.killed(
        "dissect", {**options, "shard": (0, 2)}, lambda: shutil.copytree(walk.place / "shard", walk.out)
    ):
        walk.server.finish("dissect", {**options, "shard": (0, 2)})
        walk.server.finish("merge", {"folders": walk.out, "cache": walk.place / "cache"})
        assert files(walk.out) == files_wanted


def walk_through_a_merge(walk: Walk) -> None:
    """The shards are there until the result is."""
    files_wanted, result = walk.whole(images=2 * BATCH)
    for i in range(2):
        shard = {"images": 2 * BATCH, "cache": walk.place / "cache", "out": walk.place / "shards"}
        walk.server.finish("dissect", {**shard, "shard": (i, 2)})
    merge = {"folders": walk.out, "cache": walk.place / "cache"}
    for _ in walk.killed("merge", merge, lambda: shutil.copytree(walk.place / "shards", walk.out)):
        there = loaded(walk.out)
        assert there in (None, result), "a wrong result"
        assert there or progress(walk.out) == 2 * BATCH, "work was lost"
        answer = walk.server("merge", merge)
        assert answer["status"] == 0
        assert not answer["error"] or (there and "there are no shards" in answer["error"]), answer["error"]
        assert files(walk.out) == files_wanted


def walk_through_a_label_cache(walk: Walk) -> None:
    files_wanted, result = walk.whole(images=BATCH)
    options = {"images": BATCH, "out": walk.out, "cache": walk.run / "cache"}
    for _ in walk.killed("dissect", options, folder="cache"):
        assert loaded(walk.out) in (None, result), "a wrong result"
        if walk.kills % SOME == 0:
            walk.server.finish("dissect", options)
            assert files(walk.out) == files_wanted


def walk_through_a_short_run(walk: Walk) -> None:
    walk_through_a_run(walk, IMAGES if LONG else 2 * BATCH)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("walk_through", "least"),
    [
        (walk_through_a_short_run, 100),
        (walk_over_an_older_result, 50),
        (walk_through_a_shard, 30),
        (walk_through_a_merge, 50),
        (walk_through_a_label_cache, 15),
    ],
)
def test_killed_at_every_write(walk_through: Callable[[Walk], None], least: int, server: Server, place: Path) -> None:
    walk = Walk(server, place)
    walk_through(walk)
    print(f"{walk_through.__name__}: killed at each of {walk.kills} writes")
    assert walk.kills >= least


@pytest.mark.parametrize(
    ("walk_through", "first", "broken", "noticed"),
    [
        (walk_through_a_short_run, 1, "a part is written in place", r"part\.json"),
        (walk_through_a_short_run, 30, "the last part is removed before the next is there", "work was lost"),
        (walk_over_an_older_result, 1, "an older result is not withdrawn", "a mixture"),
        (walk_through_a_merge, 1, "shards are removed before the result is there", "work was lost"),
    ],
)
def test_it_would_be_noticed(
    walk_through: Callable[[Walk], None], first: int, broken: str, noticed: str, server: Server, place: Path
) -> None:
    with pytest.raises((AssertionError, nd.NetDissectError), match=noticed):
        walk_through(Walk(server, place, broken, first))


@pytest.mark.slow
def test_killed_at_random(server: Server, place: Path) -> None:
    """By the clock and at writes, the run and those that go on with it, with and without labels in the cache."""
    rng, kills, runs, kinds = random.Random(0), 0, 0, []
    for number, thresholds in enumerate((None, GIVEN)):
        options = {"thresholds": thresholds, "cache": place / "cache", "out": place / f"whole{number}"}
        answer = server.finish("dissect", options, folder=options["out"], write=0)
        kinds.append((thresholds, answer, files(options["out"]), loaded(options["out"])))
    while kills < KILLS:
        out = place / f"run{runs}"
        thresholds, undisturbed, files_wanted, result = kinds[runs % 4 == 3]
        cache = out / ".." / "cold" if runs % 3 == 2 else place / "cache"
        options = {"thresholds": thresholds, "out": out, "cache": cache}
        done = 0
        for _ in range(rng.randint(1, 5)):
            how: Job = {"after": rng.uniform(0, undisturbed["seconds"])}
            if rng.random() < 0.3:
                how = {"write": rng.randint(1, undisturbed["writes"]), "folder": out}
            if server("dissect", options, **how)["status"]:
                kills += 1
            assert loaded(out) in (None, result)
            assert progress(out) >= done
            done = progress(out)
        server.finish("dissect", options)
        assert files(out) == files_wanted
        shutil.rmtree(out)
        shutil.rmtree(place / "cold", ignore_errors=True)
        runs += 1
    print(f"{kills} kills in {runs} runs, all as if undisturbed")
