"""Finds all that is wrong with the images and labels of a data set; reading only raises the first fault."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from ..concepts import ImageLabels
from ..csv_tables import keep
from ..errors import DataError, shortened
from .bands import channels_of, picture_of, size_of
from .dataset import ConceptDataset, DataWarning, Subset
from .files.exif import TAG
from .label_cache import in_threads

_COUNTED = 1 << 20  # numbers below are found by counting all of them, others by sorting


class Inspection(NamedTuple):
    """What reading one image and its labels found.

    faults   one for each distinct problem
    numbers  of its concepts, as far as they can be read
    maps     number of its label maps
    exif     "applied" or "ignored" if the image has an EXIF tag that turns it, else ""
    """

    faults: list[DataError]
    numbers: set[int]
    maps: int
    exif: str = ""


def inspections(
    inspect: Callable[[int], Inspection], images: int, threads: int | None = None, progress: bool = False
) -> Generator[Inspection, None, None]:
    """Call ``inspect`` for each of ``images`` in a few threads, never far ahead of the reader; yield in order."""
    return in_threads(inspect, images, threads, "checking", progress)


def sound_images(
    inspect: Callable[[int], Inspection], images: int, what: str = "images"
) -> tuple[list[int], tuple[DataError, ...]]:
    """Return the positions of images without fault, and the first fault of each other one; a DataWarning counts these.

    Raises DataError if no image is sound.
    """
    sound: list[int] = []
    skipped: list[DataError] = []
    with closing(inspections(inspect, images)) as found:
        for index, (faults, *_) in enumerate(found):
            if faults:
                skipped.append(faults[0])
            else:
                sound.append(index)
    if skipped:
        reason = f"{len(skipped)} of {images} {what} have missing or broken files"
        if not sound:
            raise DataError(skipped[0].path, f"{reason}: none is left; the first: {skipped[0]}")
        warnings.warn(f"{reason} and were skipped; the first: {skipped[0]}", DataWarning, stacklevel=3)
    return sound, tuple(skipped)


def without_broken(data: ConceptDataset) -> ConceptDataset:
    """Return the images of a data set that can be read with their labels; each is read once, now, in threads.

    This is the data set itself if all can be read, else a Subset whose ``skipped`` has the first error of each skipped
    image, with a DataWarning that counts them. Raises DataError if none can be read.
    """
    sound, skipped = sound_images(inspector(data), len(data))
    return Unbroken(data, sound, skipped) if skipped else data


class Unbroken(Subset):
    """The images of a data set that can be read; ``skipped`` says what is wrong with the others."""

    def __init__(self, dataset: ConceptDataset, indices: Sequence[int], skipped: tuple[DataError, ...]) -> None:
        super().__init__(dataset, indices)
        self.skipped = skipped


def skipped_of(data: object) -> tuple[DataError, ...]:
    """Return the first error of each image that was skipped, of a data set and of those that it is made of."""
    inside = [*getattr(data, "parts", ()), getattr(data, "dataset", None)]
    within = [skipped_of(part) for part in inside if isinstance(part, ConceptDataset)]
    return (*getattr(data, "skipped", ()), *chain.from_iterable(within))


def inspector(data: ConceptDataset) -> Callable[[int], Inspection]:
    """Return a function that inspects an image of any data set, by what ``image`` and ``labels`` return or raise."""
    known = frozenset(data.vocabulary.numbers.tolist()) | {0}  # which is unlabelled

    def inspect(index: int) -> Inspection:
        faults: list[DataError] = []
        numbers: set[int] = set()
        maps, exif = 0, ""
        with _kept(data, index, "image", faults):
            picture: Any = picture_of(data, index)
            exif = str(getattr(picture, "info", {}).get(TAG, ""))
            decoded = picture if channels_of(picture) else picture.convert("RGB")  # as every caller uses it
            if min(size_of(decoded)) < 1:
                raise ValueError("it has no pixels")
        with _kept(data, index, "labels", faults):
            labels = data.labels(index)
            numbers, maps = _numbers(labels, known), len(labels.maps)
        distinct = list({str(fault): fault for fault in faults}.values())  # both may report the same
        return Inspection(distinct, numbers, maps, exif)

    return inspect


@contextmanager
def _kept(data: ConceptDataset, index: int, what: str, faults: list[DataError]) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    except DataError as error:
        keep(error, faults)
    except Exception as error:  # a user's own class may raise anything
        reason = f"{what}({index}) cannot be used: {type(error).__name__}: {shortened(error)}"
        faults.append(DataError(data.name(index), reason))


def _numbers(labels: ImageLabels, known: Collection[int]) -> set[int]:
    """Return the concept numbers of an image's labels; ValueError if these are not what ImageLabels must be."""
    maps = np.asarray(labels.maps)
    if maps.ndim != 3 or not np.issubdtype(maps.dtype, np.integer) or min(maps.shape[1:]) < 1:
        raise ValueError(f"maps must be integers [L, Y, X] with at least one pixel, got {maps.dtype} {maps.shape}")
    if maps.size and int(maps.min()) < 0:
        raise ValueError(_unknown(int(maps.min())))
    numbers = numbers_of(maps)
    for number in (*numbers, *(whole := [operator.index(number) for number in labels.whole])):
        if number not in known:
            raise ValueError(_unknown(number))
    return {*numbers, *whole} - {0}


def numbers_of(maps: np.ndarray) -> Sequence[int]:
    """Return the distinct values of integers ≥ 0, ascending."""
    counted = maps.size and int(maps.max()) < _COUNTED
    numbers: list[int] = (np.flatnonzero(np.bincount(maps.ravel())) if counted else np.unique(maps)).tolist()
    return numbers


def _unknown(number: int) -> str:
    return f"concept number {number} is not in the vocabulary"
