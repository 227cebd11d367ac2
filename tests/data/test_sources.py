"""A run's data set is found again: from what it says of itself, through JSON, and only if it is still the same."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netdissect_fast as nd
from netdissect_fast.data.dataset import ConceptDataset, DataWarning
from netdissect_fast.data.formats.synthetic import write_synthetic
from netdissect_fast.data.sources import data_of_run, open_source, source_of
from netdissect_fast.errors import ArgumentError, DataError
from netdissect_fast.results.run_result import Dissection

from ..support.networks import two_layers
from ..support.tiny_broden import edit, write_tiny

DRAWN = {"kind": "synthetic", "images": 5, "size": 32}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETDISSECT_FAST_CACHE", str(tmp_path / "cache"))


class Mine:
    """A user's own data set, which does not say how to open it."""

    def __init__(self) -> None:
        self._data = nd.Synthetic(5, size=32)

    def __len__(self) -> int:
        return len(self._data)

    def __getattr__(self, name: str) -> Any:
        if name in ("_data", "source"):
            raise AttributeError(name)
        return getattr(self._data, name)


def again(data: ConceptDataset) -> ConceptDataset:
    """Opened from what run.json would hold."""
    source = source_of(data)
    assert source is not None
    return open_source(json.loads(json.dumps(source)))


def assert_same_data(got: ConceptDataset, expected: ConceptDataset) -> None:
    assert type(got) is type(expected)
    assert got.fingerprint() == expected.fingerprint()
    assert source_of(got) == source_of(expected)
    assert got.vocabulary.categories == expected.vocabulary.categories
    assert [got.name(i) for i in range(len(got))] == [expected.name(i) for i in range(len(expected))]
    for i in range(len(got)):
        assert got.image(i).tobytes() == expected.image(i).tobytes()
        np.testing.assert_array_equal(got.labels(i).maps, expected.labels(i).maps)
        assert got.labels(i).whole == expected.labels(i).whole


# ----------------------------------------------------------------------------------------- to JSON and back

DATA: dict[str, Callable[[Path], ConceptDataset]] = {
    "broden": nd.Broden,
    "split": lambda path: nd.Broden(path, split="train"),
    "categories": lambda path: nd.Broden(path, categories=["scene", "object"]),
    "all options": lambda path: nd.Broden(str(path), "val", ("part",), strict=False),
    "synthetic": lambda _: nd.Synthetic(5, seed=7, size=40),
    "synthetic split": lambda _: nd.Synthetic(12, 1, 33, "val"),
    "range": lambda path: nd.Subset(nd.Broden(path), range(2, 0, -1)),
    "first": lambda _: nd.Subset.first(nd.Synthetic(5, size=32), 3),
    "list": lambda path: nd.Subset(nd.Broden(path, categories=["object"]), [2, 0, 2]),
    "array": lambda _: nd.Subset(nd.Synthetic(9, size=32), np.array([8, 1])),
    "nested": lambda path: nd.Subset(nd.Subset(nd.Subset(nd.Broden(path), [2, 1, 0]), range(0, 3, 2)), [1]),
}


@pytest.mark.parametrize("kind", DATA)
def test_every_data_set_comes_back(kind: str, tmp_path: Path) -> None:
    data = DATA[kind](write_tiny(tmp_path / "tiny"))
    assert_same_data(again(data), data)


def test_sources_differ_where_data_sets_do(tmp_path: Path) -> None:
    """Nothing that was asked for is forgotten."""
    write_tiny(tmp_path / "tiny")
    sources = [json.dumps(source_of(make(tmp_path / "tiny"))) for make in DATA.values()]
    assert len(set(sources)) == len(DATA)


def test_rows_left_out_are_left_out_again(tmp_path: Path) -> None:
    (write_tiny(tmp_path) / "images" / "a" / "two.jpg").unlink()
    with pytest.warns(DataWarning, match="1 of 3 rows"):
        data = nd.Broden(tmp_path, strict=False)
    with pytest.warns(DataWarning, match="1 of 3 rows"):
        assert_same_data(again(data), data)


def test_from_another_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    data = nd.Broden("tiny")
    fingerprint, source = data.fingerprint(), source_of(data)
    monkeypatch.chdir("tiny")
    assert source is not None
    assert open_source(source).fingerprint() == fingerprint


def test_a_users_own_class() -> None:
    """Without source() it has none, nor has any selection of it; with one, it is asked."""
    for data in (Mine(), nd.Subset(Mine(), [1, 2]), nd.Subset(nd.Subset(Mine(), range(4)), [0])):
        assert source_of(data) is None

    class Telling(Mine):
        def source(self) -> dict[str, Any]:
            return DRAWN

    data = Telling()
    assert source_of(data) == DRAWN
    assert open_source(DRAWN).fingerprint() == data.fingerprint()
    assert_same_data(again(nd.Subset(data, [3])), nd.Subset(nd.Synthetic(5, size=32), [3]))


