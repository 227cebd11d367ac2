"""Reads Broden's index.csv: one row per image, with its label files and whole-image labels."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from sys import intern
from typing import NamedTuple, TypeAlias

from ...csv_tables import Table, keep, parse_integer, read_table
from ...errors import DataError
from .pictures import SIZES, is_below, possible_size

FIXED_COLUMNS = ("image", "split", "ih", "iw", "sh", "sw")

Cell: TypeAlias = tuple[str | int, ...]  # paths of label maps, numbers of whole-image labels; 0 omitted


class Row(NamedTuple):
    """One image.

    line        of index.csv, 1-based
    image       path under images/, with / between folders
    split       train or val
    size        (height, width) of the image; None if blank
    label_size  (Y, X) of its label maps; None if blank
    cells       one per requested category; empty if the image has no data
    """

    line: int
    image: str
    split: str
    size: tuple[int, int] | None
    label_size: tuple[int, int] | None
    cells: tuple[Cell, ...]

    @property
    def maps(self) -> list[str]:
        """Paths of the label maps under images/, by category, then layer."""
        return [item for cell in self.cells for item in cell if isinstance(item, str)]

    @property
    def whole(self) -> tuple[int, ...]:
        """Numbers of the whole-image labels."""
        return tuple(item for cell in self.cells for item in cell if isinstance(item, int))


def read_index(
    path: str | Path,
    categories: Sequence[str] | None = None,
    split: str | None = None,
    optional: Sequence[str] = (),
    faults: list[DataError] | None = None,
) -> list[Row]:
    """Read index.csv only: no other file is opened.

    ``categories`` names the columns to read (default: every column except the six fixed ones), of which the
    ``optional`` may be missing, and ``split`` the rows. Raises DataError with the line for a malformed row or
    a path that leads out of images/; if ``faults`` is given, the error is appended to it instead and the
    faulty value is blank in its row.
    """
    required = [name for name in categories or () if name not in optional]
    table = read_table(Path(path), (*FIXED_COLUMNS, *required), faults)
    if categories is None:
        categories = [name for name in table.columns if name and name not in FIXED_COLUMNS]
    image_column, split_column, *size_columns = (table.columns[name] for name in FIXED_COLUMNS)
    columns = [(name, table.columns.get(name)) for name in categories]
    sizes: dict[tuple[str, ...], tuple[tuple[int, int] | None, tuple[int, int] | None]] = {}
    cells: dict[str, Cell] = {"": ()}  # many whole-image cells are alike
    written_sizes = itemgetter(*size_columns)
    rows = []
    for line, values in table.rows:
        row_split = intern(values[split_column].strip())
        if split is not None and row_split != split:
            continue
        image = values[image_column].strip()
        try:
            _check_path(table, line, "image", image)
        except DataError as error:
            keep(error, faults)
            image = ""
        written = written_sizes(values)
        size = sizes.get(written)
        if size is None:
            found = len(faults or ())
            size = (_size(table, line, values, "ih", "iw", faults), _size(table, line, values, "sh", "sw", faults))
            if len(faults or ()) == found:  # else the next such row must be reported too
                sizes[written] = size
        row = []
        for name, column in columns:
            text = "" if column is None else values[column]
            cell = cells.get(text)
            if cell is None:
                try:
                    cell = cells[text] = _cell(table, line, name, text)
                except DataError as error:
                    keep(error, faults)
                    cell = ()
            row.append(cell)
        rows.append(Row(line, image, row_split, *size, tuple(row)))
    return rows


def _size(
    table: Table, line: int, values: list[str], height: str, width: str, faults: list[DataError] | None
) -> tuple[int, int] | None:
    try:
        h, w = table.integer(line, values, height), table.integer(line, values, width)
        if h is None or w is None:
            return None
        if not possible_size(h, w):
            raise table.error(line, f"{height} and {width} must amount to {SIZES}, got {h} by {w}")
    except DataError as error:
        keep(error, faults)
        return None
    return h, w


def _cell(table: Table, line: int, column: str, text: str) -> Cell:
    if text.endswith(".png") and ";" not in text:  # most are
        _check_path(table, line, column, text := text.strip())
        return (text,)
    items: list[str | int] = []
    for item in map(str.strip, text.split(";")):
        number = parse_integer(item)
        if number is not None:
            if number:
                items.append(number)
        elif item:
            if item[-4:].lower() != ".png":
                raise table.error(
                    line, f"{column}: {item[:80]!r} is neither a label number nor a .png path under images/"
                )
            _check_path(table, line, column, item)
            items.append(item)
    return tuple(items)


def _check_path(table: Table, line: int, column: str, path: str) -> None:
    """Refuse a path that by its text is not below images/; links are checked when files are opened."""
    if not path:
        raise table.error(line, f"{column}: expected a path under images/, got an empty cell")
    if not is_below(path):
        raise DataError(table.path, f"{column}: {path[:80]!r} leads out of images/; paths must stay inside it", line)
