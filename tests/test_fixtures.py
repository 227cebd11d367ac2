"""What earlier versions left on disk is loaded, gone on with, or refused with a sentence that names the file.

Only the package's own names and the command are used: where its modules lie is free to change.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import netdissect_fast as nd

from .fixtures.network import data, network
from .fixtures.write import LAYERS, SETTINGS, write
from .support.run_folders import contents

FIXTURES = Path(__file__).parent / "fixtures"
OLD = FIXTURES / "be10565"
LATER = 1000  # a format that no version has yet


class Counting(nd.Synthetic):
    """The data, with the images whose labels were asked for; the first one's size always is."""

    def __init__(self) -> None:
        drawn = data()
        super().__init__(drawn.images, drawn.seed, drawn.size)
        self.asked: set[int] = set()

    def labels(self, index: int) -> Any:
        self.asked.add(index)
        return super().labels(index)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of the fixtures, so that nothing can write to them."""
    return Path(shutil.copytree(OLD, tmp_path / "old"))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> nd.Dissection:
    """The run, computed by this version."""
    return nd.dissect(network(), data(), LAYERS, cache=tmp_path_factory.mktemp("cache"), **SETTINGS)


@contextmanager
def made_elsewhere() -> Iterator[None]:
    """Allow the warnings that torch or its threads are not those that the fixtures were written with."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* was made with torch")
        yield


def resume(old: Path, model: torch.nn.Module | None = None, **options: Any) -> nd.Dissection:
    options = {**SETTINGS, "cache": old / "cache"} | options
    return nd.dissect(model or network(), options.pop("data", data()), LAYERS, out=old / "interrupted", **options)


def same_files(folder: Path) -> None:
    """A run's files are those of the finished run; run.json but for what made it."""
    got, expected = contents(folder), contents(OLD / "run")
    records = [json.loads(files.pop("run.json")) for files in (got, expected)]
    assert (records[0].pop("format"), records[1].pop("format")) == (2, 1)
    del records[0]["checksum"]
    for record in records:
        del record["versions"], record["settings"]["torch_threads"]
    assert got == expected
    assert records[0] == records[1]


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def parts(old: Path) -> list[Path]:
    return sorted((old / "interrupted" / "parts").glob("*/part.json"))


@contextmanager
def refused(kind: str, *sentence: str) -> Iterator[None]:
    """Expect an error of this kind, whose message holds all of ``sentence`` in this order."""
    with pytest.raises(nd.NetDissectError, match=".*".join(map(re.escape, sentence))) as caught:
        yield
    assert type(caught.value).__name__ == kind


def test_sums_are_exact() -> None:
    pictures = np.stack([np.asarray(data().image(i), np.float32) for i in range(len(data()))])
    batch = (torch.from_numpy(pictures).permute(0, 3, 1, 2) - 128) / 128
    for last in (1, 3):
        single, double = network()[:last], network().double()[:last]
        assert torch.equal(single(batch).double(), double(batch.double()))


