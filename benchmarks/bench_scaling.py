"""keep and count as one thing grows: images, units, concepts, grid, label size, quantile; numba beside them."""

from __future__ import annotations

import pytest

from . import scaling
from .compiled import numba_fused
from .ours import Ours, assert_exact
from .tables import baseline

CASES = [(what, value) for what, values in scaling.cases().items() for value in values]
SMALL = [(what, value) for what, values in scaling.cases(small=True).items() for value in values]
pytestmark = pytest.mark.benchmark(min_rounds=3, max_time=0.3)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    cases = SMALL if metafunc.config.getoption("benchmark_disable") else CASES
    metafunc.parametrize(("what", "value"), cases)


@pytest.mark.parametrize("stage", ["keep", "count", "score", "numba"])
def test_scaling(benchmark, small: bool, what: str, value: str, stage: str) -> None:
    work = scaling.cases(small)[what][value]()
    assert_exact(work, units=8)
    ours = Ours(work)
    crops = ours.keep()
    subjects = {"keep": ours.keep, "count": lambda: ours.count(crops), "score": ours.score}
    benchmark.group = f"scaling with {what}: {value}"
    benchmark(subjects[stage] if stage in subjects else baseline(work, numba_fused))
