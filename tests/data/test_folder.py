"""A folder of images and masks is a data set as it is."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from netdissect_fast.data.formats.folder import Folder
from netdissect_fast.errors import ArgumentError, DataError
from tests.support.tiny_broden import edit

from ..support.mask_folders import masks, write_folder, write_mask, write_photo


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "mine")


def test_concepts_and_images(folder: Path) -> None:
    data = Folder(folder)
    words = data.vocabulary
    assert words.names == ("sky", "grass", "roof", "street")
    assert [words.categories[c] for c in words.category] == ["object", "object", "part", "scene"]
    assert words.numbers.tolist() == [1, 2, 7, 256]
    assert [data.name(i) for i in range(len(data))] == ["a/one.jpg", "three.jpg", "two.png"]
    assert data.image(0).size == (12, 8)
    assert data.image(0).mode == "RGB"


def test_labels_as_they_are(folder: Path) -> None:
    data = Folder(folder, label_size=None)
    one, three, two = map(data.labels, range(3))
    first, roof, second = masks().values()
    assert np.array_equal(one.maps, [np.where(first == 255, 0, first), roof])
    assert one.whole == three.whole == (256,)
    assert three.maps.shape == (0, 10, 10)
    assert np.array_equal(two.maps, second[None])
    assert two.whole == ()


@pytest.mark.parametrize(("size", "shape"), [(4, (4, 4)), ((16, 24), (16, 24)), (112, (112, 112))])
def test_labels_of_a_chosen_size_take_the_pixel_at_the_centre(folder: Path, size: int, shape: tuple[int, int]) -> None:
    data = Folder(folder, label_size=size)
    labels = data.labels(0)
    assert labels.shape == shape == data.labels(1).shape == data.labels(2).shape
    whole = Folder(folder, label_size=None).labels(0).maps
    y, x = ((np.arange(n) + 0.5) * old / n for n, old in zip(shape, (8, 12), strict=True))
    assert np.array_equal(labels.maps, whole[:, np.floor(y).astype(int)[:, None], np.floor(x).astype(int)])


@pytest.mark.parametrize("form", ["greyscale", "16 bits", "palette", "1 bit"])
def test_masks_of_every_kind(tmp_path: Path, form: str) -> None:
    values = np.array([[0, 1, 1], [1, 0, 0]], np.uint8)
    write_photo(tmp_path / "images/x.JPG", 2, 3)
    (tmp_path / "names.csv").write_text(f"value,name\n{300 if form == '16 bits' else 1},cat\n")
    (tmp_path / "masks").mkdir()
    if form == "16 bits":
        image = Image.fromarray(values.astype(np.uint16) * 300)
    elif form == "palette":
        image = Image.fromarray(values).convert("P")
        image.putpalette([9, 9, 9, 200, 0, 0])
    elif form == "1 bit":
        image = Image.fromarray(values.astype(bool))
    else:
        image = Image.fromarray(values)
    image.save(tmp_path / "masks/x.png")
    data = Folder(tmp_path, label_size=None)
    assert np.array_equal(data.labels(0).maps > 0, values[None] > 0)
    assert data.vocabulary.numbers.tolist() == [300 if form == "16 bits" else 1]


@pytest.mark.parametrize("colours", [("#ff8000", "#000001"), ("255 128 0", "0,0,1"), ("255;128;0", "0 0 1")])
def test_colours(tmp_path: Path, colours: tuple[str, str]) -> None:
    mask = np.zeros((4, 5, 3), np.uint8)
    mask[0], mask[1:3, 2] = (255, 128, 0), (0, 0, 1)
    write_photo(tmp_path / "images/x.png", 4, 5)
    write_mask(tmp_path / "masks/x.png", mask)
    (tmp_path / "names.csv").write_text('color,name\n"{}",road\n"{}",car\n'.format(*colours))
    data = Folder(tmp_path, label_size=None)
    names = dict(zip(data.vocabulary.numbers.tolist(), data.vocabulary.names, strict=True))
    found = [[names.get(int(number), "") for number in row] for row in data.labels(0).maps[0]]
    assert found == [["road"] * 5, ["", "", "car", "", ""], ["", "", "car", "", ""], [""] * 5]


def test_a_name_may_have_several_values_and_value_0_may_be_one(tmp_path: Path) -> None:
    write_photo(tmp_path / "images/x.png", 1, 4)
    write_mask(tmp_path / "masks/x.png", np.array([[0, 3, 5, 9]], np.uint8))
    (tmp_path / "names.csv").write_text("value,name\n0,road\n3,car\n5,car\n9,-\n")
    data = Folder(tmp_path, label_size=None)
    assert data.vocabulary.names == ("road", "car")
    assert data.labels(0).maps.tolist() == [[[1, 4, 4, 0]]]


def test_masks_of_half_the_size_are_laid_over_the_whole_image(tmp_path: Path) -> None:
    write_photo(tmp_path / "images/x.png", 7, 11)
    write_mask(tmp_path / "masks/x.png", np.ones((4, 6), np.uint8))
    (tmp_path / "names.csv").write_text("value,name\n1,road\n")
    assert Folder(tmp_path).labels(0).maps.all()


def test_the_fingerprint_changes_with_what_is_read(folder: Path) -> None:
    first = Folder(folder).fingerprint()
    assert first == Folder(folder).fingerprint() != Folder(folder, label_size=56).fingerprint()
    edit(folder / "names.csv", "grass", "lawn")
    second = Folder(folder).fingerprint()
    write_mask(folder / "masks/two.png", np.arange(36, dtype=np.uint8).reshape(6, 6))
    assert len({first, second, Folder(folder).fingerprint()}) == 3


def test_pickles(folder: Path) -> None:
    data = pickle.loads(pickle.dumps(Folder(folder)))
    assert data.fingerprint() == Folder(folder).fingerprint()
    assert data.labels(0).maps.any()


def text(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content)


def gone(path: Path) -> None:
    path.unlink()


def mask(values: np.ndarray) -> Callable[[Path], object]:
    return lambda path: write_mask(path, values)


def link_out(path: Path) -> None:
    outside = path.parent.parent.parent / "outside.png"
    outside.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(outside)


OPENING = [  # file, what is done to it, what the error says
    ("names.csv", gone, r"names\.csv: does not exist"),
    ("names.csv", text("number,name\n1,a\n"), r"names\.csv, line 1: needs one of the columns value and color"),
    ("names.csv", text("value,color,name\n1,#ffffff,a\n"), "line 1: needs one of"),
    ("names.csv", text("value\n1\n"), "line 1: has no column name"),
    ("names.csv", text("value,name\n1,-\n"), r"names\.csv: names must name at least one concept"),
    ("names.csv", text("value,name\n-1,a\n"), "line 2: value must be an integer"),
    ("names.csv", text("value,name\n65536,a\n"), "line 2: value must be at most 65535"),
    ("names.csv", text("value,name\n0,a\n65535,b\n"), "at most 65534"),
    ("names.csv", text("value,name\n1,a\n1,b\n"), "line 3: value 1 is listed twice"),
    ("names.csv", text("color,name\n#12345,a\n"), "line 2: color must be written like"),
    ("names.csv", text("color,name\n1 2 256,a\n"), "line 2: color must be written like"),
    ("names.csv", text("value,name,category\n1,a,b/c\n"), "line 2: .* names cannot contain"),
    ("labels.csv", text("image,concepts\nnone.jpg,street\n"), r"labels\.csv, line 2: image 'none.jpg' is not under"),
    ("labels.csv", text("image,concepts\nthree.jpg,avenue\n"), "line 2: concept 'avenue' is not in names.csv"),
    ("labels.csv", text("image,concepts\nthree.jpg,\nthree.jpg,\n"), "line 3: image 'three.jpg' is listed twice"),
    ("labels.csv", text("image\nthree.jpg\n"), "line 1: has no column concepts"),
    (
        "labels.csv",
        text("image,concepts\na/one.jpg,street\n"),
        r"three\.jpg: has no mask masks/three\.png and no row",
    ),
    ("masks/two.png", gone, r"images/two\.png: has no mask masks/two\.png"),
    ("images/two.png", gone, r"masks/two\.png: has no image under images/"),
    ("images/two.jpg", lambda path: write_photo(path, 6, 6), r"two\.png: and two\.jpg would share one mask"),
    ("images/two.tif", text("x"), r"two\.tif: is not a \.jpg or"),
    ("masks/two.npy", text("x"), r"two\.npy: is not a \.png"),
]


@pytest.mark.parametrize(("file", "spoil", "message"), OPENING)
def test_broken_folders(folder: Path, file: str, spoil: Callable[[Path], object], message: str) -> None:
    spoil(folder / file)
    with pytest.raises(DataError, match=message):
        Folder(folder)


READING = [
    ("masks/a/one.png", text(""), "is empty"),
    ("masks/a/one.png", text("no picture, but more than thirty-three bytes"), "is not a PNG file"),
    ("masks/a/one.png", mask(np.full((8, 12), 3, np.uint8)), "value 3 is not in names.csv; name it"),
    ("masks/a/one.png", mask(np.full((8, 12), 300, np.uint16)), "value 300 is not in names.csv"),
    ("masks/a/one.png", mask(np.ones((8, 12, 3), np.uint8)), "holds colours, in RGB; names.csv names values"),
    ("masks/a/one.png", mask(np.ones((8, 12, 4), np.uint8)), "must be PNG, greyscale or palette .* got 8-bit RGB with"),
    ("masks/a/one.png", mask(np.ones((12, 8), np.uint8)), "has 12 x 8 pixels .* its image 8 x 12: the shapes differ"),
    ("masks/a/one.png", mask(np.ones((7, 12), np.uint8)), "the shapes differ"),
    ("masks/a/one.png", link_out, "leads out of"),
    ("images/a/one.jpg", text("x"), "is not a readable JPEG or PNG"),
]


@pytest.mark.parametrize(("file", "spoil", "message"), READING)
def test_broken_files(folder: Path, file: str, spoil: Callable[[Path], object], message: str) -> None:
    spoil(folder / file)
    data = Folder(folder)
    with pytest.raises(DataError, match=message) as caught:
        data.labels(0)
    assert file in str(caught.value)
    assert data.labels(2).maps.any()  # the others can be read


def test_colours_that_have_no_name(tmp_path: Path) -> None:
    write_photo(tmp_path / "images/x.png", 2, 2)
    write_mask(tmp_path / "masks/x.png", np.full((2, 2, 3), 7, np.uint8))
    (tmp_path / "names.csv").write_text("color,name\n#ff0000,car\n")
    with pytest.raises(DataError, match=r"x\.png: colour #070707 is not in names\.csv"):
        Folder(tmp_path).labels(0)
    write_mask(tmp_path / "masks/x.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(DataError, match=r"holds values, in greyscale or a palette; names\.csv names colours"):
        Folder(tmp_path).labels(0)


def test_folders_that_are_links(folder: Path, tmp_path: Path) -> None:
    (folder / "images/b").symlink_to(tmp_path)
    with pytest.raises(DataError, match="images/b: is a link to a folder"):
        Folder(folder)


@pytest.mark.parametrize("size", [0, -1, (3,), "112", (8, 0), 1.5, 70000])
def test_sizes_that_are_none(folder: Path, size: object) -> None:
    with pytest.raises(ArgumentError, match="label_size must be"):
        Folder(folder, label_size=size)  # type: ignore[arg-type]


def test_a_concept_of_whole_images_has_no_value(tmp_path: Path) -> None:
    """Its number, one more than the largest value, is no value that a mask may hold."""
    write_photo(tmp_path / "images/x.png", 2, 2)
    write_mask(tmp_path / "masks/x.png", np.array([[1, 2], [3, 1]], np.uint8))
    (tmp_path / "names.csv").write_text("value,name\n1,cat\n2,dog\n,beach\n")
    (tmp_path / "labels.csv").write_text("image,concepts\nx.png,beach\n")
    data = Folder(tmp_path)
    assert data.vocabulary.numbers.tolist() == [1, 2, 3]
    with pytest.raises(DataError, match=r"value 3 is not in names\.csv"):
        data.labels(0)


@pytest.mark.parametrize("left", ["images/.ipynb_checkpoints/x.png", "images/desktop.ini", "masks/.x.tif"])
def test_what_other_programs_leave_is_no_fault(folder: Path, left: str) -> None:
    (folder / left).parent.mkdir(exist_ok=True)
    (folder / left).touch()
    assert len(Folder(folder)) == 3


def test_a_table_that_is_a_link_to_nothing(folder: Path) -> None:
    (folder / "labels.csv").unlink()
    (folder / "labels.csv").symlink_to("nowhere.csv")
    with pytest.raises(DataError, match=r"labels\.csv: does not exist"):
        Folder(folder)


def test_masks_that_are_nowhere(tmp_path: Path) -> None:
    """Where images have labels of their own, nothing else would show it."""
    write_photo(tmp_path / "images/x.png", 2, 2)
    (tmp_path / "names.csv").write_text("value,name\n1,car\n,street\n")
    (tmp_path / "labels.csv").write_text("image,concepts\nx.png,street\n")
    (tmp_path / "mask").mkdir()
    with pytest.raises(DataError, match=r"masks: is missing; names\.csv names what its masks show"):
        Folder(tmp_path)
    (tmp_path / "names.csv").write_text("value,name\n,street\n")
    assert len(Folder(tmp_path)) == 1
