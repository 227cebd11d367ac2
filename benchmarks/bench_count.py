"""count alone: crops against packed labels, on every instruction set."""

from __future__ import annotations

import pytest

from netdissect_fast import _core

from .ours import Ours, assert_exact
from .workload import SETTINGS


@pytest.mark.benchmark(min_rounds=5, max_time=0.5)
@pytest.mark.parametrize("isa", _core.available_isas())
@pytest.mark.parametrize("name", SETTINGS)
def test_count(benchmark, workload, name: str, isa: str) -> None:
    work = workload(name)
    assert_exact(work, isa)
    ours = Ours(work).on(isa)
    crops = ours.keep()
    benchmark.group = f"count {name}, {len(work)} images, {len(crops)} crops"
    benchmark(ours.count, crops)
