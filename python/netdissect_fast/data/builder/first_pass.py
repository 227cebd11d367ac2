"""First pass over the sources: each image is read once, counted at its own size, and resized to the requested size."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ArgumentError, DataError
from ...storage import atomic_file, read_arrays, write_arrays
from ...types import Array
from ..files.broden_writer import require_category
from ..files.label_maps import resized
from ..files.values import UNUSABLE
from ..files.vocabulary import MAX_NUMBER
from .annotation import Annotation, Names, Source
from .colour_terms import NAMES, ColourNames
from .concept_names import Label, Tally

if TYPE_CHECKING:
    from PIL.Image import Image

COLOR = "color"
_QUALITY = 90  # of the JPEG files
_MAX_NAME = 1000  # characters of a label's name


@dataclass(frozen=True)
class Item:
    """One image: its source, its index there, and its path under images/ without its ending."""

    source: int
    index: int
    path: str


@dataclass(frozen=True)
class Extractor:
    """Reads images; writes the photographs to ``images``, and what the second pass needs to ``work``.

    size        (height, width) of the photographs
    label_size  (Y, X) of the label maps
    strict      False: broken images are skipped and noted
    """

    sources: Sequence[Source]
    images: Path
    work: Path
    size: tuple[int, int]
    label_size: tuple[int, int]
    colours: ColourNames
    strict: bool

    def extract(self, items: Sequence[Item], chunk: int) -> None:
        """Extract a chunk of images, unless that was done before. Raises DataError naming the broken file."""
        file = chunk_file(self.work, chunk)
        if is_extracted(file):
            return
        tallies: dict[Label, Tally] = {}
        maps: list[Array] = []
        rows: list[dict[str, Any]] = []
        skipped: list[str] = []
        for item in items:
            try:
                rows.append(self._extract(item, tallies, maps))
            except DataError as error:
                if self.strict:
                    raise
                skipped.append(str(error))
        stack = np.stack(maps) if maps else np.zeros((0, *self.label_size), np.uint16)
        counted = [[*label, tally.images, tally.coverage, tally.names] for label, tally in tallies.items()]
        found = {"rows": rows, "counted": counted, "skipped": skipped}
        packed = zlib.compress(stack.tobytes(), 1)  # a fiftieth of its size
        arrays: dict[str, Array] = {"maps": np.frombuffer(packed, np.uint8), "shape": np.array(stack.shape, np.int64)}
        write_arrays(file, {**arrays, "found": np.frombuffer(json.dumps(found).encode(), np.uint8)})

    def _extract(self, item: Item, tallies: dict[Label, Tally], maps: list[Array]) -> dict[str, Any]:
        """Add the labels of one image to ``tallies`` and ``maps``; return where its maps are, by category."""
        source = self.sources[item.source]
        image, annotation = source.image(item.index), source.annotation(item.index)
        where = f"{source.name}/{source.file_name(item.index)}"
        counts = _counts(annotation, where)
        _require_names(counts, annotation.names, where)
        layers = {category: np.atleast_3d(m.T).T for category, m in annotation.maps.items()}
        small = {category: resized(layer, self.label_size).astype(np.uint16) for category, layer in layers.items()}
        names = dict(annotation.names)
        if not any(COLOR in of for of in (annotation.maps, annotation.whole, annotation.names)):
            pixels = np.asarray(image)
            counts[COLOR] = self.colours.counts(pixels) / (pixels.shape[0] * pixels.shape[1])
            sampled = resized(pixels.transpose(2, 0, 1), self.label_size)
            small[COLOR], names[COLOR] = self.colours.numbers(sampled.transpose(1, 2, 0)).astype(np.uint16)[None], NAMES
        self._write_photo(image, item.path)
        places: dict[str, Any] = {}
        for category, layer in small.items():
            stacked = category in annotation.maps and annotation.maps[category].ndim == 3
            places[category] = {"first": len(maps), "layers": len(layer), "stacked": stacked}
            maps += list(layer)
        _add(tallies, source.name, counts, names)
        whole = {category: [int(n) for n in numbers if n] for category, numbers in annotation.whole.items()}
        return {"source": source.name, "path": item.path, "maps": places, "whole": whole}

    def _write_photo(self, image: Image, path: str) -> None:
        from PIL.Image import Resampling

        if (image.height, image.width) != self.size:
            image = image.resize(self.size[::-1], Resampling.BILINEAR)
        with atomic_file(self.images / f"{path}.jpg", sync=False) as file:
            image.save(file, "JPEG", quality=_QUALITY)


def _counts(annotation: Annotation, where: str) -> dict[str, Array]:
    """Return, by category, the fraction of the image that each number covers, float64 [largest number + 1]."""
    counts: dict[str, Array] = {}
    for category in {**annotation.maps, **annotation.whole}:
        require_category(category, where)
    for category, maps in annotation.maps.items():
        if (
            maps.ndim not in (2, 3)
            or maps.dtype.kind not in "iu"
            or (maps.size and not 0 <= maps.min() <= maps.max() <= MAX_NUMBER)
        ):
            raise ArgumentError(
                f"{where}: maps of {category} must be integers 0..{MAX_NUMBER} [Y, X] or [L, Y, X], got {maps.dtype} "
                f"{list(maps.shape)}"
            )
        counts[category] = np.bincount(maps.reshape(-1).astype(np.int64)) / (maps.shape[-2] * maps.shape[-1])
    for category, numbers in annotation.whole.items():
        if not all(0 <= number <= MAX_NUMBER for number in numbers):
            raise ArgumentError(f"{where}: numbers of {category} must be integers 0..{MAX_NUMBER}, got {numbers}")
        of_maps = counts.get(category, np.zeros(0))
        counts[category] = np.zeros(max(len(of_maps), max(numbers, default=0) + 1))
        counts[category][: len(of_maps)] = of_maps
        counts[category][list(numbers)] = 1.0
    return counts


def _require_names(counts: dict[str, Array], names: Mapping[str, Names], where: str) -> None:
    """Raise DataError if a label of the image has a name that a table cannot hold."""
    for category, parts in counts.items():
        for number in np.flatnonzero(parts).tolist():
            for name in names.get(category, {}).get(number, ()):
                if UNUSABLE.search(name) or len(name) > _MAX_NAME:
                    reason = f"expected text of at most {_MAX_NAME} characters, without control characters"
                    raise DataError(where, f"{category} {number} is called {name[:80]!r}: {reason}")


def _add(tallies: dict[Label, Tally], source: str, counts: dict[str, Array], names: Any) -> None:
    for category, parts in counts.items():
        for number in np.flatnonzero(parts).tolist():
            if number:
                label = Label(source, category, number)
                called = tuple(names.get(category, {}).get(number, ()))
                tally = tallies.setdefault(label, Tally(0, 0.0, called))
                tally.images += 1
                tally.coverage += float(parts[number])


def chunk_file(work: Path, chunk: int) -> Path:
    """Return the path of a chunk's extracted labels."""
    return work / f"extracted-{chunk:05d}.safetensors"


