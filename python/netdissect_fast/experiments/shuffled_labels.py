"""Labels in which each category comes from a different image: what units meet by chance (``experiments/null.py``)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..concepts import PackedLabels, starts_of
from ..types import Array, Int32Array, Int64Array


class ByCategory:
    """Packed labels with each image's concepts in the order of their categories, so that a category is one slice.

    category  int32 [C]: of each concept; concepts without one (−1) are omitted
    """

    def __init__(self, labels: PackedLabels, category: Int32Array, categories: int) -> None:
        self.grid = labels.grid
        image = np.repeat(np.arange(len(labels)), np.diff(labels.slot_start))
        known = np.where(labels.slot_concept >= 0, category[labels.slot_concept], -1)
        order = np.lexsort((known, image))
        self.concept, self.area = labels.slot_concept[order], labels.slot_area[order]
        self.slots = _edges(image, known, len(labels), categories)
        starts = labels.word_start
        self.words: list[Array] = []
        for i, (first, last) in enumerate(zip(labels.slot_start[:-1], labels.slot_start[1:], strict=True)):
            plain = labels.words[starts[i] : starts[i + 1]].reshape(-1, max(1, last - first))
            self.words.append(plain[:, order[first:last] - first])
        self.first_slot = labels.slot_start
        image = np.repeat(np.arange(len(labels)), np.diff(labels.whole_start))
        known = category[labels.whole]
        self.whole = labels.whole[np.lexsort((known, image))]
        self.wholes = _edges(image, known, len(labels), categories)

    def mixed(self, pairing: Int64Array) -> PackedLabels:
        """Return labels of n images, each category from the image given by ``pairing``, int64 [n, categories].

        All images of a row must have the same label size.
        """
        images, columns = pairing[:, 0] if pairing.shape[1] else np.zeros(len(pairing), int), range(pairing.shape[1])
        begin, end = (edge[pairing, columns] for edge in (self.slots[:, :-1], self.slots[:, 1:]))
        width = end - begin
        slots = -(-width.sum(axis=1) // 8) * 8  # padded to a multiple of 8
        grid = self.grid[images]
        tiles = np.prod((grid.astype(np.int64) + 7) // 8, axis=1)
        slot_start, word_start = starts_of(slots), starts_of(tiles * slots)
        concept, area = np.full(slot_start[-1], -1, np.int32), np.zeros(slot_start[-1], np.int32)
        words = np.zeros(word_start[-1], np.uint64)
        for row in np.flatnonzero(slots):
            mine = words[word_start[row] : word_start[row + 1]].reshape(tiles[row], slots[row])
            at, base = 0, slot_start[row]
            for c in np.flatnonzero(width[row]):
                source, first, last = pairing[row, c], begin[row, c], end[row, c]
                there = slice(first - self.first_slot[source], last - self.first_slot[source])
                mine[:, at : at + last - first] = self.words[source][:, there]
                concept[base + at : base + at + last - first] = self.concept[first:last]
                area[base + at : base + at + last - first] = self.area[first:last]
                at += last - first
        spans = np.stack([self.wholes[:, :-1][pairing, columns], self.wholes[:, 1:][pairing, columns]], axis=-1)
        parts = [self.whole[first:last] for first, last in spans.reshape(-1, 2)]
        return PackedLabels(
            grid=grid,
            slot_start=slot_start,
            slot_concept=concept,
            slot_area=area,
            word_start=word_start,
            words=words,
            whole_start=starts_of((spans[..., 1] - spans[..., 0]).sum(axis=1)),
            whole=np.concatenate([self.whole[:0], *parts]),
        )


@dataclass(frozen=True)
class Paired:
    """The labels that N images meet: those given by ``pairing``, int64 [N, categories]."""

    labels: ByCategory
    pairing: Int64Array

    def of_images(self, first: int, last: int) -> PackedLabels:
        """Return the labels that images ``first`` ≤ i < ``last`` meet."""
        return self.labels.mixed(self.pairing[first:last])


def _edges(image: Int64Array, category: Int32Array, images: int, categories: int) -> Int64Array:
    """Return int64 [N, categories + 1]: where each category begins among entries ordered by image, then category."""
    counts = np.zeros((images, categories + 1), np.int64)
    np.add.at(counts, (image, category + 1), 1)
    edges = np.zeros((images, categories + 2), np.int64)
    edges[:, 1:] = counts.cumsum(axis=1)
    return edges[:, 1:] + starts_of(counts.sum(axis=1))[:-1, None]
