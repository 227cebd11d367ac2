"""What a run collects of a layer: peaks or sums, saved without being changed, read from parts old and new."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from netdissect_fast.concepts import ImageLabels, PackedLabels, Vocabulary
from netdissect_fast.errors import DataError
from netdissect_fast.geometry.grids import make_grid
from netdissect_fast.runs.collectors import Collected, CollectedPeaks, CollectedSums, Counting, finish_layer
from netdissect_fast.runs.plans import LayerPlan
from netdissect_fast.runs.ranks import SingleRank
from netdissect_fast.runs.spans import Span
from netdissect_fast.scoring.backends.choice import choose
from netdissect_fast.storage import read_arrays, write_arrays

IMAGES, UNITS = 12, 3
WORDS = Vocabulary(np.array([1, 2]), ("sky", "tree"), np.array([0, 0]), ("object",))


class Drawn:
    """A data set that is nothing but labels."""

    vocabulary = WORDS

    def __len__(self) -> int:
        return IMAGES

    def name(self, index: int) -> str:
        return f"image {index}"


def labels() -> PackedLabels:
    maps = np.random.default_rng(1).integers(0, 3, (IMAGES, 1, 16, 16)).astype(np.int32)
    return PackedLabels.pack([ImageLabels(image) for image in maps], WORDS)


def plan(thresholds: bool) -> LayerPlan:
    grid = make_grid("half_pixel", None, (4, 4), (16, 16))
    return LayerPlan("layer", UNITS, grid, None, np.full(UNITS, 0.5, np.float32) if thresholds else None)


@pytest.fixture
def counting() -> Counting:
    return Counting(Drawn(), labels, choose("cpu", 1), "0.05", "image")  # type: ignore[arg-type]


@pytest.fixture
def maps() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((IMAGES, UNITS, 4, 4)).astype(np.float32)


def collected(counting: Counting, maps: np.ndarray, thresholds: bool, first: int, last: int) -> Collected:
    layer = Collected.begin(plan(thresholds), counting)
    layer.add(maps[first:last], first, counting)  # type: ignore[arg-type]
    layer.settle(counting)
    return layer


@pytest.mark.parametrize("thresholds", [False, True], ids=["peaks", "sums"])
def test_parts_finish_as_the_whole(counting: Counting, maps: np.ndarray, thresholds: bool, tmp_path: Path) -> None:
    """G and the pixels are those of the data set, however many parts there are; parts may have been on disk."""
    whole = finish_layer([collected(counting, maps, thresholds, 0, IMAGES)], counting, SingleRank())
    parts = []
    for first, last in ((0, 5), (5, 6), (6, IMAGES)):
        part = collected(counting, maps, thresholds, first, last)
        part.save(tmp_path / f"{first}.safetensors")
        parts.append(Collected.load(tmp_path / f"{first}.safetensors", plan(thresholds), Span(first, last)))
    got = finish_layer(parts, counting, SingleRank())
    for name, expected in vars(whole.counts).items():
        np.testing.assert_array_equal(getattr(got.counts, name), expected, err_msg=name)
    assert got.thresholds.tobytes() == whole.thresholds.tobytes()
    assert whole.counts.concept_area.tolist() == labels().concept_area(2).tolist()


def test_saving_changes_nothing(counting: Counting, maps: np.ndarray, tmp_path: Path) -> None:
    """What could be dropped is dropped by ``compact``, never by ``save``."""
    layer = collected(counting, maps, False, 0, IMAGES)
    assert isinstance(layer, CollectedPeaks)
    before = [array.tobytes() for array in layer.peaks.crops.arrays]
    layer.save(tmp_path / "layer.safetensors")
    assert [array.tobytes() for array in layer.peaks.crops.arrays] == before
    layer.compact()
    assert layer.peaks.crops.nbytes < sum(map(len, before))


def test_sums_of_older_parts(counting: Counting, maps: np.ndarray, tmp_path: Path) -> None:
    """Parts once held totals of the labels beside the sums; they are read, and the totals not added up."""
    path, part = tmp_path / "layer.safetensors", collected(counting, maps, True, 0, IMAGES)
    assert isinstance(part, CollectedSums)
    write_arrays(path, {**vars(part.sums), "concept_area": np.array([7, 7]), "pixels": np.array([7])})
    again = finish_layer([Collected.load(path, part.plan, Span(0, IMAGES))], counting, SingleRank())
    assert again.counts.concept_area.tolist() == labels().concept_area(2).tolist()
    part.save(path)
    assert set(read_arrays(path)[0]) == {"intersection", "unit_area"}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"intersection": np.zeros((3, 2), np.int64)}, "has no array 'unit_area'"),
        ({"intersection": np.zeros((3, 2)), "unit_area": np.zeros((3, 1), np.int64)}, "integer"),
        ({"intersection": np.full((3, 2), -1), "unit_area": np.zeros((3, 1), np.int64)}, "negative"),
        ({"intersection": np.zeros((2, 2), np.int64), "unit_area": np.zeros((2, 1), np.int64)}, "3 units"),
        ({"intersection": np.zeros(3, np.int64), "unit_area": np.zeros(3, np.int64)}, "3 units"),
    ],
)
def test_broken_sums(arrays: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    write_arrays(tmp_path / "layer.safetensors", arrays)
    with pytest.raises(DataError, match=message) as caught:
        Collected.load(tmp_path / "layer.safetensors", plan(True), Span(0, IMAGES))
    assert "layer.safetensors" in str(caught.value)
