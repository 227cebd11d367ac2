"""keep, count and masks in compiled code: SIMD chosen at run time, threads over units."""

from __future__ import annotations

import os
from typing import Any

from ... import _core
from ...errors import ArgumentError
from ...geometry.grids import AxisTable
from ...types import Float32Array, Uint64Array
from ..crops import Crops
from .base import CountJob, NonFiniteError, OnHost, to_numpy


def available_threads() -> int:
    """Return the number of cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class CpuBackend(OnHost):
    """The compiled kernels of ``_core``. ``isa`` picks a variant by name; "" = the best this CPU can run."""

    name = "cpu"

    def __init__(self, threads: int | None = None, isa: str = "") -> None:
        if threads is not None and threads < 1:
            raise ArgumentError(f"threads must be at least 1, got {threads}")
        self.threads = threads or available_threads()
        self.isa = isa

    def keep(self, maps: Any, bounds: Float32Array, first_image: int) -> Crops:
        """See Backend.keep."""
        array, bfloat16 = to_numpy(maps)
        image, unit, box, values, bad = _core.keep(
            array, bounds, first_image=first_image, bfloat16=bfloat16, threads=self.threads, isa=self.isa
        )
        if bad is not None:
            raise NonFiniteError(*bad)
        return Crops(image, unit, box, values)

    def count(self, job: CountJob) -> None:
        """See Backend.count."""
        y, x = job.axes
        labels = job.labels
        _core.count(
            job.crops.arrays,
            first_image=job.first_image,
            thresholds=job.thresholds,
            y=(y.i0, y.i1, y.f),
            x=(x.i0, x.i1, x.f),
            map_size=job.map_size,
            labels=(
                labels.slot_start,
                labels.slot_concept,
                labels.word_start,
                labels.words,
                labels.whole_start,
                labels.whole,
                job.present,
            ),
            intersection=job.intersection,
            unit_area=job.unit_area,
            threads=self.threads,
            isa=self.isa,
        )

    def masks(
        self, crops: Crops, thresholds: Float32Array, axes: tuple[AxisTable, AxisTable], map_size: tuple[int, int]
    ) -> Uint64Array:
        """See Backend.masks."""
        y, x = ((axis.i0, axis.i1, axis.f) for axis in axes)
        return _core.masks(
            crops.arrays, thresholds=thresholds, y=y, x=x, map_size=map_size, threads=self.threads, isa=self.isa
        )
