"""``netdissect-fast rotate``: layers in rotated bases."""

from __future__ import annotations

import argparse
from typing import Any

from .network_options import add_running, opened, saving
from .options import new_command, numbers_of


def add(commands: Any) -> None:
    """Add the command and its options."""
    rotate = new_command(
        commands, "rotate", "dissect layers in bases more and more rotated: is interpretability axis-aligned?", _rotate
    )
    add_running(rotate, transform=False)
    option = rotate.add_argument
    option("--alphas", type=numbers_of, default="0,0.25,0.5,0.75,1", help="how far, 0: not, 1: to a random basis")
    option("--seeds", type=int, default=3, help="random rotations for each alpha")
    option("--iou-threshold", type=float, default=0.04, help="IoU above which a unit is a detector")


def _rotate(arguments: argparse.Namespace) -> None:
    from ..experiments.rotation import rotate
    from ..experiments.rows import rows_text

    alphas = arguments.alphas if isinstance(arguments.alphas, tuple) else (arguments.alphas,)
    with opened(arguments) as run:
        rotation = rotate(
            run.model, run.data, run.layers, alphas=alphas, seeds=arguments.seeds,
            iou_threshold=arguments.iou_threshold, **run.options, **saving(arguments),
        )  # fmt: skip
    if not run.rank:
        print(rows_text(rotation.means(arguments.iou_threshold)))
        if arguments.out:
            print(f"written to {arguments.out}")
