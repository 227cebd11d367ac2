"""Readers of the four sources: what each layout's files mean, by trees made here and by names that Broden has."""

from __future__ import annotations

import csv
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from netdissect_fast.data.builder.annotation import Annotation, Source
from netdissect_fast.data.builder.sources import Ade20k2016, Ade20k2021, Dtd, OpenSurfaces, Pascal, open_ade20k
from netdissect_fast.data.builder.sources.ade20k import scene_name
from netdissect_fast.data.builder.sources.pascal_parts import read_part_names
from netdissect_fast.errors import DataError

from .source_trees import (
    ADE_CLASSES,
    CONTEXT,
    PART2IND,
    cells,
    write_ade20k_2016,
    write_ade20k_2021,
    write_ade_json,
    write_classes,
    write_context,
    write_dtd,
    write_opensurfaces,
    write_pascal,
    write_pascal_parts,
    write_rgb,
)

SIZE = (24, 32)
SOURCES: list[tuple[Callable[..., Path], Callable[[Path], Source], str, set[str]]] = [
    (write_ade20k_2016, Ade20k2016, "ade20k", {"object", "part", "scene"}),
    (write_ade20k_2021, Ade20k2021, "ade20k", {"object", "part", "scene"}),
    (write_dtd, Dtd, "dtd", {"texture"}),
    (write_opensurfaces, OpenSurfaces, "opensurfaces", {"material"}),
    (write_pascal, Pascal, "pascal", {"object", "part"}),
]
each_source = pytest.mark.parametrize(
    ("write", "open_source", "name", "categories"), SOURCES, ids=[s[0].__name__[6:] for s in SOURCES]
)


def named(annotation: Annotation, category: str) -> list[str]:
    """First names of what an image has of a category."""
    numbers = set(annotation.whole.get(category, ()))
    numbers |= set(np.unique(annotation.maps.get(category, np.zeros(1, int))).tolist()) - {0}
    return sorted(annotation.names[category][number][0] for number in numbers)


@each_source
def test_what_all_sources_have_in_common(
    write: Callable[..., Path], open_source: Callable[[Path], Source], name: str, categories: set[str], tmp_path: Path
) -> None:
    root = write(tmp_path, images=6, size=SIZE)
    source = open_source(root)
    assert len(source) == 6
    assert source.name == name
    again = pickle.loads(pickle.dumps(source))
    assert again.fingerprint() == source.fingerprint() == open_source(root).fingerprint()
    seen = set()
    for index in range(6):
        assert "/" not in source.file_name(index)
        assert not source.file_name(index).endswith(".jpg")
        image, annotation = source.image(index), source.annotation(index)
        assert image.mode == "RGB"
        assert (image.height, image.width) == SIZE
        seen |= {*annotation.maps, *annotation.whole}
        for category, labels in annotation.maps.items():
            assert labels.dtype.kind == "u"
            assert labels.flags.c_contiguous
            assert labels.shape[-2:] == SIZE or category == "material"
            assert all(annotation.names[category][n] for n in np.unique(labels).tolist() if n)
            assert np.array_equal(again.annotation(index).maps[category], labels)
    assert seen == categories
    assert "color" not in seen


@each_source
def test_a_parent_folder_will_do(
    write: Callable[..., Path], open_source: Callable[[Path], Source], name: str, categories: set[str], tmp_path: Path
) -> None:
    root = write(tmp_path / "set", images=1, size=SIZE)
    if name != "pascal":
        assert len(open_source(root.parent)) == 1
    if name == "ade20k":
        assert len(open_source(root.parent.parent)) == 1
    with pytest.raises(DataError, match=r"is not ADE20K|is not a folder"):
        open_source(tmp_path / "nowhere")


