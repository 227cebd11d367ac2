"""``netdissect-fast info``: what is installed, and what it runs on."""

from __future__ import annotations

import argparse
import json
from typing import Any

from .options import new_command, other_options


def add(commands: Any) -> None:
    """Add the command and its options."""
    info = new_command(
        commands,
        "info",
        "print versions, instruction sets, threads and GPU, for a bug report",
        _info,
        usage="[--json]",
        example="info",
    )
    other_options(info, json="print JSON instead of text")


def _info(arguments: argparse.Namespace) -> None:
    from ..runs.versions import show_config

    config = show_config()
    if arguments.json:
        print(json.dumps(config, indent=2))
        return
    for name, value in config.items():
        print(f"{name:<16} {', '.join(value) if isinstance(value, list) else value}")
