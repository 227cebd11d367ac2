"""Broken and hostile trees of the four sources: one clear error that names the file, and the line or key."""

from __future__ import annotations

import json
import os
import shutil
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from netdissect_fast.data.builder.build import build
from netdissect_fast.data.builder.sources import Ade20k2016, Ade20k2021, Dtd, OpenSurfaces, Pascal
from netdissect_fast.data.builder.sources.matlab import read_matlab
from netdissect_fast.errors import DataError, MissingExtra

from .made import EASY
from .source_trees import (
    cells,
    structs,
    write_ade20k_2016,
    write_ade20k_2021,
    write_classes,
    write_context,
    write_dtd,
    write_opensurfaces,
    write_pascal,
    write_pascal_parts,
)

SIZE = (12, 16)
SETS = {
    "ade": (write_ade20k_2016, Ade20k2016),
    "2021": (write_ade20k_2021, Ade20k2021),
    "dtd": (write_dtd, Dtd),
    "os": (write_opensurfaces, OpenSurfaces),
    "pascal": (write_pascal, Pascal),
}
Change = Callable[[Path], object]


def index(**changes: list[str]) -> Change:
    fields = {"filename": ["a.jpg"], "folder": ["images"], "scene": ["street"], "objectnames": ["wall"], **changes}
    return lambda file: savemat(file, {"index": {name: cells(values) for name, values in fields.items()}})


def matlab(**variables: Any) -> Change:
    return lambda file: savemat(file, variables)


def text(content: str, encoding: str = "utf-8") -> Change:
    return lambda file: file.write_text(content, encoding=encoding)


def replace(old: str, new: str) -> Change:
    def change(file: Path) -> None:
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))

    return change


def image(array: Any) -> Change:
    return lambda file: Image.fromarray(np.asarray(array, np.uint8)).save(file)


def objects(value: object) -> Change:
    return text(json.dumps({"annotation": {"object": value}}))


def part(of: int, code: str, size: tuple[int, int] = SIZE) -> Change:
    return lambda file: write_pascal_parts(file, SIZE, [(of, {code: np.ones(size)})])


