"""Small labels and vocabularies, written out."""

from __future__ import annotations

from typing import Any

import numpy as np

from netdissect_fast.concepts import ImageLabels, Vocabulary

BACKENDS = ["reference", "cpu"]


def vocabulary_of(category: list[int], categories: int) -> Vocabulary:
    numbers = np.arange(1, len(category) + 1)
    return Vocabulary(
        numbers, tuple(f"c{n}" for n in numbers), np.array(category, np.int32), tuple("abcdef"[:categories])
    )


def image(*maps: Any, whole: tuple[int, ...] = (), size: tuple[int, int] = (2, 2)) -> ImageLabels:
    return ImageLabels(np.array(maps, np.int32).reshape(-1, *size), whole)
