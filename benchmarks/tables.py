"""The tables of ``python -m benchmarks``: every ratio from runs in turns, of the best runs and (of the medians)."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

from netdissect_fast import _core
from netdissect_fast.scoring.backends.cpu import available_threads

from . import scaling
from .baselines import Task, numpy_loop, plain_reads, torch_plain, torch_tuned
from .compiled import numba_fused
from .ours import Ours, assert_exact
from .timing import Timing, interleaved, milliseconds, ratio
from .workload import Setting, Workload, make

_MOST_DIFFERENT = 1e-4  # share of counted pixels that a baseline's rounding may change
_SLOW_MAPS = 16_000  # that plain torch upsamples in about a second
_SLOW = {"numpy loop": numpy_loop, "torch": torch_plain, "torch tuned": torch_tuned}


def baseline(work: Workload, loop: Callable[[Task], object]) -> Callable[[], object]:
    """A baseline ready to be timed, after a check that it counts what netdissect_fast counts."""
    task = Task(work)
    run = numba_fused(task) if loop is numba_fused else partial(loop, task)
    run()
    ours = Ours(work)
    ours.score()
    differing = task.differing(ours.counter.counts)
    total = int(task.intersection[:, 1:].sum())
    if differing > max(50, _MOST_DIFFERENT * total):
        raise AssertionError(f"{loop.__name__} differs in {differing} of {total} pixels")
    if differing:
        print(f"({loop.__name__}: {differing} of {total} counted pixels differ by rounding)", file=sys.stderr)
    return run


def best_read(reads: dict[str, Timing]) -> tuple[str, Timing]:
    """The faster way of reading everything."""
    return min(reads.items(), key=lambda item: item[1].best)


def print_row(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def print_head(*cells: str) -> None:
    print_row(*cells)
    print_row(*["---"] * len(cells))


def fast_times(work: Workload) -> tuple[Ours, dict[str, Callable[[], object]]]:
    """What is timed on all images: ours in parts and on every instruction set, numba, and the plain reads."""
    for isa in _core.available_isas():
        assert_exact(work, isa)
    ours = Ours(work)
    crops = ours.keep()
    subjects = {"ours": ours.score, "keep": ours.keep, "count": lambda: ours.count(crops)}
    subjects |= {isa: ours.on(isa).score for isa in _core.available_isas()}
    return ours, subjects | {"numba": baseline(work, numba_fused)} | plain_reads(work)


def speed(settings: list[Setting], images: int, repeats: int) -> Iterator[tuple[Workload, dict[str, Timing]]]:
    """The first table, a line a setting; and what the second needs."""
    print_head(
        "one thread", "images", "keep + count, ms an image", "maps/s", "GB/s", "numba fused", "torch tuned", "torch",
        "NumPy/PIL loop", "plain read: ours takes",
    )  # fmt: skip
    for setting in settings:
        work = make(setting, images)
        ours, subjects = fast_times(work)
        found = interleaved(subjects, repeats)
        few = work.head(max(1, min(len(work), _SLOW_MAPS // setting.units)))
        slow = {name: baseline(few, loop) for name, loop in _SLOW.items()} | {"ours": Ours(few).score}
        slowly = interleaved(slow, min(3, repeats))
        score = found["ours"].per(len(work))
        read = best_read({name: found[name] for name in plain_reads(work)})
        print_row(
            f"{setting.name} {setting.units}×{setting.height}×{setting.width}",
            f"{len(work)} ({len(few)})",
            milliseconds(score),
            f"{setting.units / score.best / 1e6:.2f} M",
            f"{work.maps.nbytes / found['ours'].best / 1e9:.1f}",
            f"{ratio(found['numba'], found['ours'])}×",
            *(f"{ratio(slowly[name], slowly['ours'])}×" for name in ("torch tuned", "torch", "numpy loop")),
            f"{ratio(found['ours'], read[1])}× {read[0]}",
        )
        threads = {f"threads {n}": ours.on(threads=n).score for n in (1, 2)}
        yield work, found | interleaved(threads, repeats, time.perf_counter)


def parts(work: Workload, found: dict[str, Timing]) -> list[str]:
    """A line of the second table."""
    best = found[_core.available_isas()[0]]
    crops = Ours(work).keep()
    return [
        work.setting.name,
        *(milliseconds(found[name].per(len(work))) for name in ("keep", "count")),
        *(f"{ratio(found[isa], best)}×" for isa in _core.available_isas()[1:]),
        f"{ratio(found['threads 1'], found['threads 2'])}×",
        f"{100 * crops.values.nbytes / work.maps.nbytes:.1f} %",
        f"{100 * len(crops) / (len(work) * work.setting.units):.1f} %",
    ]


def print_speed(settings: list[Setting], images: int, repeats: int) -> None:
    rows = [parts(work, found) for work, found in speed(settings, images, repeats)]
    first, *others = _core.available_isas()
    print()
    slower = [f"{isa} takes, {first} = 1" for isa in others]
    print_head(
        "parts", "keep, ms", "count, ms", *slower, f"2 threads of {available_threads()} cores, wall", "store", "active"
    )
    for row in rows:
        print_row(*row)


def print_scaling(repeats: int) -> None:
    """One table for each thing that is varied."""
    for what, variants in scaling.cases().items():
        print(f"\n{what} (otherwise {scaling.BASE.name}, or as named)\n")
        print_head(what, "keep + count, ms an image", "keep", "count", "numba fused", "plain read: ours takes", "store")
        for value, workload in variants.items():
            work = workload()
            assert_exact(work, units=8)
            ours = Ours(work)
            crops = ours.keep()
            subjects = {"ours": ours.score, "keep": ours.keep, "count": partial(ours.count, crops)}
            found = interleaved(subjects | {"numba": baseline(work, numba_fused)} | plain_reads(work), repeats)
            read = best_read({name: found[name] for name in plain_reads(work)})
            print_row(
                value,
                *(milliseconds(found[name].per(len(work))) for name in ("ours", "keep", "count")),
                f"{ratio(found['numba'], found['ours'])}×",
                f"{ratio(found['ours'], read[1])}×",
                f"{100 * crops.values.nbytes / work.maps.nbytes:.1f} %",
            )
    print_threads(repeats)


def print_threads(repeats: int) -> None:
    ours = Ours(make(scaling.BASE))
    counts = sorted({1, 2, 4, 8, available_threads()} & set(range(1, available_threads() + 1)))
    found = interleaved({str(n): ours.on(threads=n).score for n in counts}, repeats, time.perf_counter)
    print("\nthreads\n")
    print_head("threads", "keep + count, ms an image, wall", "as fast")
    for name, timing in found.items():
        print_row(name, milliseconds(timing.per(len(ours.work))), f"{ratio(found['1'], timing)}×")
