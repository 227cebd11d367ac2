"""Any torch Dataset that yields (image, labels)."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

import netdissect_fast as nd
from netdissect_fast.data.formats.torch_dataset import FromTorch
from netdissect_fast.errors import ArgumentError, DataError
from tests.support.networks import two_layers

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
MAP = np.arange(48).reshape(6, 8) % 3
NAMES = ["-", "sky", "grass"]


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(PIXELS),
        PIXELS.transpose(2, 0, 1),
        torch.from_numpy(PIXELS.transpose(2, 0, 1).copy()),
        torch.from_numpy(PIXELS.transpose(2, 0, 1).astype(np.float32) / 255),
        (PIXELS.transpose(2, 0, 1) / 255),
    ],
)
def test_images(image: Any) -> None:
    data = FromTorch([(image, 1)], NAMES)
    assert np.array_equal(np.asarray(data.image(0)), PIXELS)


def test_grey_images() -> None:
    data = FromTorch([(torch.full((1, 2, 3), 7, dtype=torch.uint8), 1)], NAMES)
    assert np.array_equal(np.asarray(data.image(0)), np.full((2, 3, 3), 7))


@pytest.mark.parametrize(
    ("labels", "maps", "whole"),
    [
        (MAP, MAP[None], ()),
        (torch.from_numpy(MAP), MAP[None], ()),
        (Image.fromarray(MAP.astype(np.uint8)), MAP[None], ()),
        (torch.from_numpy(np.stack([MAP, MAP // 2])), [MAP, MAP // 2], ()),
        (2, np.zeros((0, 6, 8)), (2,)),
        (torch.tensor(2), np.zeros((0, 6, 8)), (2,)),
        (0, np.zeros((0, 6, 8)), ()),
        ({"maps": MAP, "whole": [1, 2]}, MAP[None], (1, 2)),
        ({"whole": []}, np.zeros((0, 6, 8)), ()),
    ],
)
def test_labels(labels: Any, maps: Any, whole: tuple[int, ...]) -> None:
    found = FromTorch([(PIXELS.transpose(2, 0, 1), labels)], NAMES, label_size=None).labels(0)
    assert np.array_equal(found.maps, maps)
    assert found.maps.dtype == np.int32
    assert found.whole == whole


def test_classes_of_a_classification_set_begin_at_0() -> None:
    data = FromTorch([(PIXELS.transpose(2, 0, 1), 0)], [("scene", "street"), ("scene", "beach")])
    assert data.vocabulary.names == ("street", "beach")
    assert data.vocabulary.categories == ("scene",)
    assert data.labels(0).whole == (1,)


def test_label_size() -> None:
    data = FromTorch([(PIXELS.transpose(2, 0, 1), MAP)], NAMES, label_size=(3, 4))
    assert np.array_equal(data.labels(0).maps[0], MAP[1::2, 1::2])


class Random:
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.rand(3, 4, 4), 1


GOOD = PIXELS.transpose(2, 0, 1)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (GOOD, r"item 0: expected \(image, labels\), got ndarray"),
        ((PIXELS, 1), r"image 0: expected a PIL image or \[C, Y, X\], channels first"),
        ((GOOD.astype(np.float32), 1), "image 0: expected uint8 or floats in 0..1, not normalised"),
        ((GOOD.astype(np.int64), 1), "image 0: expected uint8 or floats"),
        ((np.full((3, 2, 2), np.nan), 1), "image 0: expected uint8 or floats"),
        ((GOOD, MAP * 1.5), "labels 0: expected integers"),
        ((GOOD, "sky"), "labels 0: expected integers"),
        ((GOOD, MAP[None, None]), r"labels 0: expected \[Y, X\] or \[L, Y, X\]"),
        ((GOOD, MAP + 5), "labels 0: value 5 has no name; name it in names="),
        ((GOOD, 9), "labels 0: value 9 has no name"),
        ((GOOD, {"map": MAP}), r"labels 0: expected a dict of maps and whole, got \['map'\]"),
        ((GOOD, {}), r"labels 0: expected a dict of maps and whole, got \[\]"),
    ],
)
def test_what_is_none_of_this(item: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        FromTorch([item], NAMES)


def test_random_changes_are_noticed() -> None:
    with pytest.raises(ArgumentError, match="a different image or labels each time"):
        FromTorch(Random(), NAMES)


def test_fingerprint() -> None:
    items = [(GOOD, MAP), (255 - GOOD, MAP)]
    first = FromTorch(items, NAMES).fingerprint()
    assert (
        first
        == FromTorch(items, NAMES).fingerprint()
        == pickle.loads(pickle.dumps(FromTorch(items, NAMES))).fingerprint()
    )
    changed = [
        FromTorch([(GOOD, MAP), (254 - GOOD // 2, MAP)], NAMES),
        FromTorch([(GOOD, MAP), (255 - GOOD, MAP.T.reshape(6, 8))], NAMES),
        FromTorch(items, ["-", "sky", "lawn"]),
        FromTorch(items, NAMES, label_size=5),
        FromTorch(items, NAMES, category="thing"),
        FromTorch(items, NAMES, version="1"),
        FromTorch(items[:1], NAMES, version="1"),
    ]
    assert len({first, *(data.fingerprint() for data in changed)}) == 8


def test_dissected(tmp_path: Path) -> None:
    drawn = nd.Synthetic(6, size=32)
    images = torch.stack([torch.from_numpy(np.asarray(drawn.image(i)).transpose(2, 0, 1).copy()) for i in range(6)])
    maps = torch.stack([torch.from_numpy(drawn.labels(i).maps[:1]) for i in range(6)])
    data = FromTorch(TensorDataset(images, maps), drawn.vocabulary, label_size=None)
    options: dict[str, Any] = {"preprocess": nd.Preprocess(32), "cache": tmp_path, "progress": False}
    colours, everything = (nd.dissect(two_layers(), d, "0", **options)["0"] for d in (data, drawn))
    columns = [n for n, c in enumerate(drawn.vocabulary.category) if drawn.vocabulary.categories[c] == "color"]
    assert np.array_equal(colours.thresholds, everything.thresholds)
    assert np.array_equal(colours.counts.intersection[:, columns], everything.counts.intersection[:, columns])


@pytest.mark.parametrize(
    ("image", "labels", "message"),
    [
        (Image.fromarray(np.full((6, 8), 5000, np.uint16)), 1, "image 0: expected an 8-bit photograph, .* I;16"),
        (PIXELS.transpose(2, 0, 1), Image.fromarray(PIXELS), "labels 0: expected a picture with one value per pixel"),
        (PIXELS.transpose(2, 0, 1), [[1], [1, 2]], "labels 0: expected integers"),
        (PIXELS.transpose(2, 0, 1), {"maps": np.zeros((1, 0, 5), int)}, "labels 0: expected at least one pixel"),
    ],
)
def test_pictures_of_other_kinds(image: Any, labels: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        FromTorch([(image, labels)], NAMES)


def test_other_labels_of_the_whole_image_each_time() -> None:
    class Random(list[Any]):
        def __getitem__(self, index: Any) -> Any:
            self.append(0)
            return PIXELS.transpose(2, 0, 1), len(self) % 2 + 1

    with pytest.raises(ArgumentError, match="remove random transforms"):
        FromTorch(Random([0]), NAMES)


def test_a_data_set_that_raises() -> None:
    with pytest.raises(ArgumentError, match="a length and indexable items"):
        FromTorch(iter([]), NAMES)
    data = FromTorch({0: (PIXELS.transpose(2, 0, 1), 1), "last": None}, NAMES)
    with pytest.raises(DataError, match="dict: item 1 cannot be read: KeyError: 1"):
        data.image(1)
