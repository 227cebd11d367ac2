"""``netdissect-fast data``: getting, making and looking at concept data."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..options import new_command
from . import build as building
from . import download as downloading
from . import inspect as looking


def add(commands: Any) -> None:
    """Add the commands and their options."""
    what = "get, build, check and look at concept data"
    data = commands.add_parser("data", help=what, description=what).add_subparsers(required=True, metavar="COMMAND")
    downloading.add(data)
    building.add(data)
    looking.add(data)
    option = new_command(data, "synth", "draw a densely labelled data set in Broden's format", _synth).add_argument
    option("out", type=Path, help="folder to write")
    option("--images", type=int, default=1000, help="how many")
    option("--seed", type=int, default=0, help="of all pictures")
    option("--size", type=int, default=128, help="pixels on a side")


def _synth(arguments: argparse.Namespace) -> None:
    from ...data.formats.synthetic import write_synthetic

    write_synthetic(arguments.out, images=arguments.images, seed=arguments.seed, size=arguments.size)
    print(f"{arguments.images} images written to {arguments.out}")
