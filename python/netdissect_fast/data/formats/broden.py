"""Broden and data sets in its file format."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...concepts import ImageLabels, Vocabulary
from ...csv_tables import keep
from ...errors import ArgumentError, DataError
from ...types import BoolArray, Int32Array
from ..faults import Inspection, numbers_of, sound_images
from ..files.exif import TAG, Exif, Fits, checked_exif, recorded
from ..files.fingerprints import Fingerprint
from ..files.index import Row, read_index
from ..files.pictures import image_size, locate, mask_size, read_image, read_label_map, same_shape
from ..files.vocabulary import MAX_NUMBER, keep_categories, read_categories, read_vocabulary

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_LABELS = 1 << 28  # pixels of one row's label maps together: a small file can be named many times


class Broden:
    """Images with dense labels in Broden's format: index.csv, category.csv, label.csv, c_*.csv, images/.

    path        folder of the data set. Its csv files and images/ may be links; below images/ no link may
                lead out of it
    split       "train" or "val": only these rows; None: all
    categories  only these categories; every row still counts as an image, and every number of label.csv is
                still a concept (with category −1 if it belongs to no kept category)
    strict      True: a row whose files are missing or broken raises DataError when it is read. False: every
                file is read once, now, in threads (some minutes on Broden), and such rows are skipped, with
                a warning that counts them and the first error of each in ``skipped``
    exif        whether a photograph's EXIF orientation is applied: "apply", "ignore", or None: if the turned photograph
                has the size that index.csv states (if blank: the shape of the label maps), or the row has no label
                maps. If it has it turned and unturned, reading it raises DataError
    faults      if given, malformed rows of the csv files raise nothing: their errors are appended to it. A
                data set with faults is good for ``inspect`` only

    Opening reads the csv files only. Raises DataError (file, line, reason) if they are malformed, contradict
    each other or list no images, and ArgumentError for an unknown split or category. Blank ih, iw mean any
    image size; blank sh, sw mean the size of the row's label maps, or half the image if it has none.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        split: str | None = None,
        categories: Sequence[str] | None = None,
        strict: bool = True,
        *,
        exif: Exif = None,
        faults: list[DataError] | None = None,
    ) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise DataError(self.path, "is not a folder; expected a folder with index.csv, category.csv and images/")
        kept = keep_categories(read_categories(self.path / "category.csv", faults), categories)
        tables = read_vocabulary(self.path, kept, faults)
        self.vocabulary: Vocabulary = tables.vocabulary
        self.split, self._asked, self._strict = split, None if categories is None else kept, strict
        self._exif = checked_exif(exif)
        self.skipped: tuple[DataError, ...] = ()
        self._images = os.path.realpath(self.path / "images")
        if not Path(self._images).is_dir():
            raise DataError(self.path / "images", "is not a folder; the images and label maps belong there")
        self._known = np.zeros(MAX_NUMBER + 1, bool)
        self._known[self.vocabulary.numbers] = True
        self._known[0] = True  # unlabelled
        self._rows = self._read_rows(tables.has_labels, categories is not None, faults)
        self._fingerprint = ""
        if not strict:
            sound, self.skipped = sound_images(self.inspect, len(self), "rows")
            self._rows = [self._rows[index] for index in sound]

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        concepts, categories = len(self.vocabulary), ", ".join(self.vocabulary.categories)
        return f"Broden({str(self.path)!r}: {len(self)} images, {concepts} concepts; {categories})"

    def source(self) -> dict[str, Any]:
        """Return how to reopen it, as plain values."""
        categories = None if self._asked is None else list(self._asked)
        selection = {"split": self.split, "categories": categories, "strict": self._strict}
        return {"kind": "broden", "path": str(self.path.resolve()), **selection, **recorded(self._exif)}

    @property
    def rows(self) -> Sequence[Row]:
        """The rows of index.csv, one per image."""
        return self._rows

    def name(self, index: int) -> str:
        """Return the path of the image under images/."""
        return self._rows[index].image

    def image(self, index: int) -> Image:
        """Return the image as RGB. Raises DataError naming the line of index.csv and the file."""
        row = self._rows[index]
        try:
            return read_image(locate(self._images, row.image), row.size, self._exif, self._fits(row))
        except DataError as error:
            raise self._row_error(row, row.image, error.reason) from error

    def labels(self, index: int) -> ImageLabels:
        """Return the labels of the kept categories. Raises DataError naming the line of index.csv and the file."""
        row = self._rows[index]
        size, maps = row.label_size, []
        for path in row.maps:
            maps.append(numbers := self._label_map(row, path, size))
            size = numbers.shape[0], numbers.shape[1]
        if size is None:
            size = self._half_image(row)
        stack = np.stack(maps) if maps else np.zeros((0, *size), np.int32)
        return ImageLabels(stack, row.whole)

    def inspect(self, index: int) -> Inspection:
        """Find all that is wrong with the files of a row; ``image`` and ``labels`` raise the first fault only."""
        row, faults = self._rows[index], list[DataError]()
        numbers, size = set(row.whole), row.label_size
        exif = ""
        try:
            if row.image:  # blank: reported already
                exif = str(self.image(index).info.get(TAG, ""))
        except DataError as error:
            keep(error, faults)
        for path in dict.fromkeys(row.maps):
            try:
                found = self._label_map(row, path, size)
                size = found.shape[0], found.shape[1]
                numbers.update(numbers_of(found))
            except DataError as error:
                keep(error, faults)
        return Inspection(faults, numbers, len(row.maps), exif)

    def fingerprint(self) -> str:
        """Return a sha256 of the csv files' bytes, each image's and label map's path and size, and the selection."""
        if not self._fingerprint:
            self._fingerprint = self._hash()
        return self._fingerprint

    def _read_rows(self, has_labels: BoolArray, asked: bool, faults: list[DataError] | None) -> list[Row]:
        path, categories = self.path / "index.csv", self.vocabulary.categories
        unlabelled = {column: categories[column] for column in np.flatnonzero(~has_labels)}
        rows = read_index(path, categories, self.split, list(unlabelled.values()), faults)
        if not rows:
            splits = sorted({row.split for row in read_index(path, (), faults=[])})
            if splits:
                raise ArgumentError(f"{path} has no row of split {self.split!r}; it has {', '.join(splits)}")
            raise DataError(path, "lists no images: the data set is empty")
        for column, category in unlabelled.items():
            if asked or any(row.cells[column] for row in rows):
                reason = f"category {category} has no label: no concept is assigned to it here or in c_{category}.csv"
                keep(DataError(self.path / "label.csv", reason), faults)
        for row in rows:
            for number in row.whole:
                if number > MAX_NUMBER or not self._known[number]:
                    reason = f"concept number {number} (whole image) is not in label.csv"
                    keep(DataError(path, reason, row.line), faults)
        return rows

    def _label_map(self, row: Row, path: str, size: tuple[int, int] | None) -> Int32Array:
        try:
            numbers = read_label_map(locate(self._images, path), size)
        except DataError as error:
            raise self._row_error(row, path, error.reason) from error
        known = self._known[numbers]
        if not known.all():
            raise self._row_error(row, path, f"concept number {numbers[~known].min()} is not in label.csv")
        if len(row.maps) * numbers.size > MAX_LABELS:
            reason = f"and the row's other label maps together have more than {MAX_LABELS} pixels"
            raise self._row_error(row, path, reason)
        return numbers

    def _row_error(self, row: Row, path: str, reason: str) -> DataError:
        return DataError(self.path / "index.csv", f"images/{path} {reason}", row.line)

    def _fits(self, row: Row) -> Fits | None:
        """Return whether the row's labels fit a photograph of a certain size; None if it has no label map."""
        if not row.maps:
            return None
        if row.size is not None:
            return row.size.__eq__

        def fits(size: tuple[int, int]) -> bool:
            labels = row.label_size or mask_size(locate(self._images, row.maps[0]))
            return same_shape(labels, size) or not same_shape(labels, size[::-1])  # or tells nothing: stretched

        return fits

    def _half_image(self, row: Row) -> tuple[int, int]:
        """Apply Broden's rule for the label grid of a row that neither states its size nor has a label map."""
        try:
            height, width = row.size or image_size(locate(self._images, row.image), self._exif)
        except DataError as error:
            raise self._row_error(row, row.image, error.reason) from error
        return max(height // 2, 1), max(width // 2, 1)

    def _hash(self) -> str:
        found = Fingerprint("Broden 1")
        for table in ("index", "label", "category", *(f"c_{c}" for c in self.vocabulary.categories)):
            found.add(f"{table}.csv")
            found.add_table(self.path / f"{table}.csv")
        found.add(self.split, *self.vocabulary.categories, *recorded(self._exif).items())
        for row in self._rows:
            found.add(row.line)
            for path in (row.image, *row.maps):
                found.add(path, self._file_size(row, path))
        return found.hex()

    def _file_size(self, row: Row, path: str) -> int:
        try:
            return os.stat(os.path.join(self._images, path)).st_size  # noqa: PTH116, PTH118 — 285,000 in Broden
        except (OSError, ValueError) as error:
            raise self._row_error(row, path, "does not exist or cannot be read") from error
