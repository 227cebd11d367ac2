"""Concept numbers up to 2³¹ − 1 cost no memory by their size; those beyond are refused, never wrapped."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import netdissect_fast as nd
from netdissect_fast.concepts import LARGEST, Vocabulary, pack_image
from netdissect_fast.data.faults import inspector
from netdissect_fast.errors import ArgumentError

MAPS = np.random.default_rng(3).standard_normal((4, 3, 4, 4)).astype(np.float32)
LABELS = np.random.default_rng(4).choice(np.array([0, 1, 2, 3]), (4, 8, 8))
MEMORY = 50_000_000  # bytes; a table of all numbers would take 8 GiB


@pytest.fixture
def little_memory() -> Any:
    """Fails the test if it took much memory at any time."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MEMORY


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.uint32])
@pytest.mark.parametrize("number", [2**31, 2**32 + 3, 2**32 - 1, 2**63 - 1, 2**64 - 1])
def test_a_number_beyond_is_refused(number: int, dtype: Any) -> None:
    if number > np.iinfo(dtype).max:
        pytest.skip("the type cannot hold it")
    labels = LABELS.astype(dtype)
    labels[1, 2, 3] = number
    words = Vocabulary([1, 2, 3], ("a", "b", "c"), [0, 0, 0], ("object",))
    for vocabulary in (None, words):
        with pytest.raises(ArgumentError, match=f"must be 1 to 2147483647 .*got {number}"):
            nd.score(MAPS, labels, vocabulary)
    with pytest.raises(ArgumentError, match=f"got {number}"):
        nd.score(MAPS, [nd.ImageLabels(image[None]) for image in labels], words)


@pytest.mark.parametrize("number", [-1, -(2**31), -(2**32) + 1, -(2**63)])
def test_a_negative_number_is_refused(number: int) -> None:
    labels = LABELS.astype(np.int64)
    labels[0, 0, 0] = number
    for vocabulary in (None, Vocabulary([1, 2, 3], ("a", "b", "c"), [0, 0, 0], ("object",))):
        with pytest.raises(ArgumentError, match=r"concept number"):
            nd.score(MAPS, labels, vocabulary)


def test_not_a_number_is_refused() -> None:
    with pytest.raises(ArgumentError, match="got nan"):
        nd.PackedLabels.pack([nd.ImageLabels(np.full((1, 2, 2), np.nan))], Vocabulary([1], ("a",), [0], ("c",)))


def test_whole_image_numbers_beyond_are_refused() -> None:
    words = Vocabulary([1, LARGEST], ("a", "b"), [0, 0], ("object",))
    for number in (2**31, 2**32 + 1, 10**30, -1):
        with pytest.raises(ArgumentError, match=rf"concept number {number} \(whole image\) is not in the vocabulary"):
            pack_image(nd.ImageLabels(np.zeros((0, 2, 2), np.int32), (number,)), words)


def test_a_vocabulary_ends_at_the_largest() -> None:
    assert len(Vocabulary([LARGEST], ("a",), [0], ("c",))) == 1
    with pytest.raises(ArgumentError, match="must be 1 to 2147483647, got 2147483648; renumber"):
        Vocabulary([1, LARGEST + 1], ("a", "b"), [0, 0], ("c",))


@pytest.mark.usefixtures("little_memory")
def test_the_largest_number_costs_no_memory() -> None:
    labels = LABELS.copy()
    labels[LABELS == 3] = LARGEST
    layer = nd.score(MAPS, labels, quantile="0.1")
    small = nd.score(MAPS, LABELS, quantile="0.1")
    assert layer.vocabulary.numbers.tolist() == [1, 2, LARGEST]
    assert layer.iou.tobytes() == small.iou.tobytes()
    assert layer.counts.intersection.tobytes() == small.counts.intersection.tobytes()


@pytest.mark.usefixtures("little_memory")
def test_an_unknown_number_among_large_ones_is_named() -> None:
    words = Vocabulary([5, LARGEST], ("a", "b"), [0, 0], ("object",))
    for number in (4, 6, LARGEST - 1, -1):
        maps = np.array([[[0, 5], [LARGEST, number]]])
        with pytest.raises(ArgumentError, match=rf"concept number {number} \(label map\) is not in the vocabulary"):
            nd.PackedLabels.pack([nd.ImageLabels(maps)], words)


class Large:
    """A data set of one image whose only concept has the largest number."""

    vocabulary = Vocabulary([LARGEST], ("a",), [0], ("object",))

    def __len__(self) -> int:
        return 1

    def image(self, index: int) -> Any:
        return nd.Synthetic(1, size=32).image(index)

    def labels(self, index: int) -> nd.ImageLabels:
        return nd.ImageLabels(np.full((1, 8, 8), LARGEST), (LARGEST,))

    def name(self, index: int) -> str:
        return "one"

    def fingerprint(self) -> str:
        return "large"


@pytest.mark.usefixtures("little_memory")
def test_checking_a_data_set_costs_none_either() -> None:
    found = inspector(Large())(0)
    assert (found.faults, found.numbers, found.maps) == ([], {LARGEST}, 1)
    assert not nd.check(Large()).faults


@pytest.mark.usefixtures("little_memory")
def test_a_run_of_a_data_set_costs_none_either(tmp_path: Any) -> None:
    from netdissect_fast.data.label_cache import packed_labels

    packed = packed_labels(Large(), tmp_path)
    assert packed.concept_area(1).tolist() == [64]
    assert nd.overview(Large(), tmp_path).categories[0].concepts[0].number == LARGEST


@given(
    numbers=st.lists(st.integers(1, LARGEST), min_size=1, max_size=9, unique=True).map(sorted),
    seed=st.integers(0, 2**32 - 1),
    whole=st.sets(st.integers(0, 8)),
)
def test_what_the_numbers_are_changes_nothing(numbers: list[int], seed: int, whole: set[int]) -> None:
    """Labels packed with any numbers are those packed with 1, 2, ..., to the bit."""
    count = len(numbers)
    places = np.random.default_rng(seed).integers(0, count + 1, (2, 9, 11))
    carried = [place for place in sorted(whole) if place < count]
    names, categories = tuple(map(str, range(count))), np.zeros(count, np.int32)
    packed = []
    for chosen in (numbers, list(range(1, count + 1))):
        words = Vocabulary(chosen, names, categories, ("c",))
        table = np.array([0, *chosen])
        packed.append(
            nd.PackedLabels.pack([nd.ImageLabels(table[places], tuple(chosen[place] for place in carried))], words)
        )
    for array, expected in zip(vars(packed[0]).values(), vars(packed[1]).values(), strict=True):
        assert (array.dtype, array.tobytes()) == (expected.dtype, expected.tobytes())


@given(
    numbers=st.lists(st.integers(1, 3 << 20), min_size=1, unique=True).map(sorted),
    asked=st.lists(st.integers(-3, 4 << 20)),
)
def test_columns_of_is_columns(numbers: list[int], asked: list[int]) -> None:
    words = Vocabulary(numbers, tuple(map(str, numbers)), np.zeros(len(numbers), np.int32), ("c",))
    expected = [numbers.index(number) if number in numbers else -1 for number in asked]
    assert words.columns_of(np.array(asked, np.int64)).tolist() == expected
    assert [int(words.columns[n]) for n in numbers] == list(range(len(numbers)))
