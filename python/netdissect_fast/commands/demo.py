"""``netdissect-fast demo``: dissection of a small network on drawn scenes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .options import new_command, other_options


def add(commands: Any) -> None:
    """Add the command and its options."""
    demo = new_command(
        commands,
        "demo",
        "dissect a small network on drawn scenes, in under a minute and without a download",
        _demo,
        usage="[--out DIR] [options]",
        example="demo --out demo",
    )
    option = demo.add_argument_group("demo").add_argument
    option("--out", type=Path, default=Path("netdissect_demo"), metavar="DIR", help="result folder")
    option("--images", type=int, default=600, metavar="N", help="number of scenes to draw")
    option("--seed", type=int, default=0, metavar="N", help="seed of the scenes")
    other_options(demo)


def _demo(arguments: argparse.Namespace) -> None:
    from ..demo.demo import LAYER, report_demo, run_demo
    from ..results.summary import layer_text

    results = run_demo(arguments.out, seed=arguments.seed, images=arguments.images)
    for name, result in results.items():
        print(f"{name} weights\n{layer_text(result[LAYER])}\n")
    unique = {name: sum(result[LAYER].unique_detectors().values()) for name, result in results.items()}
    print(f"concepts that units detect: {unique['trained']} after training, {unique['random']} with random weights")
    print(f"results and drawn scenes are in {arguments.out}; open the report:")
    print(report_demo(arguments.out, results).index)
