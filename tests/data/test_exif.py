"""Photographs that their EXIF tag turns: one rule for every kind of data set."""

from __future__ import annotations

import json
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

import netdissect_fast as nd
from netdissect_fast.cli import main
from netdissect_fast.data.builder.build import build
from netdissect_fast.data.builder.labelled import Labelled
from netdissect_fast.data.builder.sources import Dtd, OpenSurfaces
from netdissect_fast.data.files.exif import orientation
from netdissect_fast.data.files.pictures import read_image
from netdissect_fast.data.sources import data_of_run, open_source, source_of
from netdissect_fast.errors import ArgumentError, DataError

from ..support.exif import KINDS, SHAPES, open_set, pixels, tagged, upright, write_set, write_tagged
from ..support.mask_folders import write_mask

ORIENTATIONS = range(1, 9)
PHOTO = {"folder": "images/0.png", "broden": "images/0.png", "broden without sizes": "images/0.png"}


def photo_of(kind: str, folder: Path) -> Path:
    return folder / PHOTO.get(kind, "0.png")


def shape(photo: Path) -> tuple[int, int]:
    height, width, _ = upright(photo).shape
    return height, width


def seen(data: nd.ConceptDataset) -> np.ndarray:
    return np.asarray(data.image(0))


@pytest.mark.parametrize("form", SHAPES)
@pytest.mark.parametrize("tag", ORIENTATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_the_upright_photograph(tmp_path: Path, kind: str, tag: int, form: str) -> None:
    """The network sees the upright photograph, or an error says how to choose."""
    stored = pixels(*SHAPES[form])
    photo = write_tagged(tmp_path / "photo.png", stored, tag)
    path = write_set(kind, tmp_path / "set", stored, tag, shape(photo))
    if tag > 1 and (tag < 5 or form == "square"):  # the shape does not tell
        with pytest.raises(DataError, match=f"orientation {tag}: .*--exif apply .*--exif ignore") as caught:
            open_set(kind, path).image(0)
        assert "0.png" in str(caught.value)
    else:
        assert np.array_equal(seen(open_set(kind, path)), upright(photo))
    applied = open_set(kind, path, "apply")
    assert np.array_equal(seen(applied), upright(photo))
    assert applied.labels(0).shape == shape(photo)


@pytest.mark.parametrize("tag", ORIENTATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_the_pixels_as_they_are_stored(tmp_path: Path, kind: str, tag: int) -> None:
    stored = pixels(*SHAPES["wide"])
    path = write_set(kind, tmp_path / "set", stored, tag, SHAPES["wide"])
    if tag == 1 or tag >= 5:
        assert np.array_equal(seen(open_set(kind, path)), stored)
    ignored = open_set(kind, path, "ignore")
    assert np.array_equal(seen(ignored), stored)
    assert ignored.labels(0).shape == SHAPES["wide"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("exif", ["apply", "ignore"])
def test_an_error_of_shape_names_the_tag_and_what_to_do(tmp_path: Path, kind: str, exif: str) -> None:
    """Row 9 of the note; what the message says to do works."""
    labels = SHAPES["wide"] if exif == "apply" else SHAPES["wide"][::-1]
    path = write_set(kind, tmp_path / "set", pixels(*SHAPES["wide"]), 6, labels)
    data = open_set(kind, path, exif)
    if kind == "broden without sizes":  # its label maps may have any shape
        data.image(0)
    else:
        words = "applied" if exif == "apply" else "ignored"
        with pytest.raises(DataError, match=rf"its EXIF tag \(orientation 6\) {words}; without --exif \(exif=\)"):
            data.labels(0) if kind == "folder" else data.image(0)
    assert open_set(kind, path).image(0).size == labels[::-1]


@pytest.mark.parametrize("kind", ["folder", "coco panoptic", "coco instances", "broden"])
def test_labels_that_fit_neither(tmp_path: Path, kind: str) -> None:
    path = write_set(kind, tmp_path / "set", pixels(8, 14), 6, (9, 9))
    data = open_set(kind, path)
    with pytest.raises(DataError, match=r"neither as stored, 8 x 14 .*, nor turned, 14 x 8 .*: resize"):
        data.image(0)


@pytest.mark.parametrize("tag", ORIENTATIONS)
@pytest.mark.parametrize("sizes", ["blank", "stored", "turned"])
def test_labels_of_whole_images_are_turned(tmp_path: Path, tag: int, sizes: str) -> None:
    """Nothing can be misplaced: in a folder, and in Broden whichever size index.csv states."""
    stored = pixels(8, 14)
    photo = write_tagged(tmp_path / "images/0.png", stored, tag)
    (tmp_path / "names.csv").write_text("value,name\n,dusk\n")
    (tmp_path / "labels.csv").write_text("image,concepts\n0.png,dusk\n")
    assert np.array_equal(seen(nd.Folder(tmp_path)), upright(photo))
    stated = {"blank": ",", "stored": "8,14", "turned": ",".join(map(str, shape(photo)))}[sizes]
    (tmp_path / "index.csv").write_text(f"image,split,ih,iw,sh,sw,scene\n0.png,train,{stated},,,1\n")
    (tmp_path / "category.csv").write_text("name\nscene\n")
    (tmp_path / "label.csv").write_text("number,name,category\n1,dusk,scene(1)\n")
    assert np.array_equal(seen(nd.Broden(tmp_path)), upright(photo))
    if sizes != "stored":
        assert nd.Broden(tmp_path).labels(0).shape == tuple(n // 2 for n in shape(photo))


def test_an_image_of_coco_without_annotations_is_turned(tmp_path: Path) -> None:
    path = write_set("coco instances", tmp_path / "set", pixels(12, 12), 3, (12, 12))
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "annotations": []}))
    assert np.array_equal(seen(nd.CocoInstances(path)), pixels(12, 12)[::-1, ::-1])


def test_every_layer_of_masks_must_fit(tmp_path: Path) -> None:
    path = write_set("folder", tmp_path / "set", pixels(8, 14), 6, (14, 8))
    write_mask(path / "masks_parts/0.png", np.ones((8, 14), np.uint8))
    with pytest.raises(DataError, match="neither as stored"):
        nd.Folder(path).image(0)


def test_masks_at_another_scale_tell(tmp_path: Path) -> None:
    path = write_set("folder", tmp_path / "set", pixels(8, 14), 8, (7, 4))
    assert np.array_equal(seen(nd.Folder(path)), upright(path / "images/0.png"))
    assert nd.Folder(path, label_size=None).labels(0).shape == (7, 4)


def test_stretched_label_maps_of_broden_tell_nothing(tmp_path: Path) -> None:
    path = write_set("broden without sizes", tmp_path / "set", pixels(8, 14), 6, (10, 10))
    with pytest.raises(DataError, match=r"index\.csv, line 2: images/0\.png has an EXIF tag .*--exif apply"):
        nd.Broden(path).image(0)
    assert nd.Broden(path, exif="ignore").image(0).size == (14, 8)


@pytest.mark.parametrize("kind", KINDS)
def test_fingerprint_and_source_change_only_if_it_is_given(tmp_path: Path, kind: str) -> None:
    path = write_set(kind, tmp_path / "set", pixels(12, 12), 3, (12, 12))
    plain, *given_ = (open_set(kind, path, exif) for exif in (None, "apply", "ignore"))
    assert "exif" not in (source_of(plain) or {})
    assert len({data.fingerprint() for data in (plain, *given_)}) == 3
    for data in given_:
        record = {"source": source_of(data), "fingerprint": data.fingerprint()}
        again = data_of_run({"data": json.loads(json.dumps(record))})
        assert np.array_equal(seen(again), seen(data))
        assert np.array_equal(seen(open_source(record["source"], path)), seen(data))


def test_a_users_own_exif_transpose_turns_nothing_twice(tmp_path: Path) -> None:
    path = write_set("folder", tmp_path / "set", pixels(8, 14), 6, (14, 8))
    for exif in ("apply", "ignore"):
        image = nd.Folder(path, exif=exif).image(0)
        assert np.array_equal(np.asarray(ImageOps.exif_transpose(image)), np.asarray(image))


def test_exif_must_be_one_of_its_values(tmp_path: Path) -> None:
    path = write_set("folder", tmp_path / "set", pixels(8, 14), 6, (14, 8))
    with pytest.raises(ArgumentError, match='exif must be "apply", "ignore" or None'):
        nd.open_data(path, exif="turn")
    (tmp_path / "own.py").write_text("def make(): pass")
    with pytest.raises(ArgumentError, match="the option exif does not apply"):
        nd.open_data(f"{tmp_path}/own.py:make", exif="apply")


class TestCheck:
    def test_it_names_the_tag_that_the_shape_leaves_open(self, tmp_path: Path) -> None:
        """Row 8 of the note: it used to say "sound"."""
        path = write_set("folder", tmp_path / "set", pixels(12, 12), 3, (12, 12))
        found = nd.check(path)
        assert [fault.path for fault in found.faults] == [str(path / "images/0.png")]
        assert "orientation 3: turned by 180°" in found.faults[0].reason
        assert not nd.check(path, exif="apply").faults

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(("labels", "counts"), [((14, 8), "1 applied, 0"), ((8, 14), "0 applied, 1")])
    def test_it_says_what_the_shape_decided(
        self, tmp_path: Path, kind: str, labels: tuple[int, int], counts: str
    ) -> None:
        found = nd.check(write_set(kind, tmp_path / "set", pixels(8, 14), 6, labels))
        assert not found.faults
        assert found.notes[0] == f"1 photograph with an EXIF tag that turns it: {counts} ignored (--exif, exif=)"

    def test_it_says_nothing_without_a_tag(self, tmp_path: Path) -> None:
        assert not nd.check(write_set("folder", tmp_path / "set", pixels(8, 14), 1, (8, 14))).notes

    @pytest.mark.parametrize("command", ["check", "info"])
    def test_the_option_that_the_error_names(
        self, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = write_set("coco panoptic", tmp_path / "set", pixels(12, 12), 2, (12, 12))
        cache = [] if command == "check" else ["--cache", str(tmp_path / "cache")]
        assert main(["data", command, str(path), *cache]) == 1
        printed = capsys.readouterr()
        assert "--exif apply" in printed.out + printed.err
        for choice in ("apply", "ignore"):
            assert main(["data", command, str(path), *cache, "--exif", choice]) == 0


class TestBuild:
    def test_what_is_built_is_upright(self, tmp_path: Path) -> None:
        """Shapes of any data set decide; what is written has no tag that could turn it again."""
        stored = np.zeros((64, 96, 3), np.uint8)
        stored[:32] = 255
        path = write_set("folder", tmp_path / "set", stored, 6, (96, 64))
        data = Labelled(nd.Folder(path, label_size=None), "mine")
        build([data], tmp_path / "built", size=(96, 64), min_frequency=1, min_coverage=0, workers=0, progress=False)
        (photo,) = (tmp_path / "built/images").rglob("*.jpg")
        with Image.open(photo) as image:
            assert image.getexif().get(0x112, 1) == 1
        built = seen(nd.Broden(tmp_path / "built"))
        assert built[:, 40:].min() > 200  # the white half, which was on top
        assert built[:, :24].max() < 50

    def test_the_option_of_data_build(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = write_set("folder", tmp_path / "set", pixels(12, 12), 3, (12, 12))
        command = ["data", "build", "--data", str(path), "--out", str(tmp_path / "built"), "--size", "12", "--workers",
                   "0", "--min-frequency", "1", "--min-coverage", "0"]  # fmt: skip
        assert main(command) == 1
        assert "--exif apply" in capsys.readouterr().err
        assert main([*command, "--exif", "apply", "--restart"]) == 0

    def test_textures_of_whole_images_are_turned(self, tmp_path: Path) -> None:
        (tmp_path / "labels").mkdir()
        (tmp_path / "labels/labels_joint_anno.txt").write_text("dotted/0.jpg dotted\n")
        photo = write_tagged(tmp_path / "images/dotted/0.jpg", pixels(8, 14), 8)
        assert np.array_equal(np.asarray(Dtd(tmp_path).image(0)), upright(photo))
        assert Dtd(tmp_path, exif="ignore").image(0).size == (14, 8)
        assert Dtd(tmp_path, exif="ignore").fingerprint() != Dtd(tmp_path).fingerprint()

    def test_masks_of_a_source_decide(self, tmp_path: Path) -> None:
        (tmp_path / "photos.csv").write_text("photo_id\n7\n")
        (tmp_path / "label-substance-colors.csv").write_text("substance_name,red_color\nWood,1\n")
        photo = write_tagged(tmp_path / "photos/7.jpg", pixels(8, 14), 6)
        write_mask(tmp_path / "photos-labels/7.png", np.ones((28, 16, 3), np.uint8))
        assert np.array_equal(np.asarray(OpenSurfaces(tmp_path).image(0)), upright(photo))
        write_mask(tmp_path / "photos-labels/7.png", np.ones((20, 20, 3), np.uint8))
        with pytest.raises(DataError, match="neither as stored"):
            OpenSurfaces(tmp_path).image(0)


def test_a_run_records_what_was_given(tmp_path: Path) -> None:
    import torch

    path = write_set("folder", tmp_path / "set", pixels(12, 12), 3, (12, 12))
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3, padding=1))
    options = {"preprocess": nd.Preprocess(12), "cache": tmp_path / "cache", "progress": False, "quantile": 0.1}
    with pytest.raises(DataError, match="--exif apply"):
        nd.dissect(model, nd.Folder(path), "0", **options)
    nd.dissect(model, nd.Folder(path, exif="apply"), "0", out=tmp_path / "out", **options)
    assert json.loads((tmp_path / "out/run.json").read_text())["data"]["source"]["exif"] == "apply"


class TestReadingTheTag:
    @pytest.mark.parametrize("form", ["JPEG", "PNG"])
    @pytest.mark.parametrize("tag", range(12))
    def test_it_is_what_pillow_finds(self, form: str, tag: int) -> None:
        found = orientation(tagged(pixels(4, 6), tag, form))
        assert found == (tag if tag in ORIENTATIONS else 1)

    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize("kind", [3, 4])
    @pytest.mark.parametrize("place", ["before the pixels", "after them"])
    def test_both_byte_orders_and_places_in_a_png(self, order: str, kind: int, place: str) -> None:
        head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, 2)
        value = struct.pack(f"{order}{'H' if kind == 3 else 'I'}", 7).ljust(4, b"\0")
        block = head + struct.pack(f"{order}HHII", 0x10F, 2, 4, 0) + struct.pack(f"{order}HHI", 0x112, kind, 1) + value
        plain = tagged(pixels(4, 6), 1, "PNG")
        at = plain.index(b"IDAT") - 4 if place == "before the pixels" else plain.index(b"IEND") - 4
        own = plain.index(b"eXIf") - 4
        (length,) = struct.unpack_from(">I", plain, own)
        assert own < plain.index(b"IDAT")
        data = plain[:at] + _chunk(b"eXIf", block) + plain[at:]
        assert orientation(data[:own] + data[own + length + 12 :]) == 7

    def test_files_without_one(self, tmp_path: Path) -> None:
        for name in ("a.jpg", "a.png"):
            Image.fromarray(pixels(4, 6)).save(tmp_path / name)
            assert orientation((tmp_path / name).read_bytes()) == 1

    @given(block=st.binary(max_size=80), form=st.sampled_from(["JPEG", "PNG"]))
    def test_any_bytes_are_a_tag_or_none(self, block: bytes, form: str) -> None:
        data = _with_block(b"II*\0\x08\0\0\0" + block, form)
        assert orientation(data) in ORIENTATIONS
        for end in range(0, len(data), 7):
            assert orientation(data[:end]) in ORIENTATIONS

    @given(data=st.binary(max_size=200), start=st.sampled_from([b"\xff\xd8\xff\xe1", b"\x89PNG\r\n\x1a\n"]))
    def test_any_file(self, data: bytes, start: bytes) -> None:
        assert orientation(start + data) in ORIENTATIONS

    def test_a_broken_tag_is_none(self, tmp_path: Path) -> None:
        """As it was before tags were read: the photograph itself is sound."""
        path = tmp_path / "a.png"
        path.write_bytes(_with_block(b"II*\0\xff\xff\xff\xff", "PNG"))
        assert read_image(str(path), None).size == (6, 4)

    def test_a_photograph_without_a_data_set_is_turned(self, tmp_path: Path) -> None:
        """As ``explain --image`` reads it."""
        path = write_tagged(tmp_path / "a.png", pixels(8, 14), 3)
        assert np.array_equal(np.asarray(read_image(str(path), None)), upright(path))

    def test_values_that_claim_to_be_huge_cost_nothing(self) -> None:
        """Each of 60,000 entries claims the whole block as its value: only the orientation is looked at."""
        entries = b"".join(struct.pack("<HHII", 0x9000 + n % 4096, 7, 1 << 19, 8) for n in range(60_000))
        data = _with_block(b"II*\0" + struct.pack("<IH", 8, 60_000) + entries, "PNG")
        tracemalloc.start()
        try:
            assert orientation(data) == 1
            assert tracemalloc.get_traced_memory()[1] < 10_000_000
        finally:
            tracemalloc.stop()

    def test_countless_parts_are_not_all_looked_at(self) -> None:
        fill = b"\xff\xd8" + b"\xff" * 4_000_000
        assert orientation(fill) == 1
        empty = b"\x89PNG\r\n\x1a\n" + _chunk(b"tEXt", b"") * 300_000
        assert orientation(empty + _chunk(b"eXIf", _block(6))) == 1  # beyond MAX_PARTS


def _block(tag: int) -> bytes:
    return b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x112, 3, 1, tag, 0, 0)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _with_block(block: bytes, form: str) -> bytes:
    """A file of 4 × 6 pixels with any bytes as its EXIF block."""
    plain = tagged(pixels(4, 6), 1, form)
    if form == "PNG":
        own = plain.index(b"eXIf") - 4
        (length,) = struct.unpack_from(">I", plain, own)
        return plain[:own] + _chunk(b"eXIf", block) + plain[own + length + 12 :]
    return b"\xff\xd8\xff\xe1" + struct.pack(">H", len(block) + 8) + b"Exif\0\0" + block + plain[2:]
