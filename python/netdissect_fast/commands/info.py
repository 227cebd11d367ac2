"""``netdissect-fast info``: what is installed and what it runs on, or what a saved run is and whether it is intact."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from .options import new_command, other_options


def add(commands: Any) -> None:
    """Add the command and its options."""
    info = new_command(
        commands,
        "info",
        "print versions, instruction sets, threads and GPU, for a bug report; or check and describe a saved run",
        _info,
        usage="[RUN] [--json]",
        example="info results/net",
    )
    info.add_argument_group("saved run").add_argument(
        "run", nargs="?", type=Path, metavar="RUN", help="result folder of a run (dissect --out): check its files"
    )
    other_options(info, json="print JSON instead of text")


def _info(arguments: argparse.Namespace) -> None:
    from ..errors import printable
    from ..results.summary import saved_facts
    from ..runs.versions import show_config

    facts = show_config() if arguments.run is None else saved_facts(arguments.run)
    if arguments.json:
        print(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        print(f"{name:<16} {printable(', '.join(value) if isinstance(value, list) else str(value))}")
