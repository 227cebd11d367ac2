"""``netdissect-fast compare``: results side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .options import iou_threshold_option, new_command, other_options, required_options
from .run_options import tables_of


def add(commands: Any) -> None:
    """Add the command and its options."""
    compare = new_command(
        commands,
        "compare",
        "compare networks, layers or stages of training: detectors by category, concepts gained and lost",
        _compare,
        usage="RUN [RUN ...] [--out DIR] [options]",
        example="compare results/before results/after --out results/compare",
    )
    required_options(compare)(
        "runs",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="result folder, or any NetDissect result.csv; the first is the reference",
    )
    option = compare.add_argument_group("comparison").add_argument
    option("--out", type=Path, metavar="DIR", help="folder for tables and a figure (default: print only)")
    option("--count", default="top_label", choices=["top_label", "per_category"],
           help="count a unit once, for its best label, or once per category in which it is a detector")  # fmt: skip
    iou_threshold_option(option)
    other_options(compare)


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
