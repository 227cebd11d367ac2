"""What the sources share: N photographs in a folder, the files that belong to them, and checks of their contents."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from ....csv_tables import MAX_TABLE, read_bytes
from ....errors import DataError, shortened
from ....types import Array
from ...files.exif import Exif, Fits, checked_exif, recorded
from ...files.fingerprints import Fingerprint
from ...files.pictures import image_size, locate, read_image
from ..annotation import Annotation

if TYPE_CHECKING:
    from PIL.Image import Image


class Photographs:
    """A Source of JPEG files; each source's own ``annotation`` reads what they show.

    tables  files that list the contents, all of them read already
    photos  folder of the photographs; may itself be a link
    images  their paths below it, with / between folders
    exif    whether their EXIF orientation is applied: "apply", "ignore", or None: as the shape of their labels shows
    Raises DataError if there are no images.
    """

    name: str

    def __init__(self, tables: Iterable[Path], photos: Path, images: list[str], exif: Exif = None) -> None:
        self._exif = checked_exif(exif)
        self._tables, self._photos, self._images = tuple(tables), os.path.realpath(photos), images
        if not images:
            raise DataError(self._tables[0] if self._tables else photos, "lists no images")

    def __len__(self) -> int:
        return len(self._images)

    def file_name(self, index: int) -> str:
        """See Source."""
        return PurePosixPath(self._images[index]).stem

    def image(self, index: int) -> Image:
        """See Source."""
        return read_image(self._photo(index), None, self._exif, self._fits(index))

    def annotation(self, index: int) -> Annotation:
        """See Source."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """See Source. Covers the photographs and the files that belong to them, no other files beside them."""
        found = Fingerprint(f"{self.name} 1")
        found.add(*recorded(self._exif).items())
        for table in self._tables:
            found.add(table.name)
            found.add_table(table)
        for index, image in enumerate(self._images):
            for folder, path in ((self._photos, image), *self._label_files(index)):
                found.add(path, _size_of(folder, path))
        return found.hex()

    def _photo(self, index: int) -> str:
        return locate(self._photos, self._images[index])

    def _size(self, index: int) -> tuple[int, int]:
        """Return (height, width) of a photograph as ``image`` returns it."""
        return image_size(self._photo(index), self._exif, self._fits(index))

    def _fits(self, index: int) -> Fits | None:
        """Return whether a photograph's labels fit it if it has a certain size; None if none are of pixels."""
        return None

    def _label_files(self, index: int) -> list[tuple[str, str]]:
        """Return (folder, path below it) of the files that say what one photograph shows."""
        return []


def _size_of(folder: str, path: str) -> int:
    try:
        return os.stat(f"{folder}/{path}").st_size  # noqa: PTH116 — for a hundred thousand files
    except (OSError, ValueError):
        return -1  # reading it will report what is wrong


def look_for(path: str | os.PathLike[str], marker: str, places: Iterable[str]) -> Path | None:
    """Return the first of ``path`` and ``places`` below it, which may have wildcards, that holds a ``marker``."""
    folders = [Path(path), *(folder for place in places for folder in sorted(Path(path).glob(place)))]
    return next((folder for folder in folders if (folder / marker).exists()), None)


def find_folder(path: str | os.PathLike[str], marker: str, places: Iterable[str], what: str) -> Path:
    """Return what ``look_for`` finds; DataError if it finds nothing."""
    folder = look_for(path, marker, places)
    if folder is None:
        if not Path(path).is_dir():
            raise DataError(path, f"is not a folder; expected the folder of {what}")
        raise DataError(path, f"is not {what}: there is no {marker} in it, nor in {', '.join(places)} below it")
    return folder


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Read the non-blank lines of a text file, with their numbers, without surrounding blanks. Raises DataError."""
    data = read_bytes(path, MAX_TABLE)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(path, f"is not UTF-8 text (byte 0x{data[error.start]:02x})", line) from None
    return [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def check_named(path: str, numbers: Array, names: Container[int], where: str) -> None:
    """Raise DataError if a map, uint8 or uint16, has a nonzero number that ``names``, read from ``where``, lacks."""
    flat = numbers.ravel()
    found = [int(flat[0]), *np.unique(flat[1:][flat[1:] != flat[:-1]]).tolist()]  # regions are large: few begin
    unknown = [number for number in found if number and number not in names]
    if unknown:
        raise DataError(path, f"has the number {unknown[0]}, which has no name in {shortened(where)}")


def concept_names(text: str, separator: str) -> tuple[str, ...]:
    """Return the names that a cell lists."""
    return tuple(name for name in map(str.strip, text.split(separator)) if name)
