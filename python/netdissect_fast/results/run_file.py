"""run.json: written with a checksum of what it says, and refused if it says something else when it is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import DataError, shortened
from ..storage import read_json, write_json

FORMAT = 2  # of the result folder; increased when older readers would misread it
WITHOUT_CHECKSUM = 1  # the format before run.json had one
_OURS = ("format", "checksum")


def write_run(path: Path, content: Mapping[str, Any]) -> None:
    """Write run.json: ``content`` with the format and the checksum before it (spec 6.6)."""
    plain = json.loads(json.dumps({name: value for name, value in content.items() if name not in _OURS}))
    write_json(path, {"format": FORMAT, "checksum": checksum({"format": FORMAT, **plain}), **plain})


def read_run(path: Path) -> tuple[int, dict[str, Any]]:
    """Return the format of a run.json and the rest of it, without the checksum.

    Raises DataError if it is missing, broken, from a later format, or has changed since it was written.
    """
    run = read_json(path)
    if not isinstance(run, dict):
        raise DataError(path, f"does not describe a dissection: it is {shortened(repr(run))}")
    number, expected = run.get("format"), run.pop("checksum", None)
    if type(number) is not int or not 1 <= number <= FORMAT:
        what = shortened(repr(number))
        raise DataError(path, f"is of format {what}, this version reads 1 to {FORMAT}: use the version that wrote it")
    if (number, expected) != (WITHOUT_CHECKSUM, None) and checksum(run) != expected:
        what = "its checksum is missing" if expected is None else "its checksum does not match"
        raise DataError(
            path, f"has changed since it was written: {what}. Restore it from a copy, or run the dissection again"
        )
    return run.pop("format"), run


def checksum(run: Mapping[str, Any]) -> str:
    """Return the SHA-256 of what run.json says without its checksum; blanks and line ends do not matter."""
    try:
        text = json.dumps(run, separators=(",", ":"))
    except RecursionError:
        return "nested too deeply"  # which no checksum is
    return hashlib.sha256(text.encode()).hexdigest()