MAT, SEG = "index_ade20k.mat", "**/*_seg.png"
ANNO, CONTEXT = "part/Annotations_Part/2008_000001.mat", "context/trainval/2008_000001.mat"
TABLES: list[tuple[str, str, Change, int | None, str]] = [  # set, file, what is done to it, line, what the error says
    ("ade", MAT, text("x"), None, "is not a MATLAB file of version 5 to 7.2"),
    ("ade", MAT, matlab(other=1), None, "has no variable index"),
    ("ade", MAT, matlab(index=np.ones(3)), None, "index: expected a struct with the field filename"),
    ("ade", MAT, matlab(index={"filename": cells(["a"])}), None, "index: expected a struct with the field folder"),
    ("ade", MAT, matlab(index={"filename": "a"}), None, "index.filename: expected cells of text"),
    ("ade", MAT, matlab(index={"filename": cells(["a", 3.0])}), None, r"index.filename\{2\}: expected text"),
    ("ade", MAT, index(scene=["a", "b"]), None, "1 file names, 1 folders and 2 scenes"),
    ("ade", MAT, index(folder=["../.."]), None, "image 1: .* leads out"),
    ("ade", MAT, index(folder=["/etc"]), None, "image 1: .* leads out"),
    ("ade", MAT, index(filename=["..\\a.jpg"]), None, "image 1: .* leads out"),
    ("ade", MAT, index(filename=[], folder=[], scene=[]), None, "lists no images"),
    ("dtd", "labels/*.txt", text("\nbanded/a.jpg\n"), 2, "expected a path followed by the names of textures"),
    ("dtd", "labels/*.txt", text("../a.jpg banded\n"), 1, "leads out"),
    ("dtd", "labels/*.txt", text("a/../../a.jpg banded\n"), 1, "leads out"),
    ("dtd", "labels/*.txt", text("a.jpg banded\nb.jpg lin\xe9d", "latin-1"), 2, "not UTF-8"),
    ("dtd", "labels/*.txt", text("\n"), None, "lists no images"),
    ("os", "photos.csv", replace("photo_id", "id"), 1, "has no column photo_id"),
    ("os", "photos.csv", replace("100", "../100"), 2, "photo_id must be an integer"),
    ("os", "photos.csv", replace("100,", ","), 2, "photo_id is empty"),
    ("os", "photos.csv", replace("107", "100"), 2, "photo_id 100 is listed twice"),
    ("os", "label-substance-colors.csv", Path.unlink, None, "does not exist"),
    ("os", "label-substance-colors.csv", replace("Wood,5", "Wood,4"), 6, "red_color must be 1..255, different"),
    ("os", "label-substance-colors.csv", replace("Wood,5", "Wood,256"), 6, "red_color must be 1..255"),
    ("pascal", "part/part2ind.m", replace("% [boat]", "system('true');"), 16, "expected lines as in Pascal-Part"),
    ("pascal", "part/part2ind.m", replace("1:20", "1:20000"), 5, "at most 1000 parts"),
    ("pascal", "part/part2ind.m", text("end\n"), None, "lists no parts"),
    ("pascal", "context/labels.txt", replace("9: bicycle", "9 bicycle"), 2, "expected 'number: name'"),
    ("pascal", "context/labels.txt", replace("9: bicycle", "2: bicycle"), 2, "a different number in each line"),
    ("pascal", "context/labels.txt", replace("9: bicycle", "70000: bicycle"), 2, "expected 'number: name'"),
]
ANNOTATIONS: list[tuple[str, str, Change, str]] = [  # of the first image
    ("ade", SEG, Path.unlink, "does not exist"),
    ("ade", SEG, lambda file: write_classes(file, np.full(SIZE, 301)), "number 301, which has no name in index_ade20k"),
    ("ade", SEG, image(np.zeros(SIZE)), "expected an RGB PNG"),
    ("ade", SEG, lambda file: write_classes(file, np.ones((11, 16), int)), "expected 12 x 16 pixels"),
    ("ade", "**/*_parts_1.png", text("x"), "is not a PNG file"),
    ("ade", "**/*_parts_2.png", lambda file: write_classes(file, np.ones((24, 32), int)), "expected 12 x 16 pixels"),
    ("2021", "**/*.json", Path.unlink, "does not exist"),
    ("2021", "**/*.json", text("{\n]"), "is not JSON"),
    ("2021", "**/*.json", text("[" * 100_000), "is not readable JSON"),
    ("2021", "**/*.json", text("[]"), "annotation.object: expected a list"),
    ("2021", "**/*.json", objects(3), "annotation.object: expected a list"),
    ("2021", "**/*.json", objects(["x"]), r"annotation.object\[0\]: expected name"),
    ("2021", "**/*.json", objects([{"name": "a", "name_ndx": "1"}]), r"annotation.object\[0\]: expected name"),
    ("2021", "**/*.json", objects([{"name": "a", "name_ndx": 1 << 70}]), r"annotation.object\[0\]: expected name"),
    ("2021", "**/*.json", objects([{"name": ["a"], "name_ndx": 1}]), r"annotation.object\[0\]: expected name"),
    ("os", "photos-labels/100.png", Path.unlink, "does not exist"),
    ("os", "photos-labels/100.png", image(np.full((9, 9, 3), 77)), "number 77, which has no name in label-subst"),
    ("os", "photos-labels/100.png", image(np.zeros(SIZE)), "expected an RGB PNG"),
    ("pascal", CONTEXT, Path.unlink, "does not exist"),
    (
        "pascal",
        CONTEXT,
        matlab(LabelMap=np.full(SIZE, 0.5)),
        "LabelMap: expected whole numb",
    ),
    ("pascal", CONTEXT, matlab(LabelMap=np.full(SIZE, -1)), "LabelMap: expected whole numb"),
    ("pascal", CONTEXT, matlab(LabelMap=np.full(SIZE, np.nan)), "expected whole numbers"),
    ("pascal", CONTEXT, matlab(LabelMap="text"), "LabelMap: expected 12 x 16"),
    ("pascal", CONTEXT, lambda file: write_context(file, np.full(SIZE, 3)), "the number 3"),
    ("pascal", CONTEXT, lambda file: write_context(file, np.ones((16, 12))), "12 x 16"),
    ("pascal", ANNO, part(15, "tail"), r"anno.objects\(1\).parts\(1\): part2ind.m has no part 'tail' of class 15"),
    ("pascal", ANNO, part(99, "head"), "has no part 'head' of class 99"),
    ("pascal", ANNO, part(15, "head", (16, 12)), r"objects\(1\).parts\(1\).mask: expected 12 x 16 .* got 16 x 12"),
    ("pascal", ANNO, matlab(anno=1), "anno: expected a struct with the field objects"),
    ("pascal", ANNO, matlab(anno={"objects": "x"}), "anno.objects: expected an array of structs"),
    (
        "pascal",
        ANNO,
        matlab(anno={"objects": structs([{"class_ind": "x"}])}),
        r"\(1\).class_ind: expected whole",
    ),
    ("pascal", "VOC2010/JPEGImages/2008_000001.jpg", Path.unlink, "does not exist"),
]


