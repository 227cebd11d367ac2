"""OpenSurfaces, as laid out by its own script: materials of surfaces in photographs of rooms."""

from __future__ import annotations

import os

from ....csv_tables import Table, read_table
from ....errors import DataError
from ...files.exif import Exif, Fits
from ...files.pictures import locate, mask_size, read_mask, same_shape
from ..annotation import Annotation
from .photographs import Photographs, check_named, concept_names, find_folder

PHOTOS = "photos.csv"
SUBSTANCES = "label-substance-colors.csv"


class OpenSurfaces(Photographs):
    """The folder with photos.csv, label-substance-colors.csv, photos/ and photos-labels/.

    Provides material [H, W]. Its masks also encode objects (green) and scenes; Broden uses neither, as they are very
    unbalanced. They are 1024 pixels high whatever the photograph's size. Raises DataError with the line for a broken
    table.
    """

    name = "opensurfaces"

    def __init__(self, path: str | os.PathLike[str], exif: Exif = None) -> None:
        folder = find_folder(path, PHOTOS, ["opensurfaces"], "OpenSurfaces")
        photos, substances = read_table(folder / PHOTOS, ("photo_id",)), folder / SUBSTANCES
        images = {f"{_integer(photos, line, cells, 'photo_id')}.jpg": line for line, cells in photos.rows}
        if len(images) < len(photos.rows):
            kept = {*images.values()}
            line, cells = next(row for row in photos.rows if row[0] not in kept)
            raise photos.error(line, f"photo_id {photos.text(cells, 'photo_id')} is listed twice")
        super().__init__([folder / PHOTOS, substances], folder / "photos", list(images), exif)
        self._labels = os.path.realpath(folder / "photos-labels")
        self._names: dict[int, tuple[str, ...]] = {}
        table = read_table(substances, ("substance_name", "red_color"))
        for line, cells in table.rows:
            number = _integer(table, line, cells, "red_color")
            if not 1 <= number <= 255 or number in self._names:
                raise table.error(line, f"red_color must be 1..255, different in each line, got {number}")
            name = table.text(cells, "substance_name").replace(" - ", "-").lower()
            self._names[number] = concept_names(name, "/")

    def annotation(self, index: int) -> Annotation:
        """See Source."""
        path = locate(*self._label_files(index)[0])
        pixels = read_mask(path)
        if pixels.ndim != 3:
            raise DataError(path, "expected an RGB PNG (material = red), got greyscale or a palette")
        materials = pixels[..., 0].copy()
        check_named(path, materials, self._names, SUBSTANCES)
        return Annotation({"material": materials}, names={"material": self._names})

    def _fits(self, index: int) -> Fits:
        folder, path = self._label_files(index)[0]
        return lambda size: same_shape(mask_size(locate(folder, path)), size)

    def _label_files(self, index: int) -> list[tuple[str, str]]:
        return [(self._labels, f"{self.file_name(index)}.png")]


def _integer(table: Table, line: int, cells: list[str], column: str) -> int:
    number = table.integer(line, cells, column)
    if number is None:
        raise table.error(line, f"{column} is empty")
    return number
