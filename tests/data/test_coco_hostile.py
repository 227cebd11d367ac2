"""Broken and hostile COCO files: each gives one clear error that names the file and the entry, before any harm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from netdissect_fast.data.formats.coco import CocoInstances, CocoPanoptic, open_coco
from netdissect_fast.data.formats.coco.json_file import MAX_COCO
from netdissect_fast.errors import ArgumentError, DataError

from ..support.coco_sets import (
    Content,
    again,
    put,
    rectangle,
    spoil,
    without,
    write_instances,
    write_json,
    write_panoptic,
)

Change = Callable[[Content], object]

FILES = [  # the .json file's bytes, and what the error says
    (b"", "is empty"),
    (b"{", "line 1: is not JSON: .*column 2"),
    (b'{"images": [],\n"annotations": [}', "line 2: is not JSON"),
    (b"\x80\x81\x82", "is not JSON: .*decode"),
    (b"[]", "must hold an object with images, annotations and categories, got a list"),
    (b"[" * 200_000, "is not JSON"),
    (b'{"images": ' + b"9" * 5000 + b"}", "is not JSON"),
    (b"{}", "has no images; got nothing"),
]


@pytest.mark.parametrize(("data", "message"), FILES, ids=[message for _, message in FILES])
def test_files_that_are_not_coco(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "instances_val2017.json"
    path.write_bytes(data)
    for opened in (CocoInstances, CocoPanoptic, open_coco):
        with pytest.raises(DataError, match=rf"instances_val2017\.json.*{message}"):
            opened(path)


def test_a_file_too_large(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(MAX_COCO + 1)
    with pytest.raises(DataError, match="more than the 2147483648 expected at most"):
        open_coco(path)


OPENING: list[tuple[Change, str]] = [
    (without("annotations"), "has no annotations; got info"),
    (without("categories"), "has no categories"),
    (put({}, "images"), "images must be a list, got an object"),
    (put([], "images"), "lists no images: the data set is empty"),
    (put([], "categories"), "lists no categories"),
    (put("x", "images", 1), r"images\[1\] must be an object, got 'x'"),
    (put([], "annotations", 0), r"annotations\[0\] must be an object, got a list"),
    (without("images", 1, "file_name"), r"images\[1\] \(id 22\): has no file_name; got id"),
    (put("11", "images", 0, "id"), r"images\[0\]: id must be an integer, got '11'"),
    (put(True, "images", 0, "id"), r"images\[0\]: id must be an integer, got True"),
    (put(6.0, "images", 0, "height"), r"\(id 11\): height must be an integer, got 6.0"),
    (put(0, "images", 0, "width"), r"\(id 11\): height and width must amount to 1 to .* got 6 by 0"),
    (put(-5, "images", 0, "width"), "must amount to 1 to"),
    (put(10**9, "images", 0, "height"), "must amount to 1 to"),
    (put(10**400, "images", 0, "height"), "must amount to 1 to"),
    (put(5, "images", 0, "file_name"), "file_name must be text without control characters, got 5"),
    (put(" ", "images", 0, "file_name"), "file_name must be text"),
    (put("a\0.jpg", "images", 0, "file_name"), "file_name must be text without control characters"),
    (put("\ud800.jpg", "images", 0, "file_name"), "file_name must be text without control characters"),
    (put("/etc/hosts", "images", 0, "file_name"), r"images\[0\] \(id 11\): file_name: '/etc/hosts' leads out"),
    (put("a/../../x.jpg", "images", 2, "file_name"), r"\(id 33\): file_name: .* leads out of its folder"),
    (put("..\\x.jpg", "images", 0, "file_name"), "leads out of its folder"),
    (put("C:/x.jpg", "images", 0, "file_name"), "leads out of its folder"),
    (put("a" * 5000, "images", 0, "file_name"), "of the first image, was not found in"),
    (again("images"), r"images\[3\] \(id 11\): id 11 is already used by another image"),
    (again("categories"), r"categories\[3\] \(id 17\): id 17 is already used by another category"),
    (put(-1, "categories", 0, "id"), r"id must be an integer in 0..65535, got -1"),
    (put(65536, "categories", 0, "id"), r"id must be an integer in 0..65535, got 65536"),
    (lambda c: (put(0, "categories", 0, "id")(c), put(65535, "categories", 2, "id")(c)), "got 0 and 65535"),
    (put(None, "categories", 0, "name"), r"categories\[0\] \(id 17\): name must be text"),
    (without("categories", 0, "name"), "has no name"),
    (put(12, "annotations", 0, "image_id"), r"annotations\[0\] \(id 101\): image_id 12 is not among the images"),
    (put("11", "annotations", 0, "image_id"), "image_id must be an integer, got '11'"),
    (without("annotations", 3, "image_id"), r"annotations\[3\] \(id 104\): has no image_id"),
    (put(18, "annotations", 0, "category_id"), "category_id 18 is not among the categories"),
    (put([17], "annotations", 0, "category_id"), "category_id must be an integer, got a list"),
    (without("annotations", 0, "segmentation"), "segmentation must be a list of polygons .* got None"),
    (put("abc", "annotations", 0, "segmentation"), "segmentation must be a list of polygons .* got 'abc'"),
    (put([5, 6], "annotations", 0, "segmentation"), r"\(id 101\): segmentation must be lists of numbers"),
    (put([["1"] * 6], "annotations", 0, "segmentation"), "segmentation must be lists of numbers"),
    (put([[None] * 6], "annotations", 0, "segmentation"), "segmentation must be lists of numbers"),
    (put([[[1, 2]] * 6], "annotations", 0, "segmentation"), "segmentation must be lists of numbers"),
    (put([[10**400] * 6], "annotations", 0, "segmentation"), "segmentation must be lists of numbers"),
    (put([{"size": [6, 8], "counts": [48]}], "annotations", 0, "segmentation"), "must be lists of numbers"),
    (put([8, 6], "annotations", 2, "segmentation", "size"), r"size must be its image's, \[6, 8\], got \[8, 6\]"),
    (without("annotations", 2, "segmentation", "size"), "size must be its image's"),
    (put(48, "annotations", 2, "segmentation", "counts"), "counts must be text or a list, got 48"),
    (put([4.5, 43.5], "annotations", 2, "segmentation", "counts"), "segmentation must be lists of numbers"),
    (put([1 << 63], "annotations", 2, "segmentation", "counts"), "segmentation must be lists of numbers"),
]


@pytest.mark.parametrize(("change", "message"), OPENING, ids=[message for _, message in OPENING])
def test_refused_when_opened(change: Change, message: str, tmp_path: Path) -> None:
    path = write_instances(tmp_path)
    spoil(path, change)
    with pytest.raises(DataError, match=rf"instances_val2017\.json: .*{message}"):
        open_coco(path)


def segmentation(value: Any) -> Change:
    """Of the first annotation."""
    return put(value, "annotations", 0, "segmentation")


def runs(counts: Any) -> Change:
    return segmentation({"size": [6, 8], "counts": counts})


READING: list[tuple[Change, str]] = [  # of image 11's labels
    (segmentation([]), "segmentation is empty: a box alone is not a mask"),
    (segmentation([[]]), "at least 3 corners, got 0 numbers"),
    (segmentation([[1, 1, 2, 2]]), "at least 3 corners, got 4 numbers"),
    (segmentation([rectangle(1, 1, 4, 4), [1, 1, 2, 2, 3, 3, 4]]), "at least 3 corners, got 7 numbers"),
    (segmentation([[1, 1, 2, 2, float("nan"), 3]]), "must be finite and at most"),
    (segmentation([[1, 1, 2, 2, float("inf"), 3]]), "must be finite and at most"),
    (segmentation([rectangle(-1e300, 0, 5, 5)]), "must be finite and at most"),
    (segmentation([rectangle(0, 0, 1e9, 5)]), "must be finite and at most"),
    (segmentation([rectangle(0, 0, 1e5, 1e5) * 3]), "outline is longer than 1048576 pixels"),
    (segmentation([[0] * 2_100_000]), "outline is longer than 1048576 pixels"),
    (runs([]), "run lengths must be ≥ 0 and add up to the image's 48 pixels"),
    (runs([47]), "add up to the image's 48 pixels"),
    (runs([40, 9]), "add up to the image's 48 pixels"),
    (runs([49, -1]), "run lengths must be ≥ 0"),
    (runs([(1 << 63) - 1, (1 << 63) - 1, 50]), "add up to the image's 48 pixels"),
    (runs(""), "counts is not a text of compressed run lengths"),
    (runs("abc é"), "counts is not a text of compressed run lengths"),
    (runs("\ud800"), "counts is not a text of compressed run lengths"),
    (runs("1\x00"), "counts is not a text of compressed run lengths"),
    (runs("Q"), "counts is not a text of compressed run lengths"),  # says that there is more
    (runs("o" * 5 + "1"), "add up to the image's 48 pixels"),
    (runs("o" * 6 + "1"), "run length of more than 6 characters"),
    (runs("0" * 113), "113 characters of run lengths are too many for 48 pixels"),
    (runs("0" * 100), "add up to the image's 48 pixels"),
    (runs("oooooOoooooO"), "run lengths must be ≥ 0"),
]


@pytest.mark.parametrize(("change", "message"), READING, ids=[message for _, message in READING])
def test_masks_refused_when_read(change: Change, message: str, tmp_path: Path) -> None:
    path = write_instances(tmp_path)
    spoil(path, change)
    data = CocoInstances(path, label_size=None)
    with pytest.raises(DataError, match=rf"val2017\.json: image 11: annotations\[0\] \(id 101\): .*{message}"):
        data.labels(0)
    assert data.labels(1).maps.any()


def test_label_maps_without_bounds(tmp_path: Path) -> None:
    """A small file asks for many categories in a large image."""
    path = write_instances(tmp_path)
    for key in ("height", "width"):
        spoil(path, put(8192, "images", 0, key))
    many = range(100, 105)
    spoil(path, lambda content: content["categories"].extend({"id": i, "name": str(i)} for i in many))
    entry = {"image_id": 11, "segmentation": {"size": [8192, 8192], "counts": [0, 1 << 26]}}
    spoil(path, put([{"id": i, "category_id": i, **entry} for i in many], "annotations"))
    with pytest.raises(
        DataError, match=r"image 11: .* 5 categories together have more than .* choose a smaller label_size"
    ):
        CocoInstances(path, label_size=None).labels(0)


PANOPTIC: list[tuple[Change, str]] = [
    (without("annotations", 0, "segments_info"), r"annotations\[0\] \(image_id 22\): has no segments_info"),
    (put({}, "annotations", 0, "segments_info"), "segments_info must be a list, got an object"),
    (put([7], "annotations", 0, "segments_info"), r"annotations\[0\] .*, segments_info\[0\] must be an object, got 7"),
    (put(0, "annotations", 0, "segments_info", 0, "id"), "id must be an integer in 1..16777215, got 0"),
    (put(1 << 24, "annotations", 0, "segments_info", 0, "id"), "id must be an integer in 1..16777215"),
    (
        put(517, "annotations", 1, "segments_info", 0, "id"),
        r"segments_info\[1\] \(id 517\): id 517 is already used by",
    ),
    (put(2, "annotations", 0, "segments_info", 0, "category_id"), r"\(id 7\): category_id 2 is not among"),
    (put("/x.png", "annotations", 0, "file_name"), "file_name: '/x.png' leads out of its folder"),
    (put("../11.png", "annotations", 0, "file_name"), "file_name: .* leads out of its folder"),
    (without("annotations", 0, "file_name"), "has no file_name"),
    (again("annotations"), r"annotations\[2\] \(image_id 22\): its image already has an annotation"),
    (put(2, "categories", 0, "isthing"), "isthing must be an integer in 0..1, got 2"),
    (without("categories", 0, "isthing"), r"categories\[0\] \(id 1\): has no isthing"),
]


@pytest.mark.parametrize(("change", "message"), PANOPTIC, ids=[message for _, message in PANOPTIC])
def test_panoptic_refused_when_opened(change: Change, message: str, tmp_path: Path) -> None:
    path = write_panoptic(tmp_path)
    spoil(path, change)
    with pytest.raises(DataError, match=rf"panoptic_val2017\.json: .*{message}"):
        CocoPanoptic(path)


def swap(mode: str) -> Callable[[Path], None]:
    return lambda file: Image.new(mode, (7, 5)).save(file)


def link(file: Path) -> None:
    file.rename(file.parents[2] / "away")
    file.symlink_to(file.parents[2] / "away")


MASKS: list[tuple[Callable[[Path], object], str]] = [  # what is done to 11.png
    (Path.unlink, "does not exist"),
    (link, "is a link that leads out"),
    (lambda file: file.write_bytes(b""), "is empty"),
    (lambda file: file.write_bytes(b"GIF89a"), "is not a PNG file"),
    (lambda file: file.write_bytes(file.read_bytes()[:-30]), "is truncated or broken"),
    (lambda file: Image.new("RGB", (7, 6)).save(file), r"expected 5 x 7 pixels .* got 6 x 7 pixels"),
    (swap("L"), r"must be 8-bit RGB .* has no colours"),
    (swap("I;16"), "must be 8-bit RGB"),
    (swap("RGBA"), "must be PNG"),
    (lambda file: Image.new("RGB", (7, 5), (6, 0, 0)).save(file), "pixels of segment 6, which is not in segments_info"),
    (lambda file: Image.new("RGB", (7, 5), (0, 0, 255)).save(file), "pixels of segment 16711680, which"),
]


@pytest.mark.parametrize(("change", "message"), MASKS, ids=[message for _, message in MASKS])
def test_files_of_masks(change: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    path = write_panoptic(tmp_path)
    change(path.with_suffix("") / "11.png")
    data = CocoPanoptic(path)
    with pytest.raises(DataError, match=rf"panoptic_val2017\.json: image 11: 11\.png .*{message}"):
        data.labels(0)
    assert data.labels(1).maps.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.write_bytes(b"no image"), "is not a readable JPEG or PNG"),
        (lambda file: Image.new("RGB", (4, 5)).save(file), r"expected 4 x 4 pixels .* as the data set says, got 5 x 4"),
        (link, "is a link that leads out"),
        (Path.unlink, "does not exist"),
    ],
)
@pytest.mark.parametrize("write", [write_instances, write_panoptic])
def test_photographs(
    write: Callable[[Path], Path], change: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    data = open_coco(write(tmp_path / "a" / "b"))
    file = tmp_path / "a" / "b" / "val2017" / data.name(2)
    change(file)
    with pytest.raises(DataError, match=rf"val2017\.json: image 33: {file.name} {message}"):
        data.image(2)
    if not file.exists():
        with pytest.raises(DataError, match=rf"image 33: {file.name} does not exist"):
            data.fingerprint()


@pytest.mark.parametrize("size", [0, -1, "large", (1, 2, 3), 1 << 17])
def test_label_sizes(size: Any, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="label_size must be"):
        open_coco(write_instances(tmp_path), label_size=size)


def test_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = "__import__('pathlib').Path('ran').touch()"
    path = write_json(tmp_path / "x.json", {"images": code, "annotations": code, "categories": code})
    with pytest.raises(DataError):
        open_coco(path)
    assert not (tmp_path / "ran").exists()
