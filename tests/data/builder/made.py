"""A source made by hand, and what a build leaves."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from netdissect_fast.data.builder.annotation import Annotation, Names
from netdissect_fast.errors import DataError

EASY: Mapping[str, Any] = {"min_frequency": 1, "min_coverage": 0, "workers": 0, "progress": False}


@dataclass
class Photo:
    """An image of one colour, [height, width], and its labels."""

    name: str
    size: tuple[int, int]
    maps: Mapping[str, np.ndarray] = field(default_factory=dict)
    whole: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    colour: tuple[int, int, int] = (205, 35, 35)  # red


@dataclass
class Made:
    """A Source. ``broken``: images whose file is."""

    name: str
    photos: Sequence[Photo]
    names: Mapping[str, Names]
    version: str = ""
    broken: Sequence[int] = ()

    def __len__(self) -> int:
        return len(self.photos)

    def file_name(self, index: int) -> str:
        return self.photos[index].name

    def image(self, index: int) -> Image.Image:
        photo = self.photos[index]
        if index in self.broken:
            raise DataError(f"{photo.name}.jpg", "is truncated")
        return Image.fromarray(np.full((*photo.size, 3), photo.colour, np.uint8))

    def annotation(self, index: int) -> Annotation:
        return Annotation(self.photos[index].maps, self.photos[index].whole, self.names)

    def fingerprint(self) -> str:
        return hashlib.sha256(self.version.encode()).hexdigest()


def drawn(name: str, images: int, seed: int = 0) -> Made:
    """Images of several sizes with objects, parts in two layers, and a scene."""
    rng = np.random.default_rng(seed)
    photos = []
    for i in range(images):
        size = (8 + i % 3, 12 - i % 4)
        maps = {"object": rng.integers(0, 4, size), "part": rng.integers(0, 3, (2, *size)).astype(np.uint8)}
        colour = tuple(rng.integers(0, 256, 3).tolist())
        photos.append(Photo(f"image{i}", size, maps, {"scene": (1 + i % 2,)}, colour))
    names: dict[str, Names] = {
        "object": {1: ("wall",), 2: ("sky",), 3: ("floor", "ground")},
        "part": {1: ("wheel",), 2: ("handle", "grip")},
        "scene": {1: ("street-s",), 2: ("beach-s",)},
    }
    return Made(name, photos, names)


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def index_rows(folder: Path) -> dict[str, dict[str, str]]:
    """Rows of index.csv by image."""
    return {row["image"]: row for row in rows(folder / "index.csv")}


def label_map(path: Path) -> np.ndarray:
    """Concept numbers [Y, X]."""
    with Image.open(path) as image:
        pixels = np.asarray(image).astype(int)
    assert not pixels[..., 2].any()
    return pixels[..., 0] + 256 * pixels[..., 1]
