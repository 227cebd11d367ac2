"""``netdissect-fast merge``: the result of a run, merged from its shards."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from .options import new_command, other_options, required_options
from .run_options import add_counting


def add(commands: Any) -> None:
    """Add the command and its options."""
    merge = new_command(
        commands,
        "merge",
        "merge the shards of a run (dissect --shard I/N) into its result",
        _merge,
        usage="DIR [DIR ...] [--out DIR] [options]",
        example="merge machine1/net machine2/net --out results/net",
    )
    required_options(merge)(
        "folders",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="folder of shards (their --out); several if each machine wrote to its own",
    )
    option = merge.add_argument_group("results").add_argument
    option("--out", type=Path, metavar="DIR",
           help="folder for the result (default: the folder of the shards; required if there are several)")  # fmt: skip
    add_counting(merge)
    other_options(merge, json="print JSON instead of tables", quiet=True)


def _merge(arguments: argparse.Namespace) -> None:
    from ..results.summary import result_json, result_text
    from ..runs.merge import merge

    if arguments.out is None and len(arguments.folders) > 1:
        arguments.usage_error("--out is required if there are several folders of shards")
    result = merge(
        arguments.folders,
        arguments.out,
        data=arguments.data,
        backend=arguments.backend,
        threads=arguments.threads,
        cache=arguments.cache,
        progress=not arguments.quiet,
    )
    if arguments.json:
        print(json.dumps(result_json(result, arguments.iou_threshold), indent=2))
    else:
        print(result_text(result, arguments.out or arguments.folders[0], arguments.iou_threshold))
