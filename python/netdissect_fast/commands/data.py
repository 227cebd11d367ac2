"""``netdissect-fast data``: concept data."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """Add the command and its options."""
    data = commands.add_parser("data", help="make concept data").add_subparsers(required=True, metavar="COMMAND")
    synth = data.add_parser("synth", help="draw a densely labelled data set in Broden's format")
    synth.add_argument("out", type=Path, help="folder to write")
    synth.add_argument("--images", type=int, default=1000, help="how many (default: %(default)s)")
    synth.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    synth.add_argument("--size", type=int, default=128, help="pixels on a side (default: %(default)s)")
    synth.set_defaults(command=_synth)


def _synth(arguments: argparse.Namespace) -> None:
    from ..data.synthetic import write_synthetic

    write_synthetic(arguments.out, images=arguments.images, seed=arguments.seed, size=arguments.size)
    print(f"{arguments.images} images written to {arguments.out}")
