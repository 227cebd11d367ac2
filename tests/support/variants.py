"""Every backend that can run here, and what it means for two of them to agree."""

from __future__ import annotations

from collections.abc import Iterator

from netdissect_fast import _core
from netdissect_fast.scoring.backends.cpu import CpuBackend
from netdissect_fast.scoring.backends.reference import ReferenceBackend
from netdissect_fast.scoring.crops import Crops

ISAS = _core.available_isas()
REFERENCE = ReferenceBackend()


def variants() -> Iterator[CpuBackend]:
    """Every variant this CPU has, with every thread count of interest."""
    for isa in ISAS:
        for threads in (1, 2, 3, 8):
            yield CpuBackend(threads, isa)


def assert_same_bits(crops: Crops, expected: Crops) -> None:
    for name in ("image", "unit", "box", "values"):
        got, wanted = getattr(crops, name), getattr(expected, name)
        assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape), name
        assert got.tobytes() == wanted.tobytes(), name
