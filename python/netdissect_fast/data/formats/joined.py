"""Several data sets as one, their categories kept apart."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...concepts import ImageLabels, Vocabulary
from ...errors import ArgumentError
from ..dataset import ConceptDataset, bands_of, own_inputs, source_of
from ..files.fingerprints import Fingerprint
from ..files.values import UNUSABLE
from ..files.vocabulary import MAX_NUMBER

if TYPE_CHECKING:
    from PIL.Image import Image


class Joined:
    """The images of several data sets, one after the other; a ConceptDataset.

    Categories stay separate, as ``name.category``: an image counts only for the categories of its own data set, since
    the others' concepts were never annotated in it.

    data    the data sets
    names   one for each, put before its categories and its images' names; default: the name of its folder or of its
            class, numbered if that is not unique

    Raises ArgumentError if there are no data sets, names are not distinct, there are too many concepts, or some data
    sets feed the network something other than their images (``input``) and others do not.

    >>> import netdissect_fast as nd
    >>> both = nd.Joined([nd.Synthetic(images=2), nd.Synthetic(images=2, seed=1)], names=["old", "new"])
    >>> len(both), both.name(3)
    (4, 'new/synthetic/000001.png')
    >>> both.vocabulary.categories[-2:]
    ('new.scene', 'new.texture')
    """

    def __init__(self, data: Sequence[ConceptDataset], names: Sequence[str] | None = None) -> None:
        self.parts = tuple(data)
        if not self.parts:
            raise ArgumentError("expected at least one data set to join")
        self.names = _names(self.parts) if names is None else tuple(names)
        if isinstance(names, str) or len(self.names) != len(self.parts) or len(set(self.names)) != len(self.names):
            raise ArgumentError(f"expected {len(self.parts)} distinct names of data sets, got {list(self.names)}")
        if not all(isinstance(name, str) and name.strip() and not UNUSABLE.search(name) for name in self.names):
            raise ArgumentError(f"names of data sets must be text without control characters, got {list(self.names)}")
        if len({own_inputs(part) is None for part in self.parts}) > 1:
            raise ArgumentError("some of the data sets feed the network their images, others inputs of their own")
        self._ends = list(accumulate(map(len, self.parts)))
        largest = [int(part.vocabulary.numbers[-1]) if len(part.vocabulary) else 0 for part in self.parts]
        self._shifts = [0, *accumulate(largest)]
        if self._shifts[-1] > MAX_NUMBER:
            raise ArgumentError(
                f"concept numbers of the data sets together reach {self._shifts[-1]}, over {MAX_NUMBER}"
            )
        self.vocabulary = self._vocabulary()

    def __len__(self) -> int:
        return self._ends[-1]

    def __repr__(self) -> str:
        return f"Joined({', '.join(map(repr, self.parts))})"

    def source(self) -> dict[str, Any] | None:
        """Return how to reopen it, as plain values; None if one of the data sets does not say."""
        of = [source_of(part) for part in self.parts]
        return None if None in of else {"kind": "joined", "of": of, "names": list(self.names)}

    @property
    def input(self) -> Callable[[int], Any] | None:
        """What the network is given, if the data sets define that; otherwise None."""
        of_parts = [own for part in self.parts if (own := own_inputs(part)) is not None]

        def of_all(index: int) -> Any:
            part, index = self._part(index)
            return of_parts[part](index)

        return of_all if of_parts else None

    def image(self, index: int) -> Image:
        """See ConceptDataset."""
        part, index = self._part(index)
        return self.parts[part].image(index)

    def bands(self, index: int) -> Any:
        """See ConceptDataset."""
        part, index = self._part(index)
        return bands_of(self.parts[part], index)

    def labels(self, index: int) -> ImageLabels:
        """See ConceptDataset."""
        part, index = self._part(index)
        labels, shift = self.parts[part].labels(index), self._shifts[part]
        maps = labels.maps.astype(np.int32)  # cast first: in a user's uint8 the sum would overflow
        return ImageLabels(
            np.where(maps == 0, 0, maps + np.int32(shift)),
            tuple(number + shift for number in labels.whole if number),
        )

    def name(self, index: int) -> str:
        """Return the name of the data set, a slash, and the name of the image there."""
        part, index = self._part(index)
        return f"{self.names[part]}/{self.parts[part].name(index)}"

    def fingerprint(self) -> str:
        """Return a hash of the data sets' fingerprints and names."""
        found = Fingerprint("Joined 1")
        for name, part in zip(self.names, self.parts, strict=True):
            found.add(name, part.fingerprint())
        return found.hex()

    def _part(self, index: int) -> tuple[int, int]:
        """Return which data set image ``index`` belongs to, and its index there."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = bisect_right(self._ends, index)
        return part, index - (self._ends[part - 1] if part else 0)

    def _vocabulary(self) -> Vocabulary:
        categories: list[str] = []
        concepts: list[str] = []
        numbers, category = [], []
        for name, part, shift in zip(self.names, self.parts, self._shifts, strict=False):
            words = part.vocabulary
            numbers.append(words.numbers + shift)
            concepts += words.names
            category.append(np.where(words.category < 0, -1, words.category + len(categories)))
            categories += [f"{name}.{c}" for c in words.categories]
        return Vocabulary(
            np.concatenate(numbers), tuple(concepts), np.concatenate(category).astype(np.int32), tuple(categories)
        )


def _names(parts: Sequence[ConceptDataset]) -> tuple[str, ...]:
    """Name data sets after their origin, numbered if two names would be equal."""
    wanted = list(map(_wanted, parts))
    names: list[str] = []
    for name in wanted:
        numbered = (f"{name}{number}" for number in count(1))
        names.append(name if wanted.count(name) == 1 else next(n for n in numbered if n not in {*names, *wanted}))
    return tuple(names)


def _wanted(part: Any) -> str:
    """Return the name of the folder or file that a data set was read from, else of its class."""
    while hasattr(part, "dataset"):
        part = part.dataset
    path = getattr(part, "path", None)
    return (Path(path).resolve().stem if isinstance(path, str | os.PathLike) else "") or type(part).__name__.lower()
