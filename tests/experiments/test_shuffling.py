"""Labels change hands within a category and nothing else does; what is counted then equals a dense computation."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import netdissect_fast as nd
from netdissect_fast.concepts import ImageLabels, PackedLabels
from netdissect_fast.experiments.null import shuffled
from netdissect_fast.experiments.shuffled_labels import ByCategory, Paired
from netdissect_fast.results.layer_result import LayerResult
from netdissect_fast.scoring.backends.choice import choose
from netdissect_fast.scoring.counts import Counter, Counts

from ..support.hand_made import image, vocabulary_of
from ..support.strategies import labels_N, rngs, vocabularies
from .labels_alone import WORDS, LabelsAlone, dissected, drawn


@st.composite
def packed(draw: st.DrawFn) -> tuple[PackedLabels, nd.Vocabulary]:
    """Images of one or two label sizes, some with whole-image concepts, some concepts without category."""
    words = draw(vocabularies())
    first = draw(labels_N(words, draw(st.integers(1, 5)), (draw(st.integers(1, 20)), draw(st.integers(1, 20)))))
    second = draw(labels_N(words, draw(st.integers(0, 4)), (9, 7)))
    labels = [*first, *second]
    order = draw(rngs()).permutation(len(labels))
    return PackedLabels.pack([labels[i] for i in order], words), words


def same_masks(got: dict[int, np.ndarray], expected: dict[int, np.ndarray]) -> bool:
    return got.keys() == expected.keys() and all(np.array_equal(got[n], expected[n]) for n in got)


# ------------------------------------------------------------------------------------ labels change hands


@given(packed(), rngs())
def test_take(case: tuple[PackedLabels, nd.Vocabulary], rng: np.random.Generator) -> None:
    labels, words = case
    order = rng.integers(0, len(labels), rng.integers(0, 7))
    taken = labels.take(order)
    assert len(taken) == len(order)
    np.testing.assert_array_equal(taken.grid, labels.grid[order])
    assert all(same_masks(taken.masks(place), labels.masks(image)) for place, image in enumerate(order))
    dense = [sum(labels.mask(image, n).sum() for image in order) for n in range(len(words))]
    assert taken.concept_area(len(words)).tolist() == dense


@given(packed(), rngs())
def test_mixed(case: tuple[PackedLabels, nd.Vocabulary], rng: np.random.Generator) -> None:
    labels, words = case
    pairing = shuffled(labels, words, rng)
    mixed = ByCategory(labels, words.category, len(words.categories)).mixed(pairing)
    np.testing.assert_array_equal(mixed.grid, labels.grid)
    for place, row in enumerate(pairing):
        expected = {
            concept: mask
            for category, source in enumerate(row)
            for concept, mask in labels.masks(source).items()
            if words.category[concept] == category
        }
        assert same_masks(mixed.masks(place), expected)


@given(packed(), rngs())
def test_shuffled_is_a_permutation_of_each_category(
    case: tuple[PackedLabels, nd.Vocabulary], rng: np.random.Generator
) -> None:
    labels, words = case
    present, pairing = labels.category_present(words), shuffled(labels, words, rng)
    for category in range(present.shape[1]):
        column = pairing[:, category]
        assert sorted(column) == list(range(len(labels)))
        np.testing.assert_array_equal(present[column, category], present[:, category])
        np.testing.assert_array_equal(labels.grid[column], labels.grid)
        absent = np.flatnonzero(~present[:, category])
        np.testing.assert_array_equal(column[absent], absent)


def test_categories_are_shuffled_on_their_own() -> None:
    data = drawn(40, 0)
    labels = PackedLabels.pack(data.given, WORDS)
    pairing = shuffled(labels, WORDS, np.random.default_rng(0))
    assert all((pairing[:, a] != pairing[:, b]).any() for a, b in ((0, 1), (0, 2), (1, 2)))
    again = shuffled(labels, WORDS, np.random.default_rng(0))
    np.testing.assert_array_equal(pairing, again)


# ---------------------------------------------------------------------------------------------- counting


def count(layer: LayerResult, data: LabelsAlone, pairing: np.ndarray, rule: Any = "image") -> Counts:
    labels, peaks = PackedLabels.pack(data.given, WORDS), layer.require_peaks()
    paired = Paired(ByCategory(labels, WORDS.category, len(WORDS.categories)), pairing)
    counter = Counter(layer.thresholds, layer.grid, labels, WORDS, rule, paired)
    counter.add(peaks.crops, 0, peaks.images, choose("cpu", 1))
    return counter.counts


@pytest.mark.parametrize("rule", ["image", "none"])
def test_counts_against_other_labels(rule: str) -> None:
    """Areas stay; intersections are those of masks, upsampled at the labels' size, and the labels they meet."""
    data, maps = drawn(14, 1), np.random.default_rng(1).standard_normal((14, 5, 12, 12)).astype(np.float32)
    layer = dissected(maps, data, category_rule=rule)["maps"]
    labels = PackedLabels.pack(data.given, WORDS)
    pairing = shuffled(labels, WORDS, np.random.default_rng(2))
    own, other = layer.counts, count(layer, data, pairing, rule)
    for area in ("unit_area", "concept_area", "pixels"):
        np.testing.assert_array_equal(getattr(own, area), getattr(other, area))
    dense = np.zeros_like(own.intersection)
    for n, category in enumerate(WORDS.category[:-1]):  # the last has none, and is left out
        for i in range(14):
            on = maps[i] > layer.thresholds[:, None, None]  # maps are as large as labels
            dense[:, n] += (on & labels.mask(pairing[i, category], n)).sum(axis=(1, 2))
    np.testing.assert_array_equal(other.intersection, dense)
    assert (other.intersection != own.intersection).any()


