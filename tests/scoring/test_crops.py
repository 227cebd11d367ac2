"""Crops taken one by one, what is cached of peaks, and packed labels read back in each of the ways there are."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdissect_fast.concepts import ImageLabels, PackedLabels, Vocabulary
from netdissect_fast.scoring.backends.choice import choose
from netdissect_fast.scoring.backends.cpu import CpuBackend
from netdissect_fast.scoring.crops import Crops
from netdissect_fast.scoring.peaks import Peaks, peaks_of

from ..support.strategies import labels_N, maps_BUHW, rngs, vocabularies
from ..support.variants import assert_same_bits

CPU = choose("cpu", 1)
many_images = maps_BUHW(st.integers(1, 8), st.integers(1, 6), side=9)


def joined(crops: Crops, places: list[int]) -> Crops:
    """The crops at these places, cut out one at a time."""
    result = Crops.empty()
    starts = crops.starts()
    for p in places:
        one = slice(p, p + 1)
        values = crops.values[starts[p] : starts[p + 1]]
        result.append(Crops(crops.image[one], crops.unit[one], crops.box[one], values))
    return result


# --------------------------------------------------------------------------------------------------- crops


@given(many_images, st.data())
def test_take_and_maxima(maps: np.ndarray, data: st.DataObject) -> None:
    """Any crops, in any order, also none and the same twice; a copy."""
    crops = peaks_of(maps, "0.3", CPU).crops
    before = [array.copy() for array in crops.arrays]
    places = data.draw(st.lists(st.integers(0, len(crops) - 1), max_size=12)) if len(crops) else []
    starts = crops.starts() if data.draw(st.booleans()) else None
    taken = crops.take(np.array(places, np.int64), starts)
    assert_same_bits(taken, joined(crops, places))
    edges = crops.starts()
    maxima = np.array([crops.values[a:b].max() for a, b in pairwise(edges)], np.float32)
    assert crops.maxima().tobytes() == maxima.tobytes()
    assert taken.maxima().tobytes() == maxima[places].tobytes()
    for array in taken.arrays:
        array[...] = 0
    for array, wanted in zip(crops.arrays, before, strict=True):
        np.testing.assert_array_equal(array, wanted)


def test_ordered() -> None:
    crops = peaks_of(np.random.default_rng(0).random((5, 4, 3, 3), np.float32), "0.3", CPU).crops
    assert len(crops) > 5
    shuffled = crops.take(np.random.default_rng(1).permutation(len(crops)))
    assert_same_bits(shuffled.ordered(), crops)


# --------------------------------------------------------------------------------------------------- peaks


def assert_units_are_those_of_the_crops(peaks: Peaks) -> None:
    """of_unit and top, asked twice, against the crops as they are now."""
    for _ in range(2):
        for unit in range(peaks.units):
            expected = joined(peaks.crops, np.flatnonzero(peaks.crops.unit == unit).tolist())
            assert_same_bits(peaks.of_unit(unit), expected)
            images, maxima = peaks.top(unit, 3)
            best = sorted(zip(-expected.maxima(), expected.image, strict=True))[:3]
            assert [(-value, image) for value, image in zip(maxima, images, strict=True)] == best


class Late(CpuBackend):
    """Hands over no crop before it is drained, as a device may."""

    def stage(self) -> Late:
        return Late(1)

    def keep(self, maps: np.ndarray, bounds: np.ndarray, first_image: int) -> Crops:
        self.held = super().keep(maps, bounds, first_image)
        return Crops.empty()

    def drain(self) -> Crops:
        return self.held


CHANGES: dict[str, Callable[[Peaks, np.ndarray], object]] = {
    "add": lambda peaks, maps: peaks.add(maps[1:], 1, CPU),
    "add and finish": lambda peaks, maps: (peaks.add(maps[1:], 1, CPU), peaks.finish()),
}


@pytest.mark.parametrize("change", CHANGES)
@given(many_images)
def test_nothing_stale_after(change: str, maps: np.ndarray) -> None:
    peaks = Peaks(maps.shape[1], maps.shape[2:], len(maps), "0.1")
    assert_units_are_those_of_the_crops(peaks)
    peaks.add(maps[:1], 0, CPU)
    assert_units_are_those_of_the_crops(peaks)
    CHANGES[change](peaks, maps)
    assert_units_are_those_of_the_crops(peaks)
    if change == "add and finish":
        assert_same_bits(peaks.crops, peaks_of(maps, "0.1", CPU).crops)


@pytest.mark.parametrize("ask", ["count", "of_unit", "top", "save", "merge"])
def test_what_a_stage_holds_back_is_there_when_asked_for(ask: str, tmp_path: Path) -> None:
    peaks = Peaks(2, (2, 2), 1, "0.3")
    peaks.add(np.ones((1, 2, 2, 2), np.float32), 0, Late(1))
    assert not len(peaks._crops)  # the device holds them
    if ask == "count":
        assert peaks.count(1) == 1
    elif ask == "of_unit":
        assert len(peaks.of_unit(1)) == 1
    elif ask == "top":
        assert peaks.top(1)[0].tolist() == [0]
    elif ask == "save":
        peaks.save(tmp_path / "peaks")
        assert len(Peaks.load(tmp_path / "peaks").crops) == 2
    else:
        assert len(Peaks.merge([peaks]).crops) == 2
    assert_units_are_those_of_the_crops(peaks)


def test_finishing_and_pruning_change_what_a_unit_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that an answer from before would be noticed."""
    maps = np.arange(6 * 2 * 4, dtype=np.float32).reshape(6, 2, 2, 2)
    peaks, other = Peaks(2, (2, 2), 6, "0.1"), Peaks(2, (2, 2), 6, "0.1")
    other.add(maps, 0, CPU)
    peaks.add(maps[:5], 0, CPU)
    assert peaks.of_unit(1).image.tolist() == [0, 1, 2, 3, 4]
    monkeypatch.setattr("netdissect_fast.scoring.peaks.SMALL", 0)
    peaks._prune_at = 0
    peaks.add(maps[5:], 5, CPU)
    assert peaks.of_unit(1).image.tolist() == [5]
    assert peaks.top(0)[0].tolist() == [5]
    assert len(other.of_unit(0)) == 6
    other.finish()
    assert_same_bits(other.of_unit(0), peaks.of_unit(0))


