"""Broken and hostile data sets: each gives one clear error that names the file and line, before any harm."""

from __future__ import annotations

import os
import shutil
import struct
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from netdissect_fast.data.files.index import read_index
from netdissect_fast.data.formats.broden import Broden
from netdissect_fast.errors import DataError

from ..support.tiny_broden import edit, write_tiny

HEADER = "image,split,ih,iw,sh,sw,part,color,object,scene\n"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny")


def replace(old: str, new: str) -> Callable[[Path], None]:
    return lambda file: edit(file, old, new)


def content(data: bytes) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        file.write_bytes(data)

    return write


TABLES = [  # file, what is done to it, where and what the error says
    ("index.csv", Path.unlink, None, "does not exist"),
    ("label.csv", Path.unlink, None, "does not exist"),
    ("category.csv", Path.unlink, None, "does not exist"),
    ("index.csv", content(b""), None, "is empty"),
    ("index.csv", content(b"\n\n"), None, "has no header"),
    ("index.csv", content(HEADER.encode()), None, "the data set is empty"),
    ("label.csv", content(b"number,name\n"), None, "lists no concepts"),
    ("category.csv", content(b"name\n"), None, "lists no categories"),
    ("index.csv", replace("image,split", "picture,split"), 1, "has no column image"),
    ("index.csv", replace("object,scene", "things,scene"), 1, "has no column object"),
    ("label.csv", replace("number", "index"), 1, "has no column number"),
    ("category.csv", replace("name", "names"), 1, "has no column name"),
    ("c_part.csv", replace("number", "no"), 1, "has no column number"),
    ("index.csv", replace("part,color", "part,part"), 1, "part more than once"),
    ("index.csv", replace("val,16", "val,16,16"), 3, "expected 10 cells as in the header, got 11"),
    ("index.csv", replace("20,20,5,5,", "20,20,5,"), 4, "got 9"),
    ("index.csv", replace("a/two.jpg", '"a/two.jpg'), 4, "is not a csv file"),
    ("label.csv", replace("1,car", '1,"car"s'), 3, "is not a csv file"),
    ("index.csv", replace("a/two.jpg", "a/two\0.jpg"), 3, "NUL"),
    ("index.csv", replace("a/two.jpg", "a" * 1_000_000), 3, "field|characters"),
    ("label.csv", replace("car", "c" * 1_000_000), 3, "field|characters"),
    ("label.csv", lambda f: f.write_bytes(f.read_bytes().replace(b"car", b"c\xe9r")), 3, "not UTF-8 .*0xe9"),
    ("index.csv", lambda f: f.write_bytes(f.read_text().encode("utf-16")), 1, "not UTF-8"),
    ("index.csv", replace("val,16,24", "val,16,wide"), 3, "iw must be an integer"),
    ("index.csv", replace("val,16,24", "val,-16,24"), 3, "ih must be an integer"),
    ("index.csv", replace("val,16,24", "val,0,24"), 3, "ih and iw must amount to 1 to"),
    ("index.csv", replace("val,16,24,8,12", "val,16,24,99999,99999"), 3, "sh and sw must amount to 1 to"),
    ("index.csv", replace("val,16,24", "val," + "9" * 5000 + ",24"), 3, "ih must be an integer"),
    ("label.csv", replace("300,sky", "sky,300"), 2, "number must be an integer"),
    ("label.csv", replace("300,sky", "65536,sky"), 2, "number must be 1..65535"),
    ("label.csv", replace("300,sky", "-300,sky"), 2, "number must be an integer"),
    ("label.csv", replace("2,door", "1,door"), 4, "number 1 is already used by another concept"),
    ("c_part.csv", replace("3,wheel", "33,wheel"), 3, "concept number 33 is not in label.csv"),
    ("c_part.csv", replace("3,wheel", "2,door"), 3, "listed twice"),
    ("c_part.csv", replace("wheel,1,0.1", "wheel,1,nan"), 3, "coverage must be a number"),
    ("c_part.csv", replace("wheel,1,0.1", "wheel,1,-1"), 3, "coverage must be a number"),
    ("c_part.csv", replace("wheel,1,0.1", "wheel,1,1e999"), 3, "coverage must be a number"),
    ("category.csv", replace("part,2", "object,2"), 3, "category object is listed twice"),
    ("category.csv", replace("part,2", "../part,2"), 3, "cannot be the name of a category"),
    ("category.csv", replace("part,2", ",2"), 3, "cannot be the name of a category"),
    ("category.csv", replace("part,2", "x" * 300 + ",2"), 3, "cannot be the name of a category"),  # nor of c_xxx.csv
    ("index.csv", replace(",object,scene", ",object,scene" + ",part" * 1200), 1, "part more than once"),
    ("index.csv", replace("20,20,5,5", "20,20,1,65536"), 4, "sh and sw must amount to 1 to .* sides of at most 65535"),
    ("index.csv", replace(",4;5", ",4;6"), 4, r"concept number 6 \(whole image\) is not in label.csv"),
    ("index.csv", replace(",4;5", ",4;99999999999999999999"), 4, "neither a label number nor a .png path"),
    ("index.csv", replace(",4;5", ",4;123456789"), 4, "concept number 123456789"),
    ("index.csv", replace(",4;5", ",4;-5"), 4, "neither a label number nor a .png path"),
    ("index.csv", replace("a/two_object.png", "a/two_object.jpg"), 3, "neither a label number nor a .png path"),
    ("index.csv", replace("a/two.jpg", ""), 3, "image: expected a path under images/"),
    ("index.csv", replace("a/two.jpg", "/etc/hosts"), 3, "leads out of images/"),
    ("index.csv", replace("a/two.jpg", "../index.csv"), 3, "leads out of images/"),
    ("index.csv", replace("a/two.jpg", "a/../../../x.jpg"), 3, "leads out of images/"),
    ("index.csv", replace("a/two.jpg", "C:/x.jpg"), 3, "leads out of images/"),
    ("index.csv", replace("a/two.jpg", "..\\x.jpg"), 3, "leads out of images/"),
    ("index.csv", replace("a/two_object.png", "/a/two_object.png"), 3, "object: .* leads out of images/"),
    ("index.csv", replace("a/one_part_2.png", "../x.png"), 2, "part: .* leads out of images/"),
]