def test_the_identity_gives_the_true_counts() -> None:
    data = drawn(9, 3)
    layer = dissected(np.random.default_rng(3).standard_normal((9, 4, 5, 6)).astype(np.float32), data)["maps"]
    counted = count(layer, data, np.repeat(np.arange(9)[:, None], 3, axis=1))
    known = WORDS.category >= 0
    np.testing.assert_array_equal(counted.intersection[:, known], layer.counts.intersection[:, known])
    np.testing.assert_array_equal(counted.iou(WORDS), layer.iou)


def test_mean_over_all_permutations() -> None:
    """Of n images that carry a category each meets each as often: E I = Σ over pixels of masks × labels / n."""
    data = drawn(5, 4, (6, 6))
    data.given[4] = ImageLabels(np.zeros((1, 6, 6), np.int32), (5,))  # carries neither objects nor parts
    maps = np.random.default_rng(4).standard_normal((5, 3, 6, 6)).astype(np.float32)
    layer, labels = dissected(maps, data)["maps"], PackedLabels.pack(data.given, WORDS)
    assert labels.category_present(WORDS)[:, 0].tolist() == [True] * 4 + [False]
    counts = []
    for order in permutations(range(4)):
        pairing = np.repeat(np.arange(5)[:, None], 3, axis=1)
        pairing[:4, 0] = order
        counts.append(count(layer, data, pairing).intersection[:, :2])
    on = (maps > layer.thresholds[:, None, None])[:4].sum(axis=0)
    carried = np.stack([sum(labels.mask(i, n).astype(int) for i in range(4)) for n in range(2)])
    expected = np.einsum("uyx,nyx->un", on, carried) / 4
    np.testing.assert_allclose(np.mean(counts, axis=0), expected, rtol=1e-12)


def test_label_sizes_are_not_mixed() -> None:
    words = vocabulary_of([0, 0], 1)
    small, large = image([[1, 0], [0, 2]]), image(np.ones((4, 4), int), size=(4, 4))
    pairing = shuffled(PackedLabels.pack([small, large, small, large], words), words, np.random.default_rng(0))
    assert all(pairing[i, 0] % 2 == i % 2 for i in range(4))
