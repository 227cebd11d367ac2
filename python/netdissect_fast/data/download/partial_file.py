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
    """The part of a file received so far, at ``path``, and in a .json beside it, which file it is a part of.

    of       the file's url, etag, modified, bytes; empty if nothing was received
    size     number of bytes received
    sha256   of these bytes
    """

    def __init__(self, path: Path) -> None:
        self.path, self._about = path, path.with_name(f"{path.name}.json")
        self.of: dict[str, Any] = {}
        self.size, self.sha256 = 0, hashlib.sha256()
        with suppress(DataError, OSError):  # for example if nothing was begun
            of = read_json(self._about)
            with path.open("rb") as file:
                while data := file.read(1 << 20):
                    self.sha256.update(data)
                    self.size += len(data)
            self.of = of if isinstance(of, dict) else {}

    def validator(self) -> str | None:
        """Return the value for If-Range: a strong ETag, else the date; None if the server sent neither."""
        values = [self.of.get("etag"), self.of.get("modified")]
        if isinstance(values[0], str) and not values[0].startswith('"'):
            values[0] = None
        return next((value for value in values if isinstance(value, str) and value.isprintable()), None)

    def begin(self, of: dict[str, Any]) -> None:
        """Start over. The old bytes are removed first, so that they are never taken for the new file's."""
        try:
            self.path.write_bytes(b"")
        except OSError as error:
            raise self._unwritable(error) from error
        self.size, self.sha256 = 0, hashlib.sha256()
        self.set(of)

    def set(self, of: dict[str, Any]) -> None:
        """Record which file this is a part of."""
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
        """Write received bytes; OutputError if the disk is full."""
        try:
            rest = data
            while rest:  # a disk that fills up takes only some of it
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
        """Give the file its final name, now that it is complete."""
        try:
            self.path.replace(path)
        except OSError as error:
            raise self._unwritable(error) from error
        self.remove()

    def _unwritable(self, error: OSError) -> OutputError:
        reason = error.strerror or error
        return OutputError(f"cannot write {self.path}: {reason}; free some space or choose a different --out")