@pytest.mark.parametrize(("name", "spoil", "line", "message"), TABLES)
def test_tables(tiny: Path, name: str, spoil: Callable[[Path], None], line: int | None, message: str) -> None:
    spoil(tiny / name)
    with pytest.raises(DataError, match=message) as caught:
        Broden(tiny)
    assert caught.value.path == str(tiny / name)
    assert caught.value.line == line
    assert len(str(caught.value)) < 1000


def test_missing_coverage_file_without_counts(tiny: Path) -> None:
    (tiny / "c_part.csv").unlink()
    edit(tiny / "label.csv", "name,category", "name,kind")
    with pytest.raises(DataError, match=r"c_part\.csv: is missing, and label\.csv has no column category"):
        Broden(tiny)


@pytest.mark.parametrize("cell", ["part(x)", "part(9))", "part(-1)", "(part"])
def test_malformed_counts(tiny: Path, cell: str) -> None:
    (tiny / "c_part.csv").unlink()
    edit(tiny / "label.csv", "part(9)", cell)
    with pytest.raises(DataError, match=r"label\.csv, line 4: category must be written like"):
        Broden(tiny)


def test_category_without_labels(tiny: Path) -> None:
    (tiny / "c_part.csv").write_text("code,number,name,frequency,coverage\n")
    with pytest.raises(DataError, match=r"label\.csv: category part has no label"):
        Broden(tiny)  # index.csv has data for it
    edit(tiny / "index.csv", "a/one_part_1.png;a/one_part_2.png", "")
    assert len(Broden(tiny)) == 3  # unused: harmless
    with pytest.raises(DataError, match="category part has no label"):
        Broden(tiny, categories=["part"])  # asked for


