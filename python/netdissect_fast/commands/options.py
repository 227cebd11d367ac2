"""How a command is set up, the options that several commands share, and readers of option values."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError

if TYPE_CHECKING:
    from ..network.maps import Tokens

_ALIGNMENTS = ("receptive_field", "half_pixel", "align_corners")


class HelpFormatter(argparse.HelpFormatter):
    """Show defaults that say something, and examples as they are written."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        default = action.default
        says_nothing = default is None or isinstance(default, bool | list) or default in ("", argparse.SUPPRESS)
        return text if says_nothing or "(default" in text else f"{text} (default: %(default)s)"

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith("example") else super()._fill_text(text, width, indent)


def new_command(
    commands: Any, name: str, what: str, run: Callable[[argparse.Namespace], None], usage: str, example: str
) -> argparse.ArgumentParser:
    """Add a command that calls ``run``.

    name      the word that selects it
    what      what it does, opening with a verb in lower case: a line in the list of commands, and the description
    run       called with the parsed arguments, which also hold ``usage_error``: it prints usage and a message, and
              exits with status 2. It is for what the command line alone shows to be wrong.
    usage     required arguments and the most important options; may have several lines
    example   command lines, without the name of the program
    Options must be added in groups, the required ones first, ``other_options`` last.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=what, description=f"{what[0].upper()}{what[1:]}.", formatter_class=HelpFormatter, add_help=False
    )
    indent = " " * len(f"usage: {parser.prog} ")
    parser.usage = f"{parser.prog} {usage}".replace("\n", f"\n{indent}")
    parser.epilog = examples(example)
    parser.set_defaults(command=run, usage_error=parser.error)
    return parser


def examples(*lines: str) -> str:
    """Return the end of a help text: command lines, given without the name of the program."""
    title = "examples" if len(lines) > 1 else "example"
    return "\n".join([f"{title}:", *(f"  netdissect-fast {line}".replace("\n", " \\\n      ") for line in lines)])


def required_options(command: argparse.ArgumentParser) -> Callable[..., Any]:
    """Add the group of what must be given; return its ``add_argument``."""
    return command.add_argument_group("required").add_argument


def other_options(command: argparse.ArgumentParser, json: str = "", quiet: bool = False) -> None:
    """Add the last group of options, which ends with --help.

    json    help text of --json, if the command has it
    quiet   add --quiet
    """
    option = command.add_argument_group("other options").add_argument
    if json:
        option("--json", action="store_true", help=json)
    if quiet:
        option("--quiet", action="store_true", help="show no progress bars")
    help_option(option)


def help_option(option: Callable[..., Any]) -> None:
    """Add --help."""
    option("-h", "--help", action="help", help="show this help and exit")


def iou_threshold_option(option: Callable[..., Any]) -> None:
    """Add --iou-threshold."""
    option("--iou-threshold", type=float, default=0.04, metavar="IOU", help="a unit is a detector if its IoU is higher")


def cache_option(option: Callable[..., Any]) -> None:
    """Add --cache."""
    option(
        "--cache",
        type=Path,
        metavar="DIR",
        help="folder for packed labels (default: $NETDISSECT_FAST_CACHE, or the user's cache folder)",
    )


def exif_option(option: Callable[..., Any]) -> None:
    """Add --exif."""
    option(
        "--exif",
        choices=["apply", "ignore"],
        help="turn photographs by their EXIF orientation, or leave them (default: as the labels' shape shows)",
    )


def moved_data_option(option: Callable[..., Any]) -> None:
    """Add the --data of a command that finds the data set of a saved run again."""
    option(
        "--data",
        type=Path,
        metavar="DATA",
        help="new location of the data set, if it has moved since the run",
    )


def names_of(text: str) -> list[str]:
    """Read names separated by commas."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError(f"expected names separated by commas, got {text!r}")
    return names


