"""Counts, IoU, labels of units and detectors: spec 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, on cases worked by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import netdissect_fast as nd
from netdissect_fast.concepts import PackedLabels, Vocabulary, pack_image
from netdissect_fast.errors import ArgumentError
from netdissect_fast.geometry.grids import AxisTable
from netdissect_fast.scoring.backends.base import Backend, CountJob
from netdissect_fast.scoring.backends.cpu import CpuBackend
from netdissect_fast.scoring.counts import Counts, Sums, Totals
from netdissect_fast.scoring.detectors import detectors, unique_detectors
from netdissect_fast.scoring.iou import iou
from netdissect_fast.scoring.unit_labels import UnitLabels

from ..support.hand_made import BACKENDS, image, vocabulary_of
from ..support.labels import packed_example
from ..support.variants import ISAS, REFERENCE

# ------------------------------------------------------------------------------------------ worked examples


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("rule", "first"), [("image", 1 / (3 + 2 - 1)), ("none", 1 / (5 + 2 - 1))])
def test_worked_example(backend: str, rule: Any, first: float) -> None:
    """spec 1.16: labels 1 and 2 in category object, 3 a whole-image scene; the category rule read three ways."""
    masks = np.array([[[1, 0], [1, 0]], [[1, 1], [0, 0]], [[0, 0], [0, 1]]], np.float32)[:, None]
    labels = [
        image([[1, 1], [0, 0]], whole=(3,)),
        image([[0, 0], [0, 0]], whole=(3,)),
        image([[2, 0], [0, 0]]),
    ]
    vocabulary = Vocabulary(
        np.array([1, 2, 3]), ("one", "two", "scene"), np.array([0, 0, 1], np.int32), ("object", "scene")
    )
    layer = nd.score(masks, labels, vocabulary, thresholds=[0.5], category_rule=rule, backend=backend)
    assert layer.counts.intersection.tolist() == [[1, 0, 4]]
    assert layer.counts.concept_area.tolist() == [2, 1, 8]
    assert layer.counts.unit_area.tolist() == ([[3, 4]] if rule == "image" else [[5, 5]])
    assert layer.iou[0].tolist() == [first, 0, 4 / (4 + 8 - 4) if rule == "image" else 4 / (5 + 8 - 4)]
    assert layer.units()[0].label == "scene"


@pytest.mark.parametrize("backend", BACKENDS)
def test_double_label(backend: str) -> None:
    """The same concept in two maps of one image counts once: IoU 1, where adding up the maps would give 2."""
    masks = np.array([[1, 1], [0, 0]], np.float32)[None, None]
    same = [[1, 1], [0, 0]]
    layer = nd.score(
        masks, [image(same, same)], vocabulary_of([0], 1), thresholds=[0.5], backend=backend
    )  # fmt: skip
    assert layer.counts.intersection.tolist() == [[2]]
    assert layer.counts.concept_area.tolist() == [2]
    assert layer.iou.tolist() == [[1.0]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_labels_are_ored(backend: str) -> None:
    """Two maps of different concepts both hold; a whole-image concept also painted in a map counts every pixel once."""
    masks = np.ones((1, 1, 2, 2), np.float32)
    labels = [image([[1, 1], [0, 2]], [[2, 1], [0, 0]], whole=(2, 0, 2))]
    layer = nd.score(masks, labels, vocabulary_of([0, 0], 1), thresholds=[0], backend=backend)
    assert layer.counts.concept_area.tolist() == [2, 4]
    assert layer.counts.intersection.tolist() == [[2, 4]]


def test_category_presence_follows_primary_categories() -> None:
    """P[i, c]: a concept whose primary category is c, wherever it was painted; concepts of none count nowhere."""
    vocabulary = vocabulary_of([0, 1, -1], 2)
    labels = [image([[1, 0], [0, 0]]), image(whole=(2,)), image([[3, 3], [3, 3]], whole=(3,)), image()]
    packed = PackedLabels.pack(labels, vocabulary)
    assert packed.category_present(vocabulary).tolist() == [[1, 0], [0, 1], [0, 0], [0, 0]]


def test_concept_without_category() -> None:
    """It is counted, but never the label of a unit."""
    masks = np.ones((1, 1, 2, 2), np.float32)
    layer = nd.score(masks, [image([[1, 1], [1, 1]])], vocabulary_of([-1], 1), thresholds=[0])
    assert layer.counts.intersection.tolist() == [[4]]
    assert layer.counts.unit_area.tolist() == [[0]]
    row = layer.units()[0]
    assert (row.label, row.category, row.iou, row.chance, row.detector) == ("", "", 0, 0, False)


def test_primary_category() -> None:
    """The largest coverage; ties to the first; NaN = not in the category; none at all = −1."""
    nan = np.nan
    coverage = np.array([[1, 2, nan], [2, 2, 1], [nan, 0, nan], [nan, nan, nan], [nan, 0.5, 0.5], [0, 0, 0]])
    assert Vocabulary.primary(coverage).tolist() == [1, 0, 1, -1, 1, 0]
    assert Vocabulary.primary(np.zeros((2, 0))).tolist() == [-1, -1]


# --------------------------------------------------------------------------------------------- IoU and chance


def test_iou_is_float64_and_zero_over_zero_is_zero() -> None:
    big = 3 * 10**9  # beyond int32
    got = iou(np.array([1, 0, 0, big]), np.array([3, 0, 5, big]), np.array([2, 0, 0, big]))
    assert got.dtype == np.float64
    assert got.tolist() == [0.25, 0, 0, 1]
    assert iou(np.array([1]), np.array([3]), np.array([1]))[0] == 1 / 3


def test_counts_beyond_32_bits() -> None:
    """Areas of all of Broden at 224×224 exceed 2³¹; sums stay integers."""
    vocabulary = vocabulary_of([0], 1)
    one = Sums(np.full((1, 1), 2**33 + 1), np.full((1, 1), 2**33 + 1))
    totals = Totals(np.array([3 * 2**33 + 3]), np.array([3 * 2**33 + 3]), np.ones((3, 1), bool))
    total = Counts.of(one + one + one, totals)
    assert total.intersection.tolist() == [[3 * 2**33 + 3]]
    assert total.intersection.dtype == np.int64
    assert total.iou(vocabulary).tolist() == [[1.0]]
    assert total.chance(vocabulary).tolist() == [[1.0]]


@pytest.mark.parametrize("start", [2**31 - 1, 2**32 - 1, 2**53 + 1])
@pytest.mark.parametrize("backend", [REFERENCE, *(CpuBackend(1, isa) for isa in ISAS)], ids=["reference", *ISAS])
def test_counters_beyond_32_bits(backend: Backend, start: int) -> None:
    """What is added to a counter that 32 bits or a float could not hold is all there."""
    maps = np.ones((1, 1, 1, 1), np.float32)
    labels = PackedLabels.pack([image([[1, 0], [1, 1]], whole=(2,))], vocabulary_of([0, 0], 1))
    axes = AxisTable(*(np.zeros(2, kind) for kind in (np.int32, np.int32, np.float32)))
    intersection, area = np.full((1, 2), start), np.full((1, 1), start)
    zero, present = np.zeros(1, np.float32), np.ones((1, 1), bool)
    crops = backend.keep(maps, zero, 0)
    backend.count(CountJob(crops, 0, zero, (axes, axes), (1, 1), labels, present, intersection, area))
    assert intersection.tolist() == [[start + 3, start + 4]]
    assert area.tolist() == [[start + 4]]


@pytest.mark.parametrize("isa", ISAS)
def test_all_of_broden_in_one_call(isa: str) -> None:
    """63,305 images of 224×224 with every pixel on, on top of a counter at 2³² − 1."""
    images, side = 63_305, 224
    maps, one = np.ones((images, 1, 1, 1), np.float32), image(whole=(1,), size=(side, side))
    vocabulary = vocabulary_of([0], 1)
    labels = PackedLabels.join([pack_image(one, vocabulary)] * images)
    axes = AxisTable(*(np.zeros(side, kind) for kind in (np.int32, np.int32, np.float32)))
    intersection, area = np.full((1, 1), 2**32 - 1), np.zeros((1, 1), np.int64)
    backend, zero = CpuBackend(2, isa), np.zeros(1, np.float32)
    crops, present = backend.keep(maps, zero, 0), np.ones((images, 1), bool)
    backend.count(CountJob(crops, 0, zero, (axes, axes), (1, 1), labels, present, intersection, area))
    pixels = images * side * side
    assert pixels > 2**31
    assert intersection.tolist() == [[2**32 - 1 + pixels]]
    assert area.tolist() == [[pixels]]
    assert labels.concept_area(1).tolist() == [pixels]


def test_one_image_has_fewer_than_31_bits_of_pixels() -> None:
    """A concept's pixels in one image are int32; a larger image is refused before it is looked at."""
    vocabulary = vocabulary_of([0], 1)
    assert pack_image(image(whole=(1,), size=(46_340, 46_340)), vocabulary).whole.tolist() == [0]
    for size in ((46_341, 46_341), (2**16, 2**15), (1, 2**31)):
        with pytest.raises(ArgumentError, match=f"{size[0]}×{size[1]} pixels: an image has at most 2147483647"):
            pack_image(image(whole=(1,), size=size), vocabulary)


