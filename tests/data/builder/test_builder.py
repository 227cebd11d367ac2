"""What a build writes, exactly, for sources made by hand; and what it refuses."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import netdissect_fast as nd
from netdissect_fast.data.builder.annotation import Names
from netdissect_fast.data.builder.build import build
from netdissect_fast.data.builder.sources import Dtd
from netdissect_fast.data.builder.synonyms import plain_names
from netdissect_fast.data.dataset import DataWarning
from netdissect_fast.data.files.splits import split_of
from netdissect_fast.errors import ArgumentError, DataError, OutputError

from .made import EASY, Made, Photo, contents, drawn, index_rows, label_map, rows
from .source_trees import write_dtd

OBJECTS = np.repeat([1, 1, 2, 2], 6).reshape(4, 6)
PARTS = np.zeros((2, 4, 6), np.uint8)
PARTS[0, 0:2, 0:3] = 3
PARTS[1, 1:3, 0:3] = 3
PARTS[1, 0, 3:6] = 4
LARGE = np.zeros((8, 8), np.uint16)
LARGE[:6] = 1
LARGE[:6, 0] = 9  # has no name
MATERIAL = np.zeros((6, 6), np.int64)
MATERIAL[:3, :3] = 1


def two_sources() -> list[Made]:
    color = {"color": np.ones((4, 6), int)}
    alpha = Made(
        "alpha",
        [
            Photo("one", (4, 6), {"object": OBJECTS, "part": PARTS, **color}, {"scene": (7,)}),
            Photo("two", (8, 8), {"object": LARGE, "part": PARTS[:1] * 0}, {"texture": (6, 5), "color": (1,)}),
        ],
        {
            "object": {1: ("sky",), 2: ("grass", "lawn"), 9: ("-",)},
            "part": {3: ("hand",), 4: ("leg",)},
            "scene": {7: ("street-s",)},
            "texture": {5: ("dotted",), 6: ("lined",)},
            "color": {1: ("red-c",)},
        },
    )
    return [alpha, Made("beta", [Photo("one", (6, 6), {"material": MATERIAL})], {"material": {1: ("Sky",)}})]


LABELS = """number,name,category,frequency,coverage,syns
1,red-c,color(3),3,3.000000,
2,sky,object(2);material(1),3,1.406250,
3,dotted,texture(1),1,1.000000,
4,lined,texture(1),1,1.000000,
5,street-s,scene(1),1,1.000000,
6,grass,object(1),1,0.500000,lawn
7,hand,part(1),1,0.500000,
8,leg,part(1),1,0.125000,
"""
CATEGORIES = """name,first,last,count,frequency
color,1,1,1,3
object,2,6,2,3
material,2,2,1,1
texture,3,4,2,2
scene,5,5,1,1
part,7,8,2,2
"""
C_TABLES = {
    "object": "1,2,sky,2,1.156250\n2,6,grass,1,0.500000\n",
    "material": "1,2,sky,1,0.250000\n",
    "texture": "1,3,dotted,1,1.000000\n2,4,lined,1,1.000000\n",
    "part": "1,7,hand,1,0.500000\n2,8,leg,1,0.125000\n",
}


def test_every_file_of_two_sources(tmp_path: Path) -> None:
    out = tmp_path / "out"
    built = build(two_sources(), out, size=(8, 12), **EASY)
    assert (built.path, built.images, built.concepts, built.skipped) == (out, 3, 8, ())
    assert built.categories == ("color", "object", "material", "texture", "scene", "part")
    assert (out / "label.csv").read_bytes().decode() == LABELS
    assert (out / "category.csv").read_bytes().decode() == CATEGORIES
    for category, table in C_TABLES.items():
        assert (out / f"c_{category}.csv").read_bytes().decode() == f"code,number,name,frequency,coverage\n{table}"
    cells = {  # by image: color, object, material, texture, scene, part
        "alpha/one": ("alpha/one_color.png", "alpha/one_object.png", "", "", "5",
                      "alpha/one_part_1.png;alpha/one_part_2.png"),
        "alpha/two": ("1", "alpha/two_object.png", "", "4;3", "", ""),
        "beta/one": ("beta/one_color.png", "", "beta/one_material.png", "", "", ""),
    }  # fmt: skip
    order = sorted(cells, key=lambda path: hashlib.md5(f"{path}.jpg".encode()).digest())
    lines = ["image,split,ih,iw,sh,sw,color,object,material,texture,scene,part"]
    lines += [f"{path}.jpg,{split_of(f'{path}.jpg')},8,12,4,6,{','.join(cells[path])}" for path in order]
    assert (out / "index.csv").read_bytes().decode().split("\n") == [*lines, ""]
    files = {f"images/{path}.jpg" for path in cells}
    files |= {f"images/{f}" for row in cells.values() for cell in row for f in cell.split(";") if f.endswith(".png")}
    tables = {"label.csv", "category.csv", "index.csv", *(f"c_{c}.csv" for c in built.categories)}
    assert set(contents(out)) == files | tables | {"build.json", "syns.txt"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    images = out / "images" / "alpha"
    assert np.array_equal(label_map(images / "one_object.png"), np.array([0, 2, 6])[OBJECTS])
    for layer in (0, 1):
        numbers = np.array([0, 0, 0, 7, 8])[PARTS[layer]]
        assert np.array_equal(label_map(images / f"one_part_{layer + 1}.png"), numbers)
    y, x = (np.floor((np.arange(n) + 0.5) * 8 / n).astype(int) for n in (4, 6))
    assert np.array_equal(label_map(images / "two_object.png"), (LARGE[y[:, None], x] == 1) * 2)
    for path in cells:
        with Image.open(out / "images" / f"{path}.jpg") as image:
            assert (image.size, image.format, image.mode) == ((12, 8), "JPEG", "RGB")
    assert nd.check(out).faults == ()


def test_rare_concepts_leave_no_trace(tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(two_sources(), out, size=(8, 12), **{**EASY, "min_frequency": 2, "min_coverage": 1.40625})
    assert (out / "label.csv").read_text().split("\n")[1:] == [*LABELS.split("\n")[1:3], ""]
    found = index_rows(out)
    assert [*found["alpha/two.jpg"]][6:] == ["color", "object", "material"]
    assert found["alpha/two.jpg"]["object"] == "alpha/two_object.png"
    assert not [name for name in contents(out) if "part" in name or "texture" in name or "scene" in name]


def test_whole_image_labels_that_are_left_out_are_no_zeros(tmp_path: Path) -> None:
    """The original writes "0" for one that is too rare, and may write the same concept twice."""
    names: dict[str, Names] = {"texture": {1: ("rare",), 2: ("lined",), 3: ("dotted",), 4: ("lined",)}}
    photos = [
        Photo("a", (4, 4), whole={"texture": (1,)}),
        Photo("b", (4, 4), whole={"texture": (1, 3, 2, 0)}),
        Photo("c", (4, 4), whole={"texture": (4, 3, 2)}),
        Photo("d", (4, 4), whole={"texture": ()}),
    ]
    build([Made("x", photos, names)], tmp_path / "out", size=4, **{**EASY, "min_frequency": 3})
    found = index_rows(tmp_path / "out")
    number = {row["name"]: row["number"] for row in rows(tmp_path / "out" / "label.csv")}
    assert set(number) == {"red-c", "lined"}  # 2 images have dotted; lined is counted once for each of its labels
    cells = {image: row["texture"] for image, row in found.items()}
    assert cells == {"x/a.jpg": "", "x/b.jpg": number["lined"], "x/c.jpg": number["lined"], "x/d.jpg": ""}


def test_a_category_that_no_image_has(tmp_path: Path) -> None:
    photo = Photo("a", (4, 4), {"part": np.zeros((1, 4, 4), int)}, {"scene": (0,)})
    build([Made("x", [photo], {})], tmp_path / "out", size=4, **EASY)
    assert [*index_rows(tmp_path / "out")["x/a.jpg"]][6:] == ["color"]


@pytest.mark.parametrize(
    ("size", "label_size", "expected"),
    [
        (224, None, (224, 224, 112, 112)),
        (227, None, (227, 227, 113, 113)),
        (1, None, (1, 1, 1, 1)),
        ((9, 20), None, (9, 20, 4, 10)),
        (16, 16, (16, 16, 16, 16)),
        (16, (5, 7), (16, 16, 5, 7)),
    ],
)
def test_sizes(size: Any, label_size: Any, expected: tuple[int, ...], tmp_path: Path) -> None:
    labels = np.arange(1, 14 * 11 + 1).reshape(14, 11) % 300
    names: dict[str, Names] = {"object": {n: (f"thing{n}",) for n in range(1, 300)}}
    source = Made("x", [Photo("a", (14, 11), {"object": labels})], names)
    build([source], tmp_path / "out", size=size, label_size=label_size, **EASY)
    (row,) = index_rows(tmp_path / "out").values()
    assert tuple(int(row[name]) for name in ("ih", "iw", "sh", "sw")) == expected
    found = label_map(tmp_path / "out" / "images" / row["object"])
    assert found.shape == expected[2:]
    y, x = (np.floor((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(found.shape, (14, 11)))  # noqa: B905
    called = {int(row["number"]): row["name"] for row in rows(tmp_path / "out" / "label.csv")}
    wanted = labels[y[:, None], x]
    assert [called[n] for n in found.flat] == [f"thing{n}" for n in wanted.flat]


def test_photographs_are_resized_whole(tmp_path: Path) -> None:
    class Halves(Made):
        def image(self, index: int) -> Image.Image:
            pixels = np.zeros((10, 40, 3), np.uint8)
            pixels[:, 20:] = 255
            return Image.fromarray(pixels)

    build([Halves("x", [Photo("a", (10, 40))], {})], tmp_path / "out", size=16, **EASY)
    with Image.open(tmp_path / "out/images/x/a.jpg") as image:
        grey = np.asarray(image.convert("L")).astype(int)
    assert grey.shape == (16, 16)
    assert grey[:, :6].max() < 20
    assert grey[:, 10:].min() > 235


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a", "a", "a", "b"], ["a", "a2", "a3", "b"]),
        (["a", "A", "a2"], ["a", "A2", "a22"]),
        (["a2", "a", "a"], ["a2", "a", "a3"]),
        (["x/y", "x;y", "x:y", 'x"y'], ["x_y", "x_y2", "x_y3", "x_y4"]),
        (["../../up", "..", "", "12", "a,b é"], ["_._.._up", "_.", "_", "12", "a,b é"]),
        (["a\udcff", "a\nb", "a\\b"], ["a_", "a_b", "a_b2"]),
    ],
)
def test_names_of_images_differ_and_are_safe(names: list[str], expected: list[str], tmp_path: Path) -> None:
    build([Made("x", [Photo(name, (4, 4)) for name in names], {})], tmp_path / "out", size=4, **EASY)
    assert set(index_rows(tmp_path / "out")) == {f"x/{name}.jpg" for name in expected}
    assert len([name for name in contents(tmp_path / "out") if name.endswith(".jpg")]) == len(names)
    assert nd.check(tmp_path / "out").faults == ()


def test_label_maps_of_two_images_that_would_be_one_file(tmp_path: Path) -> None:
    ones = np.ones((4, 4), int)
    names: dict[str, Names] = {"hair_part": {1: ("hair",)}, "part": {1: ("head",)}}
    photos = [Photo("a", (4, 4), {"hair_part": ones}), Photo("a_hair", (4, 4), {"part": ones})]
    with pytest.raises(ArgumentError, match=r"two images would have label maps called x/a_hair_part\.png"):
        build([Made("x", photos, names)], tmp_path / "out", size=4, **EASY)


def test_limit_salt_and_train(tmp_path: Path) -> None:
    sources = [drawn("a", 9), drawn("b", 4)]
    build(sources, tmp_path / "some", size=8, limit=6, train=0.3, salt="pepper", **EASY)
    found = index_rows(tmp_path / "some")
    assert set(found) == {f"a/image{i}.jpg" for i in range(6)} | {f"b/image{i}.jpg" for i in range(4)}
    places = {image: int(hashlib.md5(f"pepper{image}".encode()).hexdigest()[:16], 16) / 2**64 for image in found}
    assert list(found) == sorted(found, key=places.__getitem__)
    assert all((row["split"] == "train") == (places[image] <= 0.3) for image, row in found.items())
    build(sources, tmp_path / "other", size=8, limit=6, **EASY)
    other = index_rows(tmp_path / "other")
    assert set(other) == set(found)
    assert list(other) != list(found)
    assert json.loads((tmp_path / "some" / "build.json").read_text())["salt"] == "pepper"


@pytest.mark.parametrize("name", ["food/drink", "..", "", "a;b", "a(1)", "image", "sw", " a", 'a"', "x" * 201])
def test_categories_that_cannot_be_written(name: str, tmp_path: Path) -> None:
    for photo in (Photo("a", (4, 4), {name: np.ones((4, 4), int)}), Photo("a", (4, 4), whole={name: (1,)})):
        with pytest.raises(ArgumentError, match=r"x/a: .* cannot be the name of a category"):
            build([Made("x", [photo], {name: {1: ("thing",)}})], tmp_path / "up" / "out", size=4, restart=True, **EASY)
    assert [path.name for path in tmp_path.iterdir()] == ["up"]


@pytest.mark.parametrize(
    "labels",
    [np.ones((4, 4)), np.full((4, 4), -1), np.full((4, 4), 65536), np.ones(4, int), np.ones((1, 1, 4, 4), int)],
)
def test_maps_that_are_none(labels: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"x/a: maps of object must be integers"):
        build([Made("x", [Photo("a", (4, 4), {"object": labels})], {})], tmp_path / "out", size=4, **EASY)


@pytest.mark.parametrize("number", [-1, 65536])
def test_whole_image_numbers_that_are_none(number: int, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"x/a: numbers of scene must be integers"):
        build([Made("x", [Photo("a", (4, 4), {}, {"scene": (number,)})], {})], tmp_path / "out", size=4, **EASY)


@pytest.mark.parametrize(
    "options",
    [
        {"size": None}, {"size": 0}, {"label_size": 0}, {"min_frequency": 0}, {"min_coverage": float("nan")},
        {"min_coverage": -1}, {"train": 1.1}, {"limit": 0}, {"sources": []}, {"sources": [drawn("a", 1)] * 2},
        {"sources": [drawn("a/b", 1)]}, {"sources": [drawn("..", 1)]}, {"sources": [drawn("", 1)]},
        {"sources": [drawn(" a", 1)]},
        {"sources": [drawn("a", 0)]}, {"colours": np.zeros((2, 2, 2), np.uint8)},
    ],
)  # fmt: skip
def test_arguments(options: Mapping[str, Any], tmp_path: Path) -> None:
    given = {"sources": [drawn("a", 1)], "size": 8, **EASY, **options}
    with pytest.raises(ArgumentError):
        build(given.pop("sources"), tmp_path / "out", **given)
    assert not [*tmp_path.iterdir()]


def test_out_must_be_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")
    for name in ("full", "file", "file/below"):
        with pytest.raises(OutputError):
            build([drawn("a", 1)], tmp_path / name, size=8, **EASY)
    build([drawn("a", 1)], tmp_path / "empty", size=8, **EASY)
    assert (tmp_path / "empty" / "index.csv").exists()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(OutputError, match="choose the name"):
        build([drawn("a", 1)], ".", size=8, **EASY)
    assert contents(tmp_path / "full") == {"mine.txt": b"mine"}
    assert (tmp_path / "file").read_text() == "mine"


def test_broken_images(tmp_path: Path) -> None:
    """Refused, and gone on with once they are mended, or left out."""
    source = drawn("a", 7)
    broken = replace(source, broken=(2, 5))
    with pytest.raises(DataError, match=r"image2\.jpg: is truncated"):
        build([broken], tmp_path / "out", size=8, **EASY)
    assert [path.name for path in tmp_path.iterdir()] == [".out.building"]
    with pytest.warns(DataWarning, match=r"broken images skipped: 2; the first: image2\.jpg"):
        built = build([broken], tmp_path / "out", size=8, strict=False, **EASY)
    assert built.skipped == ("image2.jpg: is truncated", "image5.jpg: is truncated")
    assert "5 images" in str(built)
    assert "broken images skipped: 2" in str(built)
    assert json.loads((tmp_path / "out" / "build.json").read_text())["skipped"] == list(built.skipped)
    assert set(index_rows(tmp_path / "out")) == {f"a/image{i}.jpg" for i in (0, 1, 3, 4, 6)}
    rest = replace(source, photos=[source.photos[i] for i in (0, 1, 3, 4, 6)])
    build([rest], tmp_path / "rest", size=8, **EASY)
    whole, left = contents(tmp_path / "rest"), contents(tmp_path / "out")
    assert {name for name in whole if whole[name] != left.get(name)} == {"build.json"}


def test_a_broken_file_of_a_real_layout_is_named(tmp_path: Path) -> None:
    root = write_dtd(tmp_path, images=3)
    photo = root / "images/lined/lined_0002.jpg"
    photo.write_bytes(photo.read_bytes()[:200])
    with pytest.raises(DataError, match=r"lined_0002\.jpg"):
        build([Dtd(root)], tmp_path / "out", size=8, **EASY)
    with pytest.warns(DataWarning, match=r"broken images skipped: 1; .*lined_0002\.jpg"):
        built = build([Dtd(root)], tmp_path / "out", size=8, strict=False, **EASY)
    assert built.images == 2


def test_notes_say_how_and_name_nothing_that_changes(tmp_path: Path) -> None:
    build([drawn("a", 2)], tmp_path / "out", size=8, synonyms=partial(plain_names), **EASY)
    notes = json.loads((tmp_path / "out" / "build.json").read_text())
    assert re.fullmatch(r"partial\(\[plain_names#\w{16}, \[\], {}\]\)", notes["synonyms"])  # not where it is
    assert (notes["size"], notes["label_size"]) == ([8, 8], [4, 4])
    assert notes["sources"] == [{"name": "a", "images": 2, "fingerprint": drawn("a", 2).fingerprint()}]
    assert (tmp_path / "out" / "syns.txt").read_text().startswith("name: ")
