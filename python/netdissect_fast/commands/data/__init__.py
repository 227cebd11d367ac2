"""``netdissect-fast data``: getting, building and inspecting labelled images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..options import HelpFormatter, examples, help_option, new_command, other_options, required_options
from . import build as building
from . import download as downloading
from . import inspect as looking


def add(commands: Any) -> None:
    """Add the commands and their options."""
    what = "download, build, check and inspect labelled images"
    data = commands.add_parser(
        "data",
        help=what,
        description=f"{what.capitalize()}.",
        usage="netdissect-fast data COMMAND ...",
        epilog=examples("data download broden1_224", "data info broden1_224", "data build --help"),
        formatter_class=HelpFormatter,
        add_help=False,
    )
    subcommands = data.add_subparsers(required=True, title="commands", metavar="COMMAND", prog="netdissect-fast data")
    help_option(data.add_argument_group("options").add_argument)
    downloading.add(subcommands)
    building.add(subcommands)
    looking.add(subcommands)
    synth = new_command(
        subcommands,
        "synth",
        "draw a densely labelled data set in Broden's format",
        _synth,
        usage="DIR [options]",
        example="data synth scenes --images 200",
    )
    required_options(synth)("out", type=Path, metavar="DIR", help="folder to write")
    option = synth.add_argument_group("images").add_argument
    option("--images", type=int, default=1000, metavar="N", help="number of images")
    option("--size", type=int, default=128, metavar="PIXELS", help="width and height of an image")
    option("--seed", type=int, default=0, metavar="N", help="seed of all images")
    other_options(synth)


def _synth(arguments: argparse.Namespace) -> None:
    from ...data.formats.synthetic import write_synthetic

    write_synthetic(arguments.out, images=arguments.images, seed=arguments.seed, size=arguments.size)
    print(f"{arguments.images} images written to {arguments.out}")
