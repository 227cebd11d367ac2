"""The four sources together, as Broden is made; and the command."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import netdissect_fast as nd
from netdissect_fast.cli import main
from netdissect_fast.data.builder.build import build
from netdissect_fast.data.builder.sources import Dtd, OpenSurfaces, Pascal, open_ade20k
from tests.support.mask_folders import write_folder

from .made import EASY, contents, index_rows, label_map, rows
from .source_trees import write_ade20k_2016, write_ade20k_2021, write_dtd, write_opensurfaces, write_pascal


def write_all(folder: Path, ade20k: Callable[..., Path], images: int = 5) -> dict[str, Path]:
    """The four trees, by option."""
    others = {"dtd": write_dtd, "opensurfaces": write_opensurfaces, "pascal": write_pascal}
    return {name: write(folder / name, images) for name, write in {"ade20k": ade20k, **others}.items()}


@pytest.mark.parametrize("ade20k", [write_ade20k_2016, write_ade20k_2021])
def test_all_four(ade20k: Callable[..., Path], tmp_path: Path) -> None:
    paths = write_all(tmp_path / "from", ade20k)
    sources = [
        open_ade20k(paths["ade20k"]),
        Dtd(paths["dtd"]),
        OpenSurfaces(paths["opensurfaces"]),
        Pascal(paths["pascal"]),
    ]
    out = tmp_path / "out"
    built = build(sources, out, size=32, **EASY)
    assert built.images == 20
    assert set(built.categories) == {"color", "object", "part", "scene", "texture", "material"}
    data = nd.Broden(out, strict=False)  # a warning would be an error
    assert (len(data), data.skipped) == (20, ())
    checked = nd.check(out)
    assert (checked.faults, checked.images) == ((), 20)
    found = index_rows(out)
    assert Counter(image.split("/")[0] for image in found) == dict.fromkeys(paths, 5)
    assert all(row["color"].endswith("_color.png") for row in found.values())
    for image, row in found.items():
        source, stem = image.removesuffix(".jpg").split("/")
        assert bool(row["texture"]) == (source == "dtd")
        assert bool(row["material"]) == (source == "opensurfaces")
        assert bool(row["object"]) == (source in ("ade20k", "pascal"))
        assert row["texture"].replace(";", "").isdecimal() or not row["texture"]
        assert row["scene"].isdecimal() or not row["scene"]
        layers = row["part"].split(";") if row["part"] else []
        if source == "ade20k":
            assert layers == [f"{source}/{stem}_part_{k}.png" for k in range(1, len(layers) + 1)]
        else:
            assert layers == ([f"{source}/{stem}_part.png"] if source == "pascal" else [])
    assert {len(row["part"].split(";")) for row in found.values()} == {1, 2}
    labels = {row["name"]: row for row in rows(out / "label.csv")}
    assert {"street-s", "banded", "red-c"} <= set(labels)
    assert labels["car"]["category"].startswith("object(")
    assert "person" in labels
    assert "unknown" not in labels
    assert labels["head"]["category"].startswith("part(")  # of ADE20K and of Pascal
    assert "aeroplane" in labels["airplane"]["syns"] or "aeroplane" not in labels
    numbers = {int(row["number"]): name for name, row in labels.items()}
    second = found["dtd/lined_0002.jpg"]["texture"].split(";")
    assert [numbers[int(n)] for n in second] == ["lined", "polka-dotted"]  # dominant first


def test_areas_are_those_of_the_sources(tmp_path: Path) -> None:
    """At the images' own size, a label map is the source's map in other numbers."""
    source = open_ade20k(write_ade20k_2016(tmp_path, 4, size=(24, 32)))
    build([source], tmp_path / "out", size=(24, 32), label_size=(24, 32), synonyms=list, **EASY)
    called = {int(row["number"]): row["name"] for row in rows(tmp_path / "out" / "label.csv")}
    for index in range(len(source)):
        annotation, path = source.annotation(index), tmp_path / "out/images/ade20k" / source.file_name(index)
        numbers = label_map(path.with_name(f"{path.name}_object.png"))
        given = annotation.maps["object"]
        for number in np.unique(given).tolist():
            (new,) = np.unique(numbers[given == number])
            assert called[new] == annotation.names["object"][number][0]


def command(paths: dict[str, Path], out: Path, *options: str) -> int:
    given = [text for name, path in paths.items() for text in (f"--{name}", str(path))]
    easy = ["--size", "64", "--min-frequency", "1", "--min-coverage", "0", "--workers", "0", "--quiet"]
    return main(["data", "build", *given, "--out", str(out), *easy, *options])


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], shared_table: Path) -> None:
    paths = write_all(tmp_path / "from", write_ade20k_2021, images=3)
    mine = write_folder(tmp_path / "mine")
    out = tmp_path / "out"
    assert command(paths, out, "--data", f"photos={mine}", "--color-names", str(shared_table)) == 0
    assert f"{out}: 15 images, " in capsys.readouterr().out
    found = index_rows(out)
    assert {row["ih"] for row in found.values()} == {"64"}
    assert {row["sw"] for row in found.values()} == {"32"}
    assert {"photos/one.jpg", "photos/two.jpg", "photos/three.jpg"} <= set(found)
    assert found["photos/three.jpg"]["scene"].isdecimal()
    assert nd.check(out).faults == ()
    assert main(["data", "check", str(out)]) == 0
    assert command(paths, tmp_path / "again", "--data", f"photos={mine}", "--color-names", str(shared_table)) == 0
    assert contents(tmp_path / "again") == contents(out)


@pytest.fixture
def shared_table(tmp_path: Path) -> Path:
    """Names of colours: grey for all."""
    np.save(tmp_path / "table.npy", np.full((32, 32, 32), 3, np.uint8))
    return tmp_path / "table.npy"


def test_options_of_the_command(tmp_path: Path, shared_table: Path) -> None:
    root = write_dtd(tmp_path / "from", 8)
    options = ["--size", "20x40", "--label-size", "5", "--train", "0", "--salt", "x", "--limit", "6"]
    options += ["--min-frequency", "3", "--min-coverage", "2.5", "--color-names", str(shared_table)]
    assert command({"dtd": root}, tmp_path / "out", *options) == 0
    found = index_rows(tmp_path / "out")
    sizes = [{row[name] for row in found.values()} for name in ("split", "ih", "iw", "sh", "sw")]
    assert sizes == [{"val"}, {"20"}, {"40"}, {"5"}, {"5"}]
    names = {row["name"]: row["frequency"] for row in rows(tmp_path / "out" / "label.csv")}
    assert names == {"grey-c": "6", "banded": "3", "polka-dotted": "3"}
    notes = json.loads((tmp_path / "out" / "build.json").read_text())
    assert (notes["salt"], notes["limit"], notes["train"]) == ("x", 6, 0)


def test_a_name_for_data_is_the_files_without_one(tmp_path: Path) -> None:
    mine = write_folder(tmp_path / "mine")
    assert command({}, tmp_path / "out", "--data", str(mine)) == 0
    assert set(index_rows(tmp_path / "out")) == {f"mine/{name}.jpg" for name in ("one", "two", "three")}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--ade20k", "missing"], "missing: is not ADE20K"),
        (["--dtd", "missing"], "missing"),
        (["--opensurfaces", "missing"], "missing"),
        (["--pascal", "missing"], "missing"),
        (["--data", "x=missing"], "missing"),
        (["--data", "a/b=mine"], "distinct names that can be folder names"),
        (["--data", "x=mine", "--data", "x=mine"], "distinct names that can be folder names"),
        (["--data", "mine", "--color-names", "missing.npy"], "missing.npy: does not exist"),
        (["--data", "mine", "--color-names", "mine/names.csv"], "names.csv: is not a .npy file"),
        (["--data", "mine", "--min-frequency", "9"], "choose a smaller min_frequency or min_coverage"),
        (["--data", "mine", "--limit", "0"], "limit"),
        (["--data", "mine", "--out", "mine"], "mine already exists"),
        (["--data", "mine", "--size", "0"], "size"),
    ],
)
def test_errors_of_the_command(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert main(["data", "build", "--out", "out", "--min-frequency", "1", "--workers", "0", "--quiet", *options]) != 0
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("always::netdissect_fast.data.dataset.DataWarning")
def test_skip_broken_and_restart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_dtd(tmp_path / "from", 4)
    photo = root / "images/lined/lined_0002.jpg"
    whole = photo.read_bytes()
    photo.write_bytes(whole[:100])
    assert command({"dtd": root}, tmp_path / "out") != 0
    assert "lined_0002.jpg" in capsys.readouterr().err
    photo.write_bytes(whole)
    assert command({"dtd": root}, tmp_path / "out") != 0
    error = capsys.readouterr().err
    assert "begun with different settings (sources)" in error
    assert "--restart" in error
    assert command({"dtd": root}, tmp_path / "out", "--restart") == 0
    photo.write_bytes(whole[:100])
    assert command({"dtd": root}, tmp_path / "other", "--skip-broken") == 0
    printed = capsys.readouterr()
    assert "3 images" in printed.out
    assert "warning: broken images skipped: 1; the first: " in printed.err
