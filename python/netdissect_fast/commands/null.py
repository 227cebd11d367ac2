"""``netdissect-fast null``: how sure labels are."""

from __future__ import annotations

import argparse
from typing import Any

from .options import new_command
from .run_options import add_saved, loaded


def add(commands: Any) -> None:
    """Add the command and its options."""
    null = new_command(
        commands,
        "null",
        "how sure labels are: units scored against other images' labels; adds p and q to result.csv",
        _null,
    )
    add_saved(null)
    null.add_argument("--repeats", type=int, default=20, help="shufflings; each takes as long as a count")
    null.add_argument("--seed", type=int, default=0, help="of the shufflings")


def _null(arguments: argparse.Namespace) -> None:
    from ..experiments.null import null, null_rows
    from ..experiments.rows import rows_text

    run, options = loaded(arguments)
    null(run, repeats=arguments.repeats, seed=arguments.seed, out=arguments.run, **options)
    print(rows_text(null_rows(run, arguments.iou_threshold)))
    print(f"p and q of every unit are in the result.csv of {arguments.run}")
