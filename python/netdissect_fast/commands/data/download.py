"""``netdissect-fast data download``: Broden, and data sets published in its format."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..options import new_command, other_options, required_options


def add(data_commands: Any) -> None:
    """Add the command and its options."""
    download = new_command(
        data_commands,
        "download",
        "download a data set in Broden's format, or resume its download",
        _download,
        usage="NAME [--out DIR] [--url URL] [options]",
        example="data download broden1_224",
    )
    required_options(download)(
        "name", metavar="NAME", help="broden1_224, broden1_227 or broden1_384; any name if --url is given"
    )
    option = download.add_argument_group("download").add_argument
    option("--out", type=Path, metavar="DIR", help="folder for the data set (default: NAME in the current folder)")
    option("--url", action="append", help="address of the zip file (repeatable: mirrors, tried in turn)")
    option("--sha256", metavar="HEX",
           help="checksum that the zip file must have (default: only recorded, in download.json)")  # fmt: skip
    option("--keep-zip", action="store_true", help="keep the zip file, beside the folder")
    option("--timeout", type=float, default=30, metavar="SECONDS",
           help="retry after this long without receiving data")  # fmt: skip
    other_options(download, quiet=True)


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
        print(f"{folder} already exists: nothing was downloaded")
    sha256 = recorded_sha256(folder) or "not recorded"
    print(f'nd.Broden("{folder}")  # {len(Broden(folder))} images; sha256 of the zip file: {sha256}')
