"""Finds one name for each label of every source; labels that mean the same get the same name and are one concept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from ...errors import ArgumentError
from ..files.broden_writer import Concept
from ..files.vocabulary import MAX_NUMBER

Synonyms: TypeAlias = Callable[[Sequence[str]], list[str]]


class Label(NamedTuple):
    """A label as its source has it."""

    source: str
    category: str
    number: int


@dataclass
class Tally:
    """Counts of a label: images that have it; fractions of their pixels, summed; its names."""

    images: int
    coverage: float
    names: tuple[str, ...]


def claimed_names(tallies: Mapping[Label, Tally], synonyms: Synonyms) -> tuple[dict[Label, str], dict[str, Label]]:
    """Return the name of each label that has one, and which label claimed each name.

    The most frequent label comes first; each claims those of its names that are not yet claimed, and is called by the
    first of them. One whose names are all taken joins the owner of its name; of several owners, the one whose mean size
    is closest to its own, or the more frequent of two equally close: the rule of NetDissect's ``joinseg.py``.
    """
    name_of: dict[Label, str] = {}
    owner: dict[str, Label] = {}
    for label in sorted(tallies, key=lambda label: (-tallies[label].images, label)):
        names = list(dict.fromkeys(n.strip().lower() for n in tallies[label].names if n.strip() not in ("", "-")))
        names = synonyms(names) if names else []
        for name in names:
            owner.setdefault(name, label)
        if not names:
            continue
        own = next((name for name in names if owner[name] == label), None)
        name_of[label] = own or name_of[min((owner[name] for name in names), key=_likeness(label, tallies))]
    return name_of, owner


def _likeness(label: Label, tallies: Mapping[Label, Tally]) -> Callable[[Label], tuple[float, int, Label]]:
    """Return a sort key for how unlike ``label`` other labels are: by mean size; then the less frequent."""

    def size(label: Label) -> float:
        return tallies[label].coverage / tallies[label].images

    own = size(label)
    return lambda other: (abs(own - size(other)), -tallies[other].images, other)


@dataclass(frozen=True)
class Naming:
    """``concepts`` of the data set; ``numbers`` of the labels, 0 for those that belong to none; their ``names``."""

    concepts: tuple[Concept, ...]
    numbers: Mapping[Label, int]
    names: Mapping[Label, str]


def number_concepts(
    tallies: Mapping[Label, Tally], synonyms: Synonyms, min_frequency: int, min_coverage: float
) -> Naming:
    """Name all labels, drop rare and small concepts, and number the others by how frequent they are.

    A concept needs ``min_frequency`` images and ``min_coverage`` of whole images, summed over its labels: an image is
    counted once for each label and category that it has, as in Broden. Raises ArgumentError if no concept is left.
    """
    name_of, owner = claimed_names(tallies, synonyms)
    concepts: dict[str, Concept] = {}
    for label in sorted(name_of):
        concept, tally = concepts.setdefault(name_of[label], Concept(0, name_of[label])), tallies[label]
        concept.images[label.category] = concept.images.get(label.category, 0) + tally.images
        concept.coverage[label.category] = concept.coverage.get(label.category, 0.0) + tally.coverage
    kept = [c for c in concepts.values() if _frequency(c) >= min_frequency and sum(c.coverage.values()) >= min_coverage]
    if not kept:
        raise ArgumentError(
            f"none of {len(concepts)} concepts has {min_frequency} images and covers {min_coverage} of a whole image: "
            "choose a smaller min_frequency or min_coverage"
        )
    if len(kept) > MAX_NUMBER:
        raise ArgumentError(f"{len(kept)} concepts, more than {MAX_NUMBER}: choose a larger min_frequency")
    kept.sort(key=lambda c: (-_frequency(c), -sum(c.coverage.values()), c.name))
    synonyms_of: dict[str, list[str]] = {}
    for name, label in owner.items():
        if name != name_of[label]:
            synonyms_of.setdefault(name_of[label], []).append(name)
    for number, concept in enumerate(kept, start=1):
        concept.number, concept.synonyms = number, tuple(synonyms_of.get(concept.name, ()))
    number_of = {concept.name: concept.number for concept in kept}
    numbers = {label: number_of.get(name_of.get(label, ""), 0) for label in tallies}
    return Naming(tuple(kept), numbers, name_of)


def _frequency(concept: Concept) -> int:
    return sum(concept.images.values())


def naming_report(naming: Naming, tallies: Mapping[Label, Tally]) -> Iterable[str]:
    """Yield the lines of syns.txt: every name, and the labels that got it; names with the most labels first."""
    labels: dict[str, list[Label]] = {}
    for label, name in naming.names.items():
        labels.setdefault(name, []).append(label)
    for name in sorted(labels, key=lambda name: (-len(labels[name]), name)):
        yield f"name: {name}"
        for label in sorted(labels[name]):
            tally = tallies[label]
            yield f"{label.source}/{label.category}#{label.number}: {tally.images}, ({';'.join(tally.names)})"
        yield ""
