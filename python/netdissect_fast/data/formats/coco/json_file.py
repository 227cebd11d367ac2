"""Reads the lists of a COCO .json file, trusting nothing in them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ....concepts import Vocabulary
from ....csv_tables import read_bytes
from ....errors import DataError, shortened
from ...files.pictures import SIZES, is_below, possible_size
from ...files.values import UNUSABLE
from ...files.vocabulary import MAX_NUMBER

MAX_COCO = 1 << 31  # bytes of one file; COCO's largest has half a billion


class Picture(NamedTuple):
    """One image: its ``id``, ``file`` under the folder of images, and ``size`` (height, width)."""

    id: int
    file: str
    size: tuple[int, int]


@dataclass(frozen=True)
class Entry:
    """One object of the file ``path``: ``where`` it stands in it, for messages, and its ``values``."""

    path: Path
    where: str
    values: dict[str, Any]

    def error(self, reason: str) -> DataError:
        """Return a DataError about this object."""
        return DataError(self.path, f"{self.where}: {reason}" if self.where else reason)

    def integer(self, key: str, least: int, most: int) -> int:
        """Return an integer in ``least``..``most``."""
        value = self._value(key)
        if type(value) is not int or not least <= value <= most:
            raise self.error(f"{key} must be an integer in {least}..{most}, got {shown(value)}")
        return value

    def number(self, key: str) -> int:
        """Return an integer that names something: an id."""
        value = self._value(key)
        if type(value) is not int:
            raise self.error(f"{key} must be an integer, got {shown(value)}")
        return value

    def text(self, key: str) -> str:
        """Return text that is not blank and can be printed and written."""
        value = self._value(key)
        if not isinstance(value, str) or not value.strip() or UNUSABLE.search(value):
            raise self.error(f"{key} must be text without control characters, got {shown(value)}")
        return value

    def file(self, key: str) -> str:
        """Return a path with / between folders; its text must not lead out, links are checked when files are opened."""
        path = self.text(key)
        if not is_below(path):
            raise self.error(f"{key}: {path[:80]!r} leads out of its folder; paths must stay inside it")
        return path

    def entries(self, key: str) -> Iterator[Entry]:
        """Yield the objects of a list."""
        items = self._value(key)
        if not isinstance(items, list):
            raise self.error(f"{key} must be a list, got {shown(items)}")
        within = f"{self.where}, " if self.where else ""
        for place, values in enumerate(items):
            where = f"{within}{key}[{place}]"
            if not isinstance(values, dict):
                raise DataError(self.path, f"{where} must be an object, got {shown(values)}")
            named = next((name for name in ("id", "image_id") if type(values.get(name)) is int), None)
            yield Entry(self.path, f"{where} ({named} {values[named]})" if named else where, values)

    def _value(self, key: str) -> Any:
        try:
            return self.values[key]
        except KeyError:
            raise self.error(f"has no {key}; got {shortened(', '.join(self.values)) or 'nothing'}") from None


def shown(value: object) -> str:
    """Return a JSON value as messages show it: short, whatever it holds."""
    return "a list" if isinstance(value, list) else "an object" if isinstance(value, dict) else repr(value)[:60]


def read_coco(path: Path) -> tuple[Entry, bytes]:
    """Return the file's content and the sha256 of its bytes. DataError if it is missing, too large or not JSON."""
    data = read_bytes(path, MAX_COCO)
    digest = hashlib.sha256(data).digest()
    try:
        content = json.loads(data)
    except json.JSONDecodeError as error:
        raise DataError(path, f"is not JSON: {error.msg} at column {error.colno}", error.lineno) from error
    except (ValueError, RecursionError) as error:
        raise DataError(path, f"is not JSON: {shortened(error)}") from error
    if not isinstance(content, dict):
        raise DataError(path, f"must hold an object with images, annotations and categories, got {shown(content)}")
    return Entry(path, "", content), digest


def read_pictures(root: Entry) -> tuple[Picture, ...]:
    """Return the images, in the file's order."""
    pictures: dict[int, Picture] = {}
    for entry in root.entries("images"):
        picture = Picture(entry.number("id"), entry.file("file_name"), (entry.number("height"), entry.number("width")))
        if not possible_size(*picture.size):
            raise entry.error(f"height and width must amount to {SIZES}, got {picture.size[0]} by {picture.size[1]}")
        if picture.id in pictures:
            raise entry.error(f"id {picture.id} is already used by another image")
        pictures[picture.id] = picture
    if not pictures:
        raise root.error("lists no images: the data set is empty")
    return tuple(pictures.values())


def read_categories(root: Entry, category: Callable[[Entry], str]) -> tuple[Vocabulary, dict[int, int]]:
    """Return the vocabulary, and category id → concept number.

    The numbers are the ids, or the ids plus 1 if one of them is 0, which labels reserve for "unlabelled".
    ``category`` returns the category, in Broden's sense, of one of COCO's.
    """
    names: dict[int, tuple[str, str]] = {}
    for entry in root.entries("categories"):
        identity = entry.integer("id", 0, MAX_NUMBER)
        if identity in names:
            raise entry.error(f"id {identity} is already used by another category")
        names[identity] = entry.text("name"), category(entry)
    if not names:
        raise root.error("lists no categories")
    shift = int(0 in names)
    if max(names) + shift > MAX_NUMBER:
        raise root.error(f"categories: ids must be 1..{MAX_NUMBER}, or 0..{MAX_NUMBER - 1}; got 0 and {max(names)}")
    ids = sorted(names)
    categories = tuple(sorted({category for _, category in names.values()}))
    vocabulary = Vocabulary(
        np.array(ids, np.int64) + shift,
        tuple(names[identity][0] for identity in ids),
        np.array([categories.index(names[identity][1]) for identity in ids], np.int32),
        categories,
    )
    return vocabulary, {identity: identity + shift for identity in ids}


def folder_of_images(path: Path, images: str | os.PathLike[str] | None, first: Picture) -> str:
    """Return the real path of the given folder, or of the first of the usual ones that has the first image's file."""
    if images is not None:
        if not Path(images).is_dir():
            raise DataError(images, "is not a folder; the images belong there")
        return os.path.realpath(images)
    beside, part = path.absolute().parent, path.stem.rsplit("_", 1)[-1]
    above = beside.parent
    places = (above / part, above / "images" / part, above / "images", beside / part, beside / "images", beside)
    for place in places:
        if os.path.isfile(place / first.file):  # noqa: PTH113 — Path's raises if the name is too long
            return os.path.realpath(place)
    looked = ", ".join(map(str, places))
    raise DataError(path, f"{first.file[:200]}, the file of the first image, was not found in {looked}; pass images=")
