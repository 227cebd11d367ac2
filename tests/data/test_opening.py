"""A data set is opened from whatever names it: a folder, a file, a function."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netdissect_fast as nd
from netdissect_fast.cli import main
from netdissect_fast.data.dataset import DataWarning, source_of
from netdissect_fast.data.formats.folder import Folder
from netdissect_fast.data.inspection.check import check
from netdissect_fast.data.opening import open_all, open_data
from netdissect_fast.data.sources import open_source
from netdissect_fast.errors import ArgumentError, ModelError
from tests.support.tiny_broden import write_tiny

from ..support.mask_folders import write_folder, write_mask, write_photo

FUNCTIONS = """
import netdissect_fast as nd

def drawn():
    return nd.Synthetic(6, size=32)

def nothing():
    return 3

def of(number):
    return nd.Synthetic(number)

def broken():
    raise OSError("no disk")
"""


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FUNCTIONS)
    return path


def test_by_path(tmp_path: Path, functions: Path) -> None:
    assert isinstance(open_data(write_tiny(tmp_path / "tiny")), nd.Broden)
    folder = write_folder(tmp_path / "mine")
    assert isinstance(open_data(folder), Folder)
    assert open_data(folder, label_size=(5, 7)).labels(0).shape == (5, 7)
    assert open_data(folder).labels(0).shape == (112, 112)
    data = open_data(f"{functions}:drawn")
    assert data.fingerprint() == nd.Synthetic(6, size=32).fingerprint()
    assert data.name(2) == nd.Synthetic(6, size=32).name(2)


def test_what_is_none(tmp_path: Path, functions: Path) -> None:
    with pytest.raises(ArgumentError, match=r"a data set is a folder .*; got '.*nowhere', which does not exist"):
        open_data(tmp_path / "nowhere")
    with pytest.raises(ArgumentError, match="a data set is a folder"):
        open_data(tmp_path)
    with pytest.raises(
        ArgumentError, match=r"say which function returns the data set: .* the file defines drawn, nothing"
    ):
        open_data(functions)
    with pytest.raises(ArgumentError, match=r"nothing\(\) must return a data set, .* got int"):
        open_data(f"{functions}:nothing")
    with pytest.raises(ArgumentError, match="must be callable without arguments"):
        open_data(f"{functions}:of")
    with pytest.raises(ModelError, match=r"line 14: .*no disk"):
        open_data(f"{functions}:broken")


def test_options_that_do_not_fit(tmp_path: Path, functions: Path) -> None:
    tiny, folder = write_tiny(tmp_path / "tiny"), write_folder(tmp_path / "mine")
    assert len(open_data(tiny, split="val")) == 1
    with pytest.raises(ArgumentError, match="is in Broden's format: the option label_size does not apply"):
        open_data(tiny, label_size=5)
    with pytest.raises(ArgumentError, match="is not in Broden's format: the option split does not apply"):
        open_data(folder, split="val")
    with pytest.raises(ArgumentError, match="categories does not apply"):
        open_data(f"{functions}:drawn", categories=["color"])
    with pytest.raises(ArgumentError, match="label_size does not apply"):
        open_data(f"{functions}:drawn", label_size=7)


def test_broken_images_can_be_left_out(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mine")
    (folder / "masks/two.png").write_bytes(b"no mask")
    with pytest.warns(DataWarning, match="1 of 3"):
        data = open_data(folder, strict=False)
    assert [data.name(i) for i in range(len(data))] == ["a/one.jpg", "three.jpg"]


def test_found_again(tmp_path: Path, functions: Path) -> None:
    folder = open_data(write_folder(tmp_path / "mine"), label_size=9)
    again = open_source(json.loads(json.dumps(source_of(nd.Subset(folder, [2, 0])))))
    assert again.labels(0).shape == (9, 9)
    made = nd.Subset(open_data(f"{functions}:drawn"), [1])
    source = json.loads(json.dumps(source_of(made)))
    with pytest.raises(ArgumentError, match=r"was returned by .*mine\.py:drawn: pass that as the data set"):
        open_source(source)  # what a result folder names is not run unasked
    assert open_source(source, Path(f"{functions}:drawn")).fingerprint() == made.fingerprint()


CLASSES = """
import numpy as np
import netdissect_fast as nd

class Squares:
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return np.full((3, 8, 8), 9 * index, np.uint8), np.full((8, 8), 1 + index % 2)

def squares():
    return nd.FromTorch(Squares(), ["-", "red", "blue"], label_size=4)

def unsendable():
    return nd.Segmented([*Squares()[0][:1]], lambda x: x, ["red", "green", "blue"])
"""


def test_other_processes_read_what_a_function_gives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its classes are of a file that these do not know, until it is imported there too."""
    path = tmp_path / "mine.py"
    path.write_text(CLASSES)
    common = [
        "data",
        "build",
        "--size",
        "8",
        "--min-frequency",
        "1",
        "--min-coverage",
        "0",
        "--workers",
        "1",
        "--quiet",
    ]
    assert main([*common, "--data", f"of={path}:squares", "--out", str(tmp_path / "out")]) == 0
    assert len(nd.Broden(tmp_path / "out")) == 3
    assert main([*common, "--data", f"of={path}:unsendable", "--out", str(tmp_path / "none")]) == 1
    assert "cannot be sent to other processes" in (said := capsys.readouterr().err)
    assert "--workers 0" in said


