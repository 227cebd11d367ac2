"""The protocol of a set of images with dense labels, and subsets of one."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from ..concepts import ImageLabels, Vocabulary
from ..errors import ArgumentError

if TYPE_CHECKING:
    from PIL.Image import Image


class DataWarning(UserWarning):
    """A problem with a data set or its cache that does not stop the work but that the user should know about."""


@runtime_checkable
class ConceptDataset(Protocol):
    """N images with dense labels of C concepts.

    Objects must pickle, for data loader workers, and ``image`` and ``labels`` must be safe to call from several
    threads. One that also has ``source()``, as the built-in ones do, is reopened by a report of a saved run. One that
    has ``input(index)``, a float tensor, feeds the network that instead of a preprocessed image: a generator's latent.
    One that has ``bands(index)``, floats [C, Y, X] of any C with 0 for black and 1 for white, gives ``preprocess`` that
    instead of ``image``, which then only draws it; None stands for ``image``.
    """

    @property
    def vocabulary(self) -> Vocabulary:
        """The C concepts and their categories."""

    def __len__(self) -> int:
        """Return N, the number of images."""

    def image(self, index: int) -> Image:
        """Return the image as RGB, in its own size. Raises DataError if its file is missing or broken."""

    def labels(self, index: int) -> ImageLabels:
        """Return the labels; every number in them is in the vocabulary. Raises DataError as ``image`` does."""

    def name(self, index: int) -> str:
        """Return what messages and reports call the image: its path relative to the data set."""

    def fingerprint(self) -> str:
        """Return a hexadecimal sha256 that changes when images, labels or the selection change."""


def source_of(data: ConceptDataset) -> dict[str, Any] | None:
    """Return what ``open_source`` reopens the data set from; None for a user's own class without ``source()``."""
    source = getattr(data, "source", None)
    return source() if callable(source) else None


def own_inputs(data: ConceptDataset) -> Callable[[int], Any] | None:
    """Return ``data.input``: image number → what the network is given; None if that is the preprocessed image."""
    return getattr(data, "input", None)


def bands_of(data: Any, index: int) -> Any:
    """Return ``data.bands(index)``: what ``preprocess`` gets, floats [C, Y, X]; None if that is the image."""
    bands = getattr(data, "bands", None)
    return bands(index) if callable(bands) else None


class Subset:
    """Some images of a data set, in the order given; itself a ConceptDataset.

    >>> import netdissect_fast as nd
    >>> every_second = nd.Subset(nd.Synthetic(images=6), [0, 2, 4])
    >>> every_second
    Subset(Synthetic(images=6, seed=0, size=128, split=None): 3 of 6 images)
    >>> every_second.name(1)
    'synthetic/000002.png'
    """

    def __init__(self, dataset: ConceptDataset, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices if isinstance(indices, range) else tuple(operator.index(i) for i in indices)
        if not self.indices:
            raise ArgumentError("a subset needs at least one image, got none")
        ends = self.indices[:: max(1, len(self.indices) - 1)] if isinstance(self.indices, range) else self.indices
        if min(ends) < 0 or max(ends) >= len(dataset):
            raise ArgumentError(f"a subset's indices must be in 0..{len(dataset) - 1}, got {min(ends)}..{max(ends)}")

    def __repr__(self) -> str:
        return f"Subset({self.dataset!r}: {len(self)} of {len(self.dataset)} images)"

    @classmethod
    def first(cls, dataset: ConceptDataset, limit: int) -> Subset:
        """Return the first ``limit`` images, or all if there are fewer."""
        if limit < 1:
            raise ArgumentError(f"limit must be at least 1 image, got {limit}")
        return cls(dataset, range(min(limit, len(dataset))))

    @property
    def vocabulary(self) -> Vocabulary:
        """The whole data set's vocabulary, even if some concepts do not occur in the subset."""
        return self.dataset.vocabulary

    def __len__(self) -> int:
        return len(self.indices)

    def source(self) -> dict[str, Any] | None:
        """Return how to reopen it, as plain values; None if the underlying data set does not say."""
        of = source_of(self.dataset)
        if of is None:
            return None
        if isinstance(self.indices, range):
            start, stop, step = self.indices.start, self.indices.stop, self.indices.step
            return {"kind": "range", "of": of, "start": start, "stop": stop, "step": step}
        return {"kind": "subset", "of": of, "indices": list(self.indices)}

    @property
    def input(self) -> Callable[[int], Any] | None:
        """What the network is given, if the data set defines that; otherwise None."""
        of_all = own_inputs(self.dataset)
        return None if of_all is None else lambda index: of_all(self.indices[index])

    def image(self, index: int) -> Image:
        """See ConceptDataset."""
        return self.dataset.image(self.indices[index])

    def bands(self, index: int) -> Any:
        """See ConceptDataset."""
        return bands_of(self.dataset, self.indices[index])

    def labels(self, index: int) -> ImageLabels:
        """See ConceptDataset."""
        return self.dataset.labels(self.indices[index])

    def name(self, index: int) -> str:
        """See ConceptDataset."""
        return self.dataset.name(self.indices[index])

    def fingerprint(self) -> str:
        """Return a hash of the data set's fingerprint and the indices."""
        indices = np.asarray(self.indices, "<i8").tobytes()
        return hashlib.sha256(b"subset" + self.dataset.fingerprint().encode() + indices).hexdigest()
