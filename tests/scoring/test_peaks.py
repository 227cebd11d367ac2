"""Peaks: exact thresholds from one pass, in any batches and parts, in bounded memory; saved and loaded."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import netdissect_fast as nd
from netdissect_fast.errors import ActivationError, ArgumentError, ShapeError
from netdissect_fast.scoring.backends.base import NonFiniteError
from netdissect_fast.scoring.backends.choice import choose
from netdissect_fast.scoring.crops import Crops, flush
from netdissect_fast.scoring.peaks import Peaks, peaks_of
from netdissect_fast.scoring.thresholds import exact_quantile, tail_rank

from ..support.recorded_maps import RESNET_LAYER4, VGG_CONV5_3, Layer
from ..support.strategies import maps_BUHW, rngs

CPU = choose("cpu", 1)
QUANTILES = ["0.005", "0.05", "0.2", "0.29", "0.5", "0.99"]


def sorted_thresholds(maps: np.ndarray, quantile: str) -> np.ndarray:
    """The (⌊q·n⌋+1)-th largest of all activations of each unit, by sorting them all."""
    values = np.sort(flush(maps).swapaxes(0, 1).reshape(maps.shape[1], -1), axis=1)
    return values[:, -1 - int(Fraction(quantile) * values.shape[1])].copy()


def fill(maps: np.ndarray, quantile: str, cuts: Sequence[int], spans: Sequence[int] = ()) -> Peaks:
    """Peaks of a part of the images, added in batches cut at ``cuts``; ``spans``: which batches (default all)."""
    peaks = Peaks(maps.shape[1], maps.shape[2:], len(maps), quantile)
    edges = [0, *cuts, len(maps)]
    for i, (first, last) in enumerate(itertools.pairwise(edges)):
        if not spans or i in spans:
            peaks.add(maps[first:last], first, CPU)
    return peaks


def state(peaks: Peaks) -> tuple[object, ...]:
    """All that is kept, as bytes."""
    arrays = (*peaks.crops.arrays, peaks.bounds)
    return (*((a.dtype, a.shape, a.tobytes()) for a in arrays), tuple(peaks.seen), peaks.quantile, peaks.images)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise bounds after every batch, however small the store."""
    monkeypatch.setattr("netdissect_fast.scoring.peaks.SMALL", 0)
    monkeypatch.setattr("netdissect_fast.scoring.peaks._GROWTH", 1.0)


many_images = maps_BUHW(st.integers(1, 12), st.integers(1, 6), side=9)


def cuts_of(data: st.DataObject, images: int) -> list[int]:
    return sorted(data.draw(st.sets(st.integers(1, images - 1), max_size=5))) if images > 1 else []


# ---------------------------------------------------------------------------------------------- thresholds


@pytest.mark.parametrize("often", [False, True], ids=["rarely_pruned", "often_pruned"])
@given(many_images, st.sampled_from(QUANTILES), st.data())
def test_thresholds_equal_sorting(often: bool, maps: np.ndarray, quantile: str, data: st.DataObject) -> None:
    """For any batch sizes; and what is kept in the end does not depend on them."""
    with pytest.MonkeyPatch.context() as patch:
        if often:
            patch.setattr("netdissect_fast.scoring.peaks.SMALL", 0)
            patch.setattr("netdissect_fast.scoring.peaks._GROWTH", 1.0)
        peaks = fill(maps, quantile, cuts_of(data, len(maps)))
        expected = sorted_thresholds(maps, quantile)
        assert peaks.thresholds().tobytes() == expected.tobytes()
        assert peaks.finish().tobytes() == expected.tobytes()
        assert peaks.thresholds().tobytes() == expected.tobytes()
        whole = peaks_of(maps, quantile, CPU)
    assert state(peaks) == state(whole)
    kept = CPU.keep(maps, expected, 0)
    for name in ("image", "unit", "box", "values"):
        assert getattr(peaks.crops, name).tobytes() == getattr(kept, name).tobytes()


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("order", ["ascending", "descending", "constant", "one_spike_first", "one_spike_last"])
@pytest.mark.parametrize("quantile", ["0.005", "0.1"])
def test_adversarial_orders(order: str, quantile: str) -> None:
    """Values that come sorted, all equal, or as one spike: bounds rise as early, or as late, as they can."""
    values = np.arange(600, dtype=np.float32).reshape(60, 1, 2, 5)
    maps = {
        "ascending": values,
        "descending": -values,
        "constant": np.full_like(values, 3),
        "one_spike_first": np.where(values == 0, 1, 0).astype(np.float32),
        "one_spike_last": np.where(values == 599, 1, 0).astype(np.float32),
    }[order]
    for cuts in ([], range(1, 60), [59], [1]):
        peaks = fill(maps, quantile, list(cuts))
        np.testing.assert_array_equal(peaks.finish(), sorted_thresholds(maps, quantile))


