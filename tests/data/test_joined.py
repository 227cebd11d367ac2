"""Several data sets as one: labels, categories and counts of each stay its own."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netdissect_fast as nd
from netdissect_fast.data.dataset import source_of
from netdissect_fast.data.formats.folder import Folder
from netdissect_fast.data.formats.joined import Joined
from netdissect_fast.data.sources import open_source
from netdissect_fast.errors import ArgumentError
from tests.support.networks import two_layers
from tests.support.tiny_broden import write_tiny

from ..support.mask_folders import write_folder


@pytest.fixture
def both(tmp_path: Path) -> Joined:
    return Joined([nd.Broden(write_tiny(tmp_path / "tiny")), Folder(write_folder(tmp_path / "mine"), label_size=None)])


def test_images_and_labels_are_those_of_the_parts(both: Joined) -> None:
    assert len(both) == 6
    assert [both.name(i) for i in (0, 3, 5)] == ["tiny/a/one.jpg", "mine/a/one.jpg", "mine/two.png"]
    for index in range(6):
        part, inside = both.parts[index // 3], index % 3
        mine, theirs = both.labels(index), part.labels(inside)
        assert np.array_equal(np.asarray(both.image(index)), np.asarray(part.image(inside)))
        assert _names(both.vocabulary, mine) == _names(part.vocabulary, theirs)
        assert np.array_equal(mine.maps > 0, theirs.maps > 0)


def _names(words: nd.Vocabulary, labels: nd.ImageLabels) -> list[str]:
    name = {0: "", **dict(zip(words.numbers.tolist(), words.names, strict=True))}
    return [name[int(n)] for n in labels.maps.ravel()] + [name[n] for n in labels.whole]


def test_categories_are_kept_apart(both: Joined) -> None:
    words = both.vocabulary
    assert words.categories == ("tiny.object", "tiny.part", "tiny.scene", "mine.object", "mine.part", "mine.scene")
    skies = [n for n, name in enumerate(words.names) if name == "sky"]
    assert [words.categories[words.category[n]] for n in skies] == ["tiny.object", "mine.object"]
    present = nd.PackedLabels.pack(map(both.labels, range(6)), words).category_present(words)
    assert not present[:3, 3:].any()
    assert not present[3:, :3].any()
    assert present[:3, :3].any()
    assert present[3:, 3:].any()


def test_counts_are_those_of_the_parts(both: Joined) -> None:
    """With the thresholds given, every count of a part alone is found again in the whole."""
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(6, 2, 4, 4)).astype(np.float32)
    thresholds = np.array([0.5, 1.0], np.float32)

    def counts(data: nd.ConceptDataset, activations: np.ndarray) -> nd.Counts:
        labels = [data.labels(i) for i in range(len(data))]
        return nd.score(activations, labels, vocabulary=data.vocabulary, thresholds=thresholds).counts

    whole = counts(both, maps)
    parts = [counts(part, maps[3 * i : 3 * i + 3]) for i, part in enumerate(both.parts)]
    for name in ("intersection", "unit_area", "concept_area"):
        expected = np.concatenate([getattr(part, name) for part in parts], axis=-1)
        assert np.array_equal(getattr(whole, name), expected), name


def test_names() -> None:
    data = nd.Synthetic(3, size=32)
    assert Joined([data, data]).names == ("synthetic1", "synthetic2")
    assert Joined([data, nd.Subset(data, [0])], ["a", "b"]).name(3).startswith("b/synthetic/000000")
    with pytest.raises(ArgumentError, match="expected 2 distinct names"):
        Joined([data, data], ["a", "a"])
    with pytest.raises(ArgumentError, match="at least one"):
        Joined([])
    with pytest.raises(IndexError):
        Joined([data]).labels(3)


def test_found_again_and_pickled(both: Joined) -> None:
    again = open_source(source_of(both) or {})
    assert again.fingerprint() == both.fingerprint() == pickle.loads(pickle.dumps(both)).fingerprint()
    assert Joined(both.parts, ["x", "y"]).fingerprint() != both.fingerprint()


def test_dissected(tmp_path: Path) -> None:
    data = Joined([nd.Synthetic(4, size=32), nd.Synthetic(3, seed=1, size=32)], ["a", "b"])
    result = nd.dissect(
        two_layers(), data, "0", preprocess=nd.Preprocess(32), cache=tmp_path / "cache", out=tmp_path / "out",
        progress=False,
    )  # fmt: skip
    loaded = nd.load(tmp_path / "out")
    assert loaded["0"].vocabulary.categories[0] == "a.color"
    assert np.array_equal(loaded["0"].counts.intersection, result["0"].counts.intersection)
    assert (tmp_path / "out" / "0" / "result.csv").read_text().splitlines()[0].count("b.color-iou") == 1


def test_names_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the folder, however it was named, and no number that another has."""
    parts = [Folder(write_folder(tmp_path / name)) for name in ("x/cat", "y/cat", "cat1")]
    assert Joined(parts).names == ("cat2", "cat3", "cat1")
    monkeypatch.chdir(tmp_path / "cat1")
    assert Joined([Folder(".")]).names == ("cat1",)


@pytest.mark.parametrize("names", ["ab", [1, 2], ["a", ""], ["a", "b\n"]])
def test_names_that_are_none(names: Any) -> None:
    with pytest.raises(ArgumentError, match=r"distinct names|names of data sets must be text"):
        Joined([nd.Synthetic(1, size=32)] * 2, names)


def test_what_the_network_is_given() -> None:
    class Latents(nd.Synthetic):
        def input(self, index: int) -> int:
            return 100 + index

    drawn = nd.Synthetic(3, size=32)
    assert Joined([drawn, drawn]).input is None
    both: Any = Joined([Latents(3, size=32), Latents(2, size=32)])
    assert [both.input(i) for i in range(5)] == [100, 101, 102, 100, 101]
    assert pickle.loads(pickle.dumps(Joined([drawn]))).name(1) == "synthetic/synthetic/000001.png"
    with pytest.raises(ArgumentError, match="others inputs of their own"):
        Joined([drawn, Latents(3, size=32)])


class Bytes(nd.Synthetic):
    """Its label maps are uint8, as an array of few concepts may be."""

    def labels(self, index: int) -> nd.ImageLabels:
        labels = super().labels(index)
        return nd.ImageLabels(labels.maps.astype(np.uint8), labels.whole)


def test_numbers_that_their_own_type_cannot_hold() -> None:
    parts = [Bytes(2, size=32) for _ in range(4)]
    both = Joined(parts, ["a", "b", "c", "d"])
    assert _names(both.vocabulary, both.labels(7)) == _names(parts[3].vocabulary, parts[3].labels(1))
