"""A run that ended early and is started again ends with the bytes of one that did not; anything else is refused."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import netdissect_fast as nd
from netdissect_fast.errors import ArgumentError, DataError, InUse, OutputError, ResumeMismatch
from netdissect_fast.runs import checkpoints
from netdissect_fast.runs.records import ResumeWarning
from netdissect_fast.storage import only_writer

from ..support.networks import two_layers
from ..support.run_folders import contents

IMAGES, BATCH = 30, 4
DATA = nd.Synthetic(IMAGES, seed=3, size=32)


class Stopped(Exception):
    """Ends a run early."""


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NETDISSECT_FAST_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def run(out: Path, stop_after: int | None = None, model: nn.Module | None = None, **options: Any) -> nd.Dissection:
    """A run in checkpoints of a batch, which raises Stopped in the batch after so many."""
    model = model or two_layers()
    batches = [0]

    def count(*_: Any) -> None:
        if batches[0] == stop_after:
            raise Stopped
        batches[0] += 1

    options = {"quantile": "0.05", "batch_size": BATCH, "checkpoint_every": 0, "progress": False} | options
    layers = options.pop("layers", ["0", "3"])
    # The first image runs alone, before any batch.
    hook = [] if stop_after is None else [_after_first(model, count)]
    try:
        return nd.dissect(model, options.pop("data", DATA), layers, out=out, **options)
    finally:
        for handle in hook:
            handle.remove()


def _after_first(model: nn.Module, count: Any) -> Any:
    seen = [0]

    def hook(*_: Any) -> None:
        seen[0] += 1
        if seen[0] > 1:
            count()

    return model.register_forward_pre_hook(hook)


def stopped(out: Path, after: int, **options: Any) -> None:
    with pytest.raises((Stopped, nd.NetDissectError)) as caught:
        run(out, after, **options)
    assert isinstance(caught.value, Stopped) or isinstance(caught.value.__cause__, Stopped), caught.value


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Files of a run that was not interrupted."""
    out = tmp_path_factory.mktemp("whole")
    run(out)
    return contents(out)


@settings(max_examples=15)
@given(stops=st.lists(st.integers(0, 7), min_size=1, max_size=4))
def test_the_same_bytes_wherever_it_stopped(stops: list[int], whole: Any, tmp_path_factory: Any) -> None:
    out = tmp_path_factory.mktemp("out")
    left = -(-IMAGES // BATCH)
    for after in stops:
        if after < left:  # else it would end
            stopped(out, after)
            left -= after
    run(out)
    assert contents(out) == whole


def test_nothing_is_computed_twice(tmp_path: Path) -> None:
    stopped(tmp_path, 5)
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["0000000-0000020"]
    model, sizes = two_layers(), []
    model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    run(tmp_path, model=model)
    assert sizes == [1, 4, 4, 2]


def test_given_thresholds_resume_too(tmp_path: Path) -> None:
    thresholds = {"0": np.full(6, 0.1, np.float32), "3": np.full(12, 0.05, np.float32)}
    run(tmp_path / "whole", thresholds=thresholds)
    stopped(tmp_path / "out", 3, thresholds=thresholds)
    stopped(tmp_path / "out", 2, thresholds=thresholds)
    run(tmp_path / "out", thresholds=thresholds)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    stopped(tmp_path / "out", 3, thresholds=thresholds)
    thresholds["0"] = thresholds["0"] * 2
    with pytest.raises(ResumeMismatch, match="thresholds"):
        run(tmp_path / "out", thresholds=thresholds)


def other_weights() -> nn.Module:
    model = two_layers()
    with torch.no_grad():
        model[3].weight[0, 0, 0, 0] += 1e-3
    return model


def other_structure() -> nn.Module:
    model = two_layers()
    model[2] = nn.AvgPool2d(2)
    return model


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model": other_weights()}, "model weights"),
        ({"model": other_structure()}, "model structure"),
        ({"layers": ["3"]}, "layers"),
        ({"data": nd.Synthetic(IMAGES, seed=4, size=32)}, "data"),
        ({"quantile": "0.04"}, "quantile"),
        ({"preprocess": nd.Preprocess(32, 0.4, 0.25)}, "preprocess"),
        ({"batch_size": 8}, "batch_size"),
        ({"alignment": "half_pixel"}, "alignment"),
        ({"units": slice(0, 3)}, "units"),
        ({"category_rule": "none"}, "category_rule"),
        ({"transform": {"3": lambda maps: -maps}}, "transform"),
    ],
)
def test_another_run_is_refused_and_loses_nothing(change: dict[str, Any], named: str, tmp_path: Path) -> None:
    stopped(tmp_path, 4)
    before = contents(tmp_path)
    with pytest.raises(ResumeMismatch, match=rf"0000000-0000016 belongs to a different run: {named} .*--restart"):
        run(tmp_path, **change)
    assert contents(tmp_path) == before
    fresh = tmp_path.with_name(tmp_path.name + "-fresh")
    run(tmp_path, resume=False, **change)
    run(fresh, **change)
    assert contents(tmp_path) == contents(fresh)


