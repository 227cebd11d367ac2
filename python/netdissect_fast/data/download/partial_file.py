"""The part of a large file that has been downloaded so far."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from ...errors import DataError, OutputError
from ...storage import read_json, remove_file, write_json


class Part:
    """What has come of a file so far at ``path`` and, in a .json beside it, of which file that is.

    of       its url, etag, modified, bytes; empty where nothing has come
    size     bytes that have come
    sha256   of these
    """

    def __init__(self, path: Path) -> None:
        self.path, self._about = path, path.with_name(f"{path.name}.json")
        self.of: dict[str, Any] = {}
        self.size, self.sha256 = 0, hashlib.sha256()
        with suppress(DataError, OSError):  # such as where nothing was begun
            of = read_json(self._about)
            with path.open("rb") as file:
                while data := file.read(1 << 20):
                    self.sha256.update(data)
                    self.size += len(data)
            self.of = of if isinstance(of, dict) else {}

    def validator(self) -> str | None:
        """What If-Range takes: a strong ETag, else the date; None where the server gave neither."""
        values = [self.of.get("etag"), self.of.get("modified")]
        if isinstance(values[0], str) and not values[0].startswith('"'):
            values[0] = None
        return next((value for value in values if isinstance(value, str) and value.isprintable()), None)

    def begin(self, of: dict[str, Any]) -> None:
        """Start over. The old bytes go first, so that they never pass for the new file's."""
        try:
            self.path.write_bytes(b"")
        except OSError as error:
            raise self._unwritable(error) from error
        self.size, self.sha256 = 0, hashlib.sha256()
        self.set(of)

    def set(self, of: dict[str, Any]) -> None:
        """Note of which file this is a part."""
        write_json(self._about, of)
        self.of = of

    @contextmanager
    def appending(self) -> Iterator[IO[bytes]]:
        """Open the file, for ``append``."""
        try:
            file = self.path.open("ab", buffering=0)
        except OSError as error:
            raise self._unwritable(error) from error
        with file:
            yield file

    def append(self, file: IO[bytes], data: bytes) -> None:
        """Write what came; OutputError where the disk is full."""
        try:
            rest = data
            while rest:  # a disk that fills up takes some of it
                rest = rest[file.write(rest) :]
        except OSError as error:
            raise self._unwritable(error) from error
        self.size += len(data)
        self.sha256.update(data)

    def remove(self) -> None:
        """Remove both files."""
        remove_file(self.path)
        remove_file(self._about)
        self.of, self.size, self.sha256 = {}, 0, hashlib.sha256()

    def keep(self, path: Path) -> None:
        """Give the file its name, now that it is whole."""
        try:
            self.path.replace(path)
        except OSError as error:
            raise self._unwritable(error) from error
        self.remove()

    def _unwritable(self, error: OSError) -> OutputError:
        reason = error.strerror or error
        return OutputError(f"cannot write {self.path}: {reason}; free some space or choose a different --out")
