"""Any data set with labels as a source: a folder of masks, COCO, Broden's own format."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from ...types import Array
from ..dataset import ConceptDataset
from .annotation import Annotation, Names

if TYPE_CHECKING:
    from PIL.Image import Image


class Labelled:
    """A ConceptDataset as a Source: each concept in its primary category; those without one are omitted.

    name   of the folder that its images get under images/
    """

    def __init__(self, data: ConceptDataset, name: str) -> None:
        self.data, self.name = data, name
        words = data.vocabulary
        self._names: dict[str, Names] = {
            category: {
                int(number): (name,)
                for number, name, c in zip(words.numbers, words.names, words.category, strict=True)
                if words.categories[c] == category and c >= 0
            }
            for category in words.categories
        }

    def __len__(self) -> int:
        return len(self.data)

    def file_name(self, index: int) -> str:
        """Return the image's name in the data set, without folders and ending."""
        return PurePosixPath(self.data.name(index)).stem

    def image(self, index: int) -> Image:
        """See Source."""
        return self.data.image(index)

    def annotation(self, index: int) -> Annotation:
        """Return the labels, by category."""
        labels, words = self.data.labels(index), self.data.vocabulary
        category = np.append(words.category, -1)  # by column; the last is that of numbers of no concept
        of_maps = category[words.columns_of(labels.maps)]
        maps: dict[str, Array] = {}
        whole: dict[str, tuple[int, ...]] = {}
        for place, name in enumerate(words.categories):
            mine = of_maps == place
            layers = [np.where(m, numbers, 0) for m, numbers in zip(mine, labels.maps, strict=True) if m.any()]
            if layers:
                maps[name] = layers[0] if len(layers) == 1 else np.stack(layers)
            if numbers := tuple(n for n in labels.whole if category[words.columns_of(np.array(n))] == place):
                whole[name] = numbers
        return Annotation(maps, whole, self._names)

    def fingerprint(self) -> str:
        """See Source."""
        return self.data.fingerprint()
