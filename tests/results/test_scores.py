"""Scoring arrays: parts that add up, planted units, other labels and quantiles, arguments that do not fit."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import netdissect_fast as nd
from netdissect_fast.concepts import ImageLabels, PackedLabels, Vocabulary, pack_image
from netdissect_fast.errors import ArgumentError
from netdissect_fast.geometry.grids import GridWarning, make_grid
from netdissect_fast.scoring.backends.choice import choose
from netdissect_fast.scoring.backends.cpu import CpuBackend
from netdissect_fast.scoring.counts import Counter, Sums
from netdissect_fast.scoring.peaks import Peaks

from ..support.hand_made import BACKENDS, image, vocabulary_of
from ..support.strategies import labels_N, maps_BUHW, vocabularies


@st.composite
def scenes(draw: st.DrawFn) -> tuple[np.ndarray, list[ImageLabels], Vocabulary]:
    maps = draw(maps_BUHW(st.integers(1, 6), st.integers(1, 4), side=6))
    vocabulary = draw(vocabularies(most=6))
    sizes = [(6, 7), (9, 4), (8, 8)]  # label grids of different sizes in one data set
    images = [draw(labels_N(vocabulary, 1, draw(st.sampled_from(sizes))))[0] for _ in maps]
    return maps, images, vocabulary


@given(scenes(), st.data(), st.sampled_from(["image", "none"]))
def test_parts_add_up(scene: tuple[np.ndarray, list[ImageLabels], Vocabulary], data: st.DataObject, rule: Any) -> None:
    """Any cut of the images, counted apart and added in any order, equals counting them all."""
    maps, images, vocabulary = scene
    grid = make_grid("half_pixel", None, maps.shape[2:], (32, 32))
    thresholds = np.zeros(maps.shape[1], np.float32)
    backend = choose("cpu", 2)

    def counted(first: int, last: int) -> Counter:
        counter = Counter(thresholds, grid, PackedLabels.pack(images[first:last], vocabulary), vocabulary, rule)
        counter.add(backend.keep(maps[first:last], thresholds, 0), 0, last - first, backend)
        return counter

    whole = counted(0, len(maps))
    cuts = sorted({0, len(maps), *data.draw(st.lists(st.integers(0, len(maps)), max_size=3))})
    parts = data.draw(st.permutations([counted(*span) for span in pairwise(cuts)]))
    total = sum((part.sums for part in parts), Sums.zeros(maps.shape[1], vocabulary))
    for name, expected in vars(whole.sums).items():
        np.testing.assert_array_equal(getattr(total, name), expected, err_msg=name)
    # One counter fed in pieces, as dissect() does with given thresholds.
    counter = Counter(thresholds, grid, PackedLabels.pack(images, vocabulary), vocabulary, rule)
    for first, last in pairwise(cuts):
        counter.add(backend.keep(maps[first:last], thresholds, first), first, last, backend)
    for name, expected in vars(whole.counts).items():
        np.testing.assert_array_equal(getattr(counter.counts, name), expected, err_msg=name)


@given(scenes(), st.sampled_from(["0.05", "0.3"]), st.data())
def test_only_activations_and_labels_decide(
    scene: tuple[np.ndarray, list[ImageLabels], Vocabulary], quantile: str, data: st.DataObject
) -> None:
    """Any batches, spread over any parts, merged in any order, on 1 to 8 threads, pruned early or late, counted in
    pieces of any size: the definition's counts of all images at once."""
    maps, images, vocabulary = scene
    expected = nd.score(
        maps, images, vocabulary, quantile=quantile, input_size=(32, 32), layout="BCHW", backend="reference"
    )
    edges = sorted({0, len(maps), *data.draw(st.lists(st.integers(0, len(maps)), max_size=4))})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("netdissect_fast.scoring.peaks.SMALL", data.draw(st.sampled_from([0, 1 << 20])))
        patch.setattr("netdissect_fast.scoring.peaks._PIECE", data.draw(st.sampled_from([1, 3])))
        patch.setattr("netdissect_fast.scoring.counts._CHUNK", data.draw(st.integers(1, 4)))
        parts = [Peaks(maps.shape[1], maps.shape[2:], len(maps), quantile) for _ in range(3)]
        for first, last in pairwise(edges):
            part = parts[data.draw(st.integers(0, 2))]
            part.add(maps[first:last], first, CpuBackend(data.draw(st.integers(1, 8))))
        while len(parts) > 1:
            some = [parts.pop(data.draw(st.integers(0, len(parts) - 1))) for _ in range(2)]
            parts.append(Peaks.merge(some))
        result = nd.score_peaks(
            parts[0],
            expected.grid,
            PackedLabels.pack(images, vocabulary),
            vocabulary,
            backend=CpuBackend(data.draw(st.integers(1, 8))),
        )
    assert result.thresholds.tobytes() == expected.thresholds.tobytes()
    for name, counted in vars(expected.counts).items():
        np.testing.assert_array_equal(getattr(result.counts, name), counted, err_msg=name)