def is_extracted(file: Path) -> bool:
    """Return whether a chunk was extracted completely."""
    try:
        read_arrays(file)
    except DataError:
        return False
    return True


def read_chunk(work: Path, chunk: int) -> tuple[dict[str, Any], Array]:
    """Read a chunk: rows, counted and skipped; its label maps uint16 [M, Y, X] in the sources' numbers."""
    arrays, _ = read_arrays(chunk_file(work, chunk))
    maps = np.frombuffer(zlib.decompress(arrays["maps"].tobytes()), np.uint16).reshape(arrays["shape"])
    return _found(arrays), maps


def _found(arrays: Mapping[str, Array]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(arrays["found"].tobytes())
    return found


def add_up(work: Path, chunks: int) -> tuple[dict[Label, Tally], list[str]]:
    """Add up the tallies of all chunks, in order so that sums are always the same; return them and what was skipped."""
    tallies: dict[Label, Tally] = {}
    skipped: list[str] = []
    for chunk in range(chunks):
        found = _found(read_arrays(chunk_file(work, chunk))[0])
        skipped += found["skipped"]
        for source, category, number, images, coverage, names in found["counted"]:
            tally = tallies.setdefault(Label(source, category, number), Tally(0, 0.0, tuple(names)))
            tally.images += images
            tally.coverage += coverage
    return tallies, skipped
