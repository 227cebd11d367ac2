"""Counts, IoU, labels of units and detectors: SPEC 1, steps 4 to 9, on cases worked by hand and on planted units."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import netdissect_fast as nd
from netdissect_fast.backends import choose
from netdissect_fast.concepts import ImageLabels, PackedLabels, Vocabulary, pack_image
from netdissect_fast.counts import Counter, Counts, UnitLabels, iou
from netdissect_fast.errors import ArgumentError
from netdissect_fast.grids import make_grid
from netdissect_fast.peaks import Peaks

from .strategies import labels_N, maps_BUHW, vocabularies

BACKENDS = ["reference", "cpu"]


def vocabulary_of(category: list[int], categories: int) -> Vocabulary:
    numbers = np.arange(1, len(category) + 1)
    return Vocabulary(
        numbers, tuple(f"c{n}" for n in numbers), np.array(category, np.int32), tuple("abcdef"[:categories])
    )


def image(*maps: Any, whole: tuple[int, ...] = (), size: tuple[int, int] = (2, 2)) -> ImageLabels:
    return ImageLabels(np.array(maps, np.int32).reshape(-1, *size), whole)


# ------------------------------------------------------------------------------------------ worked examples


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("rule", "first"), [("image", 1 / (3 + 2 - 1)), ("none", 1 / (5 + 2 - 1))])
def test_worked_example(backend: str, rule: Any, first: float) -> None:
    """SPEC 1: labels 1 and 2 in category object, 3 a whole-image scene; the category rule read three ways."""
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
    one = Counts(*(np.full(shape, 2**33 + 1) for shape in ((1, 1), (1, 1), (1,), (1,))))
    total = one + one + one
    assert total.intersection.tolist() == [[3 * 2**33 + 3]]
    assert total.intersection.dtype == np.int64
    assert total.iou(vocabulary).tolist() == [[1.0]]
    assert total.chance(vocabulary).tolist() == [[1.0]]


def test_chance_closed_form() -> None:
    """d·g/(d + g − d·g), densities over the images of the concept's category."""
    counts = Counts(np.zeros((2, 2), np.int64), np.array([[10, 40], [0, 0]]), np.array([20, 50]), np.array([100, 200]))
    got = counts.chance(vocabulary_of([0, 1], 2))
    assert got[0] == pytest.approx([0.02 / (0.1 + 0.2 - 0.02), 0.05 / (0.2 + 0.25 - 0.05)], rel=1e-14)
    assert got[1].tolist() == [0, 0]
    assert counts.chance(vocabulary_of([0, -1], 2))[:, 1].tolist() == [0, 0]
    nothing = Counts.zeros(1, vocabulary_of([0], 1))
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
    assert labels.detectors().tolist() == [2, 1]
    assert labels.unique_detectors().tolist() == [2, 1]
    assert labels.detectors(count="per_category").tolist() == [3, 2]
    assert labels.unique_detectors(count="per_category").tolist() == [2, 1]
    assert labels.detectors(0.0399).tolist() == [3, 1]
    assert labels.detectors(0.3).tolist() == [0, 0]
    assert labels.unique_detectors(0.15, "per_category").tolist() == [1, 1]


def test_a_label_seen_twice_is_one_unique_detector() -> None:
    labels = UnitLabels.of(np.array([[0.1, 0.2], [0.1, 0.3], [0.5, 0.3]]), vocabulary_of([0, 0], 1))
    assert labels.detectors().tolist() == [3]
    assert labels.unique_detectors().tolist() == [2]


@pytest.mark.parametrize("method", ["detectors", "unique_detectors"])
def test_unknown_counting_rule(method: str) -> None:
    labels = UnitLabels.of(np.zeros((1, 1)), vocabulary_of([0], 1))
    with pytest.raises(ArgumentError, match="count must be one of top_label, per_category; got 'both'"):
        getattr(labels, method)(count="both")


def test_no_units_no_concepts_no_categories() -> None:
    for units, vocabulary in ((0, vocabulary_of([0], 1)), (2, vocabulary_of([], 1)), (2, vocabulary_of([], 0))):
        labels = UnitLabels.of(np.zeros((units, len(vocabulary))), vocabulary)
        assert labels.top()[1].tolist() == [-1] * units
        assert labels.detectors().tolist() == [0] * len(vocabulary.categories)