@each_source
def test_folders_may_be_links_but_files_may_not_lead_out(
    write: Callable[..., Path], open_source: Callable[[Path], Source], name: str, categories: set[str], tmp_path: Path
) -> None:
    root = write(tmp_path, images=2, size=SIZE)
    for folder in [path for path in root.iterdir() if path.is_dir() and path.name != "labels"]:
        elsewhere = tmp_path / "elsewhere" / folder.name
        shutil.move(folder, elsewhere)
        folder.symlink_to(elsewhere)
    source = open_source(root)
    source.annotation(0)
    photo = next((tmp_path / "elsewhere").rglob(f"{source.file_name(0)}.jpg"))
    photo.rename(tmp_path / "outside.jpg")
    photo.symlink_to(tmp_path / "outside.jpg")
    with pytest.raises(DataError, match="link that leads out"):
        source.image(0)


@each_source
def test_fingerprint_follows_tables_and_files(
    write: Callable[..., Path], open_source: Callable[[Path], Source], name: str, categories: set[str], tmp_path: Path
) -> None:
    source = open_source(write(tmp_path, images=3, size=SIZE))
    before = source.fingerprint()
    label = sorted(p for p in tmp_path.rglob("*") if p.is_file() and p.stat().st_size)[0]
    (label.parent / "unrelated.bak").write_text("no part of it")
    assert source.fingerprint() == before
    photo = next(tmp_path.rglob(f"{source.file_name(2)}.jpg"))
    photo.write_bytes(photo.read_bytes() + b"\0")
    assert source.fingerprint() != before


def test_ade20k_classes_of_colours_scenes_and_layers(tmp_path: Path) -> None:
    root = write_ade20k_2016(tmp_path, images=5, size=SIZE)
    source = Ade20k2016(root)
    photo = next(root.rglob("ADE_train_00000001.jpg"))
    objects, first, second = np.zeros((3, *SIZE), int)
    objects[:, :10], objects[:, 10:] = 256, 4  # R = 10..19 and 0..9
    first[:5], second[2:4] = 258, 9
    write_classes(photo.with_name(f"{photo.stem}_seg.png"), objects)
    write_classes(photo.with_name(f"{photo.stem}_parts_1.png"), first)
    write_classes(photo.with_name(f"{photo.stem}_parts_2.png"), second)
    annotation = source.annotation(0)
    assert np.array_equal(annotation.maps["object"], objects)
    assert np.array_equal(annotation.maps["part"], [first, second])
    assert annotation.names["object"][4] == ("car", "auto", "automobile", "machine", "motorcar")
    assert named(annotation, "part") == ["head", "wheel"]
    scenes = [named(source.annotation(index), "scene") for index in range(5)]
    assert scenes == [["street-s"], ["airport-entrance-s"], ["living_room-s"], [], ["garage-indoor-s"]]
    assert source.annotation(3).whole["scene"] == ()
    assert "part" not in source.annotation(3).maps


@pytest.mark.parametrize(
    ("scene", "expected"),
    [
        ("wine_cellar/barrel_storage", "wine_cellar-barrel_storage-s"),
        ("stage - indoor", "stage-indoor-s"),
        ("/street", "street-s"),
        ("living room", "living_room-s"),
        ("~not labeled", ""),
        ("-", ""),
        ("", ""),
    ],
)
def test_scene_names(scene: str, expected: str) -> None:
    assert scene_name(scene) == expected


@pytest.mark.data
def test_scene_names_that_broden_has_stay_as_they_are(shared_data: Path) -> None:
    with (shared_data / "golden" / "ResNet-152-model_places365.csv").open(newline="") as file:
        scenes = {row["scene-label"] for row in csv.DictReader(file)}
    assert len(scenes) > 100
    assert {scene_name(scene.removesuffix("-s").replace("-", "/")) for scene in scenes} == scenes


