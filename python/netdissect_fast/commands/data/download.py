"""``netdissect-fast data download``: Broden, and what is published in its format."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..options import new_command


def add(data_commands: Any) -> None:
    """Add the command and its options."""
    what = "download a data set in Broden's format; goes on where it was broken off"
    option = new_command(data_commands, "download", what, _download).add_argument
    option("name", help="broden1_224, broden1_227 or broden1_384; with --url any name")
    option("--out", type=Path, help="folder for it; default: the name, in the current folder")
    option("--url", action="append", help="address of the zip file; several times: mirrors, tried in turn")
    option("--sha256", metavar="HEX", help="of the zip file; default: only recorded, in download.json")
    option("--keep-zip", action="store_true", help="leave the zip file beside the folder")
    option("--timeout", type=float, default=30.0, metavar="SECONDS", help="without a byte, before it is tried again")
    option("--quiet", action="store_true", help="no progress bars")


def _download(arguments: argparse.Namespace) -> None:
    from ...data.download.download import download, is_there, recorded_sha256
    from ...data.formats.broden import Broden

    was_there = is_there(arguments.out or Path(arguments.name))
    folder = download(
        arguments.name,
        arguments.out,
        arguments.url,
        arguments.sha256,
        keep_zip=arguments.keep_zip,
        timeout=arguments.timeout,
        progress=not arguments.quiet,
    )
    if was_there:
        print(f"{folder} is there already: nothing was downloaded")
    sha256 = recorded_sha256(folder) or "not recorded"
    print(f'nd.Broden("{folder}")  # {len(Broden(folder))} images; sha256 of the zip file: {sha256}')
