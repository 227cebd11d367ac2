"""``netdissect-fast compare``: results side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .options import new_command
from .run_options import tables_of


def add(commands: Any) -> None:
    """Add the command and its options."""
    compare = new_command(
        commands,
        "compare",
        "networks, layers or trainings side by side: detectors by category, concepts gained and lost",
        _compare,
    )
    option = compare.add_argument
    option(
        "runs",
        type=Path,
        nargs="+",
        metavar="run",
        help="result folder, or anybody's result.csv; first the reference",
    )
    option("--out", type=Path, help="folder for tables and a figure")
    option("--iou-threshold", type=float, default=0.04, help="IoU above which a unit is a detector")
    option(
        "--count",
        default="top_label",
        choices=["top_label", "per_category"],
        help="units count once, or by category",
    )


def _compare(arguments: argparse.Namespace) -> None:
    from ..experiments.comparison import compare
    from ..experiments.rows import rows_text

    found = compare(tables_of(arguments.runs), iou_threshold=arguments.iou_threshold, count=arguments.count)
    print(rows_text(found.rows()))
    if len(found.tables) > 1:
        print(f"\n{rows_text(found.changes())}")
    if arguments.out:
        found.save(arguments.out)
        print(f"written to {arguments.out}")
