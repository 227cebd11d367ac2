"""Which labels become which concept: names, merging, thresholds and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from netdissect_fast.data.builder.concept_names import Label, Tally, claimed_names, naming_report, number_concepts
from netdissect_fast.data.builder.synonyms import ELSEWHERE, PLAINER, plain_names
from netdissect_fast.errors import ArgumentError

Given = Mapping[tuple[str, str, int], tuple[int, float, Sequence[str]]]


def tallied(given: Given) -> dict[Label, Tally]:
    return {Label(*label): Tally(images, coverage, tuple(names)) for label, (images, coverage, names) in given.items()}


def named(given: Given) -> dict[tuple[str, str, int], str]:
    names, _ = claimed_names(tallied(given), list)
    return {tuple(label): name for label, name in names.items()}


A, B, C, D, Z = ("a", "object", 1), ("a", "object", 2), ("b", "part", 1), ("c", "material", 1), ("a", "z", 0)
CHAIR, SEAT = {A: "seat", B: "chair", C: "chair"}, {A: "seat", B: "chair", C: "seat"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({A: (5, 1.0, ["Sky ", "heaven"])}, {A: "sky"}),
        ({A: (5, 1.0, []), B: (4, 1.0, ["", "-", " "]), C: (3, 1.0, ["-", "leg"])}, {C: "leg"}),
        # the more frequent claims first, and the other takes what is left or joins
        ({A: (5, 1.0, ["street", "road"]), B: (9, 1.0, ["road"])}, {B: "road", A: "street"}),
        ({A: (5, 1.0, ["road", "street"]), B: (9, 1.0, ["road"])}, {B: "road", A: "street"}),
        ({A: (5, 1.0, ["road"]), B: (9, 1.0, ["street", "road"])}, {B: "street", A: "street"}),
        # as many images: in the order of source, category and number
        ({B: (5, 1.0, ["x", "b"]), A: (5, 1.0, ["x", "a"])}, {A: "x", B: "b"}),
        ({C: (5, 1.0, ["x", "c"]), B: (5, 1.0, ["x", "b"])}, {B: "x", C: "c"}),
        ({Z: (5, 1.0, ["x"]), B: (5, 1.0, ["y", "x"])}, {Z: "y", B: "y"}),
        # one owner: it, whatever the sizes; across sources and categories
        ({A: (9, 9.0, ["leg"]), C: (2, 0.001, ["leg"]), D: (1, 1.0, ["LEG"])}, {A: "leg", C: "leg", D: "leg"}),
        # several owners: the one of the most similar mean size
        ({A: (9, 0.9, ["seat"]), B: (8, 4.0, ["chair"]), C: (2, 0.9, ["seat", "chair"])}, CHAIR),
        ({A: (9, 0.9, ["seat"]), B: (8, 4.0, ["chair"]), C: (2, 0.4, ["chair", "seat"])}, SEAT),
        # alike: the more frequent
        ({A: (4, 1.0, ["seat"]), B: (8, 6.0, ["chair"]), C: (2, 1.0, ["seat", "chair"])}, CHAIR),
        # one that joined is called as its owner is, which may be none of its own names
        ({A: (9, 1.0, ["auto", "car"]), B: (5, 1.0, ["car"])}, {A: "auto", B: "auto"}),
        ({A: (9, 1.0, ["x", "X", " x"]), B: (5, 1.0, ["y"])}, {A: "x", B: "y"}),
    ],
)  # fmt: skip
def test_claiming_and_merging(given: Given, expected: dict[tuple[str, str, int], str]) -> None:
    assert named(given) == expected


def test_a_label_that_joined_owns_no_name_for_others() -> None:
    """The third has one name, of the second, which was claimed by the first."""
    assert set(named({A: (9, 1.0, ["x", "y"]), B: (5, 1.0, ["y"]), C: (4, 1.0, ["y"])}).values()) == {"x"}


def test_synonyms_are_asked_with_lower_case_names() -> None:
    seen: list[Sequence[str]] = []

    def synonyms(names: Sequence[str]) -> list[str]:
        seen.append(names)
        return [name for name in names if name != "wide"]

    names, owner = claimed_names(tallied({A: (2, 1.0, [" Wide", "-", "Narrow"]), B: (1, 1.0, ["wide"])}), synonyms)
    assert seen == [["wide", "narrow"], ["wide"]]
    assert names == {Label(*A): "narrow"}  # nothing is left of the other
    assert owner == {"narrow": Label(*A)}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], []),
        (["sky"], ["sky"]),
        (["b", "a", "b"], ["b", "a"]),
        (["windowpane", "window"], ["window", "windowpane"]),
        (["window", "windowpane"], ["window", "windowpane"]),
        (["pane", "windowpane"], ["window", "pane", "windowpane"]),
        (["left arm"], ["arm", "left arm"]),
        (["right shoulder"], ["shoulder", "right shoulder"]),
        (["person head", "caput"], ["head", "person head", "caput"]),
        (["head", "caput"], ["head"]),
        (["flowerpot", "pot"], ["flowerpot"]),
        (["pot"], ["pot"]),
        (["toilet", "can", "commode", "throne"], ["toilet", "commode"]),
        (["car", "auto", "machine", "motorcar"], ["car", "auto", "motorcar"]),
        (["machine"], ["machine"]),
        (["bicycle", "bike", "wheel", "cycle"], ["bicycle", "bike"]),
    ],
)
def test_plain_names(names: list[str], expected: list[str]) -> None:
    given = tuple(names)
    assert plain_names(given) == expected


def test_tables_of_synonyms_are_lower_case_and_leave_their_own_names() -> None:
    for name, others in [*ELSEWHERE.items(), *((plain, (name,)) for name, plain in PLAINER.items())]:
        assert all(text == text.lower().strip() for text in (name, *others))
        assert name not in others
        assert plain_names([name])[-1] == name


NUMBERED: Given = {
    ("a", "object", 1): (10, 0.5, ["kept"]),
    ("a", "object", 2): (9, 5.0, ["rare"]),
    ("a", "object", 3): (99, 0.4999, ["small"]),
    ("a", "object", 4): (6, 0.25, ["both"]),
    ("b", "part", 1): (4, 0.25, ["both"]),
    ("b", "part", 2): (10, 3.0, ["large"]),
    ("b", "part", 3): (10, 0.5, ["early"]),
    ("b", "part", 4): (12, 0.75, []),
    ("c", "scene", 1): (30, 30.0, ["most", "also"]),
}


def test_thresholds_are_reached_exactly_and_over_all_labels() -> None:
    naming = number_concepts(tallied(NUMBERED), list, 10, 0.5)
    numbered = [(c.number, c.name) for c in naming.concepts]
    # by images, then coverage, then name
    assert numbered == [(1, "most"), (2, "large"), (3, "both"), (4, "early"), (5, "kept")]
    assert naming.concepts[2].images == {"object": 6, "part": 4}
    assert naming.concepts[2].coverage == {"object": 0.25, "part": 0.25}
    assert naming.concepts[0].synonyms == ("also",)
    assert {tuple(label): n for label, n in naming.numbers.items() if not n} == {
        ("a", "object", 2): 0, ("a", "object", 3): 0, ("b", "part", 4): 0,
    }  # fmt: skip
    assert naming.numbers[Label("a", "object", 4)] == naming.numbers[Label("b", "part", 1)] == 3


def test_no_concept_is_left() -> None:
    with pytest.raises(ArgumentError, match="none of 7 concepts has 100 images"):
        number_concepts(tallied(NUMBERED), list, 100, 0.5)
    with pytest.raises(ArgumentError, match="none of 0 concepts"):
        number_concepts({}, list, 1, 0)


def test_more_concepts_than_a_label_map_can_hold() -> None:
    many = tallied({("a", "object", n): (1, 1.0, [f"thing {n}"]) for n in range(1, 65537)})
    with pytest.raises(ArgumentError, match="65536 concepts, more than 65535"):
        number_concepts(many, list, 1, 0)


def test_report_of_names() -> None:
    tallies = tallied(NUMBERED)
    report = list(naming_report(number_concepts(tallies, list, 10, 0.5), tallies))
    assert report[:4] == ["name: both", "a/object#4: 6, (both)", "b/part#1: 4, (both)", ""]
    assert "c/scene#1: 30, (most;also)" in report