def file_of(root: Path, pattern: str) -> Path:
    return min(root.glob(pattern))


@pytest.mark.parametrize(("kind", "pattern", "change", "line", "reason"), TABLES)
def test_broken_tables(kind: str, pattern: str, change: Change, line: int | None, reason: str, tmp_path: Path) -> None:
    write, open_source = SETS[kind]
    file = file_of(write(tmp_path, images=2, size=SIZE), pattern)
    change(file)
    with pytest.raises(DataError, match=reason) as caught:
        open_source(tmp_path if kind != "pascal" else tmp_path / "pascal")
    assert Path(caught.value.path).name == file.name
    assert caught.value.line == line


@pytest.mark.parametrize(("kind", "pattern", "change", "reason"), ANNOTATIONS)
def test_broken_annotations(kind: str, pattern: str, change: Change, reason: str, tmp_path: Path) -> None:
    write, open_source = SETS[kind]
    root = write(tmp_path, images=1, size=SIZE)
    source, file = open_source(root), file_of(root, pattern)
    change(file)
    with pytest.raises(DataError, match=reason) as caught:
        source.annotation(0)
    assert Path(caught.value.path).name == file.name


def test_a_class_that_the_json_file_does_not_name(tmp_path: Path) -> None:
    root = write_ade20k_2021(tmp_path, images=1, size=SIZE)
    objects([])(file_of(root, "**/*.json"))
    with pytest.raises(DataError, match=r"_seg\.png: has the number \d+, which has no name in .*\.json"):
        Ade20k2021(root).annotation(0)


def test_folders_without_images(tmp_path: Path) -> None:
    root = write_ade20k_2021(tmp_path, images=1, size=SIZE)
    shutil.rmtree(root / "images" / "ADE" / "training")
    with pytest.raises(DataError, match="lists no images"):
        Ade20k2021(root)
    root = write_pascal(tmp_path, images=1, size=SIZE)
    (root / ANNO).unlink()
    with pytest.raises(DataError, match="lists no images"):
        Pascal(root)


def element(kind: int, body: bytes) -> bytes:
    return struct.pack("<II", kind, len(body)) + body + bytes(-len(body) % 8)


def matrix(kind: int, lengths: tuple[int, ...], *content: bytes, name: bytes = b"") -> bytes:
    head = element(6, struct.pack("<II", kind, 0)) + element(5, struct.pack(f"<{len(lengths)}i", *lengths))
    return element(14, head + element(1, name) + b"".join(content))


def nested(depth: int) -> bytes:
    inner = matrix(6, (1, 1), element(9, struct.pack("<d", 1)))
    for _ in range(depth):
        inner = matrix(1, (1, 1), inner)
    return inner[8:]


def compressed(body: bytes) -> bytes:
    packed = zlib.compress(body)
    return struct.pack("<II", 15, len(packed)) + packed


def padded(body: bytes) -> bytes:
    """An element in an element, whose size counts what fills it up."""
    fill = -len(body) % 8
    return body[:4] + struct.pack("<I", len(body) - 8 + fill) + body[8:] + bytes(fill)


