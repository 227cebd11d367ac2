"""Reads the csv files of a folder of images and masks: what values, colours and whole images stand for."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from ....concepts import Vocabulary
from ....csv_tables import Table, read_table
from ....errors import ArgumentError, DataError
from ....types import Array, Int32Array, Int64Array
from ...files.values import Name, UnknownValue, Values
from ...files.vocabulary import MAX_NUMBER

NAMES, WHOLE = "names.csv", "labels.csv"
_HINT = "; name it, or give it the name - if it is not a concept"
_UNSAFE_NAME = re.compile(r"[/\\:;\"\x00-\x1f]")
_COLOUR = re.compile(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})|(\d{1,3})[ ,;]+(\d{1,3})[ ,;]+(\d{1,3})")


class MaskNames:
    """What names.csv says: values, or colours, and their concepts.

    values   by code: the value of a greyscale or palette mask, or the place of a colour among ``colours``
    most     the largest code of a pixel; greater ones stand for concepts of whole images only
    colours  int64, ascending: R·65536 + G·256 + B; None if masks hold values
    """

    def __init__(self, values: Values, most: int, colours: Int64Array | None) -> None:
        self.values, self._most, self.colours = values, most, colours

    @property
    def of_pixels(self) -> bool:
        """Whether any concept labels pixels, so that there must be masks."""
        return bool((self.values.table[: self._most + 1] > 0).any())

    def numbers(self, mask: Array, file: str) -> Int32Array:
        """Return concept numbers int32 [Y, X] of a mask from ``read_mask``. Raises DataError naming its ``file``."""
        kinds = ("values, in greyscale or a palette", "colours, in RGB")
        if (mask.ndim == 3) != (self.colours is not None):
            expected, got = kinds if self.colours is None else kinds[::-1]
            raise DataError(file, f"holds {got}; {NAMES} names {expected}")
        codes = mask
        if self.colours is not None:
            keys = (mask.astype(np.int64) * (65536, 256, 1)).sum(axis=-1)
            codes = np.searchsorted(self.colours, keys).clip(max=len(self.colours) - 1)
            unknown = keys[self.colours[codes] != keys]
            if unknown.size:
                raise DataError(file, f"colour #{unknown.min():06x} is not in {NAMES}{_HINT}")
        try:
            if codes.max() > self._most:
                raise UnknownValue(int(codes.max()))
            return self.values.numbers(codes)
        except UnknownValue as error:
            raise DataError(file, f"value {error.value} is not in {NAMES}{_HINT}") from None


def read_names(path: Path) -> MaskNames:
    """Read names.csv. Raises DataError with the line if it is malformed."""
    table = read_table(path, ("name",))
    columns = [column for column in ("value", "color") if column in table.columns]
    if len(columns) != 1:
        raise DataError(path, "needs one of the columns value and color", 1)
    coded: dict[int, Name] = {}  # by value or colour
    whole: list[Name] = []
    for line, cells in table.rows:
        code, name = _code(table, line, cells, columns[0]), table.text(cells, "name")
        category = table.text(cells, "category") or "object"
        if _UNSAFE_NAME.search(category + name):
            raise table.error(line, f"{category!r}, {name!r}: names cannot contain ; : / \\ or a quote")
        if code in coded:
            raise table.error(line, f"{columns[0]} {table.text(cells, columns[0])} is listed twice")
        if code is None:
            whole.append((category, name))
        else:
            coded[code] = None if name in ("", "-") else (category, name)
    colours = None
    if columns == ["color"]:
        colours = np.array(sorted({0, *coded}), np.int64)
        coded = {place: coded[int(colour)] for place, colour in enumerate(colours) if int(colour) in coded}
    most = max(coded, default=0)
    try:
        return MaskNames(Values({**coded, **dict(enumerate(whole, most + 1))}), most, colours)
    except ArgumentError as error:
        raise DataError(path, str(error)) from error


def _code(table: Table, line: int, cells: list[str], column: str) -> int | None:
    """Return a value, or a colour as R·65536 + G·256 + B; None if blank: the concept is for whole images only."""
    if column == "value":
        value = table.integer(line, cells, "value")
        if value is not None and value > MAX_NUMBER:
            raise table.error(line, f"value must be at most {MAX_NUMBER}, got {value}")
        return value
    text = table.text(cells, "color")
    if not text:
        return None
    match = _COLOUR.fullmatch(text)
    parts = [256]
    if match:
        parts = [int(part, 16) for part in match.groups()[:3]] if match[1] else [int(p) for p in match.groups()[3:]]
    if max(parts) > 255:
        raise table.error(line, f"color must be written like #ff8000 or 255 128 0, got {text[:40]!r}")
    return parts[0] * 65536 + parts[1] * 256 + parts[2]


def read_whole(path: Path, vocabulary: Vocabulary, photos: set[str]) -> dict[str, tuple[int, ...]]:
    """Read labels.csv: numbers of the whole-image concepts, by image. DataError with the line if it is malformed."""
    if not os.path.lexists(path):  # a dangling link is a broken table, not an absent one
        return {}
    table = read_table(path, ("image", "concepts"))
    known: dict[str, set[int]] = {}
    for number, name, category in zip(vocabulary.numbers, vocabulary.names, vocabulary.category, strict=True):
        known.setdefault(name, set()).add(int(number))
        known.setdefault(f"{vocabulary.categories[category]}:{name}", set()).add(int(number))
    whole: dict[str, tuple[int, ...]] = {}
    for line, cells in table.rows:
        image = table.text(cells, "image")
        if image not in photos or image in whole:
            reason = "is listed twice" if image in whole else "is not under images/"
            raise table.error(line, f"image {image[:80]!r} {reason}")
        numbers: list[int] = []
        for name in filter(None, map(str.strip, table.text(cells, "concepts").split(";"))):
            found = known.get(name, set())
            if len(found) != 1:
                reason = "belongs to several categories: write category:name" if found else f"is not in {NAMES}"
                raise table.error(line, f"concept {name[:80]!r} {reason}")
            numbers.extend(found)
        whole[image] = tuple(numbers)
    return whole
