"""The folder of a report: refuses any other folder, keeps pictures that are still valid, writes pages and files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..errors import DataError, OutputError, printable
from ..storage import LOCK, atomic_file, read_json, remove_file, remove_tree, require_writable, write_json

if TYPE_CHECKING:
    from PIL.Image import Image

FORMAT = 1  # of the folder; incremented when old pictures no longer fit
QUALITY = 75  # of JPEG
_RECORD, _INDEX = "report.json", "index.html"
_FOLDERS = ("assets", "layers", "concepts", "figures")
_TEMPLATES = Path(__file__).with_name("templates")


class Site:
    """A report being written to ``out``; ``index.html`` comes last, so that a folder with one is complete.

    keys   by folder of pictures, what they are drawn from: those of an earlier or interrupted build stay if the key
           is the same, and everything else that it left is removed

    Raises OutputError if ``out`` contains something that is not a report, or cannot be written.
    """

    def __init__(self, out: Path, keys: Mapping[str, str]) -> None:
        self.out = out
        require_writable(out)
        record = self._record()
        if record is None and any(file.name != LOCK for file in out.iterdir()):
            raise OutputError(f"{out} holds files that are not a report; choose a new folder (--out)")
        remove_file(out / _INDEX)
        known = (record or {}).get("pictures", {})
        kept = {folder for folder, key in keys.items() if known.get(folder) == key}
        self._clear(kept)
        write_json(out / _RECORD, {"format": FORMAT, "pictures": dict(keys)})
        self._templates = Environment(
            loader=FileSystemLoader(_TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_shown,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters["printable"] = printable
        for asset in ("report.css", "report.js"):
            self.write(f"assets/{asset}", (_TEMPLATES / asset).read_bytes())

    def _record(self) -> dict[str, Any] | None:
        try:
            record = read_json(self.out / _RECORD)
        except DataError:
            return None
        ours = isinstance(record, dict) and record.get("format") == FORMAT and isinstance(record.get("pictures"), dict)
        return record if ours else None

    def _clear(self, kept: Iterable[str]) -> None:
        """Remove what an earlier build wrote, except the folders to keep."""
        for left in self.out.rglob(".*.part"):  # by a build that was killed
            remove_file(left)
        for name in _FOLDERS:
            folder = self.out / name
            if name in kept or folder.is_symlink() or not folder.is_dir():
                continue
            for inside in folder.iterdir():
                if f"{name}/{inside.name}" not in kept:
                    remove_tree(inside)

    def page(self, path: str, template: str, **values: Any) -> None:
        """Write a page. Its template gets ``root``, the way back to the report's folder."""
        text = self._templates.get_template(template).render(root="../" * path.count("/"), **values)
        self.write(path, text.encode())

    def index(self, template: str, **values: Any) -> Path:
        """Write the entry page, last of all."""
        self.page(_INDEX, template, **values)
        return self.out / _INDEX

    def write(self, path: str, content: bytes) -> None:
        """Write any file, whole or not at all."""
        with atomic_file(self.out / path, sync=False) as file:
            file.write(content)

    def has(self, path: str) -> bool:
        """Return whether a picture exists already and is complete."""
        try:
            with (self.out / path).open("rb") as file:
                file.seek(-2, os.SEEK_END)
                return file.read() == b"\xff\xd9"  # how a JPEG ends
        except OSError:
            return False

    def bytes(self) -> int:
        """Return the total size of all files."""
        return sum(file.stat().st_size for file in self.out.rglob("*") if file.is_file())


def _shown(value: Any) -> Any:
    """Return a value of a template as pages show it: no name turns the direction of the text around it."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def write_picture(path: Path, image: Image) -> None:
    """Write a picture as JPEG, whole or not at all."""
    with atomic_file(path, sync=False) as file:
        image.save(file, "JPEG", quality=QUALITY)