@given(scenes(), st.sampled_from(["0.05", "0.3"]))
def test_other_labels_and_quantiles_without_the_network(
    scene: tuple[np.ndarray, list[ImageLabels], Vocabulary], quantile: str
) -> None:
    """score_peaks equals scoring the activations anew: other labels, a smaller quantile, other units' numbers."""
    maps, images, vocabulary = scene
    first = nd.score(maps, images, vocabulary, quantile="0.4", input_size=(32, 32), layout="BCHW")
    others = images[::-1]
    again = nd.score_peaks(
        first.require_peaks(),
        first.grid,
        PackedLabels.pack(others, vocabulary),
        vocabulary,
        quantile=quantile,
        unit_numbers=np.arange(maps.shape[1]) + 7,
    )
    fresh = nd.score(
        maps, others, vocabulary, quantile=quantile, input_size=(32, 32), layout="BCHW", backend="reference"
    )
    for name, expected in vars(fresh.counts).items():
        np.testing.assert_array_equal(getattr(again.counts, name), expected, err_msg=name)
    np.testing.assert_array_equal(again.thresholds, fresh.thresholds)
    assert [row._replace(unit=row.unit - 7) for row in again.units()] == fresh.units()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sides", [(12, 10), (24, 20), (48, 40)])
def test_planted_units(dtype: type, backend: str, sides: tuple[int, int]) -> None:
    """Units made from downsampled label masks are labelled with their concept, the better the finer their maps."""
    rng = np.random.default_rng(0)
    images, size, concepts = 12, (48, 40), 5
    coarse = rng.integers(0, concepts + 1, (images, 6, 5))
    labels = coarse.repeat(8, axis=1).repeat(8, axis=2)
    carried = labels[:, None] == np.arange(1, concepts + 1)[:, None, None]  # [N, C, Y, X]
    blocks = carried.reshape(images, concepts, sides[0], size[0] // sides[0], sides[1], size[1] // sides[1])
    maps = (blocks.mean(axis=(3, 5)) + 0.01 * rng.random((images, concepts, *sides))).astype(dtype)
    layer = nd.score(maps[:, ::-1], labels, thresholds=[0.5] * concepts, backend=backend)
    assert [row.label for row in layer.units()] == ["5", "4", "3", "2", "1"]
    best = layer.labels.top()[2]
    assert (best > {12: 0.75, 24: 0.95, 48: 0.999}[sides[0]]).all()
    # By quantile: as many positions as the rarest concept has, so that no unit reaches beyond its concept.
    fraction = carried.mean(axis=(0, 2, 3)).min()
    layer = nd.score(maps, labels, quantile=fraction, backend=backend)
    assert [row.label for row in layer.units()] == ["1", "2", "3", "4", "5"]
    assert sum(layer.unique_detectors().values()) == concepts


def test_given_thresholds_near_zero_count_as_zero() -> None:
    """Below 2⁻⁷² they are +0, like activations: a silent unit must not turn on everywhere above −1e-30."""
    maps = np.zeros((1, 3, 2, 2), np.float32)
    maps[0, :, 0, 0] = 1e-25
    layer = nd.score(maps, np.ones((1, 2, 2), int), thresholds=[-1e-30, 1e-30, -0.0])
    assert layer.thresholds.tobytes() == bytes(12)
    assert layer.counts.intersection.tolist() == [[0], [0], [0]]


def test_one_by_one_maps_are_constant() -> None:
    """[N, U] activations: the mask is all of an image or nothing."""
    activations = np.array([[1.0, 5.0], [2.0, 0.0], [3.0, 0.0]], np.float32)
    labels = np.array([[[1, 0, 2]], [[2, 2, 2]], [[1, 1, 1]]])
    layer = nd.score(activations, labels, thresholds=[1.5, 1])
    assert layer.counts.intersection.tolist() == [[3, 3], [1, 1]]
    assert layer.counts.unit_area.tolist() == [[6], [3]]
    assert layer.grid.size == (1, 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("kind", ["array", "tensor", "memory map"])
def test_channels_last_activations(dtype: type, kind: str, tmp_path: Path) -> None:
    """[N, H, W, U], as TensorFlow and JAX have them: the numbers of [N, U, H, W]."""
    rng = np.random.default_rng(0)
    maps, labels = rng.random((6, 8, 4, 6)).astype(dtype), rng.integers(0, 4, (6, 8, 12))
    last: Any = np.ascontiguousarray(np.moveaxis(maps, 1, 3))
    if kind == "tensor":
        last = torch.from_numpy(last)
    elif kind == "memory map":
        np.save(tmp_path / "maps.npy", last)
        last = np.load(tmp_path / "maps.npy", mmap_mode="r")
    for options in ({"quantile": 0.1}, {"thresholds": np.full(8, 0.7)}):
        expected, layer = nd.score(maps, labels, **options), nd.score(last, labels, layout="BHWC", **options)
        assert layer.thresholds.tobytes() == expected.thresholds.tobytes()
        assert layer.grid == expected.grid
        for name, counted in vars(expected.counts).items():
            np.testing.assert_array_equal(getattr(layer.counts, name), counted, err_msg=name)
    vectors = maps[:, :, 0, 0]
    assert nd.score(vectors, labels, layout="BHWC").iou.tolist() == nd.score(vectors, labels).iou.tolist()


def test_activations_that_look_like_channels_last() -> None:
    """A warning only if channels last alone has the labels' shape; doing what it says silences it."""
    labels = np.ones((6, 64, 96), int)
    maps = np.random.default_rng(0).random((6, 16, 24, 8)).astype(np.float32)
    with pytest.warns(GridWarning, match=r"taken as \[N, U, H, W\].*24×8.*64×96.*layout='BHWC'.*layout='BCHW'"):
        assert len(nd.score(maps, labels).units()) == 16
    assert len(nd.score(maps, labels, layout="BHWC").units()) == 8
    assert len(nd.score(maps, labels, layout="BCHW").units()) == 16
    for shape in ((6, 8, 16, 24), (6, 9, 15, 24), (6, 2, 2, 3), (6, 5, 1, 1), (6, 16, 16, 16)):  # nothing else fits
        nd.score(np.ones(shape, np.float32), labels[:, :64, : 64 if shape[1] == shape[2] == 16 else 96])


# -------------------------------------------------------------------------------------------------- bad input

MAPS = np.ones((3, 2, 4, 4), np.float32)
LABELS = np.ones((3, 8, 8), np.int64)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((MAPS[:2], LABELS), {}, "activations of 2 images, but labels of 3"),
        ((MAPS[0], LABELS), {}, r"expected activations \[N, U, H, W\] or \[N, U\], got \(2, 4, 4\)"),
        (
            (iter(MAPS), LABELS),
            {},
            r"in one array or tensor, got a .*iterator: join batches.*np\.concatenate\(list\(batc",
        ),
        (([MAPS, MAPS], LABELS), {}, r"got a list: join batches first"),
        ((MAPS, LABELS), {"layout": "NHWC"}, "layout must be one of BCHW, BHWC; got 'NHWC'"),
        ((MAPS[:0], LABELS[:0]), {}, "at least one image and one position"),
        ((MAPS[..., :0], LABELS), {}, "at least one image and one position"),
        ((MAPS, LABELS.astype(float)), {}, r"expected integer labels \[N, Y, X\], got float64"),
        ((MAPS, LABELS[0]), {}, r"expected integer labels \[N, Y, X\]"),
        ((MAPS, [image()] * 3), {}, "a vocabulary is needed"),
        ((MAPS, LABELS, vocabulary_of([], 1)), {}, r"concept number 1 \(label map\) is not in the vocabulary"),
        ((MAPS, -LABELS, vocabulary_of([0], 1)), {}, r"concept number -1 \(label map\) is not in the vocabulary"),
        ((MAPS, [image(whole=(9,))] * 3, vocabulary_of([0], 1)), {}, r"concept number 9 \(whole image\) is not in"),
        ((MAPS, [image(whole=(-1,))] * 3, vocabulary_of([0], 1)), {}, r"concept number -1 \(whole image\)"),
        ((MAPS, LABELS), {"thresholds": [1.0]}, r"one threshold per unit, shape \(2,\), got \(1,\)"),
        ((MAPS, LABELS), {"thresholds": [0, np.nan]}, "the threshold of unit 1 is NaN"),
        ((MAPS, LABELS), {"quantile": 1}, "quantile must lie between 0 and 1"),
        ((MAPS, LABELS), {"alignment": "receptive_field"}, "needs the network"),
        ((MAPS, LABELS), {"alignment": "centre"}, "unknown alignment 'centre'"),
        ((MAPS, LABELS), {"category_rule": "pixel"}, "category_rule must be one of image, none; got 'pixel'"),
        ((MAPS, LABELS), {"backend": "gpu"}, "backend 'gpu' is unknown"),
        ((MAPS, LABELS), {"threads": 0}, "threads must be at least 1, got 0"),
    ],
)
def test_score_says_what_is_wrong(arguments: tuple[Any, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        nd.score(*arguments, **options)


def test_score_peaks_of_other_images() -> None:
    layer = nd.score(MAPS, LABELS)
    with pytest.raises(ArgumentError, match="peaks cover 3 images, the labels 2"):
        nd.score_peaks(
            layer.require_peaks(), layer.grid, PackedLabels.pack([image()] * 2, layer.vocabulary), layer.vocabulary
        )
    fixed = nd.score(MAPS, LABELS, thresholds=[0, 0])
    with pytest.raises(ArgumentError, match="'layer' has no peaks: thresholds were given"):
        fixed.top(0)
    assert isinstance(layer.peaks, Peaks)


@pytest.mark.parametrize("numbers", [[0, 1], [2, 1], [1, 1], [-3]])
def test_vocabulary_numbers(numbers: list[int]) -> None:
    with pytest.raises(ArgumentError, match="must be ≥ 1, ascending and distinct; 0 means unlabelled"):
        Vocabulary(np.array(numbers), tuple("ab"[: len(numbers)]), np.zeros(len(numbers), np.int32), ("c",))


@pytest.mark.parametrize(
    ("numbers", "category", "message"),
    [
        ([1], [0, 0], "got 1 numbers, 2 names, 2 categories"),
        ([1, 2], [0], "got 2 numbers, 2 names, 1 categories"),
        ([[1, 2]], [0, 0], "one name and one category per concept"),
        (3, [0, 0], "got 1 numbers"),
        ([1, 2], [0, 1], "an index into the 1 categories, or −1 for none"),
        ([1, 2], [0, -2], "an index into the 1 categories"),
    ],
)
def test_vocabulary_fits_together(numbers: Any, category: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Vocabulary(numbers, ("one", "two"), category, ("c",))


def test_vocabulary_of_lists() -> None:
    words: Any = ([1, 2], ("one", "two"), [0, 0], ("c",))
    layer = nd.score(np.ones((1, 1, 2, 2), np.float32), np.full((1, 2, 2), 2), Vocabulary(*words), thresholds=[0])
    assert [row.label for row in layer.units()] == ["two"]


def test_pack_of_a_number_at_the_edge_of_the_table() -> None:
    vocabulary = Vocabulary(np.array([3, 70000]), ("a", "b"), np.zeros(2, np.int32), ("c",))
    packed = pack_image(image([[70000, 3], [0, 0]]), vocabulary)
    assert packed.concepts[:2].tolist() == [0, 1]
    for number in (70001, 2, 2**31 - 1):
        with pytest.raises(ValueError, match=f"concept number {number} "):
            pack_image(image([[number, 3], [0, 0]]), vocabulary)
