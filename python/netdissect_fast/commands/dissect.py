"""``netdissect-fast dissect``: the concepts that the units of a network's layers detect."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ..errors import ArgumentError
from .network_options import Opened, add_running, loading, opened, saving
from .options import iou_threshold_option, new_command, other_options, shard_of


def add(commands: Any) -> None:
    """Add the command and its options."""
    dissect = new_command(
        commands,
        "dissect",
        "find the concept that each unit of a network's layers detects",
        _dissect,
        usage="--model MODEL --layers NAMES --data DATA\n[--out DIR] [options]",
        example="dissect --model net.py:make --weights net.pth\n"
        "--layers layer3,layer4 --data broden1_224 --out results/net",
    )
    results = add_running(dissect)
    iou_threshold_option(results)
    option = dissect.add_argument_group("modes").add_argument
    option("--dry-run", action="store_true", help="estimate memory and time from a few batches; write nothing")
    option("--checkpoints", metavar="PATTERN",
           help="dissect with the weights in each of these files, such as 'ckpt/*.pth'")  # fmt: skip
    option("--shard", type=shard_of, metavar="I/N",
           help="only part I of N of the images, counted from 0; merge combines the parts")  # fmt: skip
    other_options(dissect, json="print JSON instead of tables", quiet=True)


def _dissect(arguments: argparse.Namespace) -> None:
    from ..dissection import dissect
    from ..results.summary import result_json, result_text
    from ..runs.estimates import estimate

    if arguments.checkpoints is not None and (arguments.weights is not None or arguments.shard is not None):
        arguments.usage_error("--checkpoints dissects whole runs with weights of their own: omit --weights and --shard")
    if arguments.shard is not None and arguments.out is None:
        arguments.usage_error("--shard saves a part of the run for merge: add --out")
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
        index, count = arguments.shard
        print(f"shard {index}/{count} written to {arguments.out}; once all shards are: netdissect-fast merge")
    elif arguments.json:
        print(json.dumps(result_json(result, arguments.iou_threshold), indent=2))
    else:
        print(result_text(result, arguments.out, arguments.iou_threshold))


def _series(arguments: argparse.Namespace, run: Opened) -> None:
    from ..experiments.rows import rows_text
    from ..experiments.training import dissect_series

    pattern = Path(arguments.checkpoints)
    paths = sorted(pattern.parent.glob(pattern.name))
    if not paths:
        raise ArgumentError(f"--checkpoints {pattern}: no file matches")
    series = dissect_series(
        run.model, paths, run.data, run.layers, iou_threshold=arguments.iou_threshold,
        **loading(arguments), **run.options, **saving(arguments),
    )  # fmt: skip
    if not run.rank:
        print(rows_text(series.rows(arguments.iou_threshold)))
        if arguments.out:
            print(f"written to {arguments.out}")
