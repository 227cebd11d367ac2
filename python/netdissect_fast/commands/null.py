"""``netdissect-fast null``: how certain labels are."""

from __future__ import annotations

import argparse
from typing import Any

from .options import new_command, other_options
from .run_options import add_counting, add_saved, loaded


def add(commands: Any) -> None:
    """Add the command and its options."""
    null = new_command(
        commands,
        "null",
        "test labels against chance: score units against other images' labels, and add p and q to result.csv",
        _null,
        usage="RUN [--repeats N] [options]",
        example="null results/net --repeats 50",
    )
    add_saved(null)
    option = null.add_argument_group("shuffling").add_argument
    option("--repeats", type=int, default=20, metavar="N", help="number of shufflings; each takes as long as a count")
    option("--seed", type=int, default=0, metavar="N", help="seed of the shufflings")
    add_counting(null)
    other_options(null)


def _null(arguments: argparse.Namespace) -> None:
    from ..experiments.null import null, null_rows
    from ..experiments.rows import rows_text

    run, options = loaded(arguments)
    null(run, repeats=arguments.repeats, seed=arguments.seed, out=arguments.run, **options)
    print(rows_text(null_rows(run, arguments.iou_threshold)))
    print(f"p and q of every unit are in the result.csv of {arguments.run}")