def test_this_version_writes_the_same(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        write(tmp_path / "new")
    finally:
        torch.set_num_threads(threads)
    same_files(tmp_path / "new" / "run")
    assert contents(tmp_path / "new" / "cache") == contents(OLD / "cache")
    got, expected = contents(tmp_path / "new" / "interrupted"), contents(OLD / "interrupted")
    assert got.keys() == expected.keys()
    assert all(got[name] == expected[name] for name in got if not name.endswith("part.json"))  # it tells versions


def test_a_finished_run_is_loaded(fresh: nd.Dissection) -> None:
    run = nd.load(OLD / "run")
    assert list(run) == LAYERS
    for name, layer in run.items():
        expected = fresh[name]
        for array, wanted in zip(vars(layer.counts).values(), vars(expected.counts).values(), strict=True):
            assert np.array_equal(array, wanted)
        assert np.array_equal(layer.thresholds, expected.thresholds)
        assert np.array_equal(layer.unit_numbers, expected.unit_numbers)
        assert layer.grid == expected.grid
        assert layer.units() == expected.units()
        assert layer.detectors() == expected.detectors()
        for unit in range(len(layer.thresholds)):
            for array, wanted in zip(layer.top(unit), expected.top(unit), strict=True):
                assert np.array_equal(array, wanted)


def test_saved_again_it_is_the_same_bytes_but_for_a_checksum(tmp_path: Path) -> None:
    nd.load(OLD / "run").save(tmp_path)
    got, expected = contents(tmp_path), contents(OLD / "run")
    run = json.loads(got["run.json"])
    assert got.pop("run.json").replace(
        f'  "format": 2,\n  "checksum": "{run["checksum"]}",\n'.encode(), b'  "format": 1,\n'
    ) == expected.pop("run.json")
    assert got == expected
    assert nd.load(tmp_path).run == nd.load(OLD / "run").run


def test_scored_again_it_is_the_same() -> None:
    labels = nd.PackedLabels.pack((data().labels(i) for i in range(len(data()))), data().vocabulary)
    for name, layer in nd.load(OLD / "run").items():
        again = nd.score_peaks(layer.require_peaks(), layer.grid, labels, layer.vocabulary, name=name)
        assert again.table.to_csv() == (OLD / "run" / name / "result.csv").read_bytes().decode()


def test_an_interrupted_run_goes_on(old: Path) -> None:
    model, sizes = network(), []
    model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    with made_elsewhere():
        resume(old, model)
    assert sizes == [1, 4, 4]  # the first image, then the images that no part holds
    same_files(old / "interrupted")


def test_the_command_goes_on_with_it_from_anywhere(old: Path, tmp_path: Path) -> None:
    source = FIXTURES / "network.py"
    options = {
        "--model": f"{source}:network", "--data": f"{source}:data", "--layers": ",".join(LAYERS), "--quantile": "0.05",
        "--batch-size": "4", "--device": "cpu", "--threads": "1", "--out": "old/interrupted", "--cache": "old/cache",
    }  # fmt: skip
    command = [sys.executable, "-m", "netdissect_fast", "dissect", "--quiet", *(w for o in options.items() for w in o)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    got, expected = contents(old / "interrupted"), contents(OLD / "run")
    assert got.pop("run.json") != expected.pop("run.json")  # which says that the data came from a function
    assert got == expected


def test_another_torch_is_a_warning(old: Path) -> None:
    for part in parts(old):
        edit(part, f'"torch": "{json.loads(part.read_text())["record"]["versions"]["torch"]}"', '"torch": "0.9"')
    with made_elsewhere(), pytest.warns(UserWarning, match=r"parts.*was made with torch 0\.9"):
        resume(old)
    same_files(old / "interrupted")


def test_a_finished_run_of_a_later_format_is_refused(old: Path) -> None:
    file = old / "run" / "run.json"
    edit(file, '"format": 1,', f'"format": {LATER},')
    with refused("DataError", str(file), "format", "use the version that wrote it"):
        nd.load(old / "run")


def test_an_interrupted_run_is_no_finished_one(old: Path) -> None:
    with refused("DataError", str(old / "interrupted" / "run.json")):
        nd.load(old / "interrupted")


def test_a_part_of_a_later_format_is_refused(old: Path) -> None:
    file = parts(old)[-1]
    edit(file, '"format": 1,', f'"format": {LATER},')
    before = contents(old / "interrupted")
    with made_elsewhere(), refused("DataError", str(file), "format", "use the version that wrote it"):
        resume(old)
    assert contents(old / "interrupted") == before


def test_a_part_of_a_later_major_version_is_refused(old: Path) -> None:
    file = parts(old)[0]
    edit(file, '"netdissect_fast": "0.', f'"netdissect_fast": "{LATER}.')
    before = contents(old / "interrupted")
    with made_elsewhere(), refused("ResumeMismatch", str(file.parent), "major version (1000 there", "--restart"):
        resume(old)
    assert contents(old / "interrupted") == before


def test_packed_labels_are_used(old: Path) -> None:
    counting = Counting()
    with made_elsewhere():
        resume(old, data=counting)
    assert counting.asked <= {0}
    assert contents(old / "cache") == contents(OLD / "cache")


@pytest.mark.parametrize("spoil", ["later format", "broken"])
def test_packed_labels_that_cannot_be_used_are_packed_again(spoil: str, old: Path) -> None:
    (manifest,) = (old / "cache").rglob("manifest.json")
    edit(manifest, '"format": 1,', f'"format": {LATER},' if spoil == "later format" else "")
    counting = Counting()
    with made_elsewhere():
        resume(old, data=counting)
    assert counting.asked == set(range(len(counting)))
    assert contents(old / "cache") == contents(OLD / "cache")
    same_files(old / "interrupted")
