"""Broden's order and split are those of its published index, from the images' names alone."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from netdissect_fast.data.files.splits import place_of, split_of

from .made import rows


@pytest.mark.data
def test_all_rows_of_the_published_index(shared_data: Path) -> None:
    published = rows(shared_data / "golden" / "index_ade20k.csv")
    images = [row["image"] for row in published]
    assert len(images) == 22_210
    assert sorted(images, key=place_of) == images
    assert [split_of(image) for image in images] == [row["split"] for row in published]
    assert max(place_of(row["image"]) for row in published if row["split"] == "train") == pytest.approx(
        0.699969, abs=1e-6
    )


def test_place_is_the_beginning_of_the_hash() -> None:
    path = "ade20k/ADE_train_00003891.jpg"
    assert place_of(path) == int(hashlib.md5(path.encode()).hexdigest()[:16], 16) / 2**64
    assert place_of(path, "salt") == place_of("salt" + path) != place_of(path)
    assert 0 <= place_of("") < 1


def test_split_at_the_boundary() -> None:
    place = place_of("a.jpg")
    assert split_of("a.jpg", place) == "train"
    assert split_of("a.jpg", place - 1e-9) == "val"
    assert {split_of(f"{i}.jpg", 1.0) for i in range(50)} == {"train"}
    assert {split_of(f"{i}.jpg", 0.0) for i in range(50)} == {"val"}
    assert split_of("a.jpg", 0.5, "x") == ("train" if place_of("xa.jpg") <= 0.5 else "val")
