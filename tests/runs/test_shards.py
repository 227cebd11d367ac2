"""Shards of a run put together: the bytes of one process, or a message that says what is wrong with them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import netdissect_fast as nd
from netdissect_fast.cli import main
from netdissect_fast.data.formats.synthetic import write_synthetic
from netdissect_fast.errors import ArgumentError, DataError, ResumeMismatch

from ..support.networks import two_layers
from ..support.run_folders import contents

IMAGES = 30
NET = """
import torch
from torch import nn
def make():
    net = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(inplace=True), nn.Conv2d(6, 8, 3))
    net.input_size, net.mean, net.std = (3, 32, 32), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    return net
"""


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NETDISSECT_FAST_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> nd.Broden:
    folder = tmp_path_factory.mktemp("data") / "scenes"
    write_synthetic(folder, images=IMAGES, seed=3, size=32)
    return nd.Broden(folder)


def run(data: Any, out: Path, shard: tuple[int, int] | None = None, **options: Any) -> nd.Dissection:
    options = {"quantile": "0.05", "batch_size": 4, "progress": False, "model": two_layers()} | options
    return nd.dissect(options.pop("model"), data, ["0", "3"], out=out, shard=shard, **options)


@pytest.fixture(scope="module")
def whole(data: nd.Broden, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole")
    run(data, out)
    return contents(out)


@pytest.mark.parametrize("count", [1, 3, 8, 11])
def test_shards_in_one_folder_in_any_order(count: int, data: nd.Broden, whole: Any, tmp_path: Path) -> None:
    """8 batches: even, uneven, one each, and shards without images."""
    for index in np.random.default_rng(count).permutation(count):
        result = run(data, tmp_path, (int(index), count))
        assert not result.layers
        with pytest.raises(ArgumentError, match="a single shard has no result"):
            result["3"]
    merged = nd.merge(tmp_path)
    assert contents(tmp_path) == whole
    assert merged["3"].labels.concept.tolist() == nd.load(tmp_path)["3"].labels.concept.tolist()


def test_shards_of_several_machines(data: nd.Broden, whole: Any, tmp_path: Path) -> None:
    """Each left a folder of its own, the data lie elsewhere now; the shards stay."""
    moved = tmp_path / "moved"
    shutil.copytree(data.path, moved)
    folders = [tmp_path / f"machine{index}" for index in range(3)]
    for index, folder in enumerate(folders):
        run(data, folder, (index, 3))
    before = [contents(folder) for folder in folders]
    nd.merge(folders, tmp_path / "out", data=moved)
    assert contents(tmp_path / "out") == whole
    assert [contents(folder) for folder in folders] == before


def test_a_run_ends_what_shards_have_begun(data: nd.Broden, whole: Any, tmp_path: Path) -> None:
    run(data, tmp_path, (1, 3))
    run(data, tmp_path, (5, 8))
    model, images = two_layers(), [0]
    model.register_forward_pre_hook(lambda _, inputs: images.append(len(inputs[0])))
    run(data, tmp_path, model=model)
    assert contents(tmp_path) == whole
    assert sum(images) == 1 + IMAGES - 12 - 4  # the first image alone, then what no shard has seen


def test_given_thresholds(data: nd.Broden, tmp_path: Path) -> None:
    thresholds = {"0": np.full(6, 0.1, np.float32), "3": np.array([np.inf, *[0.05] * 11], np.float32)}
    run(data, tmp_path / "whole", thresholds=thresholds)
    for index in range(3):
        run(data, tmp_path / "out", (index, 3), thresholds=thresholds)
    nd.merge(tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_missing_shards_are_named(data: nd.Broden, tmp_path: Path) -> None:
    for index in (0, 2):
        run(data, tmp_path, (index, 4))
    before = contents(tmp_path)
    with pytest.raises(ArgumentError, match=r"of 30 images, .* missing in .*: 8 to 15, 24 to 29 \(shards 1/4, 3/4\)"):
        nd.merge(tmp_path)
    assert contents(tmp_path) == before
    with pytest.raises(ArgumentError, match="there are no shards in"):
        nd.merge(tmp_path / "parts")
    with pytest.raises(ArgumentError, match="is not a folder of shards"):
        nd.merge(tmp_path / "nowhere")
    with pytest.raises(ArgumentError, match="give at least one folder of shards"):
        nd.merge([tmp_path, tmp_path])


def test_doubled_shards_are_named(data: nd.Broden, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for index in range(3):
        run(data, one, (index, 3))
    run(data, two, (1, 3))
    with pytest.raises(ArgumentError, match=r"images 8 to 19 are in both .*one.* and .*two.*: remove one"):
        nd.merge([one, two], tmp_path / "out")
    assert not (tmp_path / "out" / "run.json").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"quantile": "0.04"}, "quantile"),
        ({"batch_size": 2}, "batch_size"),
        ({"model": two_layers(seed=1)}, "model weights"),
        ({"alignment": "half_pixel"}, "alignment"),
    ],
)
def test_shards_of_other_runs_are_refused(options: Any, named: str, data: nd.Broden, tmp_path: Path) -> None:
    run(data, tmp_path / "one", (0, 2))
    run(data, tmp_path / "two", (1, 2), **options)
    with pytest.raises(
        ResumeMismatch, match=f"two.* belongs to a different run: {named} .*one.* is taken as the reference"
    ):
        nd.merge([tmp_path / "one", tmp_path / "two"], tmp_path / "out")
    with pytest.raises(ResumeMismatch, match=f"belongs to a different run: {named}"):
        run(data, tmp_path / "one", **options)


def test_shards_of_other_data_are_refused(data: nd.Broden, tmp_path: Path) -> None:
    run(data, tmp_path / "one", (0, 2))
    run(nd.Synthetic(IMAGES, seed=3, size=32), tmp_path / "two", (1, 2))
    with pytest.raises(ResumeMismatch, match="belongs to a different run: data"):
        nd.merge([tmp_path / "one", tmp_path / "two"], tmp_path / "out")
    run(data, tmp_path / "one", (1, 2))
    with pytest.raises(ArgumentError, match="is not the data set that was dissected"):
        nd.merge(tmp_path / "one", data=nd.Synthetic(IMAGES, seed=4, size=32))


def test_a_broken_shard_is_named_and_nothing_is_lost(data: nd.Broden, tmp_path: Path) -> None:
    for index in range(2):
        run(data, tmp_path, (index, 2))
    file = tmp_path / "parts" / "0000016-0000030" / "3.safetensors"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(DataError, match=r"0000016-0000030.3\.safetensors"):
        nd.merge(tmp_path)
    assert len(list((tmp_path / "parts").iterdir())) == 2


@pytest.mark.parametrize("shard", [(3, 3), (-1, 2), (0, 0), "3/4", (1, 2, 3), 5])
def test_shards_that_cannot_be(shard: Any, data: nd.Broden, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="shard"):
        run(data, tmp_path, shard)
    with pytest.raises(ArgumentError, match="give out="):
        nd.dissect(two_layers(), data, "3", shard=(0, 2))


def test_from_the_command_line(data: nd.Broden, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Random weights are the same in every shard, and one shard without another says which is missing."""
    (tmp_path / "net.py").write_text(NET)
    command = ["dissect", "--model", f"{tmp_path / 'net.py'}:make", "--layers", "0,2", "--data", str(data.path)]
    command += ["--quantile", "0.05", "--batch-size", "4", "--quiet"]
    assert main([*command, "--out", str(tmp_path / "whole")]) == 0
    out = ["--out", str(tmp_path / "out")]
    assert main([*command, *out, "--shard", "1/2"]) == 0
    assert "shard 1/2 written to" in capsys.readouterr().out
    assert main(["merge", str(tmp_path / "out")]) == 1
    assert "0 to 15 (shards 0/2)" in capsys.readouterr().err
    torch.rand(3)
    assert main([*command, *out, "--shard", "0/2"]) == 0
    assert main(["merge", str(tmp_path / "out"), "--json"]) == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    with pytest.raises(SystemExit):
        main([*command, *out, "--shard", "two"])
    assert "--shard" in capsys.readouterr().err
