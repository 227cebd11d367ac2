"""Counting a data set, finding images by concept, and contact sheets."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

import netdissect_fast as nd
from netdissect_fast.commands.data import inspect as data_looking
from netdissect_fast.concepts import ImageLabels, Vocabulary
from netdissect_fast.data.dataset import ConceptDataset
from netdissect_fast.data.formats.broden import Broden
from netdissect_fast.data.inspection import find as finding_module
from netdissect_fast.data.inspection.find import column_of, find
from netdissect_fast.data.inspection.overview import overview
from netdissect_fast.errors import ArgumentError, OutputError
from netdissect_fast.pages.contact_sheets import contact_sheet, shortened_to

from ..support.tiny_broden import edit, write_tiny


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETDISSECT_FAST_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny")


def run(*words: object) -> None:
    parser = argparse.ArgumentParser()
    data_looking.add(parser.add_subparsers(required=True))
    arguments = parser.parse_args([*map(str, words)])
    arguments.command(arguments)


def counted(data: ConceptDataset) -> dict[int, list[tuple[int, int, int]]]:
    """Count by brute force: number → (image, pixels with it, pixels of the label grid)."""
    found: dict[int, list[tuple[int, int, int]]] = {}
    for index in range(len(data)):
        labels = data.labels(index)
        for number in data.vocabulary.numbers.tolist():
            mask = np.any(labels.maps == number, axis=0) | (number in labels.whole)
            if mask.any():
                found.setdefault(number, []).append((index, int(mask.sum()), mask.size))
    return found


class Uneven:
    """Images and labels of several sizes; one concept without a category, and one name in two categories."""

    vocabulary = Vocabulary([1, 2, 5, 9], ("orange", "sky", "orange", "12"), [0, 0, 1, -1], ("object", "color"))

    def __len__(self) -> int:
        return 9

    def image(self, index: int) -> Image.Image:
        return Image.new("RGB", (20 + 4 * (index % 2), 30), (200, 100, 60))

    def labels(self, index: int) -> ImageLabels:
        maps = np.random.default_rng(index).choice([0, 1, 2, 9], (2, 10, 8 + index % 3))
        return ImageLabels(maps.astype(np.int32), (5,) if index == 4 else ())

    def name(self, index: int) -> str:
        return f"images\n/{index}.png"

    def fingerprint(self) -> str:
        return "1" * 64


@pytest.mark.parametrize("data", [nd.Synthetic(20, size=48), Uneven()], ids=["drawn", "uneven"])
def test_counts_are_those_of_brute_force(data: ConceptDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding_module, "_AT_ONCE", 7)  # the last part has fewer
    found, expected, vocabulary = overview(data), counted(data), data.vocabulary
    grids = [data.labels(i).shape for i in range(len(data))]
    every = sum(y * x for y, x in grids)
    seen = {}
    for category in found.categories:
        order = [(-concept.images, -concept.pixels, concept.number) for concept in category.concepts]
        assert order == sorted(order)
        images = {i for concept in category.concepts for i, _, _ in expected.get(concept.number, [])}
        assert category.images == len(images)
        for concept in category.concepts:
            seen[concept.number] = concept.name
            rows = expected.get(concept.number, [])
            pixels, of = sum(row[1] for row in rows), sum(row[2] for row in rows)
            assert (concept.images, concept.pixels) == (len(rows), pixels)
            assert concept.share == pytest.approx(pixels / every)
            assert concept.share_of_them == pytest.approx(pixels / max(of, 1))
    assert seen == dict(zip(vocabulary.numbers.tolist(), vocabulary.names, strict=True))
    assert {size: grids.count(size) for size in grids} == dict(found.label_sizes)
    assert list(found.label_sizes.values()) == sorted(found.label_sizes.values(), reverse=True)
    for number, rows in expected.items():
        images = find(data, number)
        assert [(i.image, i.pixels) for i in images] == [
            row[:2] for row in sorted(rows, key=lambda row: (-row[1] / row[2], row[0]))
        ]
        assert [i.share for i in images] == pytest.approx(sorted((row[1] / row[2] for row in rows), reverse=True))
        assert all(i.name == data.name(i.image) for i in images)


def test_overview_of_brodens_format(tiny: Path) -> None:
    found = overview(Broden(tiny))
    assert found.splits == {"train": 2, "val": 1}
    assert found.image_sizes == {(16, 24): 2, (20, 20): 1}
    assert found.sampled == 0
    assert found.label_sizes == {(8, 12): 2, (5, 5): 1}
    kinds = [
        (category.name, category.images, category.pixel_labels, category.whole_labels) for category in found.categories
    ]
    assert kinds == [("object", 2, 4, 0), ("part", 1, 1, 0), ("scene", 2, 0, 3)]
    sky, door, car = found.categories[0].concepts[1], found.categories[0].concepts[0], found.categories[0].concepts[2]
    assert (door.name, door.images, door.pixels) == ("door", 2, 48)
    assert (sky.number, sky.images, sky.pixels, sky.share_of_them) == (300, 1, 48, 0.5)
    assert (car.number, car.share_of_them, car.share) == (1, 0.25, 24 / (2 * 96 + 25))
    edit(tiny / "index.csv", "20,20,5,5", ",,5,5")
    found = overview(Broden(tiny))
    assert (found.image_sizes, found.sampled) == ({(16, 24): 2, (20, 20): 1}, 3)


def test_json_has_everything(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("info", tiny, "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == 3
    assert found["image_sizes"][0] == {"height": 16, "width": 24, "images": 2}
    assert [category["name"] for category in found["categories"]] == ["object", "part", "scene"]
    assert found["categories"][1]["concepts"][0]["name"] == "wheel"
    assert sum(len(category["concepts"]) for category in found["categories"]) == 6


def test_info_shows_the_commonest_concepts(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("info", tiny, "--top", 1)
    lines = capsys.readouterr().out.split("\n")
    assert "images       3: 2 train, 1 val" in lines
    assert "image sizes  16 × 24 (2), 20 × 20 (1)" in lines
    assert "scene            2       2  whole images" in lines
    assert lines[lines.index("object") + 2].split() == ["2", "door", "2", "25", "22.12"]
    assert "  and 2 more: --top, or --json" in lines
    run("info", tiny, "--split", "val", "--categories", "object,part")
    lines = capsys.readouterr().out.split("\n")
    assert "image sizes  16 × 24" in lines
    assert "part             1       0  nothing" in lines
    assert "(no category)" in lines  # of the scenes, which were not requested


def test_concepts_by_name_category_and_number() -> None:
    vocabulary = Uneven.vocabulary
    given = ["sky", "object:sky", "2", 2, "object:orange", "color:orange", 5, " sky ", "12", "9", 9]
    assert [column_of(vocabulary, name) for name in given] == [1, 1, 1, 1, 0, 2, 2, 1, 3, 3, 3]
    with pytest.raises(
        ArgumentError, match=r"'orange' may be any of object:orange \(number 1\), color:orange \(num.* 5\)"
    ):
        column_of(vocabulary, "orange")
    for unknown in (12, "", "color:sky", "7", "zzz"):
        with pytest.raises(ArgumentError, match="there is no concept"):
            column_of(vocabulary, unknown)
    with pytest.raises(ArgumentError, match=r"no concept 'skye' among the 4; the closest are sky"):
        column_of(vocabulary, "skye")
    with pytest.raises(ArgumentError, match="closest are object:orange"):
        column_of(vocabulary, "objet:orange")
    with pytest.raises(ArgumentError) as caught:
        column_of(vocabulary, "x" * 100_000)
    assert len(str(caught.value)) < 500


def test_find_lists_the_largest_first(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("find", tiny, "door")
    lines = capsys.readouterr().out.rstrip().split("\n")
    assert [line.split() for line in lines] == [
        ["image", "pixels", "%"],
        ["a/one.jpg", "24", "25"],
        ["a/two.jpg", "24", "25"],
        ["2", "images", "with", "door"],
    ]
    run("find", tiny, "object:door", "--limit", 1)
    assert capsys.readouterr().out.rstrip().endswith("2 images with object:door, of which these are the first 1")
    run("find", tiny, 5, "--json")
    assert json.loads(capsys.readouterr().out) == [{"image": 2, "name": "b/three.jpg", "pixels": 25, "share": 1.0}]
    run("find", tiny, "wheel", "--categories", "scene")  # still a concept, but on no image
    assert capsys.readouterr().out == "0 images with wheel\n"
    with pytest.raises(ArgumentError, match="--limit must be at least 1"):
        run("find", tiny, "door", "--limit", 0)


def test_finding_again_reads_no_image_or_label_map(tiny: Path) -> None:
    first = find(Broden(tiny), "door")
    data = Broden(tiny)
    data.image = data.inspect = None  # type: ignore[assignment, method-assign]
    kept, data.labels = data.labels, lambda index: kept(0)  # type: ignore[method-assign]  # its size names the cache
    assert find(data, "door") == first


class Halves:
    """White images; "left" is the left half of each, in fewer and fewer rows; "all" is the whole of the last."""

    vocabulary = Vocabulary([1, 2, 3], ("left", "all", "nowhere"), [0, 1, 0], ("object", "scene"))

    def __init__(self, images: int = 3, size: tuple[int, int] = (200, 100)) -> None:
        self.images, self.size = images, size

    def __len__(self) -> int:
        return self.images

    def image(self, index: int) -> Image.Image:
        return Image.new("RGB", self.size, "white")

    def labels(self, index: int) -> ImageLabels:
        maps = np.zeros((1, 20, 40), np.int32)
        maps[0, index:, :20] = 1
        return ImageLabels(maps, (2,) if index == self.images - 1 else ())

    def name(self, index: int) -> str:
        return f"folder/{'long' * 30}/{index}.png"

    def fingerprint(self) -> str:
        return f"{self.images:064}"


def test_a_sheet_is_bright_where_the_concept_is() -> None:
    sheet = np.asarray(contact_sheet(Halves(), "left", columns=2))
    assert sheet.shape == (78 + 2 * (100 + 42 + 16) - 16 + 24, 2 * 24 + 2 * 200 + 16, 3)
    for image, (top, left) in enumerate([(78, 24), (78, 240), (236, 24)]):
        cell = sheet[top : top + 100, left : left + 200]
        assert np.all(cell[5 * image :, :100] == 255)
        assert np.all(cell[:, 100:] == 255 // 4)
        assert np.all(cell[: 5 * image] == 255 // 4)
        assert sheet[top + 100 : top + 142, left : left + 200].max() > 200  # its caption
    assert np.all(sheet[:16] == sheet[0, 0])
    assert np.all(sheet[:, :24] == sheet[0, 0])
    assert np.all(sheet[:, -24:] == sheet[0, 0])
    assert np.all(sheet[236:, 240:] == sheet[0, 0])  # no fourth picture
    assert sheet[16:78, 24:].max() > 200  # the heading


def test_whole_images_stay_bright_and_lines_can_be_drawn() -> None:
    whole = np.asarray(contact_sheet(Halves(), "scene:all", outline=True))
    assert np.all(whole[78:178, 24:224] == 255)
    outlined = np.asarray(contact_sheet(Halves(), 1, images=1, dim=False, outline=True))[78:178, 24:224]
    assert np.all(outlined[:, 99] == (255, 224, 32))
    assert np.all(np.delete(outlined, 99, axis=1) == 255)
    assert np.asarray(contact_sheet(Halves(size=(60, 60)), "left", images=1, size=32)).shape[1] == 2 * 24 + 120


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concept": "nowhere"}, "no image has the concept object:nowhere"),
        ({"concept": "lef"}, "closest are left"),
        ({"images": 0}, "at least 1 image"),
        ({"columns": 0}, "1 column"),
        ({"size": 15}, "16 to 2048 pixels; got 20 images, 5 columns, 15 pixels"),
        ({"size": 2049}, "16 to 2048"),
        ({"size": 2048, "images": 40, "columns": 1}, "the sheet would be 2096 × .* fewer or smaller"),
    ],
)
def test_sheets_that_cannot_be(options: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        contact_sheet(Halves(40), **{"concept": "left", **options})


def test_long_and_strange_names_fit() -> None:
    font = ImageFont.load_default(13)
    for text in ("short.png", "a/" * 2000 + "end.png", "tab\tnew\nline\x1b[2J", "中" * 400, ""):
        for end in (False, True):
            shown = shortened_to(text, font, 120, end)
            assert font.getlength(shown) <= 120
            assert shown.isprintable()
    assert shortened_to("short.png", font, 120) == "short.png"
    assert shortened_to("a/" * 2000 + "end.png", font, 120, end=True).endswith("/end.png")
    assert shortened_to("start" + "a/" * 2000, font, 120).startswith("starta/")
    assert contact_sheet(Uneven(), "sky").size[0] == 2 * 24 + 5 * 120 + 4 * 16


@pytest.mark.parametrize(("name", "kind"), [("sheet.png", "PNG"), ("a/sheet.JPG", "JPEG"), ("sheet.jpeg", "JPEG")])
def test_show_writes_a_picture(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, kind: str
) -> None:
    out = tmp_path / name
    run("show", tiny, "door", "--out", out, "--columns", 1, "--size", 16, "--outline")
    assert capsys.readouterr().out == f"written to {out}\n"
    with Image.open(out) as image:
        assert (image.format, image.width) == (kind, 2 * 24 + 120)


def test_show_leaves_nothing_half_written(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        run("show", tiny, "door", "--out", tmp_path / "sheet.gif")
    with pytest.raises(ArgumentError, match="no concept 'dor'"):
        run("show", tiny, "dor", "--out", tmp_path / "sheet.png")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        run("show", tiny, "door", "--out", tmp_path / "file" / "sheet.png")
    assert not list(tmp_path.glob("*sheet*"))
