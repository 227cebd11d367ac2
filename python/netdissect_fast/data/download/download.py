"""Downloads a data set in Broden's format: the zip file is checked and unpacked into a new folder."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import ArgumentError, DataError, OutputError
from ...storage import new_folder, only_writer, read_json, write_json
from ..formats.broden import Broden
from .fetch import Fetching, require_web
from .partial_file import Part
from .unzip import unpack

IMAGES = 63_305  # of each of the KNOWN
RECORD = "download.json"  # in the folder
# The most that each zip is expected to hold, in bytes. Its authors state no size except "~1GB" for 227 (the README of
# NetDissect); the pictures of 384 have three times the pixels. Several times that: only a lying server sends more.
KNOWN = {"broden1_224": 4_000_000_000, "broden1_227": 4_000_000_000, "broden1_384": 12_000_000_000}
MOST = 100_000_000_000  # of any other
MOST_FILES = 1_000_000  # Broden has 63,305 images and some 220,000 label maps
_UNPACKED = 2  # times the zip's bytes: its pictures are compressed already


def download(
    name: str,
    out: str | os.PathLike[str] | None = None,
    urls: Sequence[str] | None = None,
    sha256: str | None = None,
    keep_zip: bool = False,
    timeout: float = 30.0,
    progress: bool = True,
) -> Path:
    """Download a data set in Broden's format and return its folder. An existing one is only opened.

    name      broden1_224, broden1_227 or broden1_384; with ``urls`` any name
    out       the folder; default: ``name`` in the current one
    urls      addresses of the zip file, tried in turn; default: the authors'
    sha256    of the zip file, 64 hexadecimal digits; given or not, it is recorded in ``out``/download.json
    keep_zip  True: the zip file is kept beside ``out``
    timeout   seconds without receiving a byte after which a connection counts as broken and is retried
    An interrupted download resumes, even in a later call: the partial file is beside ``out``.
    Raises ArgumentError for invalid arguments, DownloadError if no address has the file, OutputError if it cannot be
    written, InUse if another process downloads it, DataError if the download is hostile, broken or not the data set
    of that name.
    """
    folder = Path(name if out is None else out)
    urls, sha256 = _checked(name, urls, sha256, timeout)
    with only_writer(folder.parent, f".{name}.download.lock"):
        if not is_there(folder):
            kept = folder.with_name(f"{name}.zip") if keep_zip else None
            if kept is not None and kept.exists():
                raise OutputError(f"{kept} already exists; move it, unpack it yourself, or omit --keep-zip")
            _download(name, folder, urls, sha256, kept, timeout, progress)
        _check(folder, name, sha256)
    return folder


def is_there(folder: Path) -> bool:
    """Return whether nothing can be downloaded to ``folder``, because it exists and is not an empty folder."""
    return folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))


def recorded_sha256(folder: Path) -> str | None:
    """Return the sha256 of a data set's zip file; None if it is not recorded. DataError if the record is broken."""
    if not (folder / RECORD).exists():
        return None
    record = read_json(folder / RECORD)
    found = record.get("sha256") if isinstance(record, dict) else None
    if not isinstance(found, str):
        raise DataError(folder / RECORD, "has no sha256; remove this file if you trust the data set")
    return found


def _checked(name: str, urls: Sequence[str] | None, sha256: str | None, timeout: float) -> tuple[list[str], str | None]:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ArgumentError(f"the name of a data set may have only letters, digits and . _ -, got {name!r}")
    if not urls:
        if name not in KNOWN:
            raise ArgumentError(f"no address of {name} is known: pass --url, or choose one of {', '.join(KNOWN)}")
        urls = [f"http://netdissect.csail.mit.edu/data/{name}.zip"]
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ArgumentError(f"sha256 must have 64 hexadecimal digits, got {sha256!r}")
    if not 0 < timeout < math.inf:
        raise ArgumentError(f"timeout must be a number of seconds > 0, got {timeout}")
    return [require_web(url) for url in urls], None if sha256 is None else sha256.lower()


def _download(
    name: str, folder: Path, urls: list[str], sha256: str | None, kept: Path | None, timeout: float, progress: bool
) -> None:
    from tqdm import tqdm

    part, most = Part(folder.with_name(f".{name}.zip.part")), KNOWN.get(name, MOST)
    with tqdm(desc=name, unit="B", unit_scale=True, disable=None if progress else True) as bar:
        Fetching(part, urls, most, sha256, timeout, bar).fetch(name)
    url, found = part.of["url"], part.sha256.hexdigest()
    try:
        with new_folder(folder) as new:
            unpack(part.path, new, most_bytes=_UNPACKED * most, most_files=MOST_FILES, progress=progress)
            if not (new / "index.csv").is_file():
                raise DataError(part.path, "has no index.csv, so it is not a data set in Broden's format")
            _check_images(new, name)
            write_json(new / RECORD, {"name": name, "url": url, "bytes": part.size, "sha256": found})
    except DataError as error:
        if others := [other for other in urls if other != url]:  # these may have a better file
            part.remove()
            _download(name, folder, others, sha256, kept, timeout, progress)
            return
        _put_away(part, kept)
        where = "it was removed" if kept is None else f"it is kept as {kept}"
        raise DataError(url, f"{error.reason} (sha256 {found}; {where}); try another --url") from error
    _put_away(part, kept)


def _put_away(part: Part, kept: Path | None) -> None:
    if kept is None:
        part.remove()
    else:
        part.keep(kept)


def _check(folder: Path, name: str, sha256: str | None) -> None:
    """Open the existing data set, whatever its origin, and compare it with what is known about it."""
    if not (folder / "index.csv").exists():
        raise DataError(
            folder / "index.csv", "does not exist: the folder holds something else; choose a different --out"
        )
    found: Any = recorded_sha256(folder) if sha256 is not None else None
    if found != sha256:
        what = "is not recorded" if found is None else f"is {found}"
        raise DataError(folder / RECORD, f"sha256 of the zip file {what}, expected {sha256}; choose a different --out")
    _check_images(folder, name)


def _check_images(folder: Path, name: str) -> None:
    images = len(Broden(folder))
    if name in KNOWN and images != IMAGES:
        raise DataError(folder / "index.csv", f"lists {images} images; {name} has {IMAGES}: it is a different data set")
