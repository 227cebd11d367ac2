"""Pascal VOC 2010 with the objects of Pascal-Context and the parts of Pascal-Part."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from ....errors import DataError
from ....types import Uint16Array
from ...files.exif import Exif, Fits
from ...files.pictures import locate
from ...files.vocabulary import MAX_NUMBER
from ..annotation import Annotation
from .matlab import Matlab, read_matlab
from .pascal_parts import read_part_names
from .photographs import Photographs, check_named, find_folder, read_lines

PARTS = "Annotations_Part"
LABELS = "labels.txt"
MAX_INFLATED = 1 << 28  # bytes of one image's annotation: a mask for every part of every object
_LABEL = re.compile(r"(\d{1,5}):\s*(.+)")


class Pascal(Photographs):
    """The folder with VOC2010/JPEGImages, part/Annotations_Part, part/part2ind.m, context/labels.txt, context/trainval.

    Provides object [H, W] of Pascal-Context and part [H, W] of Pascal-Part, of the images that have part annotations.
    Parts with one name have one number, whatever they are parts of. Raises DataError with the line for a broken table;
    needs scipy.
    """

    name = "pascal"

    def __init__(self, path: str | os.PathLike[str], exif: Exif = None) -> None:
        voc = find_folder(path, "JPEGImages", ["VOC2010", "VOCdevkit/VOC2010"], "Pascal VOC 2010")
        part = find_folder(path, PARTS, ["part"], "Pascal-Part")
        context = find_folder(path, LABELS, ["context"], "Pascal-Context")
        tables = [part / "part2ind.m", context / LABELS]
        parts, self._object_names = read_part_names(tables[0]), _read_labels(tables[1])
        stems = sorted(file.stem for file in (part / PARTS).iterdir() if file.suffix == ".mat")
        super().__init__(tables, voc / "JPEGImages", [f"{stem}.jpg" for stem in stems], exif)
        self._annotations = os.path.realpath(part / PARTS), os.path.realpath(context / "trainval")
        numbers = {name: number for number, name in enumerate(sorted({*parts.values()} - {""}), 1)}
        self._part_names = {number: (name,) for name, number in numbers.items()}
        self._parts = {part: numbers.get(name, 0) for part, name in parts.items()}

    def annotation(self, index: int) -> Annotation:
        """See Source."""
        size = self._size(index)
        parts, context = (locate(folder, path) for folder, path in self._label_files(index))
        objects = read_matlab(context, "LabelMap", MAX_INFLATED).matrix(size)
        check_named(context, objects, self._object_names, LABELS)
        return Annotation(
            {"object": objects, "part": self._part_map(read_matlab(parts, "anno", MAX_INFLATED), size)},
            names={"object": self._object_names, "part": self._part_names},
        )

    def _fits(self, index: int) -> Fits:
        folder, path = self._label_files(index)[1]
        return lambda size: read_matlab(locate(folder, path), "LabelMap", MAX_INFLATED).value.shape == size

    def _label_files(self, index: int) -> list[tuple[str, str]]:
        return [(folder, f"{self.file_name(index)}.mat") for folder in self._annotations]

    def _part_map(self, annotation: Matlab, size: tuple[int, int]) -> Uint16Array:
        """Return parts [H, W] in one layer: later ones cover earlier ones, including those without a name."""
        numbers = np.zeros(size[0] * size[1], np.uint16)  # column by column, as MATLAB's masks are
        for thing in annotation["objects"]:
            of = thing["class_ind"].whole_number()
            for part in thing["parts"]:
                code = part["part_name"].text()
                number = self._parts.get((of, code))
                if number is None:
                    raise part.error(f"part2ind.m has no part {code[:40]!r} of class {of}")
                numbers[np.flatnonzero(part["mask"].mask(size).T)] = number  # few pixels of many
        return np.ascontiguousarray(numbers.reshape(size[::-1]).T)


def _read_labels(path: Path) -> dict[int, tuple[str, ...]]:
    names: dict[int, tuple[str, ...]] = {}
    for line, text in read_lines(path):
        match = _LABEL.fullmatch(text)
        if match is None or int(match[1]) > MAX_NUMBER or int(match[1]) in names:
            raise DataError(path, f"expected 'number: name', a different number in each line, got {text[:80]!r}", line)
        names[int(match[1])] = ("-" if match[2] == "unknown" else match[2].replace("aeroplane", "airplane"),)
    return names
