"""Broden and data sets in its file format."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..concepts import ImageLabels, Vocabulary
from ..errors import ArgumentError, DataError
from ..types import BoolArray
from .dataset import DataWarning
from .index import Row, read_index
from .pictures import image_size, locate, read_image, read_label_map
from .tables import MAX_TABLE, read_bytes
from .vocabulary import MAX_NUMBER, keep_categories, read_categories, read_vocabulary

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_LABELS = 1 << 28  # pixels of one row's label maps together: a small file can be named many times


class Broden:
    """Images with dense labels in Broden's format: index.csv, category.csv, label.csv, c_*.csv, images/.

    path        folder of the data set. Its csv files and images/ may be links; below images/ no link may
                lead out of it
    split       "train" or "val": only these rows; None: all
    categories  only these categories; every row still counts as an image, and every number of label.csv is
                still a concept (with category −1 where it belongs to no kept category)
    strict      True: a row whose files are missing or broken raises DataError when it is read. False: every
                file is read once, now, in threads (on Broden some minutes), and such rows are left out: with
                a warning that counts them, and their errors in ``skipped``

    Opening reads the csv files only. Raises DataError (file, line, reason) where they are malformed,
    contradict each other or hold no image, and ArgumentError for an unknown split or category. Blank ih, iw
    mean any image size; blank sh, sw the size of the row's label maps, or half the image where it has none.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        split: str | None = None,
        categories: Sequence[str] | None = None,
        strict: bool = True,
    ) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise DataError(self.path, "is not a folder; expected one with index.csv, category.csv and images/")
        kept = keep_categories(read_categories(self.path / "category.csv"), categories)
        tables = read_vocabulary(self.path, kept)
        self.vocabulary: Vocabulary = tables.vocabulary
        self.split, self._asked, self._strict = split, None if categories is None else kept, strict
        self.skipped: tuple[DataError, ...] = ()
        self._images = os.path.realpath(self.path / "images")
        if not Path(self._images).is_dir():
            raise DataError(self.path / "images", "is not a folder; the images and label maps belong there")
        self._known = np.zeros(MAX_NUMBER + 1, bool)
        self._known[self.vocabulary.numbers] = True
        self._known[0] = True  # unlabelled
        self._rows = self._read_rows(tables.has_labels, categories is not None)
        self._fingerprint = ""
        if not strict:
            self._skip_broken()

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        concepts, categories = len(self.vocabulary), ", ".join(self.vocabulary.categories)
        return f"Broden({str(self.path)!r}: {len(self)} images, {concepts} concepts; {categories})"

    def source(self) -> dict[str, Any]:
        """How to open it again, as plain values."""
        categories = None if self._asked is None else list(self._asked)
        path = str(self.path.resolve())
        return {"kind": "broden", "path": path, "split": self.split, "categories": categories, "strict": self._strict}

    def name(self, index: int) -> str:
        """Path of the image under images/."""
        return self._rows[index].image

    def image(self, index: int) -> Image:
        """The image as RGB. Raises DataError naming the line of index.csv and the file."""
        row = self._rows[index]
        try:
            return read_image(locate(self._images, row.image), row.size)
        except DataError as error:
            raise self._row_error(row, row.image, error.reason) from error

    def labels(self, index: int) -> ImageLabels:
        """The labels of the kept categories. Raises DataError naming the line of index.csv and the file."""
        row = self._rows[index]
        size, maps = row.label_size, []
        for path in row.maps:
            try:
                numbers = read_label_map(locate(self._images, path), size)
            except DataError as error:
                raise self._row_error(row, path, error.reason) from error
            known = self._known[numbers]
            if not known.all():
                raise self._row_error(row, path, f"concept number {numbers[~known].min()} is not in label.csv")
            size = numbers.shape[0], numbers.shape[1]
            if len(row.maps) * numbers.size > MAX_LABELS:
                reason = f"and the row's other label maps have more than {MAX_LABELS} pixels together"
                raise self._row_error(row, path, reason)
            maps.append(numbers)
        if size is None:
            size = self._half_image(row)
        stack = np.stack(maps) if maps else np.zeros((0, *size), np.int32)
        return ImageLabels(stack, row.whole)

    def fingerprint(self) -> str:
        """Sha256 of the csv files' bytes, each image's and label map's path and size, and the selection."""
        if not self._fingerprint:
            self._fingerprint = self._hash()
        return self._fingerprint

    def _read_rows(self, has_labels: BoolArray, asked: bool) -> list[Row]:
        path, categories = self.path / "index.csv", self.vocabulary.categories
        unlabelled = {column: categories[column] for column in np.flatnonzero(~has_labels)}
        rows = read_index(path, categories, self.split, optional=list(unlabelled.values()))
        if not rows:
            splits = sorted({row.split for row in read_index(path, ())})
            if splits:
                raise ArgumentError(f"{path} has no row of split {self.split!r}; it has {', '.join(splits)}")
            raise DataError(path, "lists no image: the data set is empty")
        for column, category in unlabelled.items():
            if asked or any(row.cells[column] for row in rows):
                reason = f"category {category} has no label: no concept is given to it here or in c_{category}.csv"
                raise DataError(self.path / "label.csv", reason)
        for row in rows:
            for number in row.whole:
                if number > MAX_NUMBER or not self._known[number]:
                    raise DataError(path, f"concept number {number} (whole image) is not in label.csv", row.line)
        return rows

    def _row_error(self, row: Row, path: str, reason: str) -> DataError:
        return DataError(self.path / "index.csv", f"images/{path} {reason}", row.line)

    def _half_image(self, row: Row) -> tuple[int, int]:
        """Broden's rule for the label grid of a row that neither gives its size nor has a label map."""
        try:
            height, width = row.size or image_size(locate(self._images, row.image))
        except DataError as error:
            raise self._row_error(row, row.image, error.reason) from error
        return max(height // 2, 1), max(width // 2, 1)

    def _skip_broken(self) -> None:
        def check(index: int) -> DataError | None:
            try:
                self.image(index)
                self.labels(index)
            except DataError as error:
                return error
            return None

        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            errors = list(pool.map(check, range(len(self))))
        self.skipped = tuple(error for error in errors if error is not None)
        if not self.skipped:
            return
        reason = f"{len(self.skipped)} of {len(self)} rows are missing files or have broken ones"
        self._rows = [row for row, error in zip(self._rows, errors, strict=True) if error is None]
        if not self._rows:
            raise DataError(self.path / "index.csv", f"{reason}: none is left; the first: {self.skipped[0]}")
        warnings.warn(f"{reason} and were skipped; the first: {self.skipped[0]}", DataWarning, stacklevel=3)

    def _hash(self) -> str:
        digest = hashlib.sha256(b"netdissect_fast Broden 1\n")

        def add(*parts: object) -> None:  # each part with its length, so that no two inputs read the same
            for part in parts:
                data = part if isinstance(part, bytes) else str(part).encode()
                digest.update(b"%d:" % len(data) + data)

        tables = [
            "index.csv",
            "label.csv",
            "category.csv",
            *(f"c_{c}.csv" for c in self.vocabulary.categories),
        ]
        for table in tables:
            file = self.path / table
            add(table, read_bytes(file, MAX_TABLE) if file.exists() else "missing")
        add(self.split, *self.vocabulary.categories)
        for row in self._rows:
            add(row.line)
            for path in (row.image, *row.maps):
                add(path, self._file_size(row, path))
        return digest.hexdigest()

    def _file_size(self, row: Row, path: str) -> int:
        try:
            return os.stat(os.path.join(self._images, path)).st_size  # noqa: PTH116, PTH118 — 285,000 in Broden
        except (OSError, ValueError) as error:
            raise self._row_error(row, path, "does not exist or cannot be read") from error
