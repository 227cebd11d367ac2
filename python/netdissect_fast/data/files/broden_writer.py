"""Writes data sets in Broden's format: the tables, and label maps."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from ...errors import ArgumentError
from ...storage import write_text
from ...types import Int32Array
from .index import FIXED_COLUMNS
from .vocabulary import can_be_category


@dataclass
class Concept:
    """A row of label.csv.

    images    by category: number of images that have it
    coverage  by category: fraction of an image's pixels that carry it, summed over images
    synonyms  other names of it
    """

    number: int
    name: str
    images: dict[str, int] = field(default_factory=dict)
    coverage: dict[str, float] = field(default_factory=dict)
    synonyms: tuple[str, ...] = ()


def write_concepts(folder: Path, concepts: Sequence[Concept]) -> list[str]:
    """Write label.csv, category.csv and c_*.csv; return the categories, in the order of their smallest numbers."""
    write_table(
        folder / "label.csv",
        ("number", "name", "category", "frequency", "coverage", "syns"),
        (
            [
                concept.number,
                concept.name,
                ";".join(f"{c}({n})" for c, n in sorted(concept.images.items(), key=lambda item: (-item[1], item[0]))),
                sum(concept.images.values()),
                f"{sum(concept.coverage.values()):.6f}",
                ";".join(concept.synonyms),
            ]
            for concept in concepts
        ),
    )
    by_category: dict[str, list[Concept]] = {}
    for concept in sorted(concepts, key=lambda concept: concept.number):
        for category in concept.images:
            by_category.setdefault(category, []).append(concept)
    write_table(
        folder / "category.csv",
        ("name", "first", "last", "count", "frequency"),
        (
            [category, its[0].number, its[-1].number, len(its), sum(concept.images[category] for concept in its)]
            for category, its in by_category.items()
        ),
    )
    for category, its in by_category.items():
        its.sort(key=lambda concept: (-concept.images[category], -concept.coverage[category], concept.number))
        write_table(
            folder / f"c_{category}.csv",
            ("code", "number", "name", "frequency", "coverage"),
            (
                [code, its.number, its.name, its.images[category], f"{its.coverage[category]:.6f}"]
                for code, its in enumerate(its, start=1)
            ),
        )
    return list(by_category)


def require_category(name: str, where: str) -> None:
    """Raise ArgumentError if a name cannot be a category's: it becomes a column, and part of file names."""
    if name in FIXED_COLUMNS or not can_be_category(name):
        raise ArgumentError(f"{where}: {name[:80]!r} cannot be the name of a category in Broden's format: rename it")


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a csv file whose lines end in a newline only."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_label_map(file: Path | IO[bytes], numbers: Int32Array) -> None:
    """Write concept numbers [Y, X] as PNG, number = R + 256·G."""
    from PIL import Image

    pixels = np.zeros((*numbers.shape, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = numbers & 255, numbers >> 8
    Image.fromarray(pixels).save(file, "PNG")
