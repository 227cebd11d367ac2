"""Times that can be compared: everything in one process, in turns, so that all meet the same moods of the machine."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import netdissect_fast as nd
from netdissect_fast import _core
from netdissect_fast.scoring.backends.cpu import available_threads


@dataclass(frozen=True)
class Timing:
    """Seconds of one subject, run after run."""

    seconds: tuple[float, ...]

    @property
    def best(self) -> float:
        return min(self.seconds)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def per(self, count: int) -> Timing:
        """The same for one of ``count`` equal parts."""
        return Timing(tuple(second / count for second in self.seconds))


def ratio(slow: Timing, fast: Timing) -> str:
    """How many times as long: of the best runs, and of the medians."""
    return f"{slow.best / fast.best:.1f} ({slow.median / fast.median:.1f})"


def milliseconds(timing: Timing) -> str:
    """Best and median."""
    return f"{1e3 * timing.best:.3g} ({1e3 * timing.median:.3g})"


def interleaved(
    subjects: Mapping[str, Callable[[], object]], repeats: int, clock: Callable[[], float] = time.process_time
) -> dict[str, Timing]:
    """Run all subjects in turns. CPU time by default, which neighbours disturb least; threads need the wall clock.

    Each runs once untimed, then as often in a row as makes 20 ms, so that the cache and the clock's ticks are fair.
    """
    often = {}
    for name, subject in subjects.items():
        subject()
        begin = time.perf_counter()
        subject()
        often[name] = max(1, min(1000, int(0.02 / max(time.perf_counter() - begin, 1e-9))))
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(repeats):
        for name, subject in subjects.items():
            begin = clock()
            for _ in range(often[name]):
                subject()
            seconds[name].append((clock() - begin) / often[name])
    return {name: Timing(tuple(found)) for name, found in seconds.items()}


def one_thread() -> None:
    """Hold the libraries of the baselines to one thread."""
    import torch

    torch.set_num_threads(1)
    if find_spec("numba"):  # of the extra "bench"
        import numba

        numba.set_num_threads(1)


def cpu_model() -> str:
    """As the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def header() -> str:
    """What the figures below it were measured on."""
    packages = {"numpy": "numpy", "torch": "torch", "numba": "numba", "pillow": "PIL"}  # and what they are imported as
    versions = ", ".join(f"{name} {metadata.version(name)}" for name, module in packages.items() if find_spec(module))
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{cpu_model()}, {available_threads()} cores{load}; instruction sets {', '.join(_core.available_isas())}, "
        f"in use {_core.isa()}\nnetdissect_fast {nd.__version__}, Python {sys.version.split()[0]}, {versions}"
    )