# ----------------------------------------------------------------------------------------------- malformed

DEEP: Any = DRAWN
for _ in range(3000):
    DEEP = {"kind": "subset", "indices": [0], "of": DEEP}


@pytest.mark.parametrize(
    "source",
    [
        None,
        5,
        "synthetic",
        [],
        [1, 2],
        {},
        {"images": 5},
        {"kind": None},
        {"kind": ["synthetic"]},
        {"kind": "Synthetic"},
        {**DRAWN, "colour": "red"},
        {**DRAWN, "images": None},
        {**DRAWN, "size": "32"},
        {**DRAWN, "images": 0},
        {**DRAWN, "split": "test"},
        {"kind": "broden"},
        {"kind": "broden", "path": None},
        {"kind": "broden", "path": 5},
        {"kind": "subset", "of": DRAWN},
        {"kind": "subset", "indices": [0]},
        {"kind": "subset", "of": DRAWN, "indices": []},
        {"kind": "subset", "of": DRAWN, "indices": [5]},
        {"kind": "subset", "of": DRAWN, "indices": [-1]},
        {"kind": "subset", "of": DRAWN, "indices": ["first"]},
        {"kind": "subset", "of": DRAWN, "indices": 0},
        {"kind": "subset", "of": "synthetic", "indices": [0]},
        {"kind": "range", "of": DRAWN, "start": 0, "stop": 6, "step": 1},
        {"kind": "range", "of": DRAWN, "start": 0, "stop": 3, "step": 0},
        {"kind": "range", "of": DRAWN, "start": 0, "stop": "3", "step": 1},
        {"kind": "range", "of": None, "start": 0, "stop": 3, "step": 1},
        DEEP,
    ],
    ids=lambda source: repr(source)[:60] if source is not DEEP else "deep",
)
def test_malformed_sources(source: Any) -> None:
    for ask in (lambda: open_source(source), lambda: data_of_run({"data": {"source": source}})):
        with pytest.raises(ArgumentError):
            ask()


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        open_source({"kind": "broden", "path": str(tmp_path / "absent")})


