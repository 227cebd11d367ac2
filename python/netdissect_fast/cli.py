"""The command ``netdissect-fast``: finds what was asked for, and turns errors into messages."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

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
        with _warnings_as_messages():
            command(arguments)
    except NetDissectError as error:
        with suppress(BrokenPipeError):
            sys.stdout.flush()  # what was printed so far comes first
        print(f"netdissect-fast: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "netdissect-fast: interrupted; nothing was left half written: long work goes on with the same command",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:  # the reader, such as head, has gone
        sys.stderr.close()
        return 0
    return 0


@contextmanager
def _warnings_as_messages() -> Iterator[None]:
    """Inside, our own warnings are one line; a user of the command has no line of code to look at."""
    show = warnings.showwarning

    def show_ours(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if category.__module__.startswith(__package__):
            print(f"netdissect-fast: warning: {message}", file=sys.stderr)
        else:
            show(message, category, *where, **more)

    warnings.showwarning = show_ours
    try:
        yield
    finally:
        warnings.showwarning = show


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
