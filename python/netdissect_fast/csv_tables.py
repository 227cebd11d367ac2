"""Reader of the small csv files of a data set, which trusts nothing in them; writer of the tables for people."""

from __future__ import annotations

import csv
import io
import math
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import DataError

MAX_FIELD = 100_000  # characters in one csv cell; Broden's longest has a few hundred
MAX_TABLE = 1 << 30  # bytes of one csv file; Broden's index has 12 million

_FORMULA = re.compile(r"'*[=+\-@\t\r]")  # how text begins that a spreadsheet computes, or that ``cell_text`` wrote
_INTEGER = re.compile(r"\+?([0-9]{1,15})(?:\.0*)?", re.ASCII)


@dataclass(frozen=True)
class Table:
    """A csv file: ``columns`` name → position, ``rows`` as (line number, cells)."""

    path: Path
    columns: dict[str, int]
    rows: list[tuple[int, list[str]]]

    def error(self, line: int, reason: str) -> DataError:
        """Return a DataError about one line of this file."""
        return DataError(self.path, reason, line)

    def integer(self, line: int, cells: list[str], column: str) -> int | None:
        """Return a cell as an integer ≥ 0, even if written as 3.0; None if it is blank or its column is missing."""
        text = self.text(cells, column)
        if not text:
            return None
        number = parse_integer(text)
        if number is None:
            raise self.error(line, f"{column} must be an integer ≥ 0, got {text[:40]!r}")
        return number

    def number(self, line: int, cells: list[str], column: str) -> float:
        """Return a cell as a finite number ≥ 0; 0 if it is blank or its column is missing."""
        text = self.text(cells, column)
        try:
            number = float(text) if text else 0.0
        except ValueError:
            number = math.nan
        if not 0 <= number < math.inf:
            raise self.error(line, f"{column} must be a number ≥ 0, got {text[:40]!r}")
        return number

    def text(self, cells: list[str], column: str) -> str:
        """Return a cell without surrounding blanks; empty if the file has no such column."""
        place = self.columns.get(column)
        return "" if place is None else cells[place].strip()


def csv_text(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return a table that people may open in a spreadsheet: floats as repr, text as ``cell_text`` writes it."""
    lines = _Lines()
    writer = csv.writer(lines, lineterminator="\r\n")  # so that it quotes a lone carriage return too
    writer.writerow(map(cell_text, header))
    writer.writerows([cell_text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return "".join(lines)


class _Lines(list[str]):
    """What csv.writer writes, line by line, each ending in a line feed alone."""

    def write(self, line: str) -> None:
        self.append(line.removesuffix("\r\n") + "\n")


def cell_text(text: str) -> str:
    """Return text for a cell: an apostrophe comes before what a spreadsheet would take for a formula.

    It also comes before text that has one there already, so that ``text_of_cell`` returns any text as it was.

    >>> [cell_text(text) for text in ("car", "=cmd()", "-wheel", "'s", "'=")]
    ['car', "'=cmd()", "'-wheel", "'s", "''="]
    """
    return f"'{text}" if _FORMULA.match(text) else text


def text_of_cell(cell: str) -> str:
    """Return what ``cell_text`` was given.

    >>> [text_of_cell(cell) for cell in ("car", "'=cmd()", "'-wheel", "'s", "''=")]
    ['car', '=cmd()', '-wheel', "'s", "'="]
    """
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def parse_integer(text: str) -> int | None:
    """Return an integer ≥ 0 written as 3 or, by tools that only have floats, as 3.0; None for anything else."""
    match = _INTEGER.fullmatch(text)
    return int(match[1]) if match else None


def keep(error: DataError, faults: list[DataError] | None) -> None:
    """Add an error to ``faults``, or raise it if that is None.

    A copy is added: the error as raised keeps everything alive that was in memory there.
    """
    if faults is None:
        raise error
    faults.append(DataError(error.path, error.reason, error.line))


def read_bytes(path: str | os.PathLike[str], limit: int) -> bytes:
    """Return the bytes of a regular file. Raises DataError if it is missing, a device, empty or over ``limit``."""
    try:
        status = os.stat(path)  # noqa: PTH116 — first: opening a pipe would wait, opening a device may act
        if not stat.S_ISREG(status.st_mode):
            raise DataError(path, "is not a regular file")
        if status.st_size > limit:
            raise DataError(path, f"has {status.st_size} bytes, more than the {limit} expected at most")
        with open(path, "rb") as file:  # noqa: PTH123 — path may be a plain string here: 285,000 of them
            data = file.read(status.st_size + 1)  # a buffer of that size is allocated first
    except FileNotFoundError as error:
        raise DataError(path, "does not exist") from error
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not data:
        raise DataError(path, "is empty (0 bytes)")
    return data


def read_table(path: Path, required: tuple[str, ...], faults: list[DataError] | None = None) -> Table:
    """Read a csv file whose header has at least the ``required`` columns; others are allowed.

    Tolerates a byte order mark, CRLF and blank lines. Raises DataError, with the line, for a file that is
    missing or not UTF-8, a missing or repeated column, a row longer or shorter than the header, a broken
    quote, a NUL or an oversized cell. If ``faults`` is given, malformed rows are omitted and their errors added
    to it.
    """
    text = _decode(path, read_bytes(path, MAX_TABLE))
    rows = _read_rows(path, text, faults)
    if not rows:
        raise DataError(path, f"has no header; expected columns {', '.join(required)}")
    first, header = rows.pop(0)
    names = [name.strip() for name in header]
    repeated = sorted(name for name, times in Counter(names).items() if name and times > 1)
    if repeated:
        raise DataError(path, f"column names must be distinct, got {', '.join(repeated)[:200]} more than once", first)
    columns = {name: place for place, name in enumerate(names)}
    missing = [name for name in required if name not in columns]
    if missing:
        raise DataError(path, f"has no column {', '.join(missing)}; got {', '.join(names)[:200]}", first)
    width = len(names)
    for line, cells in rows:
        if len(cells) != width:
            keep(DataError(path, f"expected {width} cells as in the header, got {len(cells)}", line), faults)
    return Table(path, columns, [row for row in rows if len(row[1]) == width] if faults else rows)


def _read_rows(path: Path, text: str, faults: list[DataError] | None) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[int, list[str]]] = []
    while True:
        try:
            for cells in reader:
                if not cells:
                    continue
                if max(map(len, cells)) > MAX_FIELD:
                    raise DataError(path, f"a cell has more than {MAX_FIELD} characters", reader.line_num)
                rows.append((reader.line_num, cells))
            return rows
        except csv.Error as error:
            fault = DataError(path, f"is not a csv file: {error}", reader.line_num)
            if faults is None or not rows:  # without a header there are no columns
                raise fault from error
            keep(fault, faults)
        except DataError as error:
            keep(error, faults)


def _decode(path: Path, data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(path, f"is not UTF-8 text (byte 0x{data[error.start]:02x}); save it as UTF-8", line) from None
    place = text.find("\0")
    if place >= 0:
        raise DataError(path, "contains a NUL character", text.count("\n", 0, place) + 1)
    return text
