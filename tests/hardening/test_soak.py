"""A small form of ``python -m benchmarks.soak``; and what it looks for, it finds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import netdissect_fast as nd

pytest.importorskip("benchmarks", reason="the benchmarks are not in a source distribution")
pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")


def test_small() -> None:
    command = [sys.executable, "-m", "benchmarks.soak", "--images", "3000", "--units", "64", "--every", "500"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "thresholds, intersections and areas are the same" in run.stdout


def test_activations_do_not_depend_on_the_batch() -> None:
    from benchmarks.soak import World

    world = World(70, 5)
    whole = world.maps(0, 40)
    assert (whole[:, 5] == 0).all()
    assert 0.05 < (whole > 0).mean() < 0.95
    np.testing.assert_array_equal(world.maps(13, 31, np.array([3, 69])), whole[13:31][:, [3, 69]])
    assert len(np.unique(whole[:, 0])) > 100


def test_packed_in_blocks_as_at_once() -> None:
    from benchmarks.soak import VOCABULARY, World

    world = World(1, 1)
    at_once = nd.PackedLabels.pack((world.labels(i) for i in range(10)), VOCABULARY)
    for name, array in vars(world.packed(10, block=4)).items():
        np.testing.assert_array_equal(array, getattr(at_once, name), name)


def test_differences_are_found() -> None:
    from benchmarks.soak import QUANTILE, VOCABULARY, World, differences

    images, units = 60, np.arange(3)
    world = World(3, 7)
    layer = nd.score(world.maps(0, images), world.packed(images), VOCABULARY, quantile=QUANTILE)
    assert differences(world, layer, units, images) == []
    layer.counts.intersection[1, np.flatnonzero(layer.counts.intersection[1])[-1]] -= 1
    layer.counts.concept_area[59] += 1
    assert differences(world, layer, units, images) == ["unit 1 differs", "concept areas differ"]
    layer.thresholds[2] = np.nextafter(layer.thresholds[2], np.float32(0))
    layer.counts.unit_area[0, 2] += 1
    assert differences(world, layer, units, images)[:3] == [f"unit {unit} differs" for unit in range(3)]


def test_memory_that_grows_is_found() -> None:
    from benchmarks.soak import Moment, not_flat

    flat = [Moment(100, 10**8, 2 * 10**8, 5 * 10**8), Moment(200, 2 * 10**8, 3 * 10**8, 6 * 10**8)]
    assert not_flat(flat, peak=9 * 10**8) == []
    (grown,) = not_flat([*flat, Moment(300, 2 * 10**8, 3 * 10**8, 7 * 10**8)], peak=9 * 10**8)
    assert grown == "memory beside the store grew to 400 MB"
    (high,) = not_flat(flat, peak=10**9)
    assert high == "peak of 1000 MB, expected 964"
