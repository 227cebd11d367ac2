"""build(): turns sources into a data set in Broden's format, in two passes over chunks of images."""

from __future__ import annotations

import os
import re
import sys
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import __version__
from ...errors import ArgumentError, OutputError, printable
from ...network.hashes import describe
from ...processes import run_jobs
from ...storage import write_json, write_text
from ...types import Array
from ..dataset import DataWarning
from ..files.broden_writer import write_concepts
from ..files.fingerprints import Fingerprint
from ..files.label_maps import LabelSize, checked_label_size
from .annotation import Source
from .build_folder import begun
from .colour_terms import ColourNames, own_colours
from .concept_names import Naming, Synonyms, naming_report, number_concepts
from .first_pass import Extractor, Item, add_up
from .second_pass import Assembler, number_tables, read_rows, write_index
from .synonyms import plain_names

FORMAT = 2  # raise when the same sources and settings produce different bytes
CHUNK = 64  # images
_UNSAFE = re.compile('[/\\\\:;"\0-\x1f\ud800-\udfff]|^\\.')  # the last range: from names that are not UTF-8


@dataclass(frozen=True)
class Built:
    """What was built: the folder, the number of images and concepts, and what was skipped and why."""

    path: Path
    images: int
    concepts: int
    categories: tuple[str, ...]
    skipped: tuple[str, ...]

    def __str__(self) -> str:
        left = f"; broken images skipped: {len(self.skipped)}" if self.skipped else ""
        text = f"{self.path}: {self.images} images, {self.concepts} concepts in {', '.join(self.categories)}{left}"
        return printable(text)


def build(
    sources: Sequence[Source],
    out: str | os.PathLike[str],
    *,
    size: LabelSize = 224,
    label_size: LabelSize = None,
    min_frequency: int = 10,
    min_coverage: float = 0.5,
    synonyms: Synonyms = plain_names,
    colours: Array | None = None,
    train: float = 0.7,
    salt: str = "",
    limit: int | None = None,
    strict: bool = True,
    workers: int | None = None,
    restart: bool = False,
    progress: bool = True,
) -> Built:
    """Build a data set in Broden's format, which ``nd.Broden`` reads, from sources of labelled images.

    Parameters
    ----------
    sources :
        such as those of ``builder.sources``, or any data set as ``Labelled(data, name)``; their names must differ.
    out :
        the new folder. It appears when it is complete; until then all is in ``.NAME.building`` beside it, where the
        same call resumes after an interruption, even with a different min_frequency, min_coverage, synonyms, train or
        salt, for which nothing is read again. The same sources and settings produce the same bytes.
    size :
        of the photographs, in pixels on a side or (height, width); they are resized whole, without keeping their shape.
    label_size :
        of the label maps; None: half of ``size``, as in Broden.
    min_frequency, min_coverage :
        number of images that a concept needs, and how much of whole images it must cover, summed.
    synonyms :
        names of a label, in lower case → those that it may be called, the best first.
    colours :
        names of colours, uint8 [32, 32, 32] (``read_colours``); None: our own.
    train, salt :
        fraction of images in the split train; text that produces a different order and split.
    limit :
        only the first ``limit`` images of each source.
    strict :
        False: broken images are skipped, with a warning.
    workers :
        processes that read and write; 0: only this one; None: one per core.
    restart :
        start over if an interrupted build had different sources or settings.
    progress :
        show progress bars on a terminal.

    Raises DataError naming the broken file, ArgumentError, ResumeMismatch, OutputError; InUse if another process
    builds the same folder.
    """
    folder = Path(out)
    image_size, map_size = _sizes(size, label_size)
    if min_frequency < 1 or not min_coverage >= 0 or not 0 <= train <= 1 or (limit is not None and limit < 1):
        raise ArgumentError("expected min_frequency ≥ 1, min_coverage ≥ 0, train from 0 to 1 and limit ≥ 1")
    if not folder.name or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise OutputError(f"{folder} already exists; choose the name of a new folder")
    _check_names(sources)
    items = _items(sources, limit)
    table = own_colours() if colours is None else colours
    colour_names = ColourNames(table)
    settings = {
        "format": FORMAT,
        "version": __version__,
        "size": list(image_size),
        "label_size": list(map_size),
        "min_frequency": min_frequency,
        "min_coverage": min_coverage,
        "synonyms": "plain_names" if synonyms is plain_names else describe(synonyms),
        "colours": _hash(table),
        "train": train,
        "salt": salt,
        "limit": limit,
        "strict": strict,
        "sources": [{"name": s.name, "images": len(s), "fingerprint": s.fingerprint()} for s in sources],
    }
    workers = (os.cpu_count() or 1) if workers is None else workers
    chunks = [items[first : first + CHUNK] for first in range(0, len(items), CHUNK)]
    with begun(folder, settings, restart) as (new, work):
        images = new / "images"
        extractor = Extractor(sources, images, work, image_size, map_size, colour_names, strict)
        jobs = ((_extract, (chunk, number)) for number, chunk in enumerate(chunks))
        _all("reading", jobs, len(items), workers, extractor, progress)
        tallies, skipped = add_up(work, len(chunks))
        naming = number_concepts(tallies, synonyms, min_frequency, min_coverage)
        assembler = Assembler(images, work, image_size, map_size, number_tables(naming.numbers))
        more = ((_assemble, (number, len(chunk))) for number, chunk in enumerate(chunks))
        _all("writing", more, len(items), workers, assembler, progress)
        rows = [row for number in range(len(chunks)) for row in read_rows(work, number)]
        categories = write_concepts(new, naming.concepts)
        write_index(new / "index.csv", rows, categories, (*image_size, *map_size), train, salt)
        _write_notes(new, settings, naming, tallies, skipped)
    if skipped:
        warnings.warn(f"broken images skipped: {len(skipped)}; the first: {skipped[0]}", DataWarning, stacklevel=2)
    return Built(folder, len(rows), len(naming.concepts), tuple(categories), tuple(skipped))


