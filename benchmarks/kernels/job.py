"""job.h for Python: a compiled version of the kernel, and a workload as it takes it."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from netdissect_fast import _core
from netdissect_fast.geometry.grids import AxisTable
from netdissect_fast.scoring.backends.reference import ReferenceBackend
from netdissect_fast.types import Array

from ..ours import counts_of
from ..workload import CONCEPTS, VOCABULARY, Workload

# GCC's own headers warn of uninitialised values (bug 105593).
_COMPILE = ("g++", "-std=c++20", "-O3", "-march=native", "-ffp-contract=off", "-Wall", "-Wextra",
            "-Wno-maybe-uninitialized", "-shared", "-fPIC")  # fmt: skip
_Size, _Pointer = ctypes.c_int64, ctypes.c_void_p


class _Axis(ctypes.Structure):
    _fields_ = [(name, _Size) for name in ("pixels", "features")] + [(name, _Pointer) for name in ("i0", "i1", "f")]


class _Job(ctypes.Structure):
    _fields_ = [
        *((name, _Size) for name in ("images", "units", "concepts", "categories")),
        *((name, _Pointer) for name in ("maps", "thresholds")),
        *((name, _Axis) for name in ("y", "x")),
        *((name, _Pointer) for name in ("slot_start", "slot_concept", "word_start", "words", "whole_start", "whole")),
        *((name, _Pointer) for name in ("present", "intersection", "unit_area")),
    ]


class Run:
    """A kernel on a workload; ``intersection`` [U, C] and ``unit_area`` [U, categories] go on from run to run."""

    def __init__(self, function: Any, work: Workload) -> None:
        units = len(work.thresholds)
        self.intersection = np.zeros((units, len(VOCABULARY)), np.int64)
        self.unit_area = np.zeros((units, len(CONCEPTS)), np.int64)
        self._function = function
        self._kept: list[Array] = []  # alive as long as pointers to them
        labels, present = work.packed, work.packed.category_present(VOCABULARY)
        axes = (self._axis(work.grid.axis(axis, work.label_shape[axis]), work.grid.size[axis]) for axis in (0, 1))
        label_arrays = (labels.slot_start, labels.slot_concept, labels.word_start, labels.words)
        arrays = (*label_arrays, labels.whole_start, labels.whole, present, self.intersection, self.unit_area)
        self._job = _Job(
            len(work), units, len(VOCABULARY), len(CONCEPTS), *map(self._pointer, (work.maps, work.thresholds)), *axes,
            *map(self._pointer, arrays),
        )  # fmt: skip

    def run(self) -> None:
        self._function(ctypes.byref(self._job))

    def _pointer(self, array: Array) -> int:
        self._kept.append(np.ascontiguousarray(array))
        return self._kept[-1].ctypes.data

    def _axis(self, table: AxisTable, features: int) -> _Axis:
        pad = -len(table) % 16
        arrays = (np.pad(array, (0, pad)) for array in (table.i0, table.i1, table.f))
        return _Axis(len(table), features, *map(self._pointer, arrays))


class Kernel:
    """One compiled version."""

    def __init__(self, library: Path) -> None:
        self._function = ctypes.CDLL(str(library)).keep_and_count
        self._function.argtypes, self._function.restype = [ctypes.POINTER(_Job)], None

    def on(self, work: Workload) -> Run:
        return Run(self._function, work)


def compiled(folder: Path) -> dict[str, Kernel]:
    """Compile every numbered version for the CPU at hand. All but the first need AVX-512."""
    found = {}
    for source in sorted(Path(__file__).parent.glob("[0-9]*_*.cpp")):
        if source.stem != "1_pixels" and "avx512" not in _core.available_isas():
            continue
        library = folder / f"{source.stem}.so"
        subprocess.run((*_COMPILE, "-o", library, source), check=True)
        found[source.stem] = Kernel(library)
    return found


def validate(name: str, kernel: Kernel, work: Workload, images: int = 2, units: int = 48) -> None:
    """On a small piece, a version counts what the definition in NumPy counts."""
    piece = work.head(images, units)
    run, expected = kernel.on(piece), counts_of(piece, ReferenceBackend())
    run.run()
    np.testing.assert_array_equal(run.intersection, expected.intersection, name)
    np.testing.assert_array_equal(run.unit_area, expected.unit_area, name)