# --------------------------------------------------------------------------------------------------- counting


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

    def counted(first: int, last: int) -> Counts:
        counter = Counter(thresholds, grid, PackedLabels.pack(images[first:last], vocabulary), vocabulary, rule)
        counter.add(backend.keep(maps[first:last], thresholds, 0), 0, last - first, backend)
        return counter.counts

    whole = counted(0, len(maps))
    cuts = sorted({0, len(maps), *data.draw(st.lists(st.integers(0, len(maps)), max_size=3))})
    parts = data.draw(st.permutations([counted(*span) for span in pairwise(cuts)]))
    total = Counts.zeros(maps.shape[1], vocabulary)
    for part in parts:
        total = total + part
    for name, expected in vars(whole).items():
        np.testing.assert_array_equal(getattr(total, name), expected, err_msg=name)
    # One counter fed in pieces, as dissect() does with given thresholds.
    counter = Counter(thresholds, grid, PackedLabels.pack(images, vocabulary), vocabulary, rule)
    for first, last in pairwise(cuts):
        counter.add(backend.keep(maps[first:last], thresholds, first), first, last, backend)
    for name, expected in vars(whole).items():
        np.testing.assert_array_equal(getattr(counter.counts, name), expected, err_msg=name)


@given(scenes(), st.sampled_from(["0.05", "0.3"]))
def test_other_labels_and_quantiles_without_the_network(
    scene: tuple[np.ndarray, list[ImageLabels], Vocabulary], quantile: str
) -> None:
    """score_peaks equals scoring the activations anew: other labels, a smaller quantile, other units' numbers."""
    maps, images, vocabulary = scene
    first = nd.score(maps, images, vocabulary, quantile="0.4", input_size=(32, 32))
    others = images[::-1]
    again = nd.score_peaks(
        first.require_peaks(),
        first.grid,
        PackedLabels.pack(others, vocabulary),
        vocabulary,
        quantile=quantile,
        unit_numbers=np.arange(maps.shape[1]) + 7,
    )
    fresh = nd.score(maps, others, vocabulary, quantile=quantile, input_size=(32, 32), backend="reference")
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


def test_one_by_one_maps_are_constant() -> None:
    """[N, U] activations: the mask is all of an image or nothing."""
    activations = np.array([[1.0, 5.0], [2.0, 0.0], [3.0, 0.0]], np.float32)
    labels = np.array([[[1, 0, 2]], [[2, 2, 2]], [[1, 1, 1]]])
    layer = nd.score(activations, labels, thresholds=[1.5, 1])
    assert layer.counts.intersection.tolist() == [[3, 3], [1, 1]]
    assert layer.counts.unit_area.tolist() == [[6], [3]]
    assert layer.grid.size == (1, 1)


# -------------------------------------------------------------------------------------------------- bad input

MAPS = np.ones((3, 2, 4, 4), np.float32)
LABELS = np.ones((3, 8, 8), np.int64)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((MAPS[:2], LABELS), {}, "activations of 2 images, but labels of 3"),
        ((MAPS[0], LABELS), {}, r"expected activations \[N, U, H, W\] or \[N, U\], got \(2, 4, 4\)"),
        ((MAPS[:0], LABELS[:0]), {}, "at least one image and one position"),
        ((MAPS[..., :0], LABELS), {}, "at least one image and one position"),
        ((MAPS, LABELS.astype(float)), {}, r"expected integer labels \[N, Y, X\], got float64"),
        ((MAPS, LABELS[0]), {}, r"expected integer labels \[N, Y, X\]"),
        ((MAPS, [image()] * 3), {}, "a vocabulary is needed"),
        ((MAPS, LABELS, vocabulary_of([], 1)), {}, r"concept number 1 \(label map\) is not in the vocabulary"),
        ((MAPS, -LABELS, vocabulary_of([0], 1)), {}, r"concept number -1 \(label map\) is not in the vocabulary"),
        ((MAPS, [image(whole=(9,))] * 3, vocabulary_of([0], 1)), {}, r"concept number 9 \(whole image\) is not in"),
        ((MAPS, [image(whole=(-1,))] * 3, vocabulary_of([0], 1)), {}, r"concept number -1 \(whole image\)"),
        ((MAPS, LABELS), {"thresholds": [1.0]}, r"one threshold a unit, shape \(2,\), got \(1,\)"),
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
    with pytest.raises(ArgumentError, match="peaks are of 3 images, the labels of 2"):
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
        ([[1, 2]], [0, 0], "one name and one category a concept"),
        (3, [0, 0], "got 1 numbers"),
        ([1, 2], [0, 1], "a position among the 1 categories, or −1 for none"),
        ([1, 2], [0, -2], "a position among the 1 categories"),
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
    packed = pack_image(image([[70000, 3], [0, 0]]), vocabulary.columns)
    assert packed.concepts[:2].tolist() == [0, 1]
    for number in (70001, 2, 2**31 - 1):
        with pytest.raises(ValueError, match=f"concept number {number} "):
            pack_image(image([[number, 3], [0, 0]]), vocabulary.columns)
