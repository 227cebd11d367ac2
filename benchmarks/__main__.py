"""Tables of speed: ``python -m benchmarks``; see README.md beside this file."""

from __future__ import annotations

import argparse

from .tables import print_scaling, print_speed
from .timing import header, one_thread
from .workload import SETTINGS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--settings", default=",".join(SETTINGS), help="which layers, comma-separated (all)")
    parser.add_argument("--images", type=int, default=0, help="of each setting (default: its own number)")
    parser.add_argument("--repeats", type=int, default=7, help="runs of each subject, in turns")
    parser.add_argument("--scaling", action="store_true", help="the scaling tables instead")
    options = parser.parse_args()
    chosen = options.settings.split(",")
    if unknown := set(chosen) - set(SETTINGS):
        parser.error(f"unknown settings {', '.join(sorted(unknown))}; choose from {', '.join(SETTINGS)}")
    one_thread()
    print(header())
    print("CPU time on one thread: best (median). keep has the threshold as its bound, as in a run's last batches;")
    print("labels are packed and sums allocated before the clock starts, for everyone. × = times as long as ours.\n")
    if options.scaling:
        print_scaling(options.repeats)
    else:
        print_speed([SETTINGS[name] for name in chosen], options.images, options.repeats)


if __name__ == "__main__":
    main()