def test_not_a_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder; expected a folder with"):
        Broden(tmp_path / "nowhere")
    shutil.rmtree(write_tiny(tmp_path) / "images")
    with pytest.raises(DataError, match="images: is not a folder"):
        Broden(tmp_path)


def png(header: tuple[int, int, int, int], rows: bytes = b"") -> bytes:
    """A PNG file with any width, height, depth and colour type."""
    parts = [b"\x89PNG\r\n\x1a\n"]
    ihdr = struct.pack(">IIBBBBB", *header, 0, 0, 0)
    for kind, data in ((b"IHDR", ihdr), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        parts.append(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    return b"".join(parts)


def saved(mode: str, size: tuple[int, int] = (12, 8)) -> Callable[[Path], None]:
    return lambda file: Image.new(mode, size).save(file, "PNG")


def cut(share: float) -> Callable[[Path], None]:
    return lambda file: file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])


def number_of(value: int) -> Callable[[Path], None]:
    pixel = (value % 256, value // 256, 0)
    return lambda file: Image.new("RGB", (12, 8), pixel).save(file, "PNG")


LABEL_MAPS = [
    (Path.unlink, "does not exist"),
    (content(b""), "is empty"),
    (content(b"not a picture at all, but more than thirty-three bytes"), "is not a PNG file"),
    (content(b"\x89PNG\r\n\x1a\n"), "is truncated"),
    (content(png((12, 8, 8, 2))[:33]), "is truncated"),
    (cut(0.6), "truncated or broken"),
    (cut(0.9), "truncated or broken"),
    (saved("P"), "bit palette"),
    (saved("L"), "8-bit greyscale"),
    (saved("RGBA"), "8-bit RGB with alpha"),
    (saved("I;16"), "16-bit greyscale"),
    (content(png((12, 8, 16, 2), bytes(8 * 73))), "16-bit RGB"),  # Pillow itself opens this as 8-bit
    (saved("RGB", (12, 9)), "expected 8 x 12 pixels .*, got 9 x 12"),
    (content(png((1_000_000, 1_000_000, 8, 2))), "expected 8 x 12 pixels .*, got 1000000 x 1000000"),
    (content(png((100_000, 100_000, 8, 2))), "expected 8 x 12 pixels .*, got 100000 x 100000"),
    (content(png((12, 8, 8, 2), bytes(10))), "truncated or broken"),
    (number_of(299), "concept number 299 is not in label.csv"),
    (number_of(65535), "concept number 65535 is not in label.csv"),
    (lambda f: Image.new("RGB", (12, 8)).save(f, "JPEG"), "is not a PNG file"),
    (lambda f: (f.unlink(), f.mkdir()), "is not a regular file"),
]


@pytest.mark.parametrize(("spoil", "message"), LABEL_MAPS)
def test_label_maps(tiny: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(tiny / "images" / "a" / "two_object.png")
    data = Broden(tiny)
    with pytest.raises(DataError, match=message) as caught:
        data.labels(1)
    assert "images/a/two_object.png" in str(caught.value)
    assert caught.value.path.endswith("index.csv")
    assert caught.value.line == 3
    data.labels(0)  # the others are not touched by it
    with pytest.warns(UserWarning, match="1 of 3 rows"):
        assert len(Broden(tiny, strict=False)) == 2


IMAGES = [
    (Path.unlink, "does not exist"),
    (content(b""), "is empty"),
    (content(b"GIF89a" + bytes(100)), "not a readable JPEG or PNG"),
    (lambda f: Image.new("RGB", (24, 16)).save(f, "GIF"), "not a readable JPEG or PNG"),
    (lambda f: Image.new("RGB", (24, 16)).save(f, "TIFF"), "not a readable JPEG or PNG"),
    (cut(0.5), "not a readable JPEG or PNG|truncated"),
    (lambda f: Image.new("RGB", (24, 17)).save(f, "JPEG"), "expected 16 x 24 pixels .*, got 17 x 24"),
    (content(png((9_000, 9_000, 8, 2))), "expected 16 x 24 pixels .*, got 9000 x 9000"),
    (content(png((10_000, 10_000, 8, 2))), "not a readable|expected"),
    (content(png((100_000, 100_000, 8, 2))), "not a readable|expected"),
    (content(png((2_000_000_000, 2_000_000_000, 8, 2))), "not a readable|expected"),
    (saved("I;16", (24, 16)), "expected an 8-bit photograph"),
]


@pytest.mark.parametrize(("spoil", "message"), IMAGES)
def test_images(tiny: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(tiny / "images" / "a" / "two.jpg")
    with pytest.raises(DataError, match=message) as caught:
        Broden(tiny).image(1)
    assert "images/a/two.jpg" in str(caught.value)
    assert caught.value.line == 3


@pytest.mark.parametrize("declared", ["16,24", ","])
def test_huge_images_are_refused_before_decoding(tiny: Path, declared: str) -> None:
    edit(tiny / "index.csv", "val,16,24,8,12", f"val,{declared},,")
    bomb = png((9_000, 9_000, 8, 2), bytes(100))
    (tiny / "images" / "a" / "two.jpg").write_bytes(bomb)
    (tiny / "images" / "a" / "two_object.png").write_bytes(bomb)
    data = Broden(tiny)
    with pytest.raises(DataError, match=r"9000 x 9000 pixels"):
        data.image(1)
    with pytest.raises(DataError, match=r"9000 x 9000 pixels"):
        data.labels(1)


@pytest.mark.parametrize("size", [(100_000, 100_000), (65_536, 1), (9_000, 9_000), (65_535, 65_535)])
def test_bombs_of_any_declared_size_cost_nothing(tiny: Path, size: tuple[int, int]) -> None:
    """Not even where the label grid would be half the image's."""
    for row in ("16,24,8,12", "20,20,5,5"):
        edit(tiny / "index.csv", row, ",,,")
    bomb = png((*size, 8, 2), bytes(100))
    for file in ("b/three.jpg", "a/two_object.png"):
        (tiny / "images" / file).write_bytes(bomb)
    data = Broden(tiny)
    globals_of_pillow = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)
    tracemalloc.start()
    try:
        for read in (lambda: data.image(2), lambda: data.labels(2), lambda: data.labels(1)):
            with pytest.raises(DataError, match=r"pixels|not a readable"):
                read()
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert globals_of_pillow == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))