SHORT = struct.pack("<HHI", 5, 4, 1 << 27)  # lengths of 4 bytes, kept in the tag
NUMBER = matrix(6, (1, 1), element(9, struct.pack("<d", 1)), name=b"x")
MATLAB = [  # what follows the header, what the error says
    (compressed(element(2, bytes(1 << 22))), "inflates to more bytes than expected at most"),
    (compressed(NUMBER)[:-3], "truncated"),
    (struct.pack("<II", 15, 4) + b"zlib", "is not a readable MATLAB file"),
    (struct.pack("<II", 14, 1 << 30), "truncated"),
    (NUMBER[:-8], "truncated"),
    (b"\x0e\0", "is not a readable MATLAB file"),
    (element(14, nested(17)), "cells and structs are nested more than 16 deep"),
    (element(14, nested(2000)), "cells and structs are nested more than 16 deep"),
    (matrix(1, (1 << 15, 1 << 15), name=b"x"), "it claims 32768 x 32768 cells but has fewer"),
    (matrix(1, (-1, 1), name=b"x"), "cells but has fewer"),
    (element(14, element(6, struct.pack("<II", 1, 0)) + SHORT + element(1, b"x") + bytes(200)), "in one dimension"),
    (compressed(padded(compressed(NUMBER))), "compressed twice"),
    (
        matrix(2, (1 << 15, 1 << 15), element(5, struct.pack("<i", 8)), element(1, b"a\0\0\0\0\0\0\0"), name=b"x"),
        "fewer",
    ),
    (matrix(3, (1, 1), name=b"x"), "object or a function"),
    (matrix(17, (1, 1), name=b"x"), "object or a function"),
    (matrix(6, (1 << 15, 1 << 15), element(9, struct.pack("<d", 1)), name=b"x"), "is not a readable MATLAB file"),
    (matrix(6, (1, 1), element(9, struct.pack("<d", 1)), name=b"y"), "has no variable x"),
    (b"", "has no variable x"),
]


@pytest.mark.parametrize(("content", "reason"), MATLAB)
def test_hostile_matlab_files(content: bytes, reason: str, tmp_path: Path) -> None:
    """Each is refused before much memory is taken; a deep one would overflow the stack of whoever reads it."""
    file = tmp_path / "a.mat"
    file.write_bytes(b"MATLAB 5.0".ljust(124) + b"\0\x01IM" + content)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=reason) as caught:
            read_matlab(file, "x", 1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert caught.value.path == str(file)


def test_matlab_files_of_either_byte_order(tmp_path: Path) -> None:
    file = tmp_path / "a.mat"
    file.write_bytes(b"MATLAB 5.0".ljust(124) + b"\0\x01IM" + compressed(NUMBER))
    assert read_matlab(file, "x", 1000).whole_number() == 1
    big = struct.pack(">II", 14, 56) + struct.pack(">IIII", 6, 8, 6, 0) + struct.pack(">IIii", 5, 8, 1, 1)
    big += struct.pack(">HH", 1, 1) + b"x\0\0\0" + struct.pack(">IId", 9, 8, 1)
    file.write_bytes(b"MATLAB 5.0".ljust(124) + b"\x01\0MI" + big)
    assert read_matlab(file, "x", 1000).whole_number() == 1


@pytest.mark.parametrize("name", ["a\0b", "a\rb", "\ud800", "x" * 1001])
def test_names_that_no_table_can_hold(name: str, tmp_path: Path) -> None:
    root = write_ade20k_2021(tmp_path / "ade", images=1, size=SIZE)
    file = file_of(root, "**/*.json")
    record = json.loads(file.read_text())
    for item in record["annotation"]["object"]:
        item["name"] = name
    file.write_text(json.dumps(record))
    with pytest.raises(DataError, match=r"ade20k/ADE_train_\d+: object \d+ is called .* without control"):
        build([Ade20k2021(root)], tmp_path / "out", **EASY)


def test_more_levels_of_parts_than_there_can_be(tmp_path: Path) -> None:
    root = write_ade20k_2016(tmp_path, images=1, size=SIZE)
    first = file_of(root, "**/*_parts_1.png")
    for level in range(2, 18):
        shutil.copy(first, str(first).replace("parts_1", f"parts_{level}"))
    with pytest.raises(DataError, match="at most 16 levels"):
        Ade20k2016(root).annotation(0)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    root = write_ade20k_2016(tmp_path, images=1, size=SIZE)
    seg = file_of(root, SEG)
    source = Ade20k2016(root)
    seg.unlink()
    os.mkfifo(seg)
    with pytest.raises(DataError, match="not a regular file"):
        source.annotation(0)


def test_without_scipy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_ade20k_2016(tmp_path, images=1, size=SIZE)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(MissingExtra, match=r"netdissect-fast\[build\]"):
        Ade20k2016(root)
