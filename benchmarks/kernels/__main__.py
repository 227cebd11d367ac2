"""Every version against the definition, then all in turns: ``python -m benchmarks.kernels [SETTING...]``."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..ours import Ours, assert_exact
from ..tables import print_head, print_row
from ..timing import header, interleaved, milliseconds, one_thread, ratio
from ..workload import SETTINGS, Workload, make
from .job import Kernel, compiled, validate


def print_versions(work: Workload, kernels: dict[str, Kernel], repeats: int) -> None:
    assert_exact(work)
    for name, kernel in kernels.items():
        validate(name, kernel, work)
    subjects: dict[str, Callable[[], object]] = {name: kernel.on(work).run for name, kernel in kernels.items()}
    found = interleaved(subjects | {"csrc": Ours(work).score}, repeats)
    for name, timing in found.items():
        print_row(work.setting.name, name, milliseconds(timing.per(len(work))), f"{ratio(found['1_pixels'], timing)}×")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__)
    parser.add_argument("settings", nargs="*", metavar="SETTING", help=f"of {', '.join(SETTINGS)} (all but the last)")
    parser.add_argument("--images", type=int, default=0, help="of each setting (default: a quarter of its own number)")
    parser.add_argument("--repeats", type=int, default=7, help="runs of each version, in turns")
    options = parser.parse_args()
    if unknown := set(options.settings) - set(SETTINGS):
        parser.error(f"unknown settings {', '.join(sorted(unknown))}; choose from {', '.join(SETTINGS)}")
    one_thread()
    print(header())
    print("keep + count, CPU time on one thread, best (median); csrc = the package's present kernel\n")
    print_head("setting", "version", "ms an image", "times as fast as 1_pixels")
    with tempfile.TemporaryDirectory() as folder:
        kernels = compiled(Path(folder))
        for name in options.settings or list(SETTINGS)[:-1]:
            setting = SETTINGS[name]
            print_versions(make(setting, options.images or max(1, setting.images // 4)), kernels, options.repeats)


if __name__ == "__main__":
    main()
