"""What all commands that ask a saved run have in common."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_saved(command: argparse.ArgumentParser, several: bool = False) -> None:
    """Add the options of a command that asks a saved run, without its network."""
    option = command.add_argument
    if not several:
        option("run", type=Path, help="result folder of dissect --out")
    option("--data", type=Path, help="the data set, where it is no longer where it was when it was dissected")
    option("--backend", default="auto", help="cpu, reference or auto")
    option("--threads", type=int, help="of the kernels; default: all cores")
    option("--cache", type=Path, help="folder for packed labels; default: NETDISSECT_FAST_CACHE or the user's cache")
    option("--iou-threshold", type=float, default=0.04, help="IoU above which a unit is a detector")


def loaded(arguments: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """The run, and what functions that ask it take."""
    from ..data.sources import data_of_run
    from ..results import load

    run = load(arguments.run)
    data = None if arguments.data is None else data_of_run(run.run, arguments.data)
    names = ("backend", "threads", "cache")
    return run, {"data": data, **{name: getattr(arguments, name) for name in names}}
