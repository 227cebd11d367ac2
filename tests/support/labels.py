"""Labels that several tests count with."""

from __future__ import annotations

import numpy as np

from netdissect_fast.concepts import ImageLabels, PackedLabels, Vocabulary


def packed_example(images: int, size: tuple[int, int] = (45, 61), seed: int = 0) -> tuple[PackedLabels, Vocabulary]:
    """Two label maps of blobs and sometimes a whole-image concept in each of ``images``; 150 concepts."""
    rng = np.random.default_rng(seed)
    numbers = np.arange(1, 151)
    category = np.array([0, 1, 2], np.int32)[numbers % 3]
    vocabulary = Vocabulary(numbers, tuple(map(str, numbers)), category, ("object", "part", "scene"))
    labels = []
    for _ in range(images):
        coarse = rng.integers(0, 151, (2, size[0] // 4 + 1, size[1] // 4 + 1))
        maps = coarse.repeat(4, axis=1).repeat(4, axis=2)[:, : size[0], : size[1]].astype(np.int32)
        labels.append(ImageLabels(maps, tuple(rng.integers(1, 151, rng.integers(0, 3)).tolist())))
    return PackedLabels.pack(labels, vocabulary), vocabulary
