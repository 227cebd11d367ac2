"""Checks a data set: reads every row and every file, and lists all that is wrong."""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...csv_tables import keep
from ...errors import DataError, printable
from ..dataset import ConceptDataset
from ..faults import inspections, inspector
from ..files.exif import Exif
from ..files.index import Row, read_index
from ..files.label_maps import LabelSize
from ..files.vocabulary import read_vocabulary
from ..formats.broden import Broden
from ..opening import open_data

_NAMED = 5  # of many, in a note


@dataclass(frozen=True)
class Checked:
    """What ``check`` found.

    faults  all that is wrong, in the order of the files, then of their lines
    notes   what is unusual, but not a fault
    images  number of images read
    maps    number of label maps read
    """

    faults: tuple[DataError, ...]
    notes: tuple[str, ...]
    images: int
    maps: int

    @property
    def summary(self) -> str:
        """How much was read, and how many faults were found."""
        faults = f"{len(self.faults):,} fault{'s'[: len(self.faults) != 1]}" if self.faults else "sound"
        return f"{self.images:,} images, {self.maps:,} label maps: {faults}"

    def __str__(self) -> str:
        lines = [*map(str, self.faults), *(f"note: {note}" for note in self.notes), self.summary]
        return "\n".join(map(printable, lines))

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "sound": not self.faults,
            "images": self.images,
            "label_maps": self.maps,
            "faults": [{"file": fault.path, "line": fault.line, "reason": fault.reason} for fault in self.faults],
            "notes": list(self.notes),
        }


def check(
    data: ConceptDataset | str | os.PathLike[str],
    split: str | None = None,
    categories: Sequence[str] | None = None,
    label_size: LabelSize | str = "default",
    threads: int | None = None,
    progress: bool = False,
    exif: Exif = None,
) -> Checked:
    """Read all of a data set, and list all that is wrong with it.

    data                                 a data set, or what ``open_data`` opens
    split, categories, label_size, exif  as in ``open_data``; only for a data set that is not open yet
    threads                              number of threads that read images; default: one per processor, at most 8
    Raises ArgumentError for arguments that do not fit; faults of the data are not raised.
    """
    faults: list[DataError] = []
    how = split, categories, label_size, exif
    opened = data if not isinstance(data, str | os.PathLike) else _opened(data, *how, faults)
    if opened is None:
        return Checked(_ordered(faults), ("no image was read: fix the faults above first",), 0, 0)
    broden = opened if isinstance(opened, Broden) else None
    if broden is not None:
        _add_repeated(broden, faults)
    inspect = inspector(opened) if broden is None else broden.inspect
    numbers: set[int] = set()
    maps, tags = 0, Counter[str]()
    with closing(inspections(inspect, len(opened), threads, progress)) as found:
        for inspection in found:
            faults += inspection.faults
            numbers |= inspection.numbers
            maps += inspection.maps
            tags[inspection.exif] += 1
    notes = [*_exif_notes(tags), *_unused(opened, numbers, not faults)]
    if broden is not None and broden.split is None and broden.source()["categories"] is None:
        notes += _unnamed(broden)
    return Checked(_ordered(faults), tuple(notes), len(opened), maps)


def _opened(
    data: str | os.PathLike[str],
    split: str | None,
    categories: Sequence[str] | None,
    label_size: LabelSize | str,
    exif: Exif,
    faults: list[DataError],
) -> ConceptDataset | None:
    index = Path(data) / "index.csv"
    broden = label_size in ("default", None) and os.path.exists(index)  # noqa: PTH110 — Path's raises for some names
    try:
        if broden:
            return Broden(data, split, categories, exif=exif, faults=faults)
        return open_data(data, split, categories, label_size=label_size, exif=exif)
    except DataError as error:
        keep(error, faults)
    if broden:
        _read_the_rest(index, faults)
    return None


def _read_the_rest(index: Path, faults: list[DataError]) -> None:
    """Add the faults of tables that were not reached because an earlier one could not be read at all."""
    found: list[DataError] = []
    for read in (lambda: read_vocabulary(index.parent, (), found), lambda: read_index(index, faults=found)):
        try:
            read()
        except DataError as error:
            keep(error, found)
    known = set(map(str, faults))
    faults += [fault for fault in found if str(fault) not in known]


def _add_repeated(data: Broden, faults: list[DataError]) -> None:
    first: dict[str, Row] = {}
    for row in data.rows:
        other = first.setdefault(row.image, row)
        if other is not row and row.image:
            reason = f"image {row.image} is listed a second time; the first is line {other.line}"
            faults.append(DataError(data.path / "index.csv", reason, row.line))


def _ordered(faults: list[DataError]) -> tuple[DataError, ...]:
    files: dict[str, int] = {}
    for fault in faults:
        files.setdefault(fault.path, len(files))
    return tuple(sorted(faults, key=lambda fault: (files[fault.path], fault.line or 0)))


def _exif_notes(tags: Counter[str]) -> Iterator[str]:
    """Note the photographs that their EXIF tag turns."""
    if count := tags["applied"] + tags["ignored"]:
        photographs = (
            f"{count:,} photograph{'s'[: count != 1]} with an EXIF tag that turns {'them' if count > 1 else 'it'}"
        )
        yield f"{photographs}: {tags['applied']:,} applied, {tags['ignored']:,} ignored (--exif, exif=)"


def _unused(data: ConceptDataset, numbers: set[int], sound: bool) -> Iterator[str]:
    vocabulary = data.vocabulary
    both = zip(vocabulary.numbers.tolist(), vocabulary.names, strict=True)
    unused = [f"{name} ({number})" for number, name in both if number not in numbers]
    if unused:
        image = "image" if sound else "readable image"
        yield f"{len(unused):,} of {len(vocabulary):,} concepts occur in no {image}: {_some(unused)}"


def _unnamed(data: Broden) -> Iterator[str]:
    """Note files below images/ that no row names; hidden ones may be anything."""
    named = {posixpath.normpath(path) for row in data.rows for path in (row.image, *row.maps)}
    folder, unnamed, count = data.path / "images", list[str](), 0
    for path, _, files in os.walk(folder):
        inside = Path(path).relative_to(folder).as_posix()
        for file in files:
            name = posixpath.normpath(f"{inside}/{file}")
            if name not in named and not file.startswith("."):
                count += 1
                unnamed = sorted([*unnamed, name])[: _NAMED + 1]
    if count:
        yield f"{count:,} file{'s'[: count != 1]} below images/ that no row names: {_some(unnamed)}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
