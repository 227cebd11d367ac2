"""``netdissect-fast report``: a static site of a result."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .options import new_command
from .run_options import result_of, tables_of


def add(commands: Any) -> None:
    """Add the command and its options."""
    report = new_command(
        commands, "report", "write a static site of a result: layers, units with pictures, concepts", _report
    )
    add = report.add_argument
    add("run", type=Path, help="result folder of dissect --out, or anybody's result.csv")
    add("--out", type=Path, help="folder for the site; default: report in the result folder, or beside the file")
    add("--data", type=Path, help="the data set, where it is no longer where it was when it was dissected")
    add("--compare", type=Path, action="append", default=[], metavar="RUN",
        help="another result folder or result.csv to show beside; may be given again")  # fmt: skip
    add("--no-pictures", action="store_true", help="tables only; needs no data set")
    add("--top-images", type=int, default=10, help="pictures of a unit, at most")
    add("--picture-size", type=int, default=224, help="pixels on their longer side")
    add("--outline", action="store_true", help="draw a line along the mask's edge")
    add("--heat-map", action="store_true", help="add a heat map of each picture")
    add("--iou-threshold", type=float, default=0.04, help="IoU above which a unit is a detector")
    add("--workers", type=int, help="processes that draw pictures, 0: this one; default: one a core")
    add("--threads", type=int, help="of the kernels; default: all cores")
    add("--cache", type=Path, help="folder for packed labels; default: NETDISSECT_FAST_CACHE or the user's cache")
    add("--quiet", action="store_true", help="no progress bars")


def _report(arguments: argparse.Namespace) -> None:
    from ..data.sources import data_of_run
    from ..pages.report import report
    from ..results.tables import UnitTable
    from ..scoring.backends.cpu import available_threads

    result = result_of(arguments.run)
    compare = tables_of(arguments.compare)
    folder = arguments.run.parent if isinstance(result, UnitTable) else arguments.run
    data = None
    if arguments.data is not None and not arguments.no_pictures and not isinstance(result, UnitTable):
        data = data_of_run(result.run, arguments.data)
    written = report(
        result,
        arguments.out or folder / "report",
        data=data,
        compare=compare,
        pictures=not arguments.no_pictures,
        top_images=arguments.top_images,
        picture_size=arguments.picture_size,
        outline=arguments.outline,
        heat_map=arguments.heat_map,
        iou_threshold=arguments.iou_threshold,
        workers=available_threads() if arguments.workers is None else arguments.workers,
        threads=arguments.threads,
        cache=arguments.cache,
        progress=not arguments.quiet,
    )
    print(f"{written}\n{written.index}")
