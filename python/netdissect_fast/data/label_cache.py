"""Packed labels, cached on disk: decoding label PNGs takes several times as long as counting with them."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, TypeVar

import numpy as np

from ..concepts import PackedImage, PackedLabels, pack_image
from ..errors import ArgumentError, DataError, InUse, OutputError
from ..processes import in_order
from ..storage import atomic_file, new_folder, only_writer, read_arrays, read_json, write_arrays, write_json
from ..types import Array, Uint64Array
from .dataset import ConceptDataset, DataWarning
from .files.pictures import MAX_SIDE

FORMAT = 1  # of the files below; raise when PackedLabels changes
_WORDS, _TABLES, _MANIFEST = "words.bin", "tables.safetensors", "manifest.json"
R = TypeVar("R")
_NO_WORDS = np.zeros(0, np.uint64)


def cache_folder(chosen: str | os.PathLike[str] | None = None) -> Path:
    """Return where caches go: ``chosen``, else NETDISSECT_FAST_CACHE, else the user's cache folder.

    Raises OutputError if the user has no home folder.
    """
    if chosen or (chosen := os.environ.get("NETDISSECT_FAST_CACHE")):
        return Path(chosen)
    try:
        home = Path.home()
    except RuntimeError as error:
        raise OutputError(f"there is no cache folder ({error})") from error
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "netdissect-fast"


def packed_labels(
    dataset: ConceptDataset,
    cache_dir: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    progress: bool = False,
    wait: Callable[[float], object] = time.sleep,
) -> PackedLabels:
    """Return the packed labels of all images of a data set, mapped from a cache that is built on first use.

    The cache is a folder named after the data set's fingerprint and label size. It may be deleted at any time, and is
    rebuilt if it is broken. Of several processes, one builds it and the others wait; on a file system without locks all
    build it, and the first to finish wins. If it cannot be written, the labels are packed into a temporary file, with
    one DataWarning.

    cache_dir  see ``cache_folder``
    threads    number of threads that decode labels; default: one per processor, at most 8
    wait       called with the seconds to wait while another process packs; may raise to give up

    Raises what ``dataset.labels`` raises, and leaves nothing half written.
    """
    if threads is not None and threads < 1:
        raise ArgumentError(f"threads must be at least 1, got {threads}")
    name = _name(dataset)
    folder: Path | None = None
    try:
        folder = cache_folder(cache_dir) / name
        if labels := _read(folder, dataset):
            return labels
        with _only_builder(folder, wait):
            if labels := _read(folder, dataset):  # built while we waited
                return labels
            with new_folder(folder) as new:
                _build(new, dataset, threads, progress)
                if folder.exists() and _read(folder, dataset) is None:
                    shutil.rmtree(folder, ignore_errors=True)  # broken, and in our way
        problem = f"{folder} was removed while in use"
    except OutputError as error:  # also if another process was faster: then its cache is read
        problem = str(error).partition("; ")[0]  # what it advises is for results
    if folder and (labels := _read(folder, dataset)):
        return labels
    warnings.warn(
        f"packed labels are not cached for the next run: {problem}; choose a folder with --cache",
        DataWarning,
        stacklevel=2,
    )
    return _pack_temporarily(dataset, threads, progress)


@contextmanager
def _only_builder(folder: Path, wait: Callable[[float], object]) -> Iterator[None]:
    """Be the one process that builds this cache; wait while another one is."""
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(only_writer(folder.parent, f".{folder.name}.lock"))
                break
            except InUse:
                wait(0.1)
        yield


def cached_labels(dataset: ConceptDataset, cache_dir: str | os.PathLike[str] | None = None) -> PackedLabels | None:
    """Return what ``packed_labels`` would find already packed; None if it would have to pack."""
    name = _name(dataset)
    try:
        return _read(cache_folder(cache_dir) / name, dataset)
    except OutputError:
        return None


def decoding_threads(threads: int | None) -> int:
    """Return how many threads decode labels: ``threads``, by default one per processor, at most 8."""
    return threads or min(8, os.cpu_count() or 1)


def _name(dataset: ConceptDataset) -> Path:
    rows, columns = dataset.labels(0).shape
    return Path(f"labels-{FORMAT}", f"{dataset.fingerprint()}-{rows}x{columns}")


def _build(folder: Path, dataset: ConceptDataset, threads: int | None, progress: bool) -> None:
    with atomic_file(folder / _WORDS) as file:
        tables = _write_words(file, dataset, threads, progress)
    arrays = {field: value for field, value in vars(tables).items() if field != "words"}
    write_arrays(folder / _TABLES, arrays)
    write_json(folder / _MANIFEST, _manifest(dataset, int(tables.word_start[-1])))


def _manifest(dataset: ConceptDataset, words: int) -> dict[str, object]:
    return {
        "format": FORMAT,
        "fingerprint": dataset.fingerprint(),
        "images": len(dataset),
        "concepts": len(dataset.vocabulary),
        "words": words,
        "byte_order": sys.byteorder,
    }


def _read(folder: Path, dataset: ConceptDataset) -> PackedLabels | None:
    """Map a cache; return None if it is missing, broken or of something else."""
    try:
        arrays, _ = read_arrays(folder / _TABLES)
        if read_json(folder / _MANIFEST) != _manifest(dataset, int(arrays["word_start"][-1])):
            return None
        if not (folder / _WORDS).is_file():  # opening a pipe would block
            return None
        with (folder / _WORDS).open("rb") as file:
            labels = PackedLabels(words=_map(file), **arrays)
        return labels if _is_sound(labels, len(dataset), len(dataset.vocabulary)) else None
    except (DataError, OSError, ValueError, TypeError, LookupError, ArithmeticError):
        return None


def _is_sound(labels: PackedLabels, images: int, concepts: int) -> bool:
    """Return whether all indices stay inside the arrays that they point into, so that the kernels may trust them."""

    def starts(start: Array, flat: Array) -> bool:
        ends = start.shape == (images + 1,) and start[0] == 0 and start[-1] == len(flat)
        return start.dtype == np.int64 and bool(ends) and bool(np.all(np.diff(start) >= 0))

    def within(flat: Array, low: int, high: int) -> bool:
        return flat.dtype == np.int32 and flat.ndim == 1 and bool(np.all((flat >= low) & (flat < high)))

    grid = labels.grid
    if grid.dtype != np.int32 or grid.shape != (images, 2) or np.any((grid < 1) | (grid > MAX_SIDE)):
        return False
    if not (
        starts(labels.slot_start, labels.slot_concept)
        and starts(labels.word_start, labels.words)
        and starts(labels.whole_start, labels.whole)
        and len(labels.slot_area) == len(labels.slot_concept)
        and within(labels.slot_concept, -1, concepts)
        and within(labels.whole, 0, concepts)
        and within(labels.slot_area, 0, np.iinfo(np.int32).max)
    ):
        return False
    slots, pixels = np.diff(labels.slot_start), np.prod(grid, axis=1, dtype=np.int64)
    if np.any(slots % 8) or np.any(labels.slot_area > np.repeat(pixels, slots)):
        return False
    tiles = np.prod((grid.astype(np.int64) + 7) // 8, axis=1)
    return np.array_equal(np.diff(labels.word_start), tiles * slots)


def _pack_temporarily(dataset: ConceptDataset, threads: int | None, progress: bool) -> PackedLabels:
    """Pack into a file without a name, which vanishes with the process."""
    with tempfile.TemporaryFile() as file:
        tables = _write_words(file, dataset, threads, progress)
        try:
            file.flush()
        except OSError as error:
            raise OutputError(f"cannot write {tempfile.gettempdir()}: {error.strerror or error}") from error
        return replace(tables, words=_map(file))


def _map(file: IO[bytes]) -> Uint64Array:
    """Map the words in a file; they stay mapped when it is closed or loses its name."""
    size = os.fstat(file.fileno()).st_size
    if size == 0:  # nothing to map
        return _NO_WORDS
    if size % 8:
        raise ValueError("the file is truncated")
    return np.memmap(file, np.uint64, "r").view(np.ndarray)


def _write_words(file: IO[bytes], dataset: ConceptDataset, threads: int | None, progress: bool) -> PackedLabels:
    """Write all images' words to ``file``, one after the other; return everything else."""
    images, start = [], [0]
    with closing(_packed_images(dataset, threads, progress)) as packed:  # its threads end before we do
        for image in packed:
            file.write(image.words.tobytes())
            start.append(start[-1] + image.words.size)
            images.append(replace(image, words=_NO_WORDS))
    return replace(PackedLabels.join(images), word_start=np.array(start, np.int64))


def _packed_images(dataset: ConceptDataset, threads: int | None, progress: bool) -> Generator[PackedImage, None, None]:
    """Yield all images packed, in order."""
    vocabulary = dataset.vocabulary

    def pack(index: int) -> PackedImage:
        labels = dataset.labels(index)
        try:
            return pack_image(labels, vocabulary)
        except ValueError as error:
            raise ArgumentError(f"{dataset.name(index)}: {error}") from error

    yield from in_threads(pack, len(dataset), threads, "packing labels", progress)


def in_threads(
    function: Callable[[int], R], images: int, threads: int | None, what: str, progress: bool
) -> Generator[R, None, None]:
    """Call a function with the number of each image, in a few threads that never run far ahead of the reader."""
    from tqdm import tqdm

    threads = decoding_threads(threads)
    numbers = tqdm(range(images), what, unit="img", disable=None if progress else True)
    yield from in_order(ThreadPoolExecutor(threads), ((function, (number,)) for number in numbers), 4 * threads)