@given(many_images, st.data())
def test_smaller_quantiles_afterwards(maps: np.ndarray, data: st.DataObject) -> None:
    peaks = fill(maps, "0.5", cuts_of(data, len(maps)))
    for _ in range(2):
        for quantile in ("0.5", "0.499", "0.29", "0.05", "0.005", "0.000001"):
            expected = sorted_thresholds(maps, quantile)
            assert peaks.thresholds(quantile).tobytes() == expected.tobytes()
        peaks.finish()


def test_larger_quantile_is_refused() -> None:
    peaks = peaks_of(np.random.default_rng(0).random((4, 2, 3, 3), np.float32), "0.1", CPU)
    with pytest.raises(ArgumentError, match=r"up to 0\.1, got 0\.2: dissect again"):
        peaks.thresholds("0.2")
    peaks.thresholds("0.1")


def test_thresholds_need_all_images() -> None:
    maps = np.ones((4, 2, 3, 3), np.float32)
    peaks = fill(maps, "0.1", [1, 3], [0, 2])
    assert peaks.seen == [(0, 1), (3, 4)]
    for question in (peaks.thresholds, peaks.finish):
        with pytest.raises(ArgumentError, match="need all 4 images, these peaks hold 2"):
            question()


@pytest.mark.parametrize(
    ("quantile", "values", "rank"),
    [
        ("0.29", 100, 30),  # 0.29 * 100 = 28.999999999999996 in binary
        (0.29, 100, 30),
        (0.57, 100, 58),  # 56.99999999999999
        (0.005, 63305 * 13 * 13, 53493),  # Broden on AlexNet conv5: ⌊53492.725⌋ + 1
        (np.float32(0.005), 200, 2),  # the number it shows, not 0.004999999888
        (np.float32(0.29), 100, 30),
        (Decimal("0.005"), 400, 3),
        (Fraction(1, 3), 3, 2),  # and 0.3333333333333333 gives 1
        (0.3333333333333333, 3, 1),
        ("5e-3", 1000, 6),
        (0.005, 199, 1),
        (0.005, 200, 2),
    ],
)
def test_quantile_is_exact(quantile: Any, values: int, rank: int) -> None:
    assert tail_rank(quantile, values) == rank


def test_quantile_is_exact_in_thresholds() -> None:
    """29 of 100 values may exceed T; binary arithmetic would allow 28."""
    maps = np.arange(100, dtype=np.float32).reshape(4, 1, 5, 5)
    assert int(0.29 * 100) == 28
    assert peaks_of(maps, 0.29, CPU).thresholds().tolist() == [70]


@pytest.mark.parametrize(
    "quantile",
    [
        0,
        1,
        -0.1,
        1.5,
        "0",
        "1",
        "nan",
        float("nan"),
        float("inf"),
        "",
        "much",
        None,
        "1/0",
        "1e-999999999",
        "1e9999999999",
    ],
)
def test_quantile_outside(quantile: Any) -> None:
    with pytest.raises(ArgumentError, match=r"quantile must lie between 0 and 1, for example 0\.005; got"):
        exact_quantile(quantile)


# --------------------------------------------------------------------------------------------------- merge


