"""The Describable Textures Dataset, r1.0.1: textures of whole images."""

from __future__ import annotations

import os

from ....errors import DataError
from ...files.exif import Exif
from ...files.pictures import is_below
from ..annotation import Annotation
from .photographs import Photographs, find_folder, read_lines

LABELS = "labels/labels_joint_anno.txt"


class Dtd(Photographs):
    """dtd-r1.0.1: the folder with labels/ and images/, or the one above it.

    Provides texture (whole image, several, in file order). Raises DataError with the line for a broken table.
    """

    name = "dtd"

    def __init__(self, path: str | os.PathLike[str], exif: Exif = None) -> None:
        folder = find_folder(path, LABELS, ["dtd-r1.0.1", "dtd"], "DTD")
        table = folder / LABELS
        images, textures = [], []
        for line, text in read_lines(table):
            image, *names = text.split()
            if not is_below(image):
                raise DataError(table, f"{image[:80]!r} leads out of images/; paths must stay inside it", line)
            if not names:
                raise DataError(table, "expected a path followed by the names of textures", line)
            images.append(image)
            textures.append(tuple(dict.fromkeys(names)))
        super().__init__([table], folder / "images", images, exif)
        numbers = {name: number for number, name in enumerate(sorted({n for names in textures for n in names}), 1)}
        self._textures = [tuple(numbers[name] for name in names) for names in textures]
        self._names = {number: (name,) for name, number in numbers.items()}

    def annotation(self, index: int) -> Annotation:
        """See Source. Reads nothing."""
        return Annotation(whole={"texture": self._textures[index]}, names={"texture": self._names})
