"""Packing label maps into words of 8×8 pixels, against NumPy's packbits of one-hot maps."""

from __future__ import annotations

import numpy as np
import pytest

from netdissect_fast.concepts import ImageLabels, PackedLabels

from .workload import VOCABULARY, image_labels

SIZES = (56, 112, 224, 384)


def one_hot_bits(images: list[ImageLabels]) -> list[np.ndarray]:
    """The same bits in row order, concept by concept."""
    return [
        np.packbits(labels[None] == np.unique(labels[labels > 0])[:, None, None], axis=-1)
        for image in images
        for labels in image.maps
    ]


@pytest.fixture(params=SIZES)
def images(request: pytest.FixtureRequest, small: bool) -> list[ImageLabels]:
    return [image_labels(i, request.param) for i in range(3 if small else 40)]


def test_pack(benchmark, images: list[ImageLabels]) -> None:
    found = PackedLabels.pack(images[:1], VOCABULARY).masks(0)
    for number in np.unique(images[0].maps[images[0].maps > 0]):
        np.testing.assert_array_equal(found[number - 1], (images[0].maps == number).any(axis=0))
    benchmark.group = f"pack {len(images)} images {images[0].shape}"
    assert len(benchmark(PackedLabels.pack, images, VOCABULARY)) == len(images)


def test_one_hot(benchmark, images: list[ImageLabels]) -> None:
    benchmark.group = f"pack {len(images)} images {images[0].shape}"
    benchmark(one_hot_bits, images)
