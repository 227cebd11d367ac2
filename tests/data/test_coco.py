"""COCO's data sets are read as they are: every pixel, made by hand; what is found again; how much is read."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.mask import decode

import netdissect_fast as nd
from netdissect_fast.data.dataset import ConceptDataset
from netdissect_fast.data.formats.coco import CocoInstances, CocoPanoptic, open_coco
from netdissect_fast.data.formats.coco.masks import decompressed, drawn
from netdissect_fast.data.opening import open_data
from netdissect_fast.data.sources import data_of_run, open_source, source_of
from netdissect_fast.errors import ArgumentError, DataError

from ..support.coco_sets import (
    BLOCK,
    CATS,
    compressed,
    masks_of,
    put,
    rectangle,
    run_lengths,
    spoil,
    write_instances,
    write_panoptic,
)
from ..support.networks import two_layers

WRITERS = {CocoInstances: write_instances, CocoPanoptic: write_panoptic}
Kind = type[CocoInstances] | type[CocoPanoptic]


@pytest.fixture(params=WRITERS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    return kind


def assert_maps(data: ConceptDataset, index: int, *expected: str) -> None:
    found = data.labels(index)
    assert found.maps.dtype == np.int32
    assert found.whole == ()
    np.testing.assert_array_equal(found.maps, np.stack([masks_of(text) for text in expected]))


# ------------------------------------------------------------------------------------------------- instances


def test_instances_at_their_own_size(tmp_path: Path) -> None:
    data = CocoInstances(write_instances(tmp_path), label_size=None)
    assert len(data) == 3
    assert data.vocabulary.numbers.tolist() == [3, 17, 90]
    assert data.vocabulary.names == ("car", "cat", "brush")
    assert data.vocabulary.categories == ("object",)
    assert data.vocabulary.category.tolist() == [0, 0, 0]
    np.testing.assert_array_equal(data.labels(0).maps, [3 * BLOCK, masks_of(CATS)])
    assert_maps(
        data,
        1,
        """
. . . . . . .
3 3 3 3 3 3 3
. . . . . . .
. . . . . . .
. . . . . . .
""",
    )
    assert data.labels(2).maps.shape == (0, 4, 4)
    assert [data.name(i) for i in range(3)] == ["000000000011.jpg", "more/000000000022.png", "000000000033.jpg"]
    assert [data.image(i).size for i in range(3)] == [(8, 6), (7, 5), (4, 4)]
    assert data.image(0).mode == "RGB"


def test_instances_at_another_size(tmp_path: Path) -> None:
    """Of each pixel of the label map, the label at its centre: rows 1, 3, 5 and columns 1, 3, 5, 7."""
    data = CocoInstances(write_instances(tmp_path), label_size=(3, 4))
    assert_maps(data, 0, ". 3 3 .\n. . . .\n. . . .", "17 17 . .\n. 17 . .\n17 17 17 17")
    assert data.labels(2).maps.shape == (0, 3, 4)
    assert CocoInstances(data.path).labels(0).maps.shape == (2, 112, 112)


def test_categories_that_do_not_overlap_share_a_label_map(tmp_path: Path) -> None:
    path = write_instances(tmp_path)
    spoil(path, put([rectangle(4, 0, 8, 3)], "annotations", 2, "segmentation"))
    data = CocoInstances(path, label_size=None)
    car = np.zeros((6, 8), int)
    car[:3, 4:] = 3
    np.testing.assert_array_equal(data.labels(0).maps, [np.maximum(masks_of(CATS), car)])


def test_polygons_beyond_the_image_and_doubled_corners(tmp_path: Path) -> None:
    path = write_instances(tmp_path)
    outside = [-3.0, -2.0, -3.0, -2.0, 2.0, -2.0, 2.0, 20.5, -3.0, 20.5]
    spoil(path, put([outside, rectangle(50, 50, 60, 60)], "annotations", 1, "segmentation"))
    maps = CocoInstances(path, label_size=None).labels(1).maps
    np.testing.assert_array_equal(maps[0], [[3, 3, 0, 0, 0, 0, 0]] * 5)


def test_numbers_start_at_1(tmp_path: Path) -> None:
    """0 is what label maps keep for unlabelled: a set with a category 0 has its numbers moved up."""
    path = write_instances(tmp_path)
    spoil(path, put(0, "categories", 1, "id"))
    for annotation in (1, 2):
        spoil(path, put(0, "annotations", annotation, "category_id"))
    data = CocoInstances(path, label_size=None)
    assert data.vocabulary.numbers.tolist() == [1, 18, 91]
    np.testing.assert_array_equal(data.labels(0).maps[0], BLOCK)


def test_categories_of_one_name_stay_apart(tmp_path: Path) -> None:
    path = write_instances(tmp_path)
    spoil(path, put("cat", "categories", 1, "name"))
    assert CocoInstances(path).vocabulary.names == ("cat", "cat", "brush")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools' decode
@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_run_lengths_are_those_of_pycocotools(height: int, width: int, draw: st.DataObject) -> None:
    pixels = draw.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = np.array(pixels).reshape(height, width)
    text = compressed(mask)
    np.testing.assert_array_equal(decode({**text, "counts": text["counts"].encode()}), mask)
    runs = decompressed(text["counts"], mask.size)
    assert runs.tolist() == run_lengths(mask)["counts"]
    np.testing.assert_array_equal(next(drawn(text["counts"], mask.shape)), mask)


def test_long_runs() -> None:
    """Of several characters, and of differences below 0."""
    mask = np.zeros((700, 900), bool)
    mask[3:650, 20:22] = mask[:, 100:800] = mask[5, 850] = True
    text = compressed(mask)["counts"]
    assert decompressed(text, mask.size).tolist() == run_lengths(mask)["counts"]


@given(st.text(st.characters(min_codepoint=0, max_codepoint=130), max_size=40))
def test_any_text_is_run_lengths_or_an_error(text: str) -> None:
    """It never reaches C code, which would write out of bounds."""
    try:
        (mask,) = drawn(text, (3, 5))
    except ValueError as error:
        assert "segmentation" in str(error)  # noqa: PT017 — most texts are errors, some are not
    else:
        assert mask.shape == (3, 5)


# -------------------------------------------------------------------------------------------------- panoptic


def test_panoptic_at_its_own_size(tmp_path: Path) -> None:
    data = CocoPanoptic(write_panoptic(tmp_path), label_size=None)
    assert data.vocabulary.numbers.tolist() == [1, 184]
    assert data.vocabulary.names == ("person", "sky")
    assert [data.vocabulary.categories[i] for i in data.vocabulary.category] == ["object", "stuff"]
    assert_maps(
        data,
        0,
        """