NETWORK = """
from torch import nn

def make():
    layer = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU())
    layer.input_size, layer.mean, layer.std = (3, 32, 32), (0.5,) * 3, (0.25,) * 3
    return layer
"""


def test_from_the_command_line(tmp_path: Path, functions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.py").write_text(NETWORK)
    folder = write_folder(tmp_path / "folder")
    common = ["--model", f"{tmp_path / 'net.py'}:make", "--layers", "0", "--cache", str(tmp_path / "cache"), "--quiet"]
    one = ["dissect", *common, "--data", str(folder), "--label-size", "20x30", "--out", str(tmp_path / "one")]
    assert main(one) == 0
    made = nd.load(tmp_path / "one")
    assert made["0"].vocabulary.names == ("sky", "grass", "roof", "street")
    direct = nd.PackedLabels.pack((Folder(folder, (20, 30)).labels(i) for i in range(3)), made["0"].vocabulary)
    assert np.array_equal(made["0"].counts.concept_area, direct.concept_area(4))
    two = ["dissect", *common, "--data", str(folder), "--data", f"{functions}:drawn", "--out", str(tmp_path / "two")]
    assert main([*two[:-4], "--out", str(tmp_path / "two"), "--data", f"{functions}:drawn"]) == 0
    assert "folder.scene" in nd.load(tmp_path / "two")["0"].vocabulary.categories
    capsys.readouterr()
    assert main(["dissect", *common, "--data", str(tmp_path / "none")]) == 1
    assert "a data set is a folder in Broden's format" in capsys.readouterr().err


@pytest.mark.parametrize("options", [{}, {"split": "val"}, {"categories": ["object"]}, {"label_size": 9}])
@pytest.mark.parametrize("name", ["broden1_24", "x" * 5000, "nul\0", ""])
def test_what_is_not_there(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    """Is said before what its options may be."""
    for open_it in (open_data, check):
        with pytest.raises(ArgumentError, match="a data set is a folder in Broden's format") as caught:
            open_it(f"{tmp_path}/{name}" if name else "", **options)
        assert len(str(caught.value)) < 1000


def test_an_object_without_a_vocabulary(tmp_path: Path) -> None:
    methods = "\n".join(f"    {name} = __len__" for name in ("image", "labels", "name", "fingerprint"))
    code = f"class Mine:\n    vocabulary = None\n    def __len__(self): return 1\n{methods}\n"
    (tmp_path / "mine.py").write_text(code)
    with pytest.raises(ArgumentError, match="must return a data set"):
        open_data(f"{tmp_path / 'mine.py'}:Mine")


def test_masks_are_built_from_at_their_own_size(tmp_path: Path) -> None:
    """Not brought to 112 pixels before they are to what was asked for."""
    values = np.random.default_rng(0).integers(1, 3, (150, 160), np.uint8)
    write_photo(tmp_path / "mine/images/x.png", 150, 160)
    write_mask(tmp_path / "mine/masks/x.png", values)
    (tmp_path / "mine/names.csv").write_text("value,name\n1,cat\n2,dog\n")
    options = ["--size", "300x320", "--min-frequency", "1", "--min-coverage", "0", "--workers", "0", "--quiet"]
    assert main(["data", "build", "--data", str(tmp_path / "mine"), "--out", str(tmp_path / "out"), *options]) == 0
    built = open_data(tmp_path / "out", categories=["object"], label_size=None)
    names = dict(zip(built.vocabulary.numbers.tolist(), built.vocabulary.names, strict=True))
    found = np.vectorize(names.get)(built.labels(0).maps[0])
    assert np.array_equal(found, np.where(values == 1, "cat", "dog"))


def test_options_go_to_those_that_have_the_choice(tmp_path: Path, functions: Path) -> None:
    tiny, folder = write_tiny(tmp_path / "tiny"), write_folder(tmp_path / "mine")
    both = open_all([tiny, folder], split="val", label_size=(5, 7))
    assert [both.name(i) for i in (0, 1)] == ["tiny/a/two.jpg", "mine/a/one.jpg"]
    assert both.labels(1).shape == (5, 7)
    with pytest.raises(ArgumentError, match="the option split applies to none of the data sets"):
        open_all([folder, f"{functions}:drawn"], split="val")
    with pytest.raises(ArgumentError, match="the option label_size applies to none of the data sets"):
        open_all([tiny, f"{functions}:drawn"], label_size=5)
    source = json.loads(json.dumps(source_of(open_all([folder, f"{functions}:drawn"]))))
    with pytest.raises(ArgumentError, match="some of them returned by functions of yours: open it in Python"):
        open_source(source)
