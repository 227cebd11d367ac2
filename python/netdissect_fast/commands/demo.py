"""``netdissect-fast demo``: a small network on drawn scenes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """Add the command and its options."""
    demo = commands.add_parser("demo", help="dissect a small network on drawn scenes: no download, under a minute")
    demo.add_argument("--out", type=Path, default=Path("netdissect_demo"), help="result folder (default: %(default)s)")
    demo.add_argument("--seed", type=int, default=0, help="of the drawn scenes (default: %(default)s)")
    demo.add_argument("--images", type=int, default=600, help="how many scenes (default: %(default)s)")
    demo.set_defaults(command=_demo)


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