def test_another_major_version_is_refused(tmp_path: Path) -> None:
    stopped(tmp_path, 2)
    file = next(tmp_path.glob("parts/*/part.json"))
    part = json.loads(file.read_text())
    part["record"]["versions"]["netdissect_fast"] = "9.0"
    file.write_text(json.dumps(part))
    with pytest.raises(ResumeMismatch, match=r"major version \(9 there, 0 here\)"):
        run(tmp_path)


@pytest.mark.parametrize("broken", ["part.json", "0.safetensors", "3.safetensors"])
@pytest.mark.parametrize("how", ["cut", "missing", "other"])
def test_a_broken_checkpoint_is_named(broken: str, how: str, tmp_path: Path) -> None:
    stopped(tmp_path, 3)
    file = next(tmp_path.glob(f"parts/*/{broken}"))
    if how == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if how == "cut" else b"{}")
    with pytest.raises(DataError, match=broken):
        run(tmp_path)


def test_a_part_of_other_images_than_its_name_says(tmp_path: Path) -> None:
    stopped(tmp_path, 3)
    (part,) = (tmp_path / "parts").iterdir()
    file = part / "part.json"
    part = json.loads(file.read_text())
    part["images"] = [0, 8]
    file.write_text(json.dumps(part))
    with pytest.raises(DataError, match=r"0\.safetensors: holds Peaks.* instead of images"):
        run(tmp_path)


def test_two_parts_with_the_same_images(tmp_path: Path) -> None:
    stopped(tmp_path, 5)
    first = tmp_path / "first"
    (tmp_path / "parts" / "0000000-0000020").rename(first)
    run(tmp_path, shard=(1, 4))
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["0000008-0000016"]
    first.rename(tmp_path / "parts" / "0000000-0000020")
    with pytest.raises(ArgumentError, match=r"images 8 to 15 are in both .*0000000-0000020 and .*: remove one"):
        run(tmp_path)


def test_a_folder_in_use(tmp_path: Path) -> None:
    with only_writer(tmp_path), pytest.raises(InUse, match="is being written by process"):
        run(tmp_path)
    with only_writer(tmp_path), pytest.raises(InUse, match="is being written by process"):
        run(tmp_path, shard=(0, 2))
    with only_writer(tmp_path / "parts", ".shard-0-of-2.lock"):
        run(tmp_path, shard=(1, 2))
        for options in ({}, {"shard": (0, 2)}):
            with pytest.raises(InUse, match="is being written by process"):
                run(tmp_path, **options)
        with pytest.raises(InUse, match="is being written by process"):
            nd.merge(tmp_path)


def test_a_checkpoint_that_fails_is_a_warning(tmp_path: Path, whole: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Path:
        raise OutputError("cannot write: no space")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save_part", full)
        with pytest.warns(ResumeWarning, match=r"no checkpoint at image \d+; the run continues: cannot write: no"):
            run(tmp_path)
        with pytest.raises(OutputError, match="no space"):
            run(tmp_path / "shard", shard=(0, 2), checkpoint_every=300)
    assert contents(tmp_path) == whole


def test_too_little_space_is_said_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100})())
    with pytest.raises(OutputError, match="will need at least 0 MB, but 0 MB are free"):
        run(tmp_path, quantile="0.5")


def test_no_checkpoints_where_the_run_is_short(tmp_path: Path) -> None:
    stopped(tmp_path, 6, checkpoint_every=300.0)
    assert not list(tmp_path.iterdir())


def test_an_older_result_stays_until_the_new_one_is_there(tmp_path: Path, whole: Any) -> None:
    run(tmp_path)
    stopped(tmp_path, 4)
    assert {name: data for name, data in contents(tmp_path).items() if not name.startswith("parts")} == whole
    assert nd.load(tmp_path)["3"].peaks is not None


def test_the_same_activations_but_for_other_threads_warn(tmp_path: Path) -> None:
    stopped(tmp_path, 3)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        with pytest.warns(ResumeWarning, match=f"torch_threads {threads}, this run uses {threads + 1}"):
            run(tmp_path)
    finally:
        torch.set_num_threads(threads)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stopped(tmp_path, 3)
        run(tmp_path)
