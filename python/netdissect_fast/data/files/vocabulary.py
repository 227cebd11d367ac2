"""Reads Broden's category.csv, label.csv and c_*.csv: the concepts and the category that each belongs to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...concepts import Vocabulary
from ...csv_tables import Table, keep, parse_integer, read_table
from ...errors import ArgumentError, DataError
from ...types import BoolArray, Float64Array

MAX_NUMBER = 65535  # what R + 256·G can hold
MAX_NAME = 200  # bytes of a category's name, which is also part of a file name

_UNSAFE_NAME = re.compile('[/\\\\:;()"\0-\x1f\ud800-\udfff]|^[.]|^\\s|\\s$')
_CATEGORY_COUNT = re.compile(r"([^()]*)(?:\(([^()]*)\))?")


@dataclass(frozen=True)
class LabelTables:
    """``vocabulary`` over the kept categories; ``has_labels`` bool: which of them hold any concept."""

    vocabulary: Vocabulary
    has_labels: BoolArray


def can_be_category(name: str) -> bool:
    """Return whether a category can have this name, which is also part of file names."""
    return bool(name) and not _UNSAFE_NAME.search(name) and len(name.encode()) <= MAX_NAME


def read_categories(path: Path, faults: list[DataError] | None = None) -> tuple[str, ...]:
    """Read the names of the categories, in the order of category.csv, which is the data set's order.

    ``faults``: as ``read_table`` takes them.
    """
    table = read_table(path, ("name",), faults)
    names: list[str] = []
    for line, cells in table.rows:
        name = table.text(cells, "name")
        if not can_be_category(name):
            keep(table.error(line, f"{name[:80]!r} cannot be the name of a category"), faults)
        elif name in names:
            keep(table.error(line, f"category {name} is listed twice"), faults)
        else:
            names.append(name)
    if not names:
        raise DataError(path, "lists no categories")
    return tuple(names)


def keep_categories(known: tuple[str, ...], wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Return the requested categories, in the data set's order; ArgumentError for one that it does not have."""
    if wanted is None:
        return known
    if isinstance(wanted, str):
        raise ArgumentError(f"categories must be a list of names, got the text {wanted!r}; write [{wanted!r}]")
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise ArgumentError(
            f"categories must be among {', '.join(known)}; got {', '.join(map(str, unknown)) or 'none'}"
        )
    return tuple(name for name in known if name in wanted)


def read_vocabulary(folder: Path, categories: tuple[str, ...], faults: list[DataError] | None = None) -> LabelTables:
    """Read label.csv and the c_*.csv files of the kept categories.

    The primary category is the one with the largest coverage. Coverage by category is only in the c_*.csv
    files: if one of them is missing, the image counts in label.csv's ``category`` column, such as
    ``material(36);object(3)``, replace it in all categories, since the two cannot be compared.

    ``faults``: as ``read_table`` takes them.
    """
    labels = read_table(folder / "label.csv", ("number", "name"), faults)
    names: dict[int, str] = {}
    lines: list[tuple[int, int, str]] = []  # line, number, category cell
    for line, cells in labels.rows:
        try:
            number = _new_number(labels, line, cells, names)
        except DataError as error:
            keep(error, faults)
            continue
        if number:  # a blank or 0: a row for "none"
            names[number] = labels.text(cells, "name") or str(number)
            lines.append((line, number, labels.text(cells, "category")))
    if not names:
        raise DataError(labels.path, "lists no concepts")
    numbers = np.array(sorted(names), np.int64)
    row_of = {int(number): row for row, number in enumerate(numbers)}
    coverage = np.full((len(numbers), len(categories)), np.nan)
    files = [folder / f"c_{category}.csv" for category in categories]
    if all(file.exists() for file in files):
        for column, file in enumerate(files):
            try:
                _read_coverage(file, row_of, coverage[:, column], faults)
            except DataError as error:
                keep(error, faults)
                coverage[:, column] = 0  # so that nothing more is reported about it
    elif "category" in labels.columns:
        _read_counts(labels, lines, row_of, categories, coverage, faults)
    else:
        missing = next(file for file in files if not file.exists())
        keep(DataError(missing, "is missing, and label.csv has no column category to take its place"), faults)
        coverage[:] = 0
    vocabulary = Vocabulary(numbers, tuple(names[int(n)] for n in numbers), Vocabulary.primary(coverage), categories)
    return LabelTables(vocabulary, ~np.isnan(coverage).all(axis=0))


def _new_number(labels: Table, line: int, cells: list[str], names: dict[int, str]) -> int | None:
    number = labels.integer(line, cells, "number")
    if number and number > MAX_NUMBER:
        raise labels.error(line, f"number must be 1..{MAX_NUMBER} to fit a label map, got {number}")
    if number in names:
        raise labels.error(line, f"number {number} is already used by another concept")
    return number


def _read_coverage(path: Path, row_of: dict[int, int], coverage: Float64Array, faults: list[DataError] | None) -> None:
    """Fill one category's column, float64 [C], from its c_*.csv."""
    table = read_table(path, ("number",), faults)
    for line, cells in table.rows:
        try:
            number = table.integer(line, cells, "number")
            if not number:
                continue
            if number not in row_of:
                raise table.error(line, f"concept number {number} is not in label.csv")
            if not np.isnan(coverage[row_of[number]]):
                raise table.error(line, f"concept number {number} is listed twice")
            coverage[row_of[number]] = table.number(line, cells, "coverage")
        except DataError as error:
            keep(error, faults)


def _read_counts(
    labels: Table,
    lines: list[tuple[int, int, str]],
    row_of: dict[int, int],
    categories: tuple[str, ...],
    coverage: Float64Array,  # [C, categories], filled in place
    faults: list[DataError] | None,
) -> None:
    for line, number, cell in lines:
        for item in filter(None, map(str.strip, cell.split(";"))):
            match = _CATEGORY_COUNT.fullmatch(item)
            count = parse_integer((match[2] or "0").strip()) if match else None
            if not match or count is None:
                reason = f"category must be written like material(36);object(3), got {item[:80]!r}"
                keep(labels.error(line, reason), faults)
            elif match[1].strip() in categories:
                coverage[row_of[number], categories.index(match[1].strip())] = count