184 184 184 184 1 1 1
184 184 184 184 1 1 1
. . 1 1 1 . .
. . 1 1 1 . .
. . 1 1 1 . .
""",
    )
    assert_maps(data, 1, "1 1 1\n1 1 1\n. . 1\n. . .\n. . .")
    assert data.labels(2).maps.shape == (0, 4, 4)


def test_panoptic_at_another_size(tmp_path: Path) -> None:
    """Rows 1 and 3, columns 1, 3 and 5 of the 5 × 7 pixels."""
    data = CocoPanoptic(write_panoptic(tmp_path), label_size=(2, 3))
    assert_maps(data, 0, "184 184 1\n. 1 .")
    assert_maps(data, 1, "1 1 1\n. . .")
    assert data.labels(2).maps.shape == (0, 2, 3)


# ------------------------------------------------------------------------------------------- opened and found


def test_opened_as_what_they_are(kind: Kind, tmp_path: Path) -> None:
    path = WRITERS[kind](tmp_path)
    for data in (open_coco(path), open_data(path), open_data(str(path))):
        assert type(data) is kind
        assert data.labels(0).shape == (112, 112)
    assert open_data(path, label_size=None).fingerprint() == kind(path, label_size=None).fingerprint()
    assert open_coco(path, label_size=9).labels(1).shape == (9, 9)


def test_instances_have_no_masks(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="masks= does not apply"):
        open_coco(write_instances(tmp_path), masks=tmp_path)


@pytest.mark.parametrize("place", ["../val2017", "../images/val2017", "../images", "val2017", "images", "."])
def test_usual_folders_of_images(place: str, kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = WRITERS[kind](tmp_path)
    moved = path.parent / place
    pictures = (tmp_path / "val2017").rename(tmp_path / "elsewhere")
    if place == ".":
        for file in pictures.iterdir():
            file.rename(path.parent / file.name)
    else:
        moved.parent.mkdir(exist_ok=True)
        pictures.rename(moved)
    expected = kind(path, images=moved).image(1).tobytes()
    monkeypatch.chdir(path.parent)
    assert kind(path.name).image(1).tobytes() == expected


def test_images_that_are_nowhere(kind: Kind, tmp_path: Path) -> None:
    path = WRITERS[kind](tmp_path)
    (tmp_path / "val2017").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"first image, was not found in .*/val2017, .*images, .*; pass images="):
        kind(path)
    with pytest.raises(DataError, match=r"absent: is not a folder; the images belong there"):
        kind(path, images=tmp_path / "absent")
    assert kind(path, images=tmp_path / "elsewhere").image(2).size == (4, 4)


def test_masks_that_are_elsewhere(tmp_path: Path) -> None:
    path = write_panoptic(tmp_path)
    masks = path.with_suffix("").rename(tmp_path / "masks")
    with pytest.raises(DataError, match=r"panoptic_val2017: is not a folder; the PNG masks belong there: pass masks="):
        CocoPanoptic(path)
    data = CocoPanoptic(path, masks=masks)
    assert data.labels(0).maps.max() == 184
    assert open_source(data.source()).fingerprint() == data.fingerprint()


@pytest.mark.parametrize("options", [{}, {"label_size": None}, {"label_size": (5, 9)}, {"images": "val2017"}])
def test_found_again(options: dict[str, Any], kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = WRITERS[kind](tmp_path)
    monkeypatch.chdir(tmp_path)
    data = kind(path.relative_to(tmp_path), **options)
    source = json.loads(json.dumps(source_of(data)))
    monkeypatch.chdir(path.parent)
    expected = kind(path, label_size=data.label_size)
    for found in (open_source(source), pickle.loads(pickle.dumps(expected))):
        assert type(found) is kind
        assert found.fingerprint() == expected.fingerprint()
        for i in range(3):
            np.testing.assert_array_equal(found.labels(i).maps, expected.labels(i).maps)
    assert source_of(open_source(source)) == source


def test_fingerprint_changes_with_the_data(kind: Kind, tmp_path: Path) -> None:
    path = WRITERS[kind](tmp_path)
    prints = [
        kind(path).fingerprint(),
        kind(path, label_size=111).fingerprint(),
        kind(path, label_size=None).fingerprint(),
    ]
    spoil(path, put("dog", "categories", 0, "name"))
    prints.append(kind(path).fingerprint())
    for file in (tmp_path / "val2017" / kind(path).name(2), *path.parent.glob("*/22.png")):
        with file.open("ab") as longer:
            longer.write(b"\0")
        prints.append(kind(path).fingerprint())
    assert len(set(prints)) == len(prints)
    assert kind(path).fingerprint() == prints[-1]


def test_threads(kind: Kind, tmp_path: Path) -> None:
    data = kind(WRITERS[kind](tmp_path))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: (data.labels(i % 3).maps, data.image(i % 3).tobytes()), range(48)))
    for i, (maps, pixels) in enumerate(found):
        np.testing.assert_array_equal(maps, data.labels(i % 3).maps)
        assert pixels == data.image(i % 3).tobytes()


def test_dissected(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETDISSECT_FAST_CACHE", str(tmp_path / "cache"))
    data = kind(WRITERS[kind](tmp_path), label_size=(6, 8))
    nd.dissect(two_layers(), data, "0", quantile="0.1", out=tmp_path / "out", progress=False)
    loaded = nd.load(tmp_path / "out")
    assert loaded.run["data"]["source"] == source_of(data)
    again = data_of_run(loaded.run)
    assert type(again) is kind
    assert again.fingerprint() == data.fingerprint()
    areas = {int(n): 0 for n in data.vocabulary.numbers}
    for i in range(3):
        for number in areas:
            areas[number] += int((data.labels(i).maps == number).any(axis=0).sum())
    assert next(iter(loaded.layers.values())).counts.concept_area.tolist() == list(areas.values())


def test_pycocotools_is_asked_for_by_polygons_alone(tmp_path: Path) -> None:
    """Without it, panoptic sets open; and nothing heavy is imported for either until images are read."""
    instances, panoptic = write_instances(tmp_path / "a"), write_panoptic(tmp_path / "b")
    code = f"""
import sys
sys.modules["pycocotools"] = sys.modules["pycocotools.mask"] = None
from netdissect_fast.data.formats.coco import open_coco
from netdissect_fast.errors import MissingExtra
assert len(open_coco({str(panoptic)!r})) == 3
assert not {{"torch", "PIL"}} & set(sys.modules)
try:
    open_coco({str(instances)!r})
except MissingExtra as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'netdissect-fast[coco]'" in done.stdout
