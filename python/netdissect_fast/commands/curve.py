"""``netdissect-fast curve``: detectors at other quantiles and IoU thresholds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .options import new_command, numbers_of, other_options, quantiles_of
from .run_options import add_counting, add_saved, loaded


def add(commands: Any) -> None:
    """Add the command and its options."""
    curve = new_command(
        commands,
        "curve",
        "count detectors at smaller quantiles and other IoU thresholds, from the saved peaks",
        _curve,
        usage="RUN [options]",
        example="curve results/net --quantiles 0.001,0.002 --split",
    )
    add_saved(curve)
    option = curve.add_argument_group("curve").add_argument
    option("--quantiles", type=quantiles_of, metavar="QUANTILES",
           help="quantiles to evaluate, separated by commas, at most the run's own (default: the run's, down to 1/50 "
                "of it)")  # fmt: skip
    option("--iou-thresholds", type=numbers_of, metavar="IOUS",
           help="IoU thresholds to evaluate, separated by commas (default: ten, from 0.01 to 0.3)")  # fmt: skip
    option("--split", action="store_true",
           help="also choose labels on a random half of the images and report their IoU on the other half")  # fmt: skip
    option("--seed", type=int, default=0, metavar="N", help="seed of the random split")
    option("--out", type=Path, metavar="DIR", help="folder for tables and figures (default: RUN)")
    add_counting(curve)
    other_options(curve)


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
