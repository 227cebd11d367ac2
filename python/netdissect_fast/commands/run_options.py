"""What all commands that ask a saved run have in common."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def add_saved(command: argparse.ArgumentParser) -> None:
    """Add the options of a command that asks a saved run, without its network."""
    command.add_argument("run", type=Path, help="result folder of dissect --out")
    add_counting(command)


def add_counting(command: argparse.ArgumentParser) -> None:
    """Add the options of a command that counts what was kept."""
    option = command.add_argument
    option("--data", type=Path, help="the data set, where it is no longer where it was when it was dissected")
    option("--backend", default="auto", help="cpu, reference or auto")
    option("--threads", type=int, help="of the kernels; default: all cores")
    option("--cache", type=Path, help="folder for packed labels; default: NETDISSECT_FAST_CACHE or the user's cache")
    option("--iou-threshold", type=float, default=0.04, help="IoU above which a unit is a detector")


def loaded(arguments: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """The run, and what functions that ask it take."""
    from ..data.sources import data_of_run
    from ..results.run_result import load

    run = load(arguments.run)
    data = None if arguments.data is None else data_of_run(run.run, arguments.data)
    names = ("backend", "threads", "cache")
    return run, {"data": data, **{name: getattr(arguments, name) for name in names}}


def result_of(path: Path) -> Any:
    """What a result folder or a result.csv holds."""
    from ..results.result_csv import compare_csv
    from ..results.run_result import load

    return compare_csv(path) if path.suffix.lower() == ".csv" else load(path)


def tables_of(paths: Sequence[Path]) -> dict[str, Any]:
    """Tables of units, one a layer, named as their files or folders; alike names with the folder above."""
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
