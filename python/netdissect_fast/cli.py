"""The command ``netdissect-fast``: finds what was asked for, and turns errors into messages."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from . import __version__
from .commands import ablate, compare, curve, data, demo, dissect, explain, info, merge, null, report, rotate
from .errors import NetDissectError

_EPILOG = """examples:
  netdissect-fast demo
  netdissect-fast dissect --model net.py:make --weights net.pth --layers layer3,layer4 \\
      --data broden1_224 --out results/net
  netdissect-fast report results/net
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit status: 0 done, 1 an error that was explained, 2 wrong usage."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], None] = arguments.command
    try:
        command(arguments)
    except NetDissectError as error:
        print(f"netdissect-fast: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("netdissect-fast: interrupted; nothing was left half written", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as head, has gone
        sys.stderr.close()
        return 0
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "netdissect-fast",
        description="Network Dissection: which concept does each unit of a vision network detect?",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (dissect, merge, report, compare, rotate, null, curve, explain, ablate, demo, data, info):
        command.add(commands)
    return parser