@pytest.mark.parametrize("often", [False, True], ids=["rarely_pruned", "often_pruned"])
@given(many_images, st.sampled_from(QUANTILES), rngs(), st.data())
def test_merge(often: bool, maps: np.ndarray, quantile: str, rng: np.random.Generator, data: st.DataObject) -> None:
    """Any partition of the batches, merged in any order or nesting, equals one pass."""
    cuts = cuts_of(data, len(maps))
    owner = rng.integers(0, 3, len(cuts) + 1)
    with pytest.MonkeyPatch.context() as patch:
        if often:
            patch.setattr("netdissect_fast.scoring.peaks.SMALL", 0)
            patch.setattr("netdissect_fast.scoring.peaks._GROWTH", 1.0)
        parts = [fill(maps, quantile, cuts, list(np.flatnonzero(owner == who)) or [-1]) for who in range(3)]
    a, b, c = (parts[i] for i in rng.permutation(3))
    before = [state(part) for part in parts]
    merged = [
        Peaks.merge([a, b, c]),
        Peaks.merge([c, a, b]),
        Peaks.merge([Peaks.merge([a, b]), c]),
        Peaks.merge([a, Peaks.merge([c, b])]),
        Peaks.merge([Peaks.merge([b]), Peaks.merge([c, a])]),
    ]
    assert [state(part) for part in parts] == before, "merging changed a part"
    assert len({state(peaks) for peaks in merged}) == 1
    whole = peaks_of(maps, quantile, CPU)
    for peaks in merged:
        assert peaks.finish().tobytes() == sorted_thresholds(maps, quantile).tobytes()
        assert state(peaks) == state(whole)


def test_merge_refusals() -> None:
    maps = np.ones((6, 2, 3, 3), np.float32)
    a, b = fill(maps, "0.1", [3], [0]), fill(maps, "0.1", [2, 4], [1])
    with pytest.raises(ArgumentError, match="images 2 to 2 are duplicated"):
        Peaks.merge([a, b])
    with pytest.raises(ArgumentError, match="are duplicated"):
        Peaks.merge([a, a])
    for other in (
        Peaks(3, (3, 3), 6, "0.1"),
        Peaks(2, (3, 4), 6, "0.1"),
        Peaks(2, (3, 3), 7, "0.1"),
        Peaks(2, (3, 3), 6, "0.2"),
    ):
        with pytest.raises(ArgumentError, match="different runs"):
            Peaks.merge([a, other])


# ----------------------------------------------------------------------------------------------- bad input


def test_images_out_of_order() -> None:
    peaks = Peaks(2, (3, 3), 10)
    maps = np.ones((3, 2, 3, 3), np.float32)
    peaks.add(maps, 4, CPU)
    before = state(peaks)
    for first in (4, 6, 0, 2, 8, -1):
        with pytest.raises(
            ArgumentError,
            match=f"images {first} to {first + 2} were already added, are out of order, or exceed the .* 10",
        ):
            peaks.add(maps, first, CPU)
    assert state(peaks) == before
    with pytest.raises(ArgumentError, match="images -1 to 1"):
        Peaks(2, (3, 3), 10).add(maps, -1, CPU)
    peaks.add(maps, 7, CPU)
    assert peaks.seen == [(4, 10)]
    assert peaks.images_seen == 6


