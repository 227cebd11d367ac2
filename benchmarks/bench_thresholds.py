"""Peaks and exact thresholds from one pass, against NumPy's partition of everything."""

from __future__ import annotations

import numpy as np
import pytest

from netdissect_fast.scoring.backends.cpu import CpuBackend
from netdissect_fast.scoring.peaks import Peaks, peaks_of
from netdissect_fast.scoring.thresholds import tail_rank

from .workload import SETTINGS, Workload

pytestmark = pytest.mark.benchmark(min_rounds=3, max_time=0.5)
LAYERS = [name for name in SETTINGS if name != "autoencoder"]


def partition(work: Workload) -> np.ndarray:
    """The whole array in memory, unit by unit: what dumping all activations comes down to."""
    units = work.maps.shape[1]
    values = work.maps.transpose(1, 0, 2, 3).reshape(units, -1)
    place = values.shape[1] - tail_rank("0.005", values.shape[1])
    return np.partition(values, place, axis=1)[:, place]


@pytest.mark.parametrize("name", LAYERS)
def test_peaks(benchmark, workload, name: str) -> None:
    work, backend = workload(name), CpuBackend(1)
    np.testing.assert_array_equal(peaks_of(work.maps, "0.005", backend).bounds, partition(work))
    benchmark.group = f"thresholds {name}, {len(work)} images"
    benchmark(peaks_of, work.maps, "0.005", backend)


@pytest.mark.parametrize("name", LAYERS)
def test_thresholds_of_peaks(benchmark, workload, name: str) -> None:
    """A smaller quantile from peaks that are there."""
    work = workload(name)
    peaks: Peaks = peaks_of(work.maps, "0.005", CpuBackend(1))
    benchmark.group = f"thresholds {name}, {len(work)} images"
    assert (benchmark(peaks.thresholds, "0.002") >= peaks.bounds).all()


@pytest.mark.parametrize("name", LAYERS)
def test_partition(benchmark, workload, name: str) -> None:
    work = workload(name)
    benchmark.group = f"thresholds {name}, {len(work)} images"
    benchmark(partition, work)
