"""Fingerprints of data sets: hashes of what was read, each part preceded by its length."""

from __future__ import annotations

import hashlib
import os

from ...csv_tables import MAX_TABLE, read_bytes


class Fingerprint:
    """A sha256 of parts; different lists of parts never hash the same text."""

    def __init__(self, kind: str) -> None:
        self._digest = hashlib.sha256(f"netdissect_fast {kind}\n".encode())

    def add(self, *parts: object) -> None:
        """Add bytes, or the ``str`` of anything else."""
        for part in parts:
            data = part if isinstance(part, bytes) else str(part).encode(errors="surrogateescape")
            self._digest.update(b"%d:" % len(data) + data)

    def add_table(self, path: str | os.PathLike[str]) -> None:
        """Add the bytes of a table; if it is missing, add that fact."""
        self.add(read_bytes(path, MAX_TABLE) if os.path.exists(path) else "missing")  # noqa: PTH110

    def hex(self) -> str:
        """Return the hash of all parts, hexadecimal."""
        return self._digest.hexdigest()
