"""``netdissect-fast explain``: which units made the network say so."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import ArgumentError
from .network_options import add_dissected, dissected
from .options import new_command


def add(commands: Any) -> None:
    """Add the command and its options."""
    explain = new_command(
        commands,
        "explain",
        "which units contribute most to a class on an image, with their concepts and masks",
        _explain,
    )
    add_dissected(explain)
    option = explain.add_argument
    option("--image", type=Path, required=True, action="append", help="a photograph; may be given again")
    option("--target", type=int, help="number of the class among the outputs; default: the highest")
    option("--top", type=int, default=8, help="units to show")
    option("--out", type=Path, help="folder for tables and figures")


def _explain(arguments: argparse.Namespace) -> None:
    from ..data.files.pictures import read_image
    from ..experiments.explanation import explain
    from ..experiments.rows import rows_text

    _, layer, model, preprocess = dissected(arguments)
    names = [path.stem for path in arguments.image]
    if len(set(names)) < len(names):
        raise ArgumentError(f"two images have one name: {names}")
    for path in arguments.image:
        found = explain(
            model, layer, read_image(str(path), None), arguments.target, preprocess=preprocess, top=arguments.top
        )
        print(f"{path}: output {found.target}, {found.score:.3f}\n{rows_text(found.rows[: arguments.top])}\n")
        if arguments.out:
            found.save(arguments.out, path.stem)
    if arguments.out:
        print(f"written to {arguments.out}")
