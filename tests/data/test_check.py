"""Checking data sets: every planted fault is listed, with its file and line, in one pass."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import netdissect_fast as nd
from netdissect_fast.commands.data import inspect as data_looking
from netdissect_fast.concepts import ImageLabels
from netdissect_fast.data.dataset import DataWarning, Subset
from netdissect_fast.data.faults import skipped_of, without_broken
from netdissect_fast.data.formats.broden import Broden
from netdissect_fast.data.formats.synthetic import write_synthetic
from netdissect_fast.data.inspection.check import check
from netdissect_fast.errors import ArgumentError, DataError, printable

from ..support.mask_folders import write_folder
from ..support.tiny_broden import edit, label_maps, write_label_map, write_tiny


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny")


def run(*words: str) -> None:
    parser = argparse.ArgumentParser()
    data_looking.add(parser.add_subparsers(required=True))
    arguments = parser.parse_args([*map(str, words)])
    arguments.command(arguments)


def listed(faults: tuple[DataError, ...]) -> list[tuple[str, int | None, str]]:
    return [(Path(fault.path).name, fault.line, fault.reason) for fault in faults]


def test_a_sound_data_set(tiny: Path) -> None:
    checked = check(tiny)
    assert checked.faults == ()
    assert checked.notes == ()
    assert str(checked) == "3 images, 4 label maps: sound"
    assert (checked.images, checked.maps) == (3, 4)


INDEX = """image,split,ih,iw,sh,sw,part,color,object,scene
a/one.jpg,train,16,wide,8,12,a/one_part_1.png;a/one_part_2.png,,a/one_object.jpg,4
a/two.jpg,val,16,24,0,12,,,a/two_object.png,0
b/three.jpg,train,20,20,5,5,,,,4;6;70000
b/three.jpg,train,20,20,5,5,,,
"b/four.jpg"x,train,20,20,5,5,,,,4
../five.jpg,train,20,21,5,5,a/none.png,,,4
a/one.jpg,train,16,wide,8,12,,,,4
a/two.jpg,val,16,25,8,12,,,a/one_part_1.png;a/two_object.png,5
"""


def test_every_fault_of_every_table_and_file_is_listed_at_once(tiny: Path) -> None:
    (tiny / "index.csv").write_text(INDEX)
    edit(tiny / "category.csv", "scene,4", "scene,4,5,2,3\nscene,4,5,2,3\na/b,4")
    edit(tiny / "label.csv", "1,car", "x,bus,,,,\n300,again,,,,\n65536,far,,,,\n1,car")
    edit(tiny / "c_part.csv", "2,3,wheel,1,0.1", "2,3,wheel,1,-1\n3,77,no,1,1\n4,2,door,1,1")
    (tiny / "images" / "a" / "one.jpg").write_bytes(b"no picture")
    write_label_map(tiny / "images" / "a" / "one_part_2.png", np.full((8, 12), 299))
    write_label_map(tiny / "images" / "a" / "two_object.png", np.full((8, 13), 300))
    Image.new("RGB", (20, 20)).save(tiny / "images" / "b" / "unnamed.jpg")
    (tiny / "images" / "b" / ".hidden").touch()
    checked = check(tiny, threads=2)
    expected = [
        ("category.csv", 5, "category scene is listed twice"),
        ("category.csv", 6, "'a/b' cannot be the name"),
        ("label.csv", 3, "number must be an integer"),
        ("label.csv", 4, "number 300 is already used by another"),
        ("label.csv", 5, "number must be 1..65535"),
        ("c_part.csv", 3, "coverage must be a number"),
        ("c_part.csv", 4, "concept number 77 is not in label.csv"),
        ("c_part.csv", 5, "concept number 2 is listed twice"),
        ("index.csv", 2, "iw must be an integer ≥ 0, got 'wide'"),
        ("index.csv", 2, "object: 'a/one_object.jpg' is neither"),
        ("index.csv", 2, "images/a/one.jpg is not a readable JPEG or PNG"),
        ("index.csv", 2, "images/a/one_part_2.png concept number 299 is not in label.csv"),
        ("index.csv", 3, "sh and sw must amount to 1 to"),
        ("index.csv", 4, "concept number 6 (whole image)"),
        ("index.csv", 4, "concept number 70000 (whole image)"),
        ("index.csv", 5, "expected 10 cells as in the header, got 9"),
        ("index.csv", 6, "is not a csv file"),
        ("index.csv", 7, "image: '../five.jpg' leads out of images/"),
        ("index.csv", 7, "images/a/none.png does not exist"),
        ("index.csv", 8, "iw must be an integer ≥ 0, got 'wide'"),
        ("index.csv", 8, "image a/one.jpg is listed a second time; the first is line 2"),
        ("index.csv", 8, "images/a/one.jpg is not a readable JPEG or PNG"),
        ("index.csv", 9, "image a/two.jpg is listed a second time; the first is line 3"),
        ("index.csv", 9, "images/a/two.jpg expected 16 x 25 pixels"),
        ("index.csv", 9, "images/a/two_object.png expected 8 x 12 pixels"),
    ]
    found = listed(checked.faults)
    assert [fault[:2] for fault in found] == [fault[:2] for fault in expected]
    for (_, _, reason), (_, _, beginning) in zip(found, expected, strict=True):
        assert reason.startswith(beginning)
    assert checked.notes == (
        "2 of 6 concepts occur in no readable image: car (1), door (2)",
        "2 files below images/ that no row names: a/one_object.png, b/unnamed.jpg",
    )
    lines = str(checked).split("\n")
    assert lines[8].startswith(f"{tiny}/index.csv, line 2: iw must be")
    assert lines[-2].startswith("note: ")
    assert lines[-1] == "6 images, 6 label maps: 25 faults"
    with pytest.raises(DataError):  # opening it raises the first fault
        Broden(tiny)


FATAL = [  # file, its new content, the fault reported for it, further faults that must still be found
    ("label.csv", b"", "is empty", {("index.csv", 4)}),
    ("label.csv", b"number,title\n1,x\n", "has no column name", {("index.csv", 4)}),
    ("category.csv", b"name\n\xff\n", "is not UTF-8", {("index.csv", 4), ("label.csv", 3)}),
    ("category.csv", b"name\n", "lists no categories", {("index.csv", 4), ("label.csv", 3)}),
    ("index.csv", b"image,split\nx.jpg,train\n", "has no column ih", {("label.csv", 3), ("c_object.csv", 3)}),
    ("index.csv", b"", "is empty", {("label.csv", 3), ("c_object.csv", 3)}),
]


@pytest.mark.parametrize(("name", "content", "reason", "others"), FATAL)
def test_a_table_that_cannot_be_read_hides_no_fault_of_the_others(
    tiny: Path, name: str, content: bytes, reason: str, others: set[tuple[str, int]]
) -> None:
    edit(tiny / "index.csv", "20,20,5,5", "20,20,5,many")
    edit(tiny / "label.csv", "1,car", "x,car")
    (tiny / name).write_bytes(content)
    checked = check(tiny)
    found = listed(checked.faults)
    assert any(file == name and fault.startswith(reason) for file, _, fault in found)
    assert {fault[:2] for fault in found if fault[0] != name} == others
    assert len(set(map(str, checked.faults))) == len(found)
    assert "no image was read" in checked.notes[0]


def test_coverage_tables_that_cannot_be_read_stop_nothing(tiny: Path) -> None:
    (tiny / "c_part.csv").write_text("no\n1\n")
    (tiny / "c_scene.csv").write_text("")
    (tiny / "images" / "b" / "three.jpg").unlink()
    found = listed(check(tiny).faults)
    assert [fault[:2] for fault in found] == [("c_part.csv", 1), ("c_scene.csv", None), ("index.csv", 4)]
    (tiny / "c_part.csv").unlink()
    edit(tiny / "label.csv", "name,category", "name,kind")
    found = listed(check(tiny).faults)
    assert [fault[:2] for fault in found] == [("c_part.csv", None), ("index.csv", 4)]


@pytest.mark.parametrize(
    ("options", "lines"),
    [({}, [2, 3]), ({"split": "val"}, [3]), ({"categories": ["scene"]}, [2]), ({"split": "train"}, [2])],
)
def test_only_what_is_asked_for_is_checked(tiny: Path, options: dict[str, object], lines: list[int]) -> None:
    (tiny / "images" / "a" / "one.jpg").unlink()
    (tiny / "images" / "a" / "two_object.png").unlink()
    checked = check(tiny, **options)
    assert [fault.line for fault in checked.faults] == lines
    assert not any("no row names" in note for note in checked.notes)


def test_names_that_a_terminal_would_obey_stay_on_their_line(tiny: Path) -> None:
    edit(tiny / "index.csv", "b/three.jpg", '"b/\x1b[2Jthr\nee.jpg"')
    first, *_, last = str(check(tiny)).split("\n")
    assert "images/b/\\x1b[2Jthr\\nee.jpg does not exist" in first
    assert last == "3 images, 4 label maps: 1 fault"
    assert printable("ä b · 中") == "ä b · 中"
    assert printable("\ud800") == "\\ud800"


def test_faults_that_are_kept_hold_no_picture(tiny: Path) -> None:
    (tiny / "images" / "a" / "one_object.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (fault,) = check(tiny).faults
    assert fault.__traceback__ is fault.__cause__ is fault.__context__ is None


class Own:
    """A data set defined by a user, with faults in some images."""

    vocabulary = nd.Vocabulary(np.array([1, 3]), ("a", "b"), np.zeros(2, np.int32), ("things",))

    def __init__(self, wrong: dict[int, Callable[[], object]]) -> None:
        self.wrong = wrong

    def __len__(self) -> int:
        return 6

    def image(self, index: int) -> Image.Image:
        found = self.wrong.get(index, lambda: None)()
        return found if isinstance(found, Image.Image | SimpleNamespace) else Image.new("RGB", (4, 4))

    def labels(self, index: int) -> ImageLabels:
        found = self.wrong.get(index, lambda: None)()
        return found if isinstance(found, ImageLabels) else ImageLabels(np.ones((1, 2, 2), np.int32))

    def name(self, index: int) -> str:
        return f"{index}.png"

    def fingerprint(self) -> str:
        return "0" * 64


def raising(error: Exception) -> Callable[[], object]:
    def fail() -> object:
        raise error

    return fail


WRONG = [
    (lambda: ImageLabels(np.full((1, 2, 2), 2)), ["labels(2) cannot be used: ValueError: concept number 2 is not"]),
    (lambda: ImageLabels(np.full((1, 2, 2), 4)), ["labels(2) cannot be used: ValueError: concept number 4 is not"]),
    (lambda: ImageLabels(np.full((1, 2, 2), -1)), ["labels(2) cannot be used: ValueError: concept number -1 is not"]),
    (lambda: ImageLabels(np.zeros((0, 2, 2), int), (2,)), ["labels(2) cannot be used: ValueError: concept number 2"]),
    (lambda: ImageLabels(np.zeros((0, 2, 2), int), (9,)), ["labels(2) cannot be used: ValueError: concept number 9"]),
    (lambda: ImageLabels(np.ones((2, 2), int)), ["labels(2) cannot be used: ValueError: maps must be integers"]),
    (lambda: ImageLabels(np.ones((1, 2, 2))), ["labels(2) cannot be used: ValueError: maps must be integers"]),
    (lambda: ImageLabels(np.ones((1, 0, 2), int)), ["labels(2) cannot be used: ValueError: maps must be integers"]),
    (lambda: SimpleNamespace(), ["image(2) cannot be used: AttributeError: "]),
    (raising(KeyError("two")), ["image(2) cannot be used: KeyError: 'two'", "labels(2) cannot be used: KeyError"]),
    (raising(DataError("x.png", "is broken")), ["is broken"]),
]


@pytest.mark.parametrize(("what", "reasons"), WRONG)
def test_data_sets_of_the_users_own(what: Callable[[], object], reasons: list[str]) -> None:
    checked = check(Own({2: what}))
    assert len(checked.faults) == len(reasons)
    for fault, reason in zip(checked.faults, reasons, strict=True):
        assert fault.reason.startswith(reason)
        assert fault.path in ("2.png", "x.png")
    assert checked.notes == ("1 of 2 concepts occur in no readable image: b (3)",)
    assert checked.images == 6


def test_memory_that_ran_out_is_no_fault() -> None:
    with pytest.raises(MemoryError):
        check(Own({2: raising(MemoryError())}))


def test_what_opening_raises_is_the_one_fault(tmp_path: Path) -> None:
    (tmp_path / "names.csv").touch()
    assert listed(check(tmp_path).faults) == [("names.csv", None, "is empty (0 bytes)")]
    with pytest.raises(ArgumentError, match="does not exist"):
        check(tmp_path / "nowhere")
    with pytest.raises(ArgumentError, match="label_size"):
        check(write_tiny(tmp_path), label_size=7)


def test_without_broken_leaves_images_out() -> None:
    whole = Own({})
    assert without_broken(whole) is whole
    with pytest.warns(DataWarning, match=r"2 of 6 images have missing .*; the first: x\.png: is broken") as caught:
        rest = without_broken(Own({1: raising(DataError("x.png", "is broken")), 4: raising(KeyError("four"))}))
    assert caught[0].filename == __file__
    assert isinstance(rest, Subset)
    assert [rest.name(i) for i in range(len(rest))] == ["0.png", "2.png", "3.png", "5.png"]
    assert [fault.path for fault in rest.skipped] == ["x.png", "4.png"]
    with pytest.raises(DataError, match="6 of 6 images have missing or broken files: none is left; the first"):
        without_broken(Own(dict.fromkeys(range(6), raising(DataError("x.png", "is broken")))))


def test_broden_skips_rows_by_the_same_rule(tiny: Path) -> None:
    (tiny / "images" / "a" / "one.jpg").unlink()
    (tiny / "images" / "a" / "one_object.png").unlink()
    with pytest.warns(DataWarning, match="1 of 3 rows") as caught:
        data = Broden(tiny, strict=False)
    assert caught[0].filename == __file__
    assert [error.line for error in data.skipped] == [2]  # one per row
    assert check(data).faults == ()


def test_the_command(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("check", tiny)
    assert capsys.readouterr().out == "3 images, 4 label maps: sound\n"
    write_label_map(tiny / "images" / "a" / "two_object.png", label_maps()["a/two_object.png"][:7])
    with pytest.raises(DataError, match="is not sound: 3 images, 4 label maps: 1 fault"):
        run("check", tiny, "--threads", 1)
    assert f"{tiny}/index.csv, line 3: images/a/two_object.png expected" in capsys.readouterr().out
    with pytest.raises(DataError):
        run("check", tiny, "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["faults"] == [
        {"file": f"{tiny}/index.csv", "line": 3, "reason": found["faults"][0]["reason"]},
    ]
    assert (found["sound"], found["images"], found["label_maps"]) == (False, 3, 4)


def test_a_drawn_data_set_is_sound_written_or_not(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "set", images=12, size=48)
    written, drawn = check(tmp_path / "set"), check(nd.Synthetic(12, size=48))
    assert written.faults == drawn.faults == ()
    assert written.notes == drawn.notes  # which concepts 12 images lack
    assert written.images == drawn.images == 12


def test_all_that_was_skipped_is_known() -> None:
    """Also inside joined data sets and subsets."""
    assert skipped_of(Own({})) == ()
    broken = [Own({at: raising(DataError(f"{at}.png", "is broken"))}) for at in (1, 4)]
    with pytest.warns(DataWarning):
        first, second = map(without_broken, broken)
    assert [fault.path for fault in skipped_of(first)] == ["1.png"]
    assert [fault.path for fault in skipped_of(nd.Subset(nd.Joined([first, second]), [0]))] == ["1.png", "4.png"]


def test_broken_images_are_left_out_where_that_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path / "mine")
    (folder / "masks/two.png").write_bytes(b"no picture")
    command = ("find", folder, "grass", "--cache", tmp_path / "cache")
    with pytest.raises(DataError, match=r"two\.png: is not a PNG file"):
        run(*command)
    with pytest.warns(DataWarning, match="1 of 3 images"):
        run(*command, "--skip-broken")
    assert capsys.readouterr().out.endswith("1 image with grass\n")
