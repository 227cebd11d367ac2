"""The data set drawn from a seed."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from netdissect_fast.data.dataset import ConceptDataset
from netdissect_fast.data.drawing import CONCEPTS, NUMBER, SCENES, Canvas, draw_scene, name_colours
from netdissect_fast.data.drawing.canvas import ellipse, polygon, rectangle
from netdissect_fast.data.drawing.colours import PAINTS
from netdissect_fast.data.drawing.materials import plain
from netdissect_fast.data.formats.broden import Broden
from netdissect_fast.data.formats.synthetic import Synthetic, write_synthetic
from netdissect_fast.errors import ArgumentError, OutputError


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "set"
    write_synthetic(folder, images=40, seed=7, size=49)  # an odd size: labels have 24
    return folder


def test_the_same_arguments_give_the_same_bytes(written: Path, tmp_path: Path) -> None:
    write_synthetic(tmp_path / "again", images=40, seed=7, size=49)
    assert contents(tmp_path / "again") == contents(written)


def test_reading_it_gives_what_is_drawn_in_memory(written: Path) -> None:
    read, drawn = Broden(written), Synthetic(40, seed=7, size=49)
    assert isinstance(drawn, ConceptDataset)
    for field in ("numbers", "category"):
        assert np.array_equal(getattr(read.vocabulary, field), getattr(drawn.vocabulary, field))
    assert read.vocabulary.names == drawn.vocabulary.names
    assert read.vocabulary.categories == drawn.vocabulary.categories
    for index in range(40):
        assert read.name(index) == drawn.name(index)
        assert read.image(index).tobytes() == drawn.image(index).tobytes()
        stored, direct = read.labels(index), drawn.labels(index)
        assert stored.whole == direct.whole
        assert stored.shape == direct.shape == (24, 24)
        assert np.array_equal(stored.maps, [layer for layer in direct.maps if layer.any()])


def test_splits_agree(written: Path) -> None:
    for split in ("train", "val"):
        read, drawn = Broden(written, split=split), Synthetic(40, seed=7, size=49, split=split)
        assert [read.name(i) for i in range(len(read))] == [drawn.name(i) for i in range(len(drawn))]
        assert read.image(3).tobytes() == drawn.image(3).tobytes()
    share = len(Synthetic(2000, split="train")) / 2000
    assert 0.66 < share < 0.74  # 70 %, four standard deviations either side


def test_tables_count_what_is_drawn(written: Path) -> None:
    drawn = Synthetic(40, seed=7, size=49)
    frequency = np.zeros(len(CONCEPTS) + 1, int)
    for index in range(40):
        labels = drawn.labels(index)
        frequency[list({*np.unique(labels.maps).tolist(), *labels.whole})] += 1
    for line in (written / "label.csv").read_text().splitlines()[1:]:
        number, name, category, count, _, _ = line.split(",")
        assert (category.split("(")[0], name) == CONCEPTS[int(number) - 1]
        assert int(count) == frequency[int(number)]


def test_every_concept_occurs_in_its_own_category() -> None:
    data = Synthetic(500, seed=0, size=48)
    images = np.zeros(len(CONCEPTS) + 1, int)
    places = {"color": 0, "object": 1, "part": 2, "material": 3}
    for index in range(len(data)):
        labels = data.labels(index)
        (whole,) = labels.whole
        assert CONCEPTS[whole - 1][0] == ("scene" if len(labels.maps) == 4 else "texture")
        assert labels.maps[0].all()  # every pixel has a colour
        assert len(labels.maps) == 1 or labels.maps[1].all()  # and every pixel of a scene an object
        images[whole] += 1
        for place, layer in enumerate(labels.maps):
            numbers = np.unique(layer[layer > 0])
            images[numbers] += 1
            assert all(places[CONCEPTS[number - 1][0]] == place for number in numbers)
    rare = [name for (_, name), count in zip(CONCEPTS, images[1:], strict=True) if count < 4]
    assert not rare


def test_pictures_depend_on_seed_and_index_only() -> None:
    a, longer, other = Synthetic(5, seed=1, size=64), Synthetic(9, seed=1, size=64), Synthetic(5, seed=2, size=64)
    pixels = [a.draw(i).pixels.tobytes() for i in range(5)]
    assert pixels == [longer.draw(i).pixels.tobytes() for i in (4, 3, 2, 1, 0)][::-1]
    assert not set(pixels) & {other.draw(i).pixels.tobytes() for i in range(5)}
    assert len(set(pixels)) == 5


def test_fingerprints_and_pickles() -> None:
    sets = [
        Synthetic(5),
        Synthetic(6),
        Synthetic(5, seed=1),
        Synthetic(5, size=64),
        Synthetic(5, split="train"),
    ]
    assert len({data.fingerprint() for data in sets}) == len(sets)
    sets[0].image(0)
    copy = pickle.loads(pickle.dumps(sets[0]))
    assert copy.fingerprint() == sets[0].fingerprint()
    assert copy.image(1).tobytes() == sets[0].image(1).tobytes()
    assert len(pickle.dumps(sets[0])) < 10_000


@pytest.mark.parametrize("name", PAINTS)
def test_paints_have_the_name_that_the_rule_gives(name: str) -> None:
    pixels = np.array(PAINTS[name], np.uint8)[None, None]
    assert name_colours(pixels) == NUMBER[f"{name}-c"]
    assert name_colours((pixels * 0.88).astype(np.uint8)) == NUMBER[f"{name}-c"]


def test_every_colour_has_a_name() -> None:
    steps = np.arange(0, 256, 15, dtype=np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(len(steps), -1, 3)
    assert set(np.unique(name_colours(cube))) == {NUMBER[f"{name}-c"] for name in PAINTS}


def test_labels_cover_exactly_the_shape() -> None:
    canvas = Canvas(64, np.random.default_rng(0))
    red = plain(canvas.rng, np.array([1, 0, 0], np.float32))
    canvas.paint("car", rectangle(0.25, 0.5, 0.75, 1.5), red, "wheel", "metal")
    inside = np.zeros((64, 64), bool)
    inside[32:, 16:48] = True
    for layer, name in ((canvas.object, "car"), (canvas.part, "wheel"), (canvas.material, "metal")):
        assert np.array_equal(layer, np.where(inside, NUMBER[name], 0))
    assert np.array_equal(canvas.rgb[..., 0] > 0.5, inside)
    canvas.paint("sea", rectangle(-1, -1, 2, 0.75), red)  # covers, and has neither part nor material
    assert set(np.unique(canvas.part[:48])) == {0}
    assert set(np.unique(canvas.object[:48])) == {NUMBER["sea"]}
    assert canvas.labels().shape == (3, 32, 32)


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        (ellipse(0.5, 0.5, 0.3, 0.2), np.pi * 0.3 * 0.2),
        (polygon((0.1, 0.9), (0.5, 0.1), (0.9, 0.9)), 0.32),
        (rectangle(0.2, 0.2, 0.8, 0.6, 0.1), 0.24 - (4 - np.pi) * 0.01),
    ],
)
def test_shapes_have_their_area(shape, area: float) -> None:
    canvas = Canvas(200, np.random.default_rng(0))
    canvas.paint("sun", shape, plain(canvas.rng, np.ones(3, np.float32)))
    assert np.mean(canvas.object > 0) == pytest.approx(area, rel=0.02)
    assert np.mean(canvas.rgb) == pytest.approx(area, rel=0.05)
    x0, y0, x1, y1 = (edge * 200 for edge in shape.box)
    rows, columns = np.nonzero(canvas.object)
    assert columns.min() >= x0 - 1
    assert columns.max() <= x1
    assert rows.min() >= y0 - 1
    assert rows.max() <= y1


def test_mirroring_keeps_labels_on_their_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    def red_half(canvas: Canvas) -> None:
        for thing, x, colour in (("car", 0.0, [1, 0, 0]), ("sea", 0.5, [0, 0, 1])):
            shape = rectangle(x, 0, x + 0.5, 1)
            canvas.paint(thing, shape, plain(canvas.rng, np.array(colour, np.float32)))

    monkeypatch.setitem(SCENES, "street-s", red_half)
    seen = set()
    for seed in range(12):
        canvas = Canvas(32, np.random.default_rng(seed))
        draw_scene(canvas, "street-s")
        assert np.array_equal(canvas.object == NUMBER["car"], canvas.rgb[..., 0] > canvas.rgb[..., 2])
        seen.add(int(canvas.object[0, 0]))
    assert len(seen) == 2  # both ways round


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": 0}, "images must be at least 1"),
        ({"seed": -1}, "seed must be 0 or larger"),
        ({"size": 31}, "size must be 32..1024"),
        ({"size": 5000}, "size must be 32..1024"),
        ({"split": "test"}, "split must be train, val or None"),
        ({"images": 1, "split": "val"}, "none of 1 images is in split"),
    ],
)
def test_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Synthetic(**arguments)


def test_writing_never_mixes_with_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(OutputError, match="already exists"):
        write_synthetic(tmp_path / "mine", images=1, size=32)
    with pytest.raises(OutputError, match="cannot write"):
        write_synthetic(tmp_path / "mine" / "notes.txt" / "set", images=1, size=32)
    assert contents(tmp_path) == {str(Path("mine") / "notes.txt"): b"keep"}


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Synthetic, index: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Synthetic, "draw", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_synthetic(tmp_path / "set", images=3, size=32)
    assert list(tmp_path.iterdir()) == []
