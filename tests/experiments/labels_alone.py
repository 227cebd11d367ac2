"""A data set that is nothing but labels, and maps that know nothing of them or all."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

import netdissect_fast as nd
from netdissect_fast.concepts import ImageLabels, Vocabulary

WORDS = Vocabulary(
    [1, 2, 3, 4, 5, 6], ("sky", "tree", "wheel", "door", "red", "loose"), [0, 0, 1, 1, 2, -1], ("object", "part", "hue")
)


class LabelsAlone:
    """A ConceptDataset without photographs."""

    def __init__(self, labels: list[ImageLabels], vocabulary: Vocabulary = WORDS) -> None:
        self.given, self.vocabulary = labels, vocabulary

    def __len__(self) -> int:
        return len(self.given)

    def image(self, index: int) -> Any:
        raise AssertionError("nothing here needs a photograph")

    def labels(self, index: int) -> ImageLabels:
        return self.given[index]

    def name(self, index: int) -> str:
        return f"{index}.png"

    def fingerprint(self) -> str:
        parts = [image.maps.tobytes() + repr((image.maps.shape, image.whole)).encode() for image in self.given]
        return hashlib.sha256(b"|".join(parts)).hexdigest()


def drawn(images: int, seed: int, size: tuple[int, int] = (12, 12)) -> LabelsAlone:
    """Two maps of squares in each image, the first of objects, the second of parts; sometimes a whole-image hue."""
    rng = np.random.default_rng(seed)
    labels = []
    for _ in range(images):
        coarse = np.stack([rng.choice([0, 1, 2], (3, 3)), rng.choice([0, 0, 3, 4, 6], (3, 3))])
        maps = coarse.repeat(-(-size[0] // 3), 1).repeat(-(-size[1] // 3), 2)[:, : size[0], : size[1]]
        labels.append(ImageLabels(maps.astype(np.int32), (5,) if rng.random() < 0.3 else ()))
    return LabelsAlone(labels)


def dissected(maps: np.ndarray, data: LabelsAlone, quantile: str = "0.1", **options: Any) -> nd.Dissection:
    """Maps [N, U, H, W] scored against the labels, as a run in memory."""
    return nd.Dissection({"maps": nd.score(maps, data, quantile=quantile, name="maps", **options)}, {}, data)
