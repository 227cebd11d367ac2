"""Unpacks an untrusted zip file: nothing outside its folder, nothing of unexpected size or kind."""

from __future__ import annotations

import io
import os
import shutil
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import DataError, OutputError, shortened
from ...storage import new_folder

_BLOCK = 4096  # bytes; most file systems allot files a whole number of these
_ENTRY = 300  # bytes per member in the zip's directory; Broden's have under 150
_DEPTH = 32  # parts of a path; Broden's have 4
_PIECE = 1 << 20  # bytes unpacked at a time
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
)


def unzip(path: str | os.PathLike[str], folder: str | os.PathLike[str], *, most_bytes: int, most_files: int) -> None:
    """Unpack a zip file into a new folder, completely or not at all: see ``unpack``.

    Raises OutputError if ``folder`` exists and is not empty, or cannot be written.
    """
    with new_folder(Path(folder)) as new:
        unpack(Path(path), new, most_bytes=most_bytes, most_files=most_files)


def unpack(path: Path, folder: Path, *, most_bytes: int, most_files: int, progress: bool = False) -> None:
    """Unpack a zip file into ``folder``, which is empty.

    most_bytes, most_files   what it may hold, both by its directory and as actually unpacked
    A single top folder that holds everything is removed from the paths; what macOS adds (__MACOSX, .DS_Store) is
    skipped. Raises DataError with the member's name if one would leave the folder or replace another (on any system),
    is a link or a device, encrypted, compressed other than by deflate, broken, or too large; OutputError if there is
    too little space. What was unpacked by then is left to the caller.
    """
    from tqdm import tqdm

    with _opened(path, most_files) as archive:
        members = _without_top([info for info in archive.infolist() if not _of_macos(info.filename)], path)
        _check_sizes(path, folder, [info for _, info in members], most_bytes)
        made, left = {folder}, most_bytes
        for parts, info in tqdm(members, "unpacking", unit="file", disable=None if progress else True):
            target = folder.joinpath(*parts)
            parent = target if info.is_dir() else target.parent
            if parent not in made:
                parent.mkdir(parents=True, exist_ok=True)
                made.add(parent)
            if not info.is_dir():
                left -= _write(path, archive, info, target, left)


class _Directory(io.FileIO):
    """A zip file that refuses to list more members than ``most``, before any memory is spent on them."""

    most: int | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        if self.most is not None and size is not None and size > max(self.most * _ENTRY, 1 << 20):
            raise zipfile.BadZipFile(f"its directory has {size} bytes, too many for {self.most} members")
        data = super().read(-1 if size is None else size)
        if self.most is not None and data.count(b"PK\1\2") > self.most:  # the start of each
            raise zipfile.BadZipFile(f"it has more than {self.most} members, the most expected")
        return data


@contextmanager
def _opened(path: Path, most_files: int) -> Iterator[zipfile.ZipFile]:
    try:
        file = _Directory(path)
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror}") from error
    with file:
        try:
            file.most = most_files
            archive = zipfile.ZipFile(file)
            file.most = None
        except (OSError, *_BROKEN) as error:
            raise DataError(path, f"is not a usable zip file: {shortened(error)}") from error
        with archive:
            yield archive


def _of_macos(name: str) -> bool:
    parts = name.split("/")
    return parts[0] == "__MACOSX" or parts[-1] == ".DS_Store"


def _without_top(infos: list[zipfile.ZipInfo], path: Path) -> list[tuple[list[str], zipfile.ZipInfo]]:
    """Return each member with the parts of its path, all checked, and without a single top folder if there is one."""
    members = [(_parts(path, info), info) for info in infos]
    _check_distinct(path, members)
    tops = {parts[0] for parts, _ in members}
    if len(tops) == 1 and all(len(parts) > 1 or info.is_dir() for parts, info in members):
        members = [(parts[1:], info) for parts, info in members if len(parts) > 1]
    return members


def _parts(path: Path, info: zipfile.ZipInfo) -> list[str]:
    name, written = info.filename, info.orig_filename  # zipfile cuts a name at NUL, and changes \ on Windows
    parts = name.removesuffix("/").split("/")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if "\\" in written or "\\" in name:
        reason = "has a backslash in its name"
    elif not written.isprintable() or not name.isprintable():
        reason = "has a NUL or another control character in its name"
    elif name.startswith("/") or ":" in name:
        reason = "has an absolute path or a drive letter"
    elif ".." in parts:
        reason = "leads out of the folder through .."
    elif len(parts) > _DEPTH:
        reason = f"lies more than {_DEPTH} folders deep"
    elif any(part in ("", ".") or part[-1] in ". " for part in parts):
        reason = "has a path that some systems do not allow: an empty part, or one ending in a dot or a space"
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        reason = "is a link or a device; only files and folders are expected"
    elif info.flag_bits & 0x41:
        reason = "is encrypted"
    elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        reason = f"is compressed by method {info.compress_type}; expected stored or deflated"
    else:
        return parts
    raise _refused(path, written, reason)


def _refused(path: Path, name: str, reason: str) -> DataError:
    return DataError(path, f"member {shortened(ascii(name))} {reason}; nothing was unpacked")


def _check_distinct(path: Path, members: list[tuple[list[str], zipfile.ZipInfo]]) -> None:
    """Refuse members that would replace each other on systems that ignore case or how an accent is encoded."""
    named: dict[str, str] = {}
    folders: set[str] = set()
    keys = []
    for parts, info in members:
        key = unicodedata.normalize("NFC", unicodedata.normalize("NFD", "/".join(parts)).casefold())
        if key in named:
            raise _refused(path, info.filename, f"has the same name as another, {named[key]!a}, on some systems or all")
        named[key] = info.filename
        keys.append(key)
        parents = key.split("/")[: None if info.is_dir() else -1]
        folders.update("/".join(parents[:depth]) for depth in range(1, len(parents) + 1))
    for key, (_, info) in zip(keys, members, strict=True):
        if not info.is_dir() and key in folders:
            raise _refused(path, info.filename, "is both a file and a folder")


def _check_sizes(path: Path, folder: Path, infos: list[zipfile.ZipInfo], most_bytes: int) -> None:
    total = needed = 0
    for info in infos:
        total += info.file_size
        needed += -(-info.file_size // _BLOCK) * _BLOCK
        if total > most_bytes:
            raise _refused(path, info.filename, f"makes the total larger than {most_bytes} bytes, the most expected")
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(
            f"unpacking {path} takes {needed} bytes, and {folder.parent} has {free} free; choose a different --out"
        )


def _write(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, most: int) -> int:
    """Unpack one member; return its number of bytes, at most ``most``."""
    written = 0
    with target.open("xb") as file:
        for data in _pieces(path, archive, info):
            written += len(data)
            if written > min(most, info.file_size):  # in case zipfile believes what the member declares
                break
            file.write(data)
    if written != info.file_size:
        reason = f"has {'more' if written > info.file_size else 'fewer'} bytes than the {info.file_size} it declares"
        raise _refused(path, info.filename, reason)
    return written


def _pieces(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        with archive.open(info) as source:
            while data := source.read(_PIECE):
                yield data
    except (OSError, *_BROKEN) as error:  # an offset that cannot be read is an OSError
        raise _refused(path, info.filename, f"is broken: {ascii(shortened(error))[1:-1]}") from error