@given(many_images, st.data())
def test_merged_peaks(maps: np.ndarray, data: st.DataObject) -> None:
    """Their own answers; the parts keep theirs."""
    parts = [Peaks(maps.shape[1], maps.shape[2:], len(maps), "0.2") for _ in range(2)]
    for image in range(len(maps)):
        parts[data.draw(st.integers(0, 1))].add(maps[image : image + 1], image, CPU)
    for part in parts:
        assert_units_are_those_of_the_crops(part)
    merged = Peaks.merge(parts)
    for peaks in (*parts, merged):
        assert_units_are_those_of_the_crops(peaks)
    merged.finish()
    assert_units_are_those_of_the_crops(merged)
    assert_same_bits(merged.crops, peaks_of(maps, "0.2", CPU).crops)


def test_what_of_unit_gives_may_be_changed() -> None:
    peaks = peaks_of(np.random.default_rng(0).random((4, 2, 3, 3), np.float32), "0.3", CPU)
    given_out = peaks.of_unit(1)
    assert len(given_out)
    for array in given_out.arrays:
        array[...] = 0
    assert_units_are_those_of_the_crops(peaks)


# ------------------------------------------------------------------------------------------- packed labels


@st.composite
def labelled(draw: st.DrawFn) -> tuple[Vocabulary, list[ImageLabels]]:
    """Labels of images of one or several sizes."""
    vocabulary = draw(vocabularies())
    sizes = st.tuples(st.integers(1, 20), st.integers(1, 20))
    images = [draw(labels_N(vocabulary, draw(st.integers(0, 2)), draw(sizes))) for _ in range(3)]
    return vocabulary, [one for run in images for one in run]


def planes(labels: ImageLabels, vocabulary: Vocabulary) -> dict[int, np.ndarray]:
    """Column of each concept that the image carries → where, from the label maps."""
    found = {}
    for column, number in enumerate(vocabulary.numbers.tolist()):
        plane = (labels.maps == number).any(axis=0) | (number in labels.whole)
        if plane.any():
            found[column] = plane
    return found


@given(labelled(), rngs())
def test_packed_labels_agree(case: tuple[Vocabulary, list[ImageLabels]], rng: np.random.Generator) -> None:
    """masks, mask, areas and the label maps; of all images and of some."""
    vocabulary, labels = case
    first, last = sorted(rng.integers(0, len(labels) + 1, 2).tolist())
    whole = PackedLabels.pack(labels, vocabulary)
    for packed, images in ((whole, labels), (whole.of_images(first, last), labels[first:last])):
        expected = [planes(image, vocabulary) for image in images]
        assert len(packed) == len(images)
        for i, found in enumerate(expected):
            got = packed.masks(i)
            assert got.keys() == found.keys()
            for column in range(len(vocabulary)):
                plane = found.get(column, np.zeros(images[i].shape, bool))
                for mask in (packed.mask(i, column), got.get(column, plane)):
                    assert mask.dtype == bool
                    np.testing.assert_array_equal(mask, plane)
        image, column, pixels = packed.areas()
        assert (np.diff(image) >= 0).all()
        areas = dict(zip(zip(image.tolist(), column.tolist(), strict=True), pixels.tolist(), strict=True))
        assert len(areas) == len(image), "listed twice"
        assert areas == {(i, c): int(plane.sum()) for i, found in enumerate(expected) for c, plane in found.items()}