def test_ade20k_2021_takes_names_and_scenes_from_each_image(tmp_path: Path) -> None:
    root = write_ade20k_2021(tmp_path, images=5, size=SIZE)
    source = Ade20k2021(root)
    files = [source.file_name(index) for index in range(5)]
    first = files.index("ADE_train_00000001")
    assert files.index("ADE_val_00000004") == 4  # after all of training/
    assert named(source.annotation(first), "scene") == ["street-s"]
    assert named(source.annotation(files.index("ADE_train_00000002")), "scene") == ["apse-indoor-s"]
    annotation = source.annotation(first)
    assert annotation.maps["part"].shape == (2, *SIZE)
    numbers = set(np.unique(annotation.maps["object"])) | set(np.unique(annotation.maps["part"])) - {0}
    assert set(annotation.names["object"]) == numbers
    assert all(names[0] == ADE_CLASSES[n].split(",")[0] for n, names in annotation.names["object"].items())


@pytest.mark.parametrize("form", ["one object", "latin-1", "no class"])
def test_ade20k_2021_json_as_matlab_writes_it(form: str, tmp_path: Path) -> None:
    source = Ade20k2021(write_ade20k_2021(tmp_path, images=1, size=SIZE))
    path = next(tmp_path.rglob("*.json"))
    write_classes(path.with_name(f"{path.stem}_seg.png"), np.full(SIZE, 2))
    for parts in path.parent.glob("*_parts_*.png"):
        parts.unlink()
    write_ade_json(path, [(0, 2)], SIZE)
    record = json.loads(path.read_text())
    objects = record["annotation"]["object"]
    if form == "one object":
        record["annotation"]["object"] = objects[0]
    elif form == "latin-1":
        objects[0]["name"] = "café"
    else:
        objects.append({"name": "-", "name_ndx": []})
    path.write_text(json.dumps(record, ensure_ascii=False), encoding="latin-1")
    assert named(source.annotation(0), "object") == ["café" if form == "latin-1" else "building"]


def test_open_ade20k_finds_the_layout(tmp_path: Path) -> None:
    old, new = write_ade20k_2016(tmp_path, images=1, size=SIZE), write_ade20k_2021(tmp_path, images=1, size=SIZE)
    (new / "index_ade20k.mat").write_bytes(b"of another layout")
    assert isinstance(open_ade20k(old), Ade20k2016)
    assert isinstance(open_ade20k(new), Ade20k2021)
    assert isinstance(open_ade20k(tmp_path), Ade20k2016)
    shutil.rmtree(old)
    assert isinstance(open_ade20k(tmp_path), Ade20k2021)
    with pytest.raises(DataError, match=r"neither index_ade20k.mat .* nor images/ADE"):
        open_ade20k(tmp_path / "none")


def test_dtd_keeps_the_order_of_the_file(tmp_path: Path) -> None:
    root = write_dtd(tmp_path, images=2, size=SIZE)
    table = root / "labels" / "labels_joint_anno.txt"
    table.write_text("\ufefflined/a.jpg lined banded lined\r\n\r\nbanded/b.jpg banded \r\n", encoding="utf-8")
    source = Dtd(root)
    assert [source.file_name(0), source.file_name(1)] == ["a", "b"]
    annotation = source.annotation(0)
    assert [annotation.names["texture"][n] for n in annotation.whole["texture"]] == [("lined",), ("banded",)]
    assert annotation.maps == {}


def test_opensurfaces_materials_are_red_and_nothing_else_is_supplied(tmp_path: Path) -> None:
    root = write_opensurfaces(tmp_path, images=1, size=SIZE)
    red = np.zeros((18, 24), np.uint8)
    red[:9], red[9:, 3:] = 2, 4
    write_rgb(root / "photos-labels" / "100.png", red, 200, 100)
    source = OpenSurfaces(root)
    annotation = source.annotation(0)
    assert source.file_name(0) == "100"
    assert np.array_equal(annotation.maps["material"], red)
    assert annotation.names == {
        "material": {1: ("brick",), 2: ("carpet", "rug"), 3: ("fabric", "cloth"), 4: ("plastic-opaque",), 5: ("wood",)}
    }