@pytest.mark.parametrize("shape", [(2, 3, 3, 3), (2, 2, 3, 4), (2, 2, 4, 3), (2, 2, 9)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"expected maps \[B, 2, 3, 3\], got \[2, "):
        Peaks(2, (3, 3), 10).add(np.ones(shape, np.float32), 0, CPU)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_nonfinite_names_image_and_unit(value: float, backend: str) -> None:
    maps = np.random.default_rng(0).random((250, 5, 4, 4), np.float32)
    maps[137, 3, 2, 1] = value
    peaks = Peaks(5, (4, 4), 300)
    with pytest.raises(NonFiniteError) as caught:
        peaks.add(maps, 50, choose(backend))
    assert (caught.value.image, caught.value.unit) == (187, 3)
    with pytest.raises(ActivationError, match="layer 'conv5', unit 3, image 137: an activation is NaN or infinite"):
        nd.score(maps, np.ones((250, 4, 4), int), name="conv5", backend=backend)


# ------------------------------------------------------------------------------------------- bounded memory


@pytest.mark.parametrize(("layer", "batch"), [(RESNET_LAYER4, 32), (VGG_CONV5_3, 100)],
                         ids=["resnet_layer4", "vgg_conv5_3"])  # fmt: skip
def test_store_stays_small(layer: Layer, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 7 % of the dense activations at any time: the store, and what is about to be added to it."""
    held: list[int] = []
    append = Crops.append

    def watched(self: Crops, other: Crops) -> None:
        append(self, other)
        held.append(self.nbytes + other.nbytes)

    monkeypatch.setattr(Crops, "append", watched)
    peaks = Peaks(layer.units, (layer.side, layer.side), layer.images)
    for first, maps in layer.batches(batch):
        peaks.add(maps, first, CPU)
        held.append(peaks.nbytes)
    monkeypatch.undo()
    assert len(held) >= 2 * layer.images // batch, "the store was not observed"
    assert max(held) <= 0.07 * layer.nbytes
    assert max(held) > 0.01 * layer.nbytes, "so little that it was surely not all observed"
    sample = slice(0, layer.units, 64)  # a 64th of the units, sorted
    maps = np.stack([layer.image(number)[sample] for number in range(layer.images)])
    np.testing.assert_array_equal(peaks.finish()[sample], sorted_thresholds(maps, "0.005"))


def test_finished_bytes_do_not_depend_on_batches() -> None:
    """Large enough that the store is pruned on its way."""
    layer = Layer(256, 13, 120)
    prunings, states = [], []
    for size in (1, 7, 32, 120):
        peaks = Peaks(layer.units, (layer.side, layer.side), layer.images)
        for first, maps in layer.batches(size):
            peaks.add(maps, first, CPU)
        prunings.append(bool(np.isfinite(peaks.bounds).any()))
        peaks.finish()
        states.append(state(peaks))
    assert all(prunings)
    assert len(set(states)) == 1


# ----------------------------------------------------------------------------------------------- questions


def test_top_images() -> None:
    """Descending maxima, ties to the smaller image number, only images above the threshold."""
    maps = np.zeros((6, 2, 2, 2), np.float32)
    maps[:, 0, 1, 0] = [1, 5, 3, 5, 0, 2]
    peaks = peaks_of(maps, "0.2", CPU)  # n = 24: the fifth largest is 1
    assert peaks.thresholds().tolist() == [1, 0]
    images, maxima = peaks.top(0)
    assert images.tolist() == [1, 3, 2, 5]
    assert maxima.tolist() == [5, 5, 3, 2]
    assert peaks.top(0, 1)[0].tolist() == [1]
    assert peaks.count(0) == 4
    assert len(peaks.top(1)[0]) == peaks.count(1) == 0
    for unit in (-1, 2):
        with pytest.raises(ArgumentError, match=f"unit {unit} does not exist: the layer has units 0 to 1"):
            peaks.top(unit)


@given(many_images, st.sampled_from(QUANTILES), st.data())
def test_save_and_load(
    tmp_path_factory: pytest.TempPathFactory, maps: np.ndarray, quantile: str, data: st.DataObject
) -> None:
    """The same bytes again; loaded peaks go on where the saved ones stopped."""
    path = tmp_path_factory.mktemp("peaks") / "peaks.safetensors"
    cuts = cuts_of(data, len(maps))
    assume(cuts)
    part = fill(maps, quantile, cuts[:1], [0])
    part.save(path)
    loaded = Peaks.load(path)
    assert state(loaded) == state(part)
    assert (loaded.units, loaded.map_size) == (part.units, part.map_size)
    loaded.add(maps[cuts[0] :], cuts[0], CPU)
    loaded.finish()
    assert state(loaded) == state(peaks_of(maps, quantile, CPU))
    loaded.save(path)
    again = Peaks.load(path)
    assert again.finish().tobytes() == sorted_thresholds(maps, quantile).tobytes()
    assert state(again) == state(loaded)


def test_no_units() -> None:
    """A layer of no units has no peaks, and that can be saved."""
    peaks = peaks_of(np.zeros((3, 0, 2, 2), np.float32), "0.1", CPU)
    assert peaks.thresholds().shape == (0,)


def test_empty_part_saves(tmp_path: Path) -> None:
    Peaks(2, (3, 3), 5).save(tmp_path / "peaks")
    assert state(Peaks.load(tmp_path / "peaks")) == state(Peaks(2, (3, 3), 5))
