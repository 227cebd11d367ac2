"""``netdissect-fast ablate``: what a network loses when units are silenced."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import DataError
from .network_options import add_dissected, dissected
from .options import new_command


def add(commands: Any) -> None:
    """Add the command and its options."""
    ablate = new_command(commands, "ablate", "accuracy when units are silenced, by label or by rank", _ablate)
    add_dissected(ablate)
    option = ablate.add_argument
    option("--by", default="rank", choices=["label", "rank"], help="units of one concept; so many best, worst, random")
    option("--targets", type=Path, help="CSV of image,target; default: what the network itself says with all units")
    option("--data", type=Path, help="the data set, where it is no longer where it was when it was dissected")
    option("--limit", type=int, metavar="N", help="only the first N images")
    option("--batch-size", type=int, default=32, help="images at a time")
    option("--workers", type=int, default=0, help="processes that load images; 0: the main one")
    option("--iou-threshold", type=float, default=0.04, help="IoU above which a unit is a detector")
    option("--out", type=Path, help="folder for the table and a figure; default: the run's")


def _ablate(arguments: argparse.Namespace) -> None:
    from ..data.dataset import Subset
    from ..data.sources import data_of_run
    from ..experiments.ablation import ablate, sets_by_label, sets_by_rank
    from ..experiments.rows import rows_text

    run, layer, model, preprocess = dissected(arguments)
    data = data_of_run(run.run, arguments.data)
    if arguments.limit is not None:
        data = Subset.first(data, arguments.limit)
    by_label = arguments.by == "label"
    found = ablate(
        model,
        data,
        layer.name,
        sets_by_label(layer, arguments.iou_threshold) if by_label else sets_by_rank(layer),
        targets=None if arguments.targets is None else _targets(arguments.targets, data),
        preprocess=preprocess,
        batch_size=arguments.batch_size,
        workers=arguments.workers,
    )
    print(f"accuracy with all units: {found.accuracy:.4f}\n{rows_text(found.rows)}")
    found.save(arguments.out or arguments.run)
    print(f"written to {arguments.out or arguments.run}")


def _targets(path: Path, data: Any) -> list[int]:
    from ..csv_tables import read_table

    table = read_table(path, ("image", "target"))
    given: dict[str, int] = {}
    for line, cells in table.rows:
        target = table.integer(line, cells, "target")
        if target is None:
            raise table.error(line, "target is empty")
        given[table.text(cells, "image")] = target
    names = [data.name(index) for index in range(len(data))]
    missing = [name for name in names if name not in given]
    if missing:
        raise DataError(path, f"has no target of {len(missing)} images, the first {missing[0]}")
    return [given[name] for name in names]