def test_pascal_names_of_parts(tmp_path: Path) -> None:
    (tmp_path / "part2ind.m").write_text(PART2IND)
    names = read_part_names(tmp_path / "part2ind.m")
    assert names[1, "lwing"] == "wing"
    assert names[1, "engine_10"] == "engine"
    assert (1, "engine_11") not in names
    assert [names[6, code] for code in ("frontside", "roofside", "leftmirror")] == ["", "roof", "mirror"]
    assert names[7, "fliplate"] == "license plate"
    assert names[7, "window_20"] == "window"
    assert names[13, "lfuleg"] == names[15, "llleg"] == "leg"
    assert (13, "lhorn") not in names
    assert names[10, "lhorn"] == "horn"
    assert {names[13, code] for code in ("lfho", "rfho", "lbho", "rbho")} == {"hoof"}
    assert names[14, "handlebar"] == "handle bar"
    assert [names[15, code] for code in ("lebrow", "ruarm")] == ["eyebrow", "arm"]
    assert names[19, "croofside_3"] == "coach roof"


@pytest.mark.data
def test_pascal_names_of_parts_are_those_that_broden_has(shared_data: Path, tmp_path: Path) -> None:
    with (shared_data / "reference" / "broden_plus" / "label_assignment.csv").open(newline="") as file:
        known = {
            row["raw_name"] for row in csv.DictReader(file) if (row["dataset"], row["category"]) == ("pascal", "part")
        }
    (tmp_path / "part2ind.m").write_text(PART2IND)
    assert {*read_part_names(tmp_path / "part2ind.m").values()} <= known


def test_pascal_objects_of_context_and_parts_in_one_layer(tmp_path: Path) -> None:
    root = write_pascal(tmp_path, images=1, size=SIZE)
    head, leg, side = np.zeros((3, *SIZE), bool)
    head[:10], leg[5:20, :16], side[18:, :4] = True, True, True
    write_pascal_parts(
        root / "part" / "Annotations_Part" / "2008_000001.mat",
        SIZE,
        [(15, {"head": head, "llleg": leg}), (4, {}), (6, {"frontside": side})],
    )
    context = np.where(head, 2, 431)
    write_context(root / "context" / "trainval" / "2008_000001.mat", context)
    annotation = Pascal(root).annotation(0)
    assert np.array_equal(annotation.maps["object"], context)
    assert annotation.names["object"][2] == ("airplane",)
    assert annotation.names["object"][431] == ("-",)
    numbers = {names[0]: number for number, names in annotation.names["part"].items()}
    expected = np.where(side, 0, np.where(leg, numbers["leg"], np.where(head, numbers["head"], 0)))
    assert np.array_equal(annotation.maps["part"], expected)
    assert len({*annotation.names["part"].values()}) == len(annotation.names["part"])


def test_pascal_image_without_objects(tmp_path: Path) -> None:
    root = write_pascal(tmp_path, images=2, size=SIZE)
    write_pascal_parts(root / "part" / "Annotations_Part" / "2008_000002.mat", SIZE, [])
    source = Pascal(root)
    assert not source.annotation(1).maps["part"].any()
    assert set(source.annotation(1).names["object"]) == {*CONTEXT}


def test_ade20k_table_of_other_shapes(tmp_path: Path) -> None:
    """Uncompressed, fields as columns, and one image."""
    root = write_ade20k_2016(tmp_path, images=1, size=SIZE)
    fields = {
        "filename": ["ADE_train_00000001.jpg"],
        "folder": ["ADE20K_2016_07_26/images/training/s/street/"],
        "scene": ["street"],
        "objectnames": [ADE_CLASSES.get(n, "") for n in range(1, 301)],
    }
    savemat(root / "index_ade20k.mat", {"index": {name: cells(values).T for name, values in fields.items()}})
    assert named(Ade20k2016(root).annotation(0), "scene") == ["street-s"]