def test_chance_closed_form() -> None:
    """d·g/(d + g − d·g), densities over the images of the concept's category."""
    counts = Counts(np.zeros((2, 2), np.int64), np.array([[10, 40], [0, 0]]), np.array([20, 50]), np.array([100, 200]))
    got = counts.chance(vocabulary_of([0, 1], 2))
    assert got[0] == pytest.approx([0.02 / (0.1 + 0.2 - 0.02), 0.05 / (0.2 + 0.25 - 0.05)], rel=1e-14)
    assert got[1].tolist() == [0, 0]
    assert counts.chance(vocabulary_of([0, -1], 2))[:, 1].tolist() == [0, 0]
    none = Totals.of(PackedLabels.pack([], vocabulary_of([0], 1)), vocabulary_of([0], 1))
    nothing = Counts.of(Sums.zeros(1, vocabulary_of([0], 1)), none)
    assert nothing.chance(vocabulary_of([0], 1)).tolist() == [[0]]
    assert nothing.iou(vocabulary_of([0], 1)).tolist() == [[0]]


def test_random_masks_reach_the_chance_level() -> None:
    """Null check: independent random units score what the closed form says, within sampling error."""
    rng = np.random.default_rng(3)
    images, units, side = 20, 120, 16
    densities = np.repeat([0.01, 0.05, 0.3, 0.8], units // 4)
    masks = (rng.random((images, units, side, side)) < densities[:, None, None]).astype(np.float32)
    concepts = np.array([0.02, 0.1, 0.5])
    planes = [[np.where(rng.random((side, side)) < g, n, 0) for n, g in enumerate(concepts, 1)] for _ in range(images)]
    labels = [image(*maps, size=(side, side)) for maps in planes]
    layer = nd.score(masks, labels, vocabulary_of([0, 0, 0], 1), thresholds=np.zeros(units))
    pixels = images * side * side
    assert layer.counts.pixels.tolist() == [pixels]
    for d in np.unique(densities):
        of = densities == d
        for column, g in enumerate(concepts):
            expected = d * g / (d + g - d * g)
            # Standard deviation of the IoU is about that of I over the union; 30 units are averaged.
            error = np.sqrt(pixels * d * g) / (pixels * (d + g - d * g))
            assert abs(layer.iou[of, column].mean() - expected) < 4 * error
            assert abs(layer.chance[of, column].mean() - expected) < 4 * error
            # Each unit's own chance level knows its true density, so it is nearer.
            assert (np.abs(layer.iou[of, column] - layer.chance[of, column]) < 6 * error).all()
    assert abs(layer.iou[densities == 0.8, 2].mean() - 0.8 * 0.5) > 0.03, "and not d·g"


# ---------------------------------------------------------------------------------------------- labels of units


def test_ties_go_to_the_smallest_number_and_the_first_category() -> None:
    vocabulary = vocabulary_of([1, 0, 0, 1], 2)
    labels = UnitLabels.of(
        np.array(
            [
                [0.5, 0.2, 0.2, 0.5],  # ties within both categories
                [0.3, 0.3, 0.1, 0.3],  # tie across: category a comes first
                [0.0, 0.0, 0.0, 0.0],  # meets nothing
                [0.0, 0.0, 0.0, 0.1],  # only category b
                [0.1, 0.2, np.nextafter(0.2, 1), 0.1],  # the last bit decides
            ]
        ),
        vocabulary,
    )
    assert labels.concept.tolist() == [[1, 0], [1, 0], [-1, -1], [-1, 3], [2, 0]]
    assert labels.score.tolist() == [[0.2, 0.5], [0.3, 0.3], [0, 0], [0, 0.1], [np.nextafter(0.2, 1), 0.1]]
    category, concept, score = labels.top()
    assert category.tolist() == [1, 0, -1, 1, 0]
    assert concept.tolist() == [0, 1, -1, 3, 2]
    assert score.tolist() == [0.5, 0.3, 0, 0.1, np.nextafter(0.2, 1)]


def test_both_counting_rules() -> None:
    """Four units; category a holds concepts 1 and 2, b holds 3 and 4."""
    labels = UnitLabels.of(
        np.array(
            [
                [0.10, 0.0, 0.30, 0.0],  # top 3, but also a detector of 1
                [0.20, 0.0, 0.05, 0.0],  # top 1, also a detector of 3
                [0.00, 0.09, 0.01, 0.0],  # top 2
                [0.00, 0.04, 0.00, 0.04],  # exactly at the threshold: no detector
            ]
        ),
        vocabulary_of([0, 0, 1, 1], 2),
    )
    assert detectors(labels).tolist() == [2, 1]
    assert unique_detectors(labels).tolist() == [2, 1]
    assert detectors(labels, count="per_category").tolist() == [3, 2]
    assert unique_detectors(labels, count="per_category").tolist() == [2, 1]
    assert detectors(labels, 0.0399).tolist() == [3, 1]
    assert detectors(labels, 0.3).tolist() == [0, 0]
    assert unique_detectors(labels, 0.15, "per_category").tolist() == [1, 1]


def test_a_label_seen_twice_is_one_unique_detector() -> None:
    labels = UnitLabels.of(np.array([[0.1, 0.2], [0.1, 0.3], [0.5, 0.3]]), vocabulary_of([0, 0], 1))
    assert detectors(labels).tolist() == [3]
    assert unique_detectors(labels).tolist() == [2]


@pytest.mark.parametrize("counting", [detectors, unique_detectors])
def test_unknown_counting_rule(counting: Callable[..., np.ndarray]) -> None:
    labels = UnitLabels.of(np.zeros((1, 1)), vocabulary_of([0], 1))
    with pytest.raises(ArgumentError, match="count must be one of top_label, per_category; got 'both'"):
        counting(labels, count="both")


def test_no_units_no_concepts_no_categories() -> None:
    for units, vocabulary in ((0, vocabulary_of([0], 1)), (2, vocabulary_of([], 1)), (2, vocabulary_of([], 0))):
        labels = UnitLabels.of(np.zeros((units, len(vocabulary))), vocabulary)
        assert labels.top()[1].tolist() == [-1] * units
        assert detectors(labels).tolist() == [0] * len(vocabulary.categories)


def test_labels_of_some_images_are_theirs_alone() -> None:
    packed, vocabulary = packed_example(images=7)
    whole = packed.category_present(vocabulary)
    total = np.zeros(len(vocabulary), np.int64)
    for first, last in ((0, 2), (2, 3), (3, 3), (3, 7)):
        some = packed.of_images(first, last)
        np.testing.assert_array_equal(some.category_present(vocabulary), whole[first:last])
        total += some.concept_area(len(vocabulary))
    np.testing.assert_array_equal(total, packed.concept_area(len(vocabulary)))
    assert total.all()
