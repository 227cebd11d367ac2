"""Overlap of the units' masks: the same numbers as whole masks, compared pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdissect_fast.geometry.grids import Grid, make_grid
from netdissect_fast.pages import overlaps
from netdissect_fast.pages.overlaps import mask_overlap
from netdissect_fast.scoring.backends.cpu import CpuBackend
from netdissect_fast.scoring.backends.reference import masks, widen
from netdissect_fast.scoring.iou import iou
from netdissect_fast.scoring.peaks import Peaks, peaks_of

from ..support.strategies import grids_HW, maps_BUHW, rngs

CPU = CpuBackend(2)


def dense_overlap(maps: np.ndarray, thresholds: np.ndarray, grid: Grid, label_grid: np.ndarray) -> np.ndarray:
    """IoU [U, U] from the whole masks of all units, image by image."""
    units = len(thresholds)
    both = np.zeros((units, units), np.int64)
    for image, (height, width) in zip(widen(maps), label_grid.tolist(), strict=True):
        on = masks(image, thresholds, grid.axis(0, height), grid.axis(1, width))
        both += (on[:, None] & on).sum(axis=(2, 3))
    area = np.diagonal(both)
    return iou(both, area[:, None], area[None, :])


@st.composite
def layers(draw: st.DrawFn) -> tuple[np.ndarray, Grid, np.ndarray]:
    """Maps, their grid, and label sizes: runs of images of one size, some of which come again."""
    maps = draw(maps_BUHW(st.integers(1, 7), st.integers(0, 9), side=12))
    sizes = draw(st.lists(st.tuples(st.integers(1, 26), st.integers(1, 26)), min_size=1, max_size=3))
    rng = draw(rngs())
    return maps, draw(grids_HW(maps.shape[2:])), np.array(sizes, np.int32)[rng.integers(len(sizes), size=len(maps))]


@pytest.mark.parametrize("words", [1, 20, 1 << 25])
@given(layers(), st.sampled_from(["0.01", "0.2", "0.6"]), st.booleans())
def test_equals_whole_masks(
    words: int, layer: tuple[np.ndarray, Grid, np.ndarray], quantile: str, smaller: bool
) -> None:
    """However many images are taken at once; also where peaks were kept for more than the thresholds ask."""
    maps, grid, label_grid = layer
    peaks = peaks_of(maps, quantile, CPU)
    thresholds = peaks.thresholds("0.005" if smaller else None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlaps, "_WORDS", words)
        got = mask_overlap(peaks, thresholds, grid, label_grid, CPU)
    assert got.dtype == np.float64
    assert got.tobytes() == dense_overlap(maps, thresholds, grid, label_grid).tobytes()
    np.testing.assert_array_equal(got, got.T)
    assert set(np.diagonal(got)) <= {0, 1}


@pytest.mark.parametrize("words", [1, 3, 1 << 25])
def test_masks_made_at_once(words: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Consecutive images of one size, each once, and no more words than allowed unless one image has more."""
    monkeypatch.setattr(overlaps, "_WORDS", words)
    label_grid = np.array([[8, 8]] * 4 + [[9, 8]] * 3 + [[8, 8]], np.int32)
    tiles = [1] * 4 + [2] * 3 + [1]
    crops = peaks_of(np.ones((8, 1, 2, 2), np.float32) * [[[[1, 2]]]], "0.5", CPU).crops
    assert crops.image.tolist() == list(range(8))
    chunks = list(overlaps._chunks(crops, label_grid))
    assert [image for first, last in chunks for image in range(first, last)] == list(range(8))
    for first, last in chunks:
        assert len(np.unique(label_grid[first:last], axis=0)) == 1
        assert sum(tiles[first:last]) <= words or last - first == 1
    assert len(chunks) == {1: 8, 3: 6, 1 << 25: 3}[words]


def test_written_out() -> None:
    """Masks of 4, 2 and no pixels: the second within the first; and a unit that is on elsewhere."""
    maps = np.zeros((2, 4, 2, 4), np.float32)
    maps[0, 0, :, :2] = 1
    maps[0, 1, 0, :2] = 1
    maps[1, 3] = 1
    peaks = Peaks(4, (2, 4), 2, "0.6")
    peaks.add(maps, 0, CPU)
    thresholds = np.full(4, 0.5, np.float32)
    grid = make_grid("half_pixel", None, (2, 4), (2, 4))
    got = mask_overlap(peaks, thresholds, grid, np.array([[2, 4]] * 2, np.int32))
    assert got.tolist() == [[1, 0.5, 0, 0], [0.5, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize("units", [0, 3])
def test_layer_that_is_never_on(units: int) -> None:
    peaks = peaks_of(np.zeros((3, units, 2, 2), np.float32), "0.1", CPU)
    grid = make_grid("half_pixel", None, (2, 2), (8, 8))
    got = mask_overlap(peaks, peaks.thresholds(), grid, np.array([[4, 4], [5, 4], [4, 4]], np.int32))
    np.testing.assert_array_equal(got, np.zeros((units, units)))
