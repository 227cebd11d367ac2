"""Values of masks and the concepts they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import netdissect_fast as nd
from netdissect_fast.data.files.values import UnknownValue, Values
from netdissect_fast.errors import ArgumentError

FORMS: list[tuple[Any, list[int], list[int]]] = [  # names, numbers of the concepts, numbers of the values 0 to 3
    (["sky", "car", None, "cat"], [1, 2, 4], [1, 2, 0, 4]),
    (["-", "car", "", "cat"], [1, 3], [0, 1, 0, 3]),
    ({1: "car", 3: "cat", 2: "-"}, [1, 3], [0, 1, 0, 3]),
    ({0: ("scene", "street"), 1: "car", 2: "car", 3: "car"}, [1, 2], [1, 2, 2, 2]),
    ({1: ("part", "door"), 2: ("object", "door"), 3: ("part", "door")}, [1, 2], [0, 1, 2, 1]),
    (nd.Vocabulary([1, 2, 3], ("a", "b", "a"), [0, 1, 0], ("x", "y")), [1, 2, 3], [0, 1, 2, 3]),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("names", "concepts", "values"), FORMS)
def test_numbers(names: Any, concepts: list[int], values: list[int]) -> None:
    found = Values(names)
    assert found.vocabulary.numbers.tolist() == concepts
    for dtype in (np.uint8, np.uint16, np.int64):
        assert found.numbers(np.array([[0, 1], [2, 3]], dtype)).tolist() == [values[:2], values[2:]]


@pytest.mark.parametrize("value", [-1, 4, 70000, -(2**40), 2**40])
def test_values_without_a_name(value: int) -> None:
    with pytest.raises(UnknownValue) as caught:
        Values(["-", "a", "b", "c"]).numbers(np.array([1, value]))
    assert caught.value.value == value


def test_categories() -> None:
    words = Values({1: "car", 2: ("scene", "street"), 3: "cat"}, category="thing").vocabulary
    assert words.categories == ("thing", "scene")
    assert words.category.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("car", "got 'car'"),
        ([], "at least one concept"),
        (["-", None], "at least one concept"),
        ({-1: "a"}, "values must be integers from 0 to 65535, got -1"),
        ({"1": "a"}, "values must be integers"),
        ({65536: "a"}, "values must be integers"),
        ({0: "a", 65535: "b"}, "at most 65534, got 65535"),
        ({1: 5}, "a name must be"),
        ({1: ("a", "b", "c")}, "a name must be"),
        ({1: (3, "b")}, "a name must be"),
    ],
)
def test_names_that_are_none(names: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Values(names)


@pytest.mark.parametrize("names", [5, {"cat"}, ["a\ud800"], ["cat\n"], [("ob\0ject", "cat")]])
def test_names_that_cannot_be_written(names: object) -> None:
    with pytest.raises(ArgumentError, match=r"names must be a list|a name must be text"):
        Values(names)  # type: ignore[arg-type]
