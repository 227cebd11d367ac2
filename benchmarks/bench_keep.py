"""keep alone: GB of activations a second, on every instruction set, beside the bare read of all activations."""

from __future__ import annotations

import pytest

from netdissect_fast import _core
from netdissect_fast.scoring.backends.reference import ReferenceBackend

from .baselines import plain_reads
from .ours import Ours, assert_same_crops
from .workload import SETTINGS

pytestmark = pytest.mark.benchmark(min_rounds=5, max_time=0.5)


@pytest.mark.parametrize("isa", _core.available_isas())
@pytest.mark.parametrize("name", SETTINGS)
def test_keep(benchmark, workload, name: str, isa: str) -> None:
    work = workload(name)
    piece = work.head(2, 48)
    expected = Ours(piece, ReferenceBackend()).keep()
    assert_same_crops(Ours(piece).on(isa).keep(), expected)
    benchmark.group = f"keep {name}, {len(work)} images, {work.maps.nbytes / 1e6:.0f} MB"
    assert len(benchmark(Ours(work).on(isa).keep))


@pytest.mark.parametrize("way", range(2))
@pytest.mark.parametrize("name", SETTINGS)
def test_plain_read(benchmark, workload, name: str, way: int) -> None:
    work = workload(name)
    read = list(plain_reads(work).values())[way]
    active = {(int(i), int(u)) for i, u in zip(*read().nonzero(), strict=True)}
    crops = Ours(work).keep()
    assert active == set(zip(crops.image.tolist(), crops.unit.tolist(), strict=True))
    benchmark.group = f"keep {name}, {len(work)} images, {work.maps.nbytes / 1e6:.0f} MB"
    benchmark(read)