def _sizes(size: LabelSize, label_size: LabelSize) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the sizes of photographs and of label maps, both (height, width)."""
    height_width = checked_label_size(size)
    if height_width is None:
        raise ArgumentError("size must be given: a number of pixels, or (height, width)")
    half = (max(height_width[0] // 2, 1), max(height_width[1] // 2, 1))
    return height_width, checked_label_size(label_size) or half


def _check_names(sources: Sequence[Source]) -> None:
    names = [source.name for source in sources]
    if not names:
        raise ArgumentError("expected at least one source of images")
    if len(set(names)) < len(names) or any(_UNSAFE.search(name) or name != name.strip() or not name for name in names):
        raise ArgumentError(f"expected sources with distinct names that can be folder names, got {names}")


def _items(sources: Sequence[Source], limit: int | None) -> list[Item]:
    """List all images, with paths that are distinct even if case is ignored."""
    items, taken = [], set[str]()
    for number, source in enumerate(sources):
        count = len(source) if limit is None else min(limit, len(source))
        for index in range(count):
            stem = _UNSAFE.sub("_", source.file_name(index)) or "_"
            path, again = f"{source.name}/{stem}", 1
            while path.casefold() in taken:
                again += 1
                path = f"{source.name}/{stem}{again}"
            taken.add(path.casefold())
            items.append(Item(number, index, path))
    if not items:
        raise ArgumentError("the sources have no images")
    return items


def _all(what: str, jobs: Any, images: int, workers: int, worker: Extractor | Assembler, progress: bool) -> None:
    from tqdm import tqdm

    with tqdm(total=images, desc=what, unit="img", disable=not (progress and sys.stderr.isatty())) as bar:
        for done in run_jobs(jobs, workers, _start, (worker,), "builds the data set"):
            bar.update(done)


_here = threading.local()  # a worker is a process or a thread


def _start(worker: Extractor | Assembler) -> None:
    _here.worker = worker


def _extract(items: Sequence[Item], chunk: int) -> int:
    _here.worker.extract(items, chunk)
    return len(items)


def _assemble(chunk: int, images: int) -> int:
    _here.worker.assemble(chunk)
    return images


def _hash(table: Array) -> str:
    found = Fingerprint("colours")
    found.add(table.tobytes())
    return found.hex()


def _write_notes(new: Path, settings: dict[str, Any], naming: Naming, tallies: Any, skipped: Sequence[str]) -> None:
    """Write build.json and syns.txt."""
    write_json(new / "build.json", {**settings, "skipped": list(skipped)})
    write_text(new / "syns.txt", "\n".join(naming_report(naming, tallies)))