def numbers_of(text: str) -> float | tuple[float, ...]:
    """Read one number, or several separated by commas."""
    try:
        numbers = tuple(float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, or several separated by commas, got {text!r}") from None
    return numbers if len(numbers) > 1 else numbers[0]


def quantile_of(text: str) -> str:
    """Check that the text is a decimal number or a fraction; it stays text, which is exact."""
    try:
        numbers = [float(part) for part in text.split("/")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise argparse.ArgumentTypeError(f"expected a number such as 0.005 or 1/200, got {text!r}")
    return text


def quantiles_of(text: str) -> list[str]:
    """Read quantiles separated by commas."""
    return [quantile_of(part) for part in names_of(text)]


def size_of(text: str) -> int | tuple[int, int]:
    """Read 224, or HEIGHTxWIDTH."""
    height, cross, width = text.partition("x")
    try:
        return (int(height), int(width)) if cross else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number of pixels, or HEIGHTxWIDTH, got {text!r}") from None


def channels_of(text: str) -> str | int:
    """Read RGB, BGR, L, or a number of bands."""
    if text in ("RGB", "BGR", "L"):
        return text
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected RGB, BGR, L or a number of bands, got {text!r}")
    return int(text)


def slice_of(text: str) -> slice:
    """Read START:STOP:STEP, or one number."""
    try:
        if ":" not in text:
            return slice(int(text), int(text) + 1)
        return slice(*(int(part) if part else None for part in text.split(":")))
    except (TypeError, ValueError):
        raise argparse.ArgumentTypeError(f"expected a number, START:STOP or START:STOP:STEP, got {text!r}") from None


def alignment_of(text: str) -> Any:
    """Read the name of an alignment, or STRIDE,OFFSET."""
    if text in _ALIGNMENTS:
        return text
    numbers = numbers_of(text) if "," in text else ()
    if not isinstance(numbers, tuple) or len(numbers) != 2:
        raise argparse.ArgumentTypeError(f"expected {', '.join(_ALIGNMENTS)} or STRIDE,OFFSET, got {text!r}")
    return numbers


def tokens_of(text: str) -> tuple[str | None, Tokens]:
    """Read [LAYER:]TOKENS, such as BHWC or blocks.3:prefix=1,grid=14x14; the layer is None if none is named."""
    from ..network.maps import Tokens

    layer, colon, layout = text.rpartition(":")
    known = [field.name for field in fields(Tokens)]
    values: dict[str, Any] = {}
    for part in layout.split(","):
        name, equals, value = (word.strip() for word in part.partition("="))
        name, value = (name, value) if equals else ("layout", name)
        if name not in known or name in values or not value:
            raise argparse.ArgumentTypeError(
                f"expected [LAYER:]TOKENS, such as BHWC or prefix=1,grid=14x14, got {text!r}"
            )
        values[name] = value if name == "layout" else _token_number(name, value, text)
    try:
        return (layer if colon else None), Tokens(**values)
    except ArgumentError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("tokens: ")) from None


def _token_number(name: str, value: str, text: str) -> int | tuple[int, int]:
    rows, _, columns = value.partition("x")
    try:
        return (int(rows), int(columns)) if name == "grid" else int(value)
    except ValueError:
        expected = "ROWSxCOLUMNS" if name == "grid" else "a number"
        raise argparse.ArgumentTypeError(f"expected {name}={expected}, got {text!r}") from None


def tokens_option(option: Callable[..., Any]) -> None:
    """Add --tokens."""
    option("--tokens", type=tokens_of, action="append", default=[], metavar="[LAYER:]TOKENS",
           help="how outputs become maps: BHWC, BCHW, BTD, TBD, BDT, prefix=1 (class and register tokens) or "
                "grid=14x14, combined with commas; for all layers, or repeated with LAYER: for one")  # fmt: skip


def shard_of(text: str) -> tuple[int, int]:
    """Read I/N, where 0 ≤ I < N."""
    index, _, count = text.partition("/")
    try:
        shard = int(index), int(count)
    except ValueError:
        shard = 0, 0
    if not 0 <= shard[0] < shard[1]:
        raise argparse.ArgumentTypeError(f"expected I/N with I from 0 to N-1, such as 0/4, got {text!r}")
    return shard
