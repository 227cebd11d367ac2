"""Workloads for pytest: of full size when timing, small with --benchmark-disable, when only the answers are checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from .timing import one_thread
from .workload import SETTINGS, Workload, make

_SMALL_UNITS, _SMALL_IMAGES = 48, 3
_BYTES = 40_000_000  # of activations at most: beyond the caches


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    one_thread()


@pytest.fixture(scope="session")
def small(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("benchmark_disable"))


@pytest.fixture(scope="session")
def workload(small: bool) -> Callable[[str], Workload]:
    """A setting's workload, the last one kept."""
    made: dict[str, Workload] = {}

    def get(name: str) -> Workload:
        if name not in made:
            made.clear()
            setting = SETTINGS[name]
            if small:
                setting = replace(setting, units=_SMALL_UNITS)
            fit = _BYTES // (4 * setting.units * setting.height * setting.width)
            made[name] = make(setting, _SMALL_IMAGES if small else max(1, min(setting.images, fit)))
        return made[name]

    return get
