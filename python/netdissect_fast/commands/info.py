"""``netdissect-fast info``: what is installed and running."""

from __future__ import annotations

import argparse
import json
from typing import Any


def add(commands: Any) -> None:
    """Add the command and its options."""
    info = commands.add_parser("info", help="versions, instruction sets, threads, GPU")
    info.add_argument("--json", action="store_true", help="as JSON")
    info.set_defaults(command=_info)


def _info(arguments: argparse.Namespace) -> None:
    from ..runs.versions import show_config

    config = show_config()
    if arguments.json:
        print(json.dumps(config, indent=2))
        return
    for name, value in config.items():
        print(f"{name:<16} {', '.join(value) if isinstance(value, list) else value}")
