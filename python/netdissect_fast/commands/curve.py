"""``netdissect-fast curve``: detectors at other quantiles and IoU thresholds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .options import names_of, new_command, numbers_of
from .run_options import add_saved, loaded


def add(commands: Any) -> None:
    """Add the command and its options."""
    curve = new_command(
        commands, "curve", "detectors at smaller quantiles and other IoU thresholds, from the saved peaks", _curve
    )
    add_saved(curve)
    option = curve.add_argument
    option("--quantiles", type=names_of, help="up to the run's own; default: that, and down to a fiftieth of it")
    option("--iou-thresholds", type=numbers_of, help="default: ten, from 0.01 to 0.3")
    option("--split", action="store_true", help="also choose labels on half of the images, report them on the other")
    option("--seed", type=int, default=0, help="of the halves")
    option("--out", type=Path, help="folder for tables and figures; default: the run's")


def _curve(arguments: argparse.Namespace) -> None:
    from ..experiments.curves import IOU_THRESHOLDS, curve
    from ..experiments.rows import rows_text

    run, options = loaded(arguments)
    given = arguments.iou_thresholds
    found = curve(
        run,
        quantiles=arguments.quantiles,
        iou_thresholds=IOU_THRESHOLDS if given is None else given if isinstance(given, tuple) else (given,),
        iou_threshold=arguments.iou_threshold,
        split=arguments.split,
        seed=arguments.seed,
        **options,
    )
    own = (found.quantile, found.iou_threshold)
    print(rows_text([row for row in found.rows if row["quantile"] == own[0] or row["iou_threshold"] == own[1]]))
    if arguments.split:
        print(f"\n{rows_text(found.held_out())}")
    found.save(arguments.out or arguments.run)
    print(f"written to {arguments.out or arguments.run}")
