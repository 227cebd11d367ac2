"""``netdissect-fast dissect``: dissect layers of a network."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ..errors import ArgumentError
from .network_options import Opened, add_running, opened, saving
from .options import new_command, shard_of


def add(commands: Any) -> None:
    """Add the command and its options."""
    dissect = new_command(commands, "dissect", "dissect layers of a network", _dissect)
    add_running(dissect)
    option = dissect.add_argument
    option("--dry-run", action="store_true", help="estimate memory and time from a few batches; write nothing")
    option("--checkpoints", metavar="PATTERN", help="dissect with each of these files of weights: 'ckpt/*.pth'")
    option("--shard", type=shard_of, metavar="I/N", help="only the I-th of N parts of the images, from 0; see merge")
    option("--iou-threshold", type=float, default=0.04, help="IoU above which a unit is a detector, in the table")
    option("--json", action="store_true", help="print JSON instead of tables")


def _dissect(arguments: argparse.Namespace) -> None:
    from ..dissection import dissect
    from ..results.summary import result_json, result_text
    from ..runs.estimates import estimate

    with opened(arguments) as run:
        if arguments.dry_run:
            expected = estimate(run.model, run.data, run.layers, **run.options)
            print(json.dumps(expected.to_json(), indent=2) if arguments.json else expected)
            return
        if arguments.checkpoints is not None:
            _series(arguments, run)
            return
        result = dissect(run.model, run.data, run.layers, **run.options, **saving(arguments), shard=arguments.shard)
    if run.rank:
        return
    if arguments.shard is not None:
        print("shard {}/{} is in".format(*arguments.shard), f"{arguments.out}; when all are: netdissect-fast merge")
    elif arguments.json:
        print(json.dumps(result_json(result, arguments.iou_threshold), indent=2, ensure_ascii=False))
    else:
        print(result_text(result, arguments.out, arguments.iou_threshold))


def _series(arguments: argparse.Namespace, run: Opened) -> None:
    from ..experiments.rows import rows_text
    from ..experiments.training import dissect_series

    pattern = Path(arguments.checkpoints)
    paths = sorted(pattern.parent.glob(pattern.name))
    if not paths:
        raise ArgumentError(f"--checkpoints {pattern}: there is no such file")
    if arguments.weights is not None or arguments.shard is not None:
        raise ArgumentError("--checkpoints are the weights of whole runs: leave out --weights and --shard")
    series = dissect_series(
        run.model, paths, run.data, run.layers, iou_threshold=arguments.iou_threshold,
        **run.options, **saving(arguments),
    )  # fmt: skip
    if not run.rank:
        print(rows_text(series.rows(arguments.iou_threshold)))
        if arguments.out:
            print(f"written to {arguments.out}")
