"""Reading data sets in Broden's format."""

from __future__ import annotations

import csv
import multiprocessing
import pickle
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from netdissect_fast.data.dataset import ConceptDataset, Subset
from netdissect_fast.data.files.index import read_index
from netdissect_fast.data.formats.broden import Broden
from netdissect_fast.errors import ArgumentError, DataError

from ..support.tiny_broden import edit, label_maps, write_tiny


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny")


def same(a: Broden, b: Broden) -> bool:
    """The same concepts and labels."""
    assert len(a) == len(b)
    for i in range(len(a)):
        x, y = a.labels(i), b.labels(i)
        assert np.array_equal(x.maps, y.maps)
        assert x.whole == y.whole
        assert a.image(i).tobytes() == b.image(i).tobytes()
    assert np.array_equal(a.vocabulary.numbers, b.vocabulary.numbers)
    assert np.array_equal(a.vocabulary.category, b.vocabulary.category)
    return (a.vocabulary.names, a.vocabulary.categories) == (b.vocabulary.names, b.vocabulary.categories)


def test_labels_are_r_plus_256_g_in_every_layer(tiny: Path) -> None:
    data, maps = Broden(tiny), label_maps()
    assert isinstance(data, ConceptDataset)
    assert [data.name(i) for i in range(len(data))] == ["a/one.jpg", "a/two.jpg", "b/three.jpg"]
    one = data.labels(0)
    assert one.maps.dtype == np.int32
    expected = [maps["a/one_object.png"], maps["a/one_part_1.png"], maps["a/one_part_2.png"]]
    assert np.array_equal(one.maps, expected)
    assert one.maps.max() == 300
    assert one.whole == (4,)


def test_whole_image_zero_is_no_label_and_sizes_are_read_per_row(tiny: Path) -> None:
    data = Broden(tiny)
    assert data.labels(1).whole == ()
    assert data.labels(2).whole == (4, 5)
    assert data.labels(2).maps.shape == (0, 5, 5)
    assert data.labels(1).shape == (8, 12)
    assert [data.image(i).size for i in range(3)] == [(24, 16), (24, 16), (20, 20)]
    assert {data.image(i).mode for i in range(3)} == {"RGB"}


def test_vocabulary_is_every_number_ascending_and_category_csv_gives_the_order(tiny: Path) -> None:
    vocabulary = Broden(tiny).vocabulary
    assert vocabulary.numbers.tolist() == [1, 2, 3, 4, 5, 300]
    assert vocabulary.names == ("car", "door", "wheel", "street-s", "harbour-s", "sky")
    assert vocabulary.categories == ("object", "part", "scene")  # index.csv has part first
    assert vocabulary.category.tolist() == [0, 0, 1, 2, 2, 0]  # door: coverage 2.0 as object, 1.0 as part


def test_category_subset_keeps_all_concepts_and_images(tiny: Path) -> None:
    data = Broden(tiny, categories=["scene", "part"])
    assert data.vocabulary.categories == ("part", "scene")
    assert data.vocabulary.numbers.tolist() == [1, 2, 3, 4, 5, 300]
    assert data.vocabulary.category.tolist() == [-1, 0, 0, 1, 1, -1]  # door: primary among the kept
    assert len(data) == 3
    assert data.labels(0).maps.shape == (2, 8, 12)
    assert data.labels(1).maps.shape == (0, 8, 12)  # nothing left, still an image
    assert data.labels(1).whole == ()


def test_equal_coverage_goes_to_the_first_category(tiny: Path) -> None:
    edit(tiny / "c_part.csv", "door,9,1.0", "door,9,2.0")
    assert Broden(tiny).vocabulary.category[1] == 0


