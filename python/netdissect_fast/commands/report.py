"""``netdissect-fast report``: a static site that shows a result."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .options import (
    cache_option,
    iou_threshold_option,
    moved_data_option,
    new_command,
    other_options,
    required_options,
)
from .run_options import result_of, tables_of


def add(commands: Any) -> None:
    """Add the command and its options."""
    report = new_command(
        commands,
        "report",
        "write a static site of a result: layers, units with pictures, concepts",
        _report,
        usage="RUN [--out DIR] [--compare RUN] [options]",
        example="report results/net --compare results/baseline",
    )
    required_options(report)(
        "run", type=Path, metavar="RUN", help="result folder of a run (dissect --out), or any NetDissect result.csv"
    )
    site = report.add_argument_group("site").add_argument
    site("--out", type=Path, metavar="DIR",
         help="folder for the site (default: report in the result folder, or next to result.csv)")  # fmt: skip
    site("--compare", type=Path, action="append", default=[], metavar="RUN",
         help="result folder or result.csv to show beside RUN (repeatable)")  # fmt: skip
    iou_threshold_option(site)
    pictures = report.add_argument_group("pictures").add_argument
    pictures("--no-pictures", action="store_true", help="write tables only; needs no data set")
    pictures("--top-images", type=int, default=10, metavar="N", help="most pictures shown per unit")
    pictures("--picture-size", type=int, default=224, metavar="PIXELS", help="length of a picture's longer side")
    pictures("--outline", action="store_true", help="outline masks")
    pictures("--heat-map", action="store_true", help="add a heat map of each picture")
    moved_data_option(pictures)
    how = report.add_argument_group("execution").add_argument
    how("--workers", type=int, metavar="N",
        help="processes that draw pictures; 0: the main process (default: one per core)")  # fmt: skip
    how("--threads", type=int, metavar="N", help="CPU threads (default: all cores)")
    cache_option(how)
    other_options(report, quiet=True)


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
