"""Commands and the values of their options."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any


def new_command(
    commands: Any, name: str, what: str, run: Callable[[argparse.Namespace], None]
) -> argparse.ArgumentParser:
    """Add a command: its name, what it does, and the function that does it; its help shows defaults."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=what, description=what, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.set_defaults(command=run)
    return parser


def names_of(text: str) -> list[str]:
    """Names separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def numbers_of(text: str) -> float | tuple[float, ...]:
    """One number, or several separated by commas."""
    numbers = tuple(float(number) for number in text.split(","))
    return numbers if len(numbers) > 1 else numbers[0]


def size_of(text: str) -> int | tuple[int, int]:
    """224, or HEIGHTxWIDTH."""
    height, cross, width = text.partition("x")
    try:
        return (int(height), int(width)) if cross else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number of pixels, or HEIGHTxWIDTH, got {text!r}") from None


def slice_of(text: str) -> slice:
    """START:STOP:STEP, or one number."""
    if ":" not in text:
        return slice(int(text), int(text) + 1)
    return slice(*(int(part) if part else None for part in text.split(":")))


def alignment_of(text: str) -> Any:
    """The name of an alignment, or STRIDE,OFFSET."""
    return numbers_of(text) if "," in text else text


def shard_of(text: str) -> tuple[int, int]:
    """I/N."""
    index, _, count = text.partition("/")
    return int(index), int(count)
