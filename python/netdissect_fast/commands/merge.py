"""``netdissect-fast merge``: the result of a run from its shards."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from .options import new_command
from .run_options import add_counting


def add(commands: Any) -> None:
    """Add the command and its options."""
    merge = new_command(commands, "merge", "put the shards of a run together (dissect --shard I/N)", _merge)
    option = merge.add_argument
    option("folders", type=Path, nargs="+", help="the --out of the shards: one, or several where each had its own")
    option("--out", type=Path, help="folder for the result; default: the folder of the shards, if it is one")
    add_counting(merge)
    option("--quiet", action="store_true", help="no progress bars")
    option("--json", action="store_true", help="print JSON instead of tables")


def _merge(arguments: argparse.Namespace) -> None:
    from ..results.summary import result_json, result_text
    from ..runs.merge import merge

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
        print(json.dumps(result_json(result, arguments.iou_threshold), indent=2, ensure_ascii=False))
    else:
        print(result_text(result, arguments.out or arguments.folders[0], arguments.iou_threshold))
