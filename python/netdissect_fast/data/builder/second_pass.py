"""Second pass: label maps in the data set's own numbers, and the rows of index.csv."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ArgumentError, DataError
from ...storage import atomic_file, read_json, write_json
from ...types import Array, Int32Array
from ..files.broden_writer import write_label_map, write_table
from ..files.index import FIXED_COLUMNS
from ..files.splits import place_of, split_of
from .concept_names import Label
from .first_pass import read_chunk

_UNLABELLED = np.zeros(1, np.int32)  # for a source of which no image has a label of a category


@dataclass(frozen=True)
class Assembler:
    """Writes label maps to ``images``, and a chunk's rows to ``work``.

    numbers  by source and category: the data set's number for each of the source's, int32; 0: no concept
    """

    images: Path
    work: Path
    size: tuple[int, int]
    label_size: tuple[int, int]
    numbers: Mapping[tuple[str, str], Int32Array]

    def assemble(self, chunk: int) -> None:
        """Assemble a chunk of images, unless that was done before."""
        with suppress(DataError):
            read_rows(self.work, chunk)
            return
        found, maps = read_chunk(self.work, chunk)
        write_json(_rows_file(self.work, chunk), [self._row(row, maps) for row in found["rows"]])

    def _row(self, row: dict[str, Any], maps: Array) -> dict[str, Any]:
        """Write the label maps of an image; return its row: its path, and a cell for each category."""
        cells: dict[str, list[str]] = {}
        for category, place in row["maps"].items():
            first, numbers = place["first"], self._numbers(row["source"], category)
            for layer in range(place["layers"]):
                labels = numbers[maps[first + layer]]
                if labels.any():  # a map without labels says nothing
                    ending = f"_{category}_{layer + 1}" if place["stacked"] else f"_{category}"
                    path = f"{row['path']}{ending}.png"
                    with atomic_file(self.images / path, sync=False) as file:
                        write_label_map(file, labels)
                    cells.setdefault(category, []).append(path)
        for category, whole in row["whole"].items():
            known = [int(n) for n in self._numbers(row["source"], category)[whole] if n]
            cells.setdefault(category, []).extend(str(n) for n in dict.fromkeys(known))
        return {"image": f"{row['path']}.jpg", "cells": {c: ";".join(items) for c, items in cells.items() if items}}

    def _numbers(self, source: str, category: str) -> Int32Array:
        return self.numbers.get((source, category), _UNLABELLED)


def number_tables(numbers: Mapping[Label, int]) -> dict[tuple[str, str], Int32Array]:
    """Return the ``numbers`` of the labels as tables by source and category."""
    largest: dict[tuple[str, str], int] = {}
    for source, category, number in numbers:
        largest[source, category] = max(number, largest.get((source, category), 0))
    tables = {key: np.zeros(number + 1, np.int32) for key, number in largest.items()}
    for (source, category, number), new in numbers.items():
        tables[source, category][number] = new
    return tables


def _rows_file(work: Path, chunk: int) -> Path:
    return work / f"rows-{chunk:05d}.json"


def read_rows(work: Path, chunk: int) -> list[dict[str, Any]]:
    """Read the rows of a chunk. Raises DataError if it was not assembled."""
    rows: list[dict[str, Any]] = read_json(_rows_file(work, chunk))
    return rows


def write_index(
    path: Path,
    rows: Sequence[dict[str, Any]],
    categories: Sequence[str],
    sizes: tuple[int, int, int, int],
    train: float,
    salt: str,
) -> None:
    """Write index.csv, in the order of the images' hashes; ``sizes`` are ih, iw, sh, sw.

    Raises ArgumentError if two images' label maps would share a file, as of image a and category b_c, a_b and c.
    """
    files = Counter(f.casefold() for row in rows for cell in row["cells"].values() for f in cell.split(";"))
    for file, times in files.items():
        if times > 1 and not file.isdecimal():
            raise ArgumentError(f"two images would have label maps called {file}: rename one of them, or a category")
    ordered = sorted(rows, key=lambda row: (place_of(row["image"], salt), row["image"]))
    write_table(
        path,
        (*FIXED_COLUMNS, *categories),
        (
            [row["image"], split_of(row["image"], train, salt), *sizes, *(row["cells"].get(c, "") for c in categories)]
            for row in ordered
        ),
    )
