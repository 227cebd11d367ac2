"""What the store holds and what work it makes, counted in bytes and values, not in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import netdissect_fast as nd
from netdissect_fast import _core
from netdissect_fast.scoring.backends.base import CountJob
from netdissect_fast.scoring.backends.cpu import CpuBackend
from netdissect_fast.scoring.crops import Crops
from netdissect_fast.scoring.peaks import Peaks

from ..support.recorded_maps import Layer

CPU = CpuBackend(1)
UNITS = 24
SETTINGS = {
    "alexnet_conv5": Layer(UNITS, 13, 1000),
    "resnet_layer4": Layer(UNITS, 7, 400),
    "vgg_conv5_3": Layer(UNITS, 14, 400),
    "wide": Layer(UNITS, 14, 100),
}


@pytest.fixture(autouse=True)
def _few_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of few units is pruned as early, in images, as one of thousands."""
    monkeypatch.setattr("netdissect_fast.scoring.peaks.SMALL", 4096)


def fill(batches: Iterator[tuple[int, np.ndarray]], layer: Layer) -> Peaks:
    peaks = Peaks(layer.units, (layer.side, layer.side), layer.images)
    for first, maps in batches:
        peaks.add(maps, first, CPU)
    return peaks


# -------------------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize("batch", [8, 32, 100])
@pytest.mark.parametrize("setting", SETTINGS)
def test_store(setting: str, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 6 % of the dense activations at any time, with what is about to enter; 3 % at the end."""
    layer, held = SETTINGS[setting], []
    append = Crops.append

    def watched(self: Crops, other: Crops) -> None:
        append(self, other)
        held.append(self.nbytes + other.nbytes)

    monkeypatch.setattr(Crops, "append", watched)
    peaks = fill(layer.batches(batch), layer)
    assert len(held) >= layer.images // batch, "the store was not observed"
    peaks.finish()
    assert 0.005 * layer.nbytes < peaks.nbytes <= 0.03 * layer.nbytes
    assert max(held) <= 0.06 * layer.nbytes


# ---------------------------------------------------------------------------------------------------- work


class Work:
    """Stands in for the compiled core, and notes how many values every call reads or moves."""

    def __init__(self) -> None:
        self.values: dict[str, list[int]] = {}

    def __getattr__(self, name: str) -> Any:
        kernel = getattr(_core, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            sizes = [argument.size for argument in arguments if isinstance(argument, np.ndarray)]
            self.values.setdefault(name, []).append(sum(sizes))
            return kernel(*arguments, **options)

        return counted


def generated(layer: Layer, batch: int = 50) -> Iterator[tuple[int, np.ndarray]]:
    """Maps with a peak of random height and place; cheap to make by the ten thousand."""
    rng = np.random.default_rng(0)
    at = np.arange(layer.side, dtype=np.float32)
    for first in range(0, layer.images, batch):
        images = min(batch, layer.images - first)
        y, x = (np.exp(-((at - rng.uniform(0, layer.side, (images, layer.units, 1))) ** 2) / 4) for _ in range(2))
        height = rng.lognormal(0, 1, (images, layer.units, 1, 1))
        yield first, (height * y[..., :, None] * x[..., None, :]).astype(np.float32)


def work_of(images: int) -> tuple[float, int]:
    """(values that keeping reads or moves again after they entered, a dense value; prunings)."""
    layer, work = Layer(4, 7, images), Work()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("netdissect_fast.scoring.peaks._core", work)
        fill(generated(layer), layer).finish()
    assert set(work.values) == {"kth_largest", "prune"}
    return sum(map(sum, work.values.values())) * 4 / layer.nbytes, len(work.values["prune"])


def test_keeps_cost_per_image_is_flat() -> None:
    """From 100 to 20,000 images: the work on the store a value is bounded, and prunings grow like a logarithm."""
    costs, prunings = zip(*(work_of(images) for images in (100, 1000, 5000, 20_000)), strict=True)
    assert max(costs) <= 0.6
    assert costs[-1] <= 1.1 * costs[1]
    assert prunings[-1] - prunings[1] <= 12


class Counting(CpuBackend):
    """Notes which crops are counted."""

    def __init__(self) -> None:
        super().__init__(1)
        self.jobs: list[CountJob] = []

    def count(self, job: CountJob) -> None:
        self.jobs.append(job)
        super().count(job)


def test_counting_work_is_the_active_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every map with a value above its threshold is counted once, no other; ten times the images that
    activate nothing make no crop more."""
    layer = Layer(12, 7, 60)
    maps = np.concatenate([batch for _, batch in layer.batches(20)])
    thresholds = nd.score(maps, np.ones((60, 4, 4), int)).thresholds
    active = np.argwhere((maps > thresholds[:, None, None]).any(axis=(2, 3)))
    for silent in (0, 600):
        shown = np.concatenate([maps, np.zeros((silent, *maps.shape[1:]), np.float32)])
        backend = Counting()
        monkeypatch.setattr("netdissect_fast.results.scores.choose", lambda *_, backend=backend: backend)
        nd.score(shown, np.ones((len(shown), 4, 4), int), thresholds=thresholds)
        counted = [np.stack([job.crops.image, job.crops.unit], 1) for job in backend.jobs]
        np.testing.assert_array_equal(np.concatenate(counted), active)
