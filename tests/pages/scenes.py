"""A data set and results of hand-made activations, small enough to report many times."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

import netdissect_fast as nd
from netdissect_fast.concepts import ImageLabels, Vocabulary
from netdissect_fast.results.run_result import Dissection

HOSTILE = "<script>document.title='owned'</script>"
VOCABULARY = Vocabulary(
    np.array([1, 2, 5, 9, 12]),
    ("sky", 'tree, "old" & <i>wet</i>', HOSTILE, "no category", "never"),
    np.array([0, 0, 1, -1, 1], np.int32),
    ("object", "<b>part</b>"),
)


class Scenes:
    """12 photographs of one grey, of different sizes, labels of 20×24 pixels; a class as a user would write it."""

    vocabulary = VOCABULARY

    def __init__(self, images: int = 12, grey: int = 255) -> None:
        self.grey = grey
        rng = np.random.default_rng(3)
        coarse = rng.choice(np.array([0, 1, 2, 5, 9], np.int32), (images, 1, 5, 6))
        self._maps = coarse.repeat(4, axis=2).repeat(4, axis=3)

    def __len__(self) -> int:
        return len(self._maps)

    def image(self, index: int) -> Image.Image:
        width, height = [(24, 20), (48, 40), (20, 24)][index % 3]
        return Image.new("RGB", (width, height), (self.grey,) * 3)

    def labels(self, index: int) -> ImageLabels:
        return ImageLabels(self._maps[index], (2,) if index % 4 == 0 else ())

    def name(self, index: int) -> str:
        return f"<u>{index}</u>.jpg"

    def fingerprint(self) -> str:
        return f"{self.grey:064x}"


def maps(units: int, size: tuple[int, int] = (4, 5), images: int = 12) -> np.ndarray:
    """Smooth enough that masks are no single pixels; unit 0 is silent."""
    found = np.random.default_rng(units).standard_normal((images, units, *size)).astype(np.float32)
    found[:, 0] = 0
    return found


def dissection(units: int = 6, data: Any = None, **options: Any) -> Dissection:
    """One layer with a name that is hostile, and its data at hand."""
    data = data or Scenes()
    options = {"quantile": "0.1", "name": "<layer> & 'one'/..", **options}
    layer = nd.score(maps(units, images=len(data)), data, **options)
    return Dissection({layer.name: layer}, {"model": HOSTILE, "settings": {"quantile": "0.1"}}, data)
