"""The values in masks, and the concepts that they stand for."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import TypeAlias

import numpy as np

from ...concepts import Vocabulary
from ...errors import ArgumentError
from ...types import Array, Int32Array
from .vocabulary import MAX_NUMBER

Name: TypeAlias = str | tuple[str, str] | None  # a concept, or (category, concept); None, "" and "-": not a concept
ValueNames: TypeAlias = Sequence[Name] | Mapping[int, Name] | Vocabulary

UNUSABLE = re.compile("[\0-\x1f\ud800-\udfff]")  # in a name: control characters, halves of a UTF-16 pair
_NO_CONCEPT = (None, "", "-")


class UnknownValue(ValueError):
    """A mask holds a value that has no name: ``value``."""

    def __init__(self, value: int) -> None:
        super().__init__(f"value {value} has no name")
        self.value = value


class Values:
    """The concept that each value stands for.

    names     of the values 0, 1, 2, …; or a dict {value: name}; or a Vocabulary, whose numbers are the values.
              A name is a concept, or (category, concept); values with one name are one concept. None, "" and "-":
              the value is not a concept
    category  of concepts whose name does not state one

    Raises ArgumentError if names are unusable, name no concept, or name too many.

    vocabulary  the concepts: their numbers are the values, or one more if the value 0 is a concept, since 0 is never
                a concept's number
    table       int32 [count + 1]: the number of each value, 0 for no concept; −1 for one without a name, and last
    """

    def __init__(self, names: ValueNames, category: str = "object") -> None:
        if isinstance(names, Vocabulary):
            self.vocabulary, numbers = names, {int(number): int(number) for number in names.numbers}
        else:
            self.vocabulary, numbers = _named(names, category)
        self.table = np.full(max(numbers, default=0) + 2, -1, np.int32)
        self.table[0] = 0
        self.table[list(numbers)] = list(numbers.values())

    @property
    def count(self) -> int:
        """The number of values: one more than the largest with a name."""
        return len(self.table) - 1

    def numbers(self, values: Array) -> Int32Array:
        """Return concept numbers int32 of integer ``values``, the same shape; 0: no concept. Raises UnknownValue."""
        inside = np.clip(values, -1, self.count).astype(np.int64)  # −1 indexes the last too
        numbers: Int32Array = self.table[inside]
        if (numbers < 0).any():
            raise UnknownValue(int(values[numbers < 0].min()))
        return numbers


def _named(names: Sequence[Name] | Mapping[int, Name], category: str) -> tuple[Vocabulary, dict[int, int]]:
    """Return the concepts, and the number of each value that has a name; 0 if that is not a concept's."""
    if not isinstance(names, Sequence | Mapping) or isinstance(names, str):
        raise ArgumentError(f"names must be a list of names or a dict by value, got {names!r}")
    items = names.items() if isinstance(names, Mapping) else enumerate(names)
    pairs = dict(sorted(((_value(value), _pair(name, category)) for value, name in items), key=itemgetter(0)))
    first: dict[tuple[str, str], int] = {}  # two values may be one concept
    for value, pair in pairs.items():
        if pair is not None:
            first.setdefault(pair, value)
    if not first:
        raise ArgumentError(f"names must name at least one concept, got {names!r}")
    shift = 1 if 0 in first.values() else 0
    if max(first.values()) + shift > MAX_NUMBER:
        raise ArgumentError(f"values of concepts must be at most {MAX_NUMBER - shift}, got {max(first.values())}")
    categories = tuple(dict.fromkeys(category for category, _ in first))
    vocabulary = Vocabulary(
        np.array(list(first.values()), np.int64) + shift,
        tuple(name for _, name in first),
        np.array([categories.index(category) for category, _ in first], np.int32),
        categories,
    )
    return vocabulary, {value: 0 if pair is None else first[pair] + shift for value, pair in pairs.items()}


def _value(value: object) -> int:
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if not 0 <= number <= MAX_NUMBER:
        raise ArgumentError(f"values must be integers from 0 to {MAX_NUMBER}, got {value!r}")
    return number


def _pair(name: Name, category: str) -> tuple[str, str] | None:
    """Return (category, concept); None for no concept."""
    pair = name if isinstance(name, tuple) else (category, name)
    if len(pair) != 2 or not isinstance(pair[0], str) or not isinstance(pair[1], str | None):
        raise ArgumentError(f"a name must be a concept or (category, concept), got {name!r}")
    if UNUSABLE.search("".join(filter(None, pair))):
        raise ArgumentError(f"a name must be text without control characters, got {name!r}")
    return None if pair[1] in _NO_CONCEPT else (pair[0], str(pair[1]))