def test_without_coverage_files_the_image_counts_decide(tiny: Path) -> None:
    (tiny / "c_part.csv").unlink()  # one is enough: counts and coverages cannot be compared
    vocabulary = Broden(tiny).vocabulary
    assert vocabulary.category.tolist() == [0, 1, 1, 2, 2, 0]  # door: 9 images as part, 1 as object
    assert Broden(tiny, categories=["object", "scene"]).vocabulary.category[1] == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.write_bytes(b"\xef\xbb\xbf" + f.read_bytes()),
        lambda f: f.write_bytes(f.read_bytes().replace(b"\n", b"\r\n")),
        lambda f: f.write_bytes(f.read_bytes().rstrip()),
        lambda f: f.write_bytes(f.read_bytes().replace(b"\n", b"\n\n")),
        lambda f: f.write_bytes(f.read_bytes().replace(b"\n", b',"more, of it"\n').replace(b"more, of", b"", 1)),
    ],
    ids=["bom", "crlf", "no-last-newline", "blank-lines", "extra-column"],
)
@pytest.mark.parametrize("table", ["index", "label", "category", "c_part"])
def test_tolerates_how_tools_write_csv(tiny: Path, tmp_path: Path, table: str, change) -> None:
    plain = Broden(write_tiny(tmp_path / "plain"))
    change(tiny / f"{table}.csv")
    assert same(Broden(tiny), plain)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("index.csv", "16,24,8,12", "16.0,24.0,8.0,12.0"),
        ("index.csv", ",4\n", ",4.0\n"),
        ("index.csv", "4;5", " 4 ; 5.;"),
        ("index.csv", "16,24,8,12", ",,,"),
        ("label.csv", "300,sky", "300.0,sky"),
        ("label.csv", "\n1,car", "\n0,none,,,,\n,,,,,\n1,car"),
        ("label.csv", "1.5,heaven", ","),
        ("category.csv", "object,1,300,3,3", "object,,,,"),
        ("category.csv", "scene,4,5,2,3\n", "scene,4,5,2,3\ntexture,,,0,0\n"),
        ("c_part.csv", "1,2,door,9,1.0", ",2.0,,,1"),
        ("c_part.csv", "2,3,wheel,1,0.1", "2,3,wheel,,"),
    ],
)
def test_tolerates_blank_and_float_looking_numbers(tiny: Path, tmp_path: Path, file: str, old: str, new: str) -> None:
    plain = Broden(write_tiny(tmp_path / "plain"))
    edit(tiny / file, old, new)
    data = Broden(tiny)
    if "texture" in new:  # a category without labels or data stays, as category.csv says
        assert data.vocabulary.categories[-1] == "texture"
        edit(tiny / file, "texture,,,0,0\n", "")
        data = Broden(tiny)
    assert same(data, plain)


def test_blank_label_size_without_maps_is_half_the_image(tiny: Path) -> None:
    edit(tiny / "index.csv", "20,20,5,5", ",,,")
    assert Broden(tiny).labels(2).shape == (10, 10)


def test_split(tiny: Path) -> None:
    train, val = Broden(tiny, split="train"), Broden(tiny, split="val")
    assert [len(train), len(val)] == [2, 1]
    assert val.name(0) == "a/two.jpg"
    with pytest.raises(ArgumentError, match=r"no row of split 'test'; it has train, val"):
        Broden(tiny, split="test")


@pytest.mark.parametrize("wanted", [["objects"], [], "object"])
def test_unknown_categories_are_named(tiny: Path, wanted) -> None:
    with pytest.raises(ArgumentError, match="categories must be"):
        Broden(tiny, categories=wanted)


def test_opening_reads_no_image(tiny: Path) -> None:
    for file in (tiny / "images").rglob("*.*"):
        file.unlink()
    data = Broden(tiny)
    assert len(data) == 3
    with pytest.raises(DataError, match=r"index\.csv, line 2: images/a/one\.jpg does not exist"):
        data.image(0)


def test_not_strict_skips_broken_rows_and_counts_them(tiny: Path) -> None:
    (tiny / "images" / "a" / "two_object.png").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"1 of 3 rows .* skipped; the first: .*line 3: images/a/two_object\.png"):
        data = Broden(tiny, strict=False)
    assert [data.name(i) for i in range(len(data))] == ["a/one.jpg", "b/three.jpg"]
    assert [error.line for error in data.skipped] == [3]
    assert data.fingerprint() != Broden(write_tiny(tiny.parent / "whole"), strict=False).fingerprint()


def test_not_strict_with_nothing_left_is_an_error(tiny: Path) -> None:
    for file in (tiny / "images").rglob("*.jpg"):
        file.unlink()
    with pytest.raises(DataError, match=r"3 of 3 rows .* none is left"):
        Broden(tiny, strict=False)


def test_fingerprint_follows_content_and_selection(tiny: Path, tmp_path: Path) -> None:
    first = Broden(tiny).fingerprint()
    assert len(first) == 64
    assert int(first, 16) >= 0
    assert Broden(shutil.copytree(tiny, tmp_path / "copy")).fingerprint() == first  # wherever it lies
    seen = {first}
    seen.add(Broden(tiny, split="train").fingerprint())
    seen.add(Broden(tiny, categories=["object", "part"]).fingerprint())
    for name in ("index.csv", "label.csv", "category.csv", "c_part.csv"):
        text = (tiny / name).read_bytes()
        (tiny / name).write_bytes(text + b"\n")
        seen.add(Broden(tiny).fingerprint())
        (tiny / name).write_bytes(text)
    for name in ("a/one.jpg", "a/one_object.png"):
        data = (tiny / "images" / name).read_bytes()
        (tiny / "images" / name).write_bytes(data + b"x")
        seen.add(Broden(tiny).fingerprint())
        (tiny / "images" / name).write_bytes(data)
    assert len(seen) == 9
    assert Broden(tiny).fingerprint() == first


