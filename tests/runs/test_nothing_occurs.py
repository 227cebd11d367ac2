"""A run in whose images no concept occurs says so at its end, and is saved all the same."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import netdissect_fast as nd
from netdissect_fast.cli import main
from netdissect_fast.data.dataset import DataWarning

from ..support.mask_folders import masks, write_folder, write_mask
from ..support.networks import two_layers


class Labelled:
    """Six images of one label each."""

    def __init__(self, label: int) -> None:
        self.label = label

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Any:
        picture = torch.from_numpy(np.random.default_rng(index).random((3, 32, 32), np.float32))
        return picture, torch.full((32, 32), self.label, dtype=torch.int64)


def data(label: int) -> nd.FromTorch:
    return nd.FromTorch(Labelled(label), ["-", "cat"])


def test_a_run_ends_with_a_warning_and_its_result(tmp_path: Path) -> None:
    with pytest.warns(DataWarning, match="no concept occurs in any image, so no unit has a label") as caught:
        nd.dissect(two_layers(), data(0), ["0", "3"], out=tmp_path / "out", cache=tmp_path / "cache", progress=False)
    assert len(caught) == 1
    assert not nd.load(tmp_path / "out")["0"].labels.score.any()


def test_a_merge_too(tmp_path: Path) -> None:
    options: dict[str, Any] = {"out": tmp_path / "out", "cache": tmp_path / "cache", "progress": False}
    for index in range(2):  # no warning: a shard of peaks is not counted
        nd.dissect(two_layers(), data(0), "0", batch_size=3, shard=(index, 2), **options)
    with pytest.warns(DataWarning, match="no concept occurs"):
        nd.merge(tmp_path / "out", data=data(0), cache=tmp_path / "cache")


def test_one_pixel_of_a_concept_is_enough(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nd.dissect(two_layers(), data(1), "0", cache=tmp_path, progress=False)


@pytest.mark.filterwarnings("always:no concept occurs")
def test_the_command_says_it_last_and_its_remedy_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETDISSECT_FAST_CACHE", str(tmp_path / "cache"))
    folder = write_folder(tmp_path / "set")
    for name, values in masks().items():
        write_mask(folder / name, np.zeros_like(values))
    (folder / "labels.csv").unlink()
    (folder / "images" / "three.jpg").unlink()
    (tmp_path / "net.py").write_text("from tests.support.networks import two_layers as make\n")
    command = ["dissect", "--model", f"{tmp_path / 'net.py'}:make", "--layers", "0", "--data", str(folder)]
    assert main([*command, "--quiet"]) == 0
    printed = capsys.readouterr()
    assert "netdissect-fast: warning: no concept occurs in any image" in printed.err
    assert main(["data", "info", str(folder)]) == 0
    assert "nothing" in capsys.readouterr().out  # what the concepts are labelled by
