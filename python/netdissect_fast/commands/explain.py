"""``netdissect-fast explain``: the units that drove a prediction."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .network_options import add_dissected, add_layer, dissected, tokens_of_layer
from .options import new_command, other_options, required_options, tokens_option


def add(commands: Any) -> None:
    """Add the command and its options."""
    explain = new_command(
        commands,
        "explain",
        "find the units that contribute most to a prediction, with their concepts and masks",
        _explain,
        usage="RUN --model MODEL --image FILE [options]",
        example="explain results/net --model net.py:make --weights net.pth\n--image dog.jpg",
    )
    required = required_options(explain)
    option = explain.add_argument_group("explanation").add_argument
    add_layer(option)
    option("--target", type=int, metavar="N", help="class to explain: index of an output (default: the highest)")
    tokens_option(option)
    option("--top", type=int, default=8, metavar="N", help="number of units to show")
    option("--out", type=Path, metavar="DIR", help="folder for tables and figures (default: print only)")
    add_dissected(explain, required)
    required("--image", type=Path, required=True, action="append", metavar="FILE", help="image file (repeatable)")
    other_options(explain)


def _explain(arguments: argparse.Namespace) -> None:
    from ..data.files.pictures import read_image
    from ..experiments.explanation import explain
    from ..experiments.rows import rows_text

    names = [path.stem for path in arguments.image]
    if len(set(names)) < len(names):
        arguments.usage_error(f"two images have the same name: {', '.join(names)}")
    _, layer, model, preprocess = dissected(arguments)
    tokens = tokens_of_layer(arguments.tokens, layer.name)
    for path in arguments.image:
        found = explain(
            model, layer, read_image(str(path), None), arguments.target, preprocess=preprocess, tokens=tokens,
            top=arguments.top,
        )  # fmt: skip
        print(f"{path}: output {found.target}, {found.score:.3f}\n{rows_text(found.rows[: arguments.top])}\n")
        if arguments.out:
            found.save(arguments.out, path.stem)
    if arguments.out:
        print(f"written to {arguments.out}")
