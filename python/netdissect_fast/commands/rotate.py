"""``netdissect-fast rotate``: layers in rotated bases."""

from __future__ import annotations

import argparse
from typing import Any

from .network_options import add_running, opened, saving
from .options import iou_threshold_option, new_command, numbers_of, other_options


def add(commands: Any) -> None:
    """Add the command and its options."""
    rotate = new_command(
        commands,
        "rotate",
        "dissect layers in gradually rotated bases, to test whether interpretability is axis-aligned",
        _rotate,
        usage="--model MODEL --layers NAMES --data DATA\n[--out DIR] [options]",
        example="rotate --model net.py:make --weights net.pth\n"
        "--layers layer4 --data broden1_224 --alphas 0,0.5,1 --out results/rotate",
    )
    iou_threshold_option(add_running(rotate, transform=False))
    option = rotate.add_argument_group("rotation").add_argument
    option("--alphas", type=numbers_of, default="0,0.25,0.5,0.75,1", metavar="NUMBERS",
           help="rotation amounts, from 0 (original basis) to 1 (random basis), separated by commas")  # fmt: skip
    option("--seeds", type=int, default=3, metavar="N", help="random rotations per amount")
    other_options(rotate, quiet=True)


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
