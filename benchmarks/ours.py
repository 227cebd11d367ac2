"""netdissect_fast on a workload: keep and count with given thresholds, and the check that its answers are right."""

from __future__ import annotations

from copy import copy

import numpy as np

from netdissect_fast.scoring.backends.base import Backend
from netdissect_fast.scoring.backends.cpu import CpuBackend
from netdissect_fast.scoring.backends.reference import ReferenceBackend
from netdissect_fast.scoring.counts import Counter, Counts
from netdissect_fast.scoring.crops import Crops

from .workload import VOCABULARY, Workload


class Ours:
    """keep with T as its bound, as in the last batches of a run, then count. Sums go on from call to call."""

    def __init__(self, work: Workload, backend: Backend | None = None) -> None:
        self.work = work
        self.backend = backend or CpuBackend(1)
        self.counter = Counter(work.thresholds, work.grid, work.packed, VOCABULARY)

    def on(self, isa: str = "", threads: int = 1) -> Ours:
        """The same with another backend; the sums are shared."""
        other = copy(self)
        other.backend = CpuBackend(threads, isa)
        return other

    def keep(self) -> Crops:
        return self.backend.keep(self.work.maps, self.work.thresholds, 0)

    def count(self, crops: Crops) -> None:
        self.counter.add(crops, 0, len(self.work), self.backend)

    def score(self) -> None:
        self.count(self.keep())


def counts_of(work: Workload, backend: Backend) -> Counts:
    ours = Ours(work, backend)
    ours.score()
    return ours.counter.counts


def assert_same_crops(crops: Crops, expected: Crops) -> None:
    for mine, other in zip(crops.arrays, expected.arrays, strict=True):
        np.testing.assert_array_equal(mine, other)


def assert_exact(work: Workload, isa: str = "", threads: int = 1, images: int = 2, units: int = 48) -> None:
    """On a small piece, crops and counts equal those of the definition in NumPy, to the last bit."""
    piece = work.head(images, units)
    backend, reference = CpuBackend(threads, isa), ReferenceBackend()
    assert_same_crops(backend.keep(piece.maps, piece.thresholds, 0), reference.keep(piece.maps, piece.thresholds, 0))
    counts, expected = counts_of(piece, backend), counts_of(piece, reference)
    np.testing.assert_array_equal(counts.intersection, expected.intersection)
    np.testing.assert_array_equal(counts.unit_area, expected.unit_area)