def test_one_label_map_named_a_thousand_times(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netdissect_fast.data.formats.broden.MAX_LABELS", 999 * 8 * 12)
    edit(tiny / "index.csv", ",a/two_object.png", "," + "a/two_object.png;" * 1000)
    with pytest.raises(
        DataError, match=r"line 3: images/a/two_object\.png and the row's other label maps together have more"
    ):
        Broden(tiny).labels(1)


def test_a_jpeg_of_countless_scans(tiny: Path) -> None:
    """Each costs its 33 bytes, and as much time as the whole picture."""
    file = tiny / "images" / "a" / "two.jpg"
    Image.new("L", (24, 16)).save(file, "JPEG", progressive=True)
    data = file.read_bytes()
    last = data[data.rindex(b"\xff\xda") : -2]
    Broden(tiny).image(1)
    file.write_bytes(data[:-2] + last * 100 + data[-2:])
    with pytest.raises(DataError, match="is a JPEG with 106 scans; expected at most 100"):
        Broden(tiny).image(1)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1"])
def test_photographs_of_other_kinds_become_rgb(tiny: Path, mode: str) -> None:
    picture = Image.new("RGB", (24, 16), (255, 255, 255)).convert(mode)
    extra = {"transparency": b"\x80" * 4} if mode == "P" else {}
    picture.save(tiny / "images" / "a" / "two.jpg", "PNG", **extra)
    image = Broden(tiny).image(1)
    assert image.mode == "RGB"
    assert np.asarray(image).min() == 255


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no such files")
@pytest.mark.parametrize("kind", ["link-out", "link-to-device", "folder-link-out", "pipe", "loop"])
def test_special_files(tiny: Path, kind: str) -> None:
    secret = tiny.parent / "secret"
    secret.mkdir()
    file = tiny / "images" / "a" / "two_object.png"
    shutil.copy(file, secret / "two_object.png")
    file.unlink()
    if kind == "link-out":
        file.symlink_to(secret / "two_object.png")
    elif kind == "link-to-device":
        file.symlink_to("/dev/zero")
    elif kind == "folder-link-out":
        (tiny / "images" / "c").symlink_to(secret)
        edit(tiny / "index.csv", "a/two_object.png", "c/two_object.png")
    elif kind == "pipe":
        os.mkfifo(file)  # opening it would wait for ever
    else:
        file.symlink_to(file.name)
    expected = "is not a regular file" if kind == "pipe" else "leads out of the data set"
    expected = "cannot be read|does not exist|leads out" if kind == "loop" else expected
    with pytest.raises(DataError, match=expected):
        Broden(tiny).labels(1)


def test_links_that_stay_inside_and_a_linked_images_folder_are_fine(tiny: Path) -> None:
    whole = Broden(tiny).labels(1).maps
    file = tiny / "images" / "a" / "two_object.png"
    file.rename(file.with_name("moved.png"))
    file.symlink_to("moved.png")
    shutil.move(tiny / "images", tiny.parent / "elsewhere")
    (tiny / "images").symlink_to(tiny.parent / "elsewhere")
    assert np.array_equal(Broden(tiny).labels(1).maps, whole)


def test_tables_that_are_devices(tiny: Path) -> None:
    (tiny / "label.csv").unlink()
    (tiny / "label.csv").symlink_to("/dev/zero")
    with pytest.raises(DataError, match="is not a regular file"):
        Broden(tiny)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no such files")
@pytest.mark.parametrize("name", ["index.csv", "label.csv", "category.csv", "c_part.csv"])
def test_tables_that_are_pipes(tiny: Path, name: str) -> None:
    (tiny / name).unlink()
    os.mkfifo(tiny / name)
    with pytest.raises(DataError, match="is not a regular file"):
        Broden(tiny)


@given(
    st.one_of(
        st.binary(max_size=300), st.text(max_size=200).map(lambda text: (HEADER + text).encode("utf-8", "ignore"))
    )
)
def test_any_bytes_are_an_index_or_a_data_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzzed.csv"
    file.write_bytes(data)
    try:
        rows = read_index(file)
    except DataError as error:
        assert error.path == str(file)  # noqa: PT017
    else:
        assert all(row.image and ".." not in row.image.split("/") for row in rows)


@given(st.lists(st.sampled_from(["a.png", "7", "0", "3.0", "", " ", "../a.png", "/a.png", "x", "a\\b.png", "-1"])))
def test_any_cell(tmp_path_factory: pytest.TempPathFactory, items: list[str]) -> None:
    file = tmp_path_factory.getbasetemp() / "cells.csv"
    file.write_text(f"image,split,ih,iw,sh,sw,object\nx.jpg,train,8,8,4,4,{';'.join(items)}\n")
    bad = {"../a.png", "/a.png", "x", "a\\b.png", "-1"}
    if bad & set(items):
        with pytest.raises(DataError, match="line 2: object"):
            read_index(file)
        return
    expected = [{"a.png": "a.png", "7": 7, "3.0": 3}[item] for item in items if item.strip() not in ("", "0")]
    assert list(read_index(file)[0].cells[0]) == expected
