"""Reader of anybody's result.csv, as a table of units."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from ..concepts import Vocabulary
from ..csv_tables import Table, read_table, text_of_cell
from ..errors import DataError
from ..scoring.unit_labels import UnitLabels
from .tables import _FIELDS, _SURE, _TAIL, UnitTable


def compare_csv(path: str | Path) -> UnitTable:
    r"""Read anybody's NetDissect result.csv, NetDissect-Lite's tally.csv or ours, to be shown beside other results.

    Categories are in the order of the file's columns; all numbers, including IoU, are taken from the file, not
    recomputed. An empty label means none, whatever its IoU. Raises DataError, with the line, if the file is not such a
    table.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "tally.csv")
    ...     _ = path.write_text(
    ...         "unit,object-label,object-truth,object-activation,object-intersect,object-iou\n"
    ...         "2,dog,40,30,14,0.25\n"
    ...         "1,cat,60,20,2,0.0256\n"
    ...     )
    ...     table = nd.compare_csv(path)
    >>> table
    UnitTable('tally': 2 units; object)
    >>> [(row.unit, row.label, row.iou) for row in table.rows()]
    [(0, 'cat', 0.0256), (1, 'dog', 0.25)]
    >>> table.detectors(iou_threshold=0.04)
    {'object': 1}
    """
    table = read_table(Path(path), ("unit",))
    categories = tuple(name.removesuffix("-label") for name in table.columns if name.endswith("-label"))
    wanted = [f"{category}-{field}" for category in categories for field in _FIELDS]
    missing = [name for name in wanted if name not in table.columns]
    if missing or not categories:
        names = ", ".join(missing) or "object-label, object-truth, object-activation, object-intersect, object-iou"
        raise DataError(table.path, f"is not a NetDissect result.csv: it has no column {names}")
    if not table.rows:
        raise DataError(table.path, "has no units")
    lines = sorted(table.rows, key=lambda row: _unit(table, *row))
    units: dict[int, int] = {}
    for line, cells in lines:
        if units.setdefault(_unit(table, line, cells), line) != line:
            raise table.error(line, f"unit {_unit(table, line, cells)} is listed twice")
    labels = [[text_of_cell(table.text(cells, f"{name}-label")) for name in categories] for _, cells in lines]
    vocabulary, concept = _vocabulary(labels, tuple(map(text_of_cell, categories)))
    shape = len(lines), len(categories)
    pixels = {field: np.zeros(shape, np.int64) for field in ("truth", "activation", "intersect")}
    score = np.zeros(shape)
    for u, (line, cells) in enumerate(lines):
        for c, category in enumerate(categories):
            for field, array in pixels.items():
                array[u, c] = _whole(table, line, cells, f"{category}-{field}")
            score[u, c] = table.number(line, cells, f"{category}-iou")
    if (score > 1).any():
        u, c = np.argwhere(score > 1)[0]
        raise table.error(lines[u][0], f"{categories[c]}-iou must lie between 0 and 1, got {score[u, c]}")
    score[concept < 0] = 0
    ours = {name: np.array([_unknown(table, row, name) for row in lines]) for name in (*_TAIL, *_SURE)}
    sure = [ours[name] if name in table.columns else None for name in _SURE]
    return UnitTable(
        Path(path).stem, vocabulary, np.array(list(units), np.int64) - 1, UnitLabels(concept, score),
        pixels["truth"], pixels["activation"], pixels["intersect"], ours["threshold"], ours["chance"],
        *sure,
    )  # fmt: skip


def _unit(table: Table, line: int, cells: list[str]) -> int:
    unit = table.integer(line, cells, "unit")
    if not unit:
        raise table.error(line, "unit must be 1 or more: NetDissect's files count units from 1")
    return unit


def _whole(table: Table, line: int, cells: list[str], column: str) -> int:
    number = table.number(line, cells, column)
    if number != math.floor(number) or number >= 2**53:
        raise table.error(line, f"{column} must be a whole number of pixels, got {number}")
    return int(number)


def _unknown(table: Table, row: tuple[int, list[str]], column: str) -> float:
    """Return one of our own columns, which may be negative; NaN if the file does not have it."""
    text = table.text(row[1], column)
    try:
        return float(text) if text else math.nan
    except ValueError:
        raise table.error(row[0], f"{column} must be a number, got {text[:40]!r}") from None


def _vocabulary(labels: list[list[str]], categories: tuple[str, ...]) -> tuple[Vocabulary, Any]:
    """Return the labels that occur as a vocabulary, and the column of each, int32 [U, categories]; −1 for none."""
    found = sorted({(c, name) for row in labels for c, name in enumerate(row) if name})
    column = {key: i for i, key in enumerate(found)}
    vocabulary = Vocabulary(
        np.arange(1, len(found) + 1),
        tuple(name for _, name in found),
        np.array([c for c, _ in found], np.int32),
        categories,
    )
    concept = np.array([[column.get((c, name), -1) for c, name in enumerate(row)] for row in labels], np.int32)
    return vocabulary, concept