@pytest.mark.parametrize(
    "code",
    [
        "__import__('pathlib').Path('ran').touch()",
        "os.mkdir",
        "pathlib:Path.touch",
        "!!python/object/apply:os.mkdir ['ran']",
        "cos\nmkdir\n(S'ran'\ntR.",
        "; touch ran",
        "$(touch ran)",
    ],
)
def test_nothing_in_a_source_is_run(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A result folder may come from anybody."""
    monkeypatch.chdir(tmp_path)
    for source in (
        {"kind": code},
        {"kind": code, "path": "ran"},
        {"kind": "broden", "path": code},
        {"kind": "subset", "of": code, "indices": [0]},
        {"kind": "subset", "of": DRAWN, "indices": [code]},
        {**DRAWN, "split": code},
        {**DRAWN, "images": code},
    ):
        with pytest.raises((ArgumentError, DataError)):
            open_source(source)
    assert not list(tmp_path.iterdir())


# --------------------------------------------------------------------------------------------- data_of_run


def run_of(data: ConceptDataset, out: Path, **options: Any) -> dict[str, Any]:
    """run.json of a dissection, read back."""
    nd.dissect(two_layers(), data, "0", quantile="0.1", out=out, **options)
    return nd.load(out).run


@pytest.mark.parametrize("kind", ["broden", "synthetic", "nested"])
def test_dissect_records_it(kind: str, tmp_path: Path) -> None:
    data = DATA[kind](write_tiny(tmp_path / "tiny"))
    run = run_of(data, tmp_path / "out")
    assert run["data"]["source"] == source_of(data)
    assert_same_data(data_of_run(run), data)


def test_dissect_records_that_there_is_none(tmp_path: Path) -> None:
    run = run_of(Mine(), tmp_path / "out")
    assert run["data"]["source"] is None
    with pytest.raises(ArgumentError, match=r"does not say where the images are: pass the data set \(--data\)"):
        data_of_run(run)


@pytest.mark.parametrize("kind", ["split", "categories", "range", "nested"])
def test_moved_folder(kind: str, tmp_path: Path) -> None:
    """The options stay, the folder is another."""
    data = DATA[kind](write_tiny(tmp_path / "old"))
    run = run_of(data, tmp_path / "out")
    new = (tmp_path / "old").rename(tmp_path / "new")
    with pytest.raises(DataError, match="is not a folder"):
        data_of_run(run)
    assert_same_data(data_of_run(run, new), DATA[kind](new))


def grow_image(folder: Path) -> None:
    with (folder / "images" / "a" / "one.jpg").open("ab") as file:
        file.write(b"\0")


CHANGES: dict[str, Callable[[Path], None]] = {
    "image": grow_image,
    "index": lambda folder: edit(folder / "index.csv", "4;5", "5;4"),
    "label": lambda folder: edit(folder / "label.csv", "wheel", "wheal"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("given", [False, True], ids=["recorded", "given"])
def test_changed_data(change: str, given: bool, tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "tiny")
    run = run_of(nd.Subset(nd.Broden(folder), [0, 2]), tmp_path / "out")
    path = folder if given else None
    assert len(data_of_run(run, path)) == 2
    CHANGES[change](folder)
    with pytest.raises(ArgumentError, match="is not the data set that was dissected: its images, labels or selection"):
        data_of_run(run, path)


def test_another_data_set_is_refused(tmp_path: Path) -> None:
    """Also where it has as many images."""
    run = run_of(nd.Broden(write_tiny(tmp_path / "tiny")), tmp_path / "out")
    write_synthetic(tmp_path / "other", 3, size=32)
    with pytest.raises(ArgumentError, match="is not the data set that was dissected"):
        data_of_run(run, tmp_path / "other")


@pytest.mark.parametrize("run", [{}, {"data": None}, {"data": "tiny"}, {"data": {}}, {"data": {"source": "tiny"}}])
def test_no_record(run: dict[str, Any], tmp_path: Path) -> None:
    """As in a folder that was written by hand: the data set has to be given, and is trusted."""
    write_tiny(tmp_path)
    with pytest.raises(ArgumentError, match=r"does not say where the images are: pass the data set \(--data\)"):
        data_of_run(run)
    assert_same_data(data_of_run(run, tmp_path), nd.Broden(tmp_path))


def test_a_drawn_data_set_has_no_folder(tmp_path: Path) -> None:
    run = run_of(nd.Synthetic(3, size=32), tmp_path / "out")
    with pytest.raises(ArgumentError, match="--data"):
        data_of_run(run, write_tiny(tmp_path / "tiny"))


def test_the_data_stays_with_the_result_in_memory(tmp_path: Path) -> None:
    """But is no part of what is saved or compared."""
    data = nd.Synthetic(3, size=32)
    result = nd.dissect(two_layers(), data, "0", quantile="0.1", out=tmp_path)
    assert result.data is data
    assert nd.load(tmp_path).data is None
    assert result == Dissection(result.layers, result.run)


class NamedSource(Mine):
    """A user's class that calls something else ``source``."""

    source = "a camera"

    def __getattr__(self, name: str) -> Any:
        return getattr(nd.Synthetic(5, size=32), name)


def test_a_source_that_is_no_method(tmp_path: Path) -> None:
    for data in (NamedSource(), nd.Subset(NamedSource(), [1, 2])):
        assert run_of(data, tmp_path / "out")["data"]["source"] is None


def test_numbers_of_numpy_are_plain_in_run_json(tmp_path: Path) -> None:
    run = run_of(nd.Synthetic(np.int64(3), np.int64(1), np.int16(32)), tmp_path / "out")
    assert run["data"]["source"] == {"kind": "synthetic", "images": 3, "seed": 1, "size": 32, "split": None}
    with pytest.raises(TypeError):
        nd.Synthetic(3, seed=1.5)  # type: ignore[arg-type]


@pytest.mark.skipif(os.name != "posix", reason="names of files are bytes")
def test_a_folder_whose_name_is_not_utf8(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    write_tiny(folder)
    run = run_of(nd.Broden(folder, categories=["object"]), tmp_path / "out")
    assert data_of_run(run).fingerprint() == run["data"]["fingerprint"]


@pytest.mark.parametrize(
    "source",
    [
        {"kind": "range", "of": DRAWN, "start": 0, "stop": 10**30, "step": 1},
        {"kind": "range", "of": DRAWN, "start": 0, "stop": 10**15, "step": 1},
        {"kind": "range", "of": 5, "start": 0, "stop": 1, "step": 1},
        {"kind": "subset", "of": DRAWN, "indices": [float("inf")]},
        {"kind": "subset", "of": DRAWN, "indices": [0.5]},
        {"kind": "subset", "of": DRAWN, "indices": "01"},
        {"kind": "subset", "of": "of it", "indices": [0]},
    ],
)
def test_more_malformed_sources(source: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ArgumentError):
        open_source(source)
    with pytest.raises(ArgumentError):
        data_of_run({"data": {"source": source}}, tmp_path)
