"""Options and inputs shared by the commands that read a saved run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .options import cache_option, iou_threshold_option, moved_data_option, required_options

BACKENDS = ["auto", "cpu", "cuda", "reference"]


def add_saved(command: argparse.ArgumentParser) -> None:
    """Add the run of a command that reads a saved run without its network."""
    required_options(command)("run", type=Path, metavar="RUN", help="result folder of a run (dissect --out)")


def add_counting(command: argparse.ArgumentParser) -> None:
    """Add the options of a command that counts from what a run saved."""
    option = command.add_argument_group("counting").add_argument
    iou_threshold_option(option)
    moved_data_option(option)
    cache_option(option)
    option("--backend", default="auto", choices=BACKENDS, help="where to count")
    option("--threads", type=int, metavar="N", help="CPU threads (default: all cores)")


def loaded(arguments: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """Return the run, and the arguments of functions that count from it."""
    from ..data.sources import data_of_run
    from ..results.run_result import load

    run = load(arguments.run)
    data = None if arguments.data is None else data_of_run(run.run, arguments.data)
    names = ("backend", "threads", "cache")
    return run, {"data": data, **{name: getattr(arguments, name) for name in names}}


def result_of(path: Path) -> Any:
    """Read a result folder or a result.csv."""
    from ..results.result_csv import compare_csv
    from ..results.run_result import load

    return compare_csv(path) if path.suffix.lower() == ".csv" else load(path)


def tables_of(paths: Sequence[Path]) -> dict[str, Any]:
    """Read tables of units, one per layer, named after their files or folders; equal names get the folder above."""
    from collections import Counter

    from ..errors import ArgumentError
    from ..results.run_result import Dissection

    found = []
    for path in paths:
        result, name = result_of(path), path.stem if path.suffix.lower() == ".csv" else path.resolve().name
        tables = result.items() if isinstance(result, Dissection) else [("", result)]
        found += [(path.resolve().parent.name, f"{name} {layer}".strip(), table) for layer, table in tables]
    times = Counter(name for _, name, _ in found)
    named = [(f"{above}/{name}" if times[name] > 1 else name, table) for above, name, table in found]
    if len(dict(named)) < len(named):
        twice = next(name for name, count in Counter(name for name, _ in named).items() if count > 1)
        raise ArgumentError(f"two results to compare would both be called {twice!r}: rename one")
    return dict(named)
