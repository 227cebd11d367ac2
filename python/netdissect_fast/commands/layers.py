"""``netdissect-fast layers``: the layers of a network, to choose from."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..errors import ArgumentError
from .network_options import add_network, device_of, network
from .options import new_command, other_options, required_options


def add(commands: Any) -> None:
    """Add the command and its options."""
    layers = new_command(
        commands,
        "layers",
        "list a network's layers with the shape of their output, its grid and their parameters",
        _layers,
        usage="--model MODEL [--input-size PIXELS] [options]",
        example="layers --model net.py:make --input-size 224",
    )
    add_network(layers, required_options(layers))
    other_options(layers, json="print JSON instead of a table")


def _layers(arguments: argparse.Namespace) -> None:
    from ..data.input.preprocess import from_model
    from ..experiments.rows import rows_text
    from ..runs.layer_list import list_layers

    model, preprocess = network(arguments, device_of(arguments))
    try:
        prepare = preprocess or from_model(model)
        height, width = prepare.height, prepare.width
    except ArgumentError:
        known = getattr(model, "input_size", None)  # an exported network has at least this
        if known is None:
            raise ArgumentError("the model does not say how large its input is; give --input-size") from None
        height, width = known[-2:]
    found = list_layers(model, (height, width))
    if arguments.json:
        print(json.dumps([vars(layer) for layer in found], indent=2, ensure_ascii=False))
    else:
        print(rows_text([{**vars(layer), "output": "×".join(map(str, layer.output))} for layer in found]))
