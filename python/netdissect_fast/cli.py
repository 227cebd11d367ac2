"""The command ``netdissect-fast``: runs the requested command and turns errors into messages."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from . import __version__
from .commands import ablate, compare, curve, data, demo, dissect, explain, info, layers, merge, null, report, rotate
from .commands.options import HelpFormatter, examples, help_option
from .errors import NetDissectError, printable_lines

_EXAMPLES = (
    "demo",
    "dissect --model net.py:make --weights net.pth\n--layers layer3,layer4 --data broden1_224 --out results/net",
    "report results/net",
    "dissect --help",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    0      done; also --help and --version
    1      an error in data, files, models or settings; stderr says which
    2      wrong usage: an option that is unknown, missing, malformed or contradicts another; stderr says which, below
           the usage of the command
    130    interrupted from the keyboard

    For --help, --version and wrong usage SystemExit is raised with that status.
    """
    arguments, unknown = _parser().parse_known_args(argv)
    if unknown:
        arguments.usage_error(f"unrecognized arguments: {' '.join(unknown)}")
    command: Callable[[argparse.Namespace], None] = arguments.command
    try:
        with _warnings_as_messages():
            command(arguments)
    except NetDissectError as error:
        with suppress(BrokenPipeError):
            sys.stdout.flush()  # earlier output comes before the error
        print(f"netdissect-fast: error: {printable_lines(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "netdissect-fast: interrupted; no half-written result was left. Rerun the same command to resume.",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:  # the reader, such as head, has exited
        sys.stderr.close()
        return 0
    return 0


@contextmanager
def _warnings_as_messages() -> Iterator[None]:
    """Print the package's own warnings as one line each: a user of the command has no source line to look at."""
    show = warnings.showwarning

    def show_ours(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if category.__module__.startswith(__package__):
            print(f"netdissect-fast: warning: {printable_lines(message)}", file=sys.stderr)
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
        usage="netdissect-fast COMMAND ...",
        description="Network Dissection: which concept does each unit of a vision network detect?",
        epilog=examples(*_EXAMPLES),
        formatter_class=HelpFormatter,
        add_help=False,
    )
    commands = parser.add_subparsers(required=True, title="commands", metavar="COMMAND", prog="netdissect-fast")
    for command in (dissect, layers, merge, report, compare, rotate, null, curve, explain, ablate, demo, data, info):
        command.add(commands)
    option = parser.add_argument_group("options").add_argument
    option("--version", action="version", version=__version__, help="show the version and exit")
    help_option(option)
    return parser