def test_subset(tiny: Path) -> None:
    data = Broden(tiny)
    part = Subset(data, [2, 0])
    assert isinstance(part, ConceptDataset)
    assert [part.name(0), part.name(1)] == ["b/three.jpg", "a/one.jpg"]
    assert part.image(0).size == (20, 20)
    assert part.labels(0).whole == (4, 5)
    assert part.vocabulary is data.vocabulary
    prints = {data.fingerprint(), part.fingerprint(), Subset(data, [0, 2]).fingerprint()}
    assert len(prints) == 3
    first = Subset.first(data, 2)
    assert first.fingerprint() == Subset(data, [0, 1]).fingerprint()
    assert len(Subset.first(data, 99)) == 3
    for wrong in ([], [3], [-1]):
        with pytest.raises(ArgumentError, match="subset"):
            Subset(data, wrong)
    with pytest.raises(ArgumentError, match="limit"):
        Subset.first(data, 0)


def _read(job: tuple[Broden, int]) -> tuple[int, bytes]:
    data, index = job
    return int(data.labels(index).maps.sum()), data.image(index).tobytes()


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_worker_processes_read_the_same(tiny: Path, method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {method}")
    data = Broden(tiny)
    jobs = [(data, i) for i in range(3)]
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.map_async(_read, jobs).get(timeout=120) == [_read(job) for job in jobs]


def test_errors_of_workers_arrive_whole() -> None:
    error = pickle.loads(pickle.dumps(DataError("index.csv", "is odd", 7)))
    assert str(error) == "index.csv, line 7: is odd"


def test_importing_data_loads_neither_torch_nor_pillow() -> None:
    code = "import sys, netdissect_fast.data; print([m for m in ('torch', 'PIL', 'tqdm') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_large_index_pickles_small(tmp_path: Path) -> None:
    tiny = write_tiny(tmp_path)
    rows = "".join(f"a/{i}.jpg,train,16,24,8,12,,,a/{i}_object.png,4\n" for i in range(20_000))
    (tiny / "index.csv").write_text("image,split,ih,iw,sh,sw,part,color,object,scene\n" + rows)
    data = Broden(tiny)
    assert len(data) == 20_000
    assert len(pickle.dumps(data)) < 2 * len(rows)


@pytest.mark.data
def test_real_photographs(shared_data: Path) -> None:
    folder = shared_data / "minibroden_224"
    data = Broden(folder)
    assert len(data) == 845
    assert len(data.vocabulary) == 185
    counts = Counter(data.vocabulary.categories[c] for c in data.vocabulary.category)
    with (folder / "category.csv").open() as file:
        assert data.vocabulary.categories == tuple(row["name"] for row in csv.DictReader(file))
    members = {}
    for category in data.vocabulary.categories:
        with (folder / f"c_{category}.csv").open() as file:
            members[category] = {row["name"]: float(row["coverage"]) for row in csv.DictReader(file)}
    listed = {category: len(names) for category, names in members.items()}
    assert listed == {"color": 11, "object": 135, "part": 19, "scene": 3, "material": 9, "texture": 14}
    assert sum(counts.values()) == 185  # six of the 191 stand in more than one category
    for name, primary in zip(data.vocabulary.names, data.vocabulary.category, strict=True):
        best = max(members, key=lambda category: members[category].get(name, -1.0))
        assert data.vocabulary.categories[primary] == best
    colours = set(data.vocabulary.numbers[data.vocabulary.category == 0].tolist())
    whole = Counter()
    for index in range(0, len(data), 40):
        assert data.image(index).size == (224, 224)
        labels = data.labels(index)
        assert labels.shape == (112, 112)
        assert set(np.unique(labels.maps[0])) <= colours | {0}
    for index, row in enumerate(read_index(folder / "index.csv")):
        assert len(row.cells[0]) == 1  # colour: every image
        whole[len(row.whole)] += 1
        if index % 100 == 0:
            for path, numbers in zip(row.maps, data.labels(index).maps, strict=False):
                pixels = np.asarray(Image.open(folder / "images" / path)).astype(int)
                assert path.endswith("_color.png")
                assert np.array_equal(numbers, pixels[..., 0] + 256 * pixels[..., 1])
                break
    assert whole[2] > 0  # some texture rows have two


@pytest.mark.data
def test_real_index_of_broden(shared_data: Path) -> None:
    file = shared_data / "golden" / "index_ade20k.csv"
    rows = read_index(file)
    assert len(rows) == 22_210
    assert Counter(row.split for row in rows) == {"train": 15_716, "val": 6_494}
    assert len(read_index(file, split="val")) == 6_494
    part, scene = 2, 4  # columns: color, object, part, material, scene, texture
    assert Counter(len(row.cells[part]) for row in rows if row.cells[part]) == {1: 7_307, 2: 4_079, 3: 174}
    with file.open() as text:
        written = Counter(row["scene"] for row in csv.DictReader(text))
    assert written["0"] == 1_987
    read = Counter("".join(map(str, row.cells[scene])) for row in rows)
    assert read.pop("") == 1_987 + written.pop("")  # "0" is no label
    del written["0"]
    assert read == written
    assert {row.size for row in rows} == {(224, 224)}
    assert {row.label_size for row in rows} == {(112, 112)}
    assert rows[0].line == 2
    assert rows[0].image == "ade20k/ADE_train_00003891.jpg"
