"""The label cache, cold (labels decoded from PNG, packed, written) and warm (mapped), of a data set on disk."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from netdissect_fast.concepts import PackedLabels
from netdissect_fast.data.formats.broden import Broden
from netdissect_fast.data.formats.synthetic import write_synthetic
from netdissect_fast.data.label_cache import packed_labels


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, small: bool) -> Broden:
    folder = tmp_path_factory.mktemp("broden") / "data"
    write_synthetic(folder, images=6 if small else 100, size=224)
    return Broden(folder)


def assert_right(found: PackedLabels, data: Broden) -> None:
    expected = PackedLabels.pack((data.labels(i) for i in range(len(data))), data.vocabulary)
    for name, array in vars(expected).items():
        np.testing.assert_array_equal(getattr(found, name), array, name)


@pytest.mark.benchmark(group="label cache")
@pytest.mark.parametrize("threads", [1, 2])
def test_cold(benchmark, data: Broden, tmp_path, threads: int) -> None:
    assert_right(packed_labels(data, tmp_path, threads), data)
    found = benchmark.pedantic(
        packed_labels, (data, tmp_path, threads), setup=lambda: shutil.rmtree(tmp_path), rounds=3
    )
    assert len(found) == len(data)


@pytest.mark.benchmark(group="label cache", max_time=0.5)
def test_warm(benchmark, data: Broden, tmp_path) -> None:
    packed_labels(data, tmp_path)
    assert_right(benchmark(packed_labels, data, tmp_path), data)


@pytest.mark.benchmark(group="label cache", max_time=0.5, min_rounds=3)
def test_decoding_alone(benchmark, data: Broden) -> None:
    """What a run without a cache would do in every epoch."""
    benchmark(lambda: [data.labels(i) for i in range(len(data))])
