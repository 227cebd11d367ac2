"""``netdissect-fast ablate``: the accuracy that a network loses when units are silenced."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import DataError
from .network_options import add_dissected, add_layer, dissected, tokens_of_layer
from .options import (
    iou_threshold_option,
    moved_data_option,
    new_command,
    other_options,
    required_options,
    tokens_option,
)


def add(commands: Any) -> None:
    """Add the command and its options."""
    ablate = new_command(
        commands,
        "ablate",
        "measure a network's accuracy with units silenced, by label or by rank",
        _ablate,
        usage="RUN --model MODEL [--by {label,rank}] [options]",
        example="ablate results/net --model net.py:make --weights net.pth\n--by label",
    )
    required = required_options(ablate)
    option = ablate.add_argument_group("ablation").add_argument
    option("--by", default="rank", choices=["label", "rank"],
           help="label: all units of one concept at a time; rank: the best, worst or random 1, 2, 4, ...")  # fmt: skip
    add_layer(option)
    tokens_option(option)
    option("--targets", type=Path, metavar="FILE",
           help="correct class of each image: CSV with columns image,target (default: what the network predicts "
                "with all units)")  # fmt: skip
    iou_threshold_option(option)
    option("--out", type=Path, metavar="DIR", help="folder for the table and a figure (default: RUN)")
    add_dissected(ablate, required)
    data = ablate.add_argument_group("data").add_argument
    moved_data_option(data)
    data("--limit", type=int, metavar="N", help="only the first N images")
    data("--batch-size", type=int, default=32, metavar="N", help="images per forward pass")
    data("--workers", type=int, default=0, metavar="N", help="processes that load images; 0: the main process")
    other_options(ablate)


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
        tokens=tokens_of_layer(arguments.tokens, layer.name),
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
        raise DataError(path, f"has no target for {len(missing)} images; the first of them is {missing[0]}")
    return [given[name] for name in names]
