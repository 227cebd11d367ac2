"""``netdissect-fast layers``: what it lists can be dissected, with the shapes and grids that it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import netdissect_fast as nd
from netdissect_fast.cli import main
from netdissect_fast.errors import ModelError
from netdissect_fast.runs.layer_list import list_layers

from ..support.networks import two_layers

NET = """
import sys
sys.path.insert(0, {root!r})
from tests.support.networks import two_layers

def make():
    return two_layers()

def bare():
    net = two_layers()
    del net.input_size
    return net
"""


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET.format(root=str(Path(__file__).parents[2])))


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layers", "--model", "net.py:make"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "name  kind       output   grid                       parameters",
        "0     Conv2d     6×16×16  16×16, stride 2, offset 0         456",
        "1     ReLU       6×16×16  16×16, stride 2, offset 0           0",
        "2     MaxPool2d  6×8×8    8×8, stride 4, offset 1             0",
        "3     Conv2d     12×8×8   8×8, stride 4, offset 1           660",
    ]


def test_json_and_the_size_of_the_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layers", "--model", "net.py:make", "--input-size", "64x32", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0] == {
        "name": "0",
        "kind": "Conv2d",
        "output": [6, 32, 16],
        "grid": "32×16, stride 2, offset 0",
        "parameters": 456,
    }
    assert main(["layers", "--model", "net.py:bare"]) == 1
    assert "give --input-size" in capsys.readouterr().err
    assert main(["layers", "--model", "net.py:bare", "--input-size", "32"]) == 0


def test_every_layer_listed_can_be_dissected_on_the_same_grid(tmp_path: Path) -> None:
    model, options = two_layers(), {"quantile": 0.1, "cache": tmp_path, "progress": False}
    rows = list_layers(model, (32, 32))
    result = nd.dissect(model, nd.Synthetic(images=6, size=32), [row.name for row in rows], **options)
    for row in rows:
        grid = result[row.name].grid
        assert row.output == (len(result[row.name].thresholds), *grid.size)
        assert row.grid == f"{grid.size[0]}×{grid.size[1]}, {str(grid).removesuffix(' (receptive_field)')}"


class Odd(nn.Module):
    """Four channels; a part that runs twice, one that returns two tensors, one that never runs, and tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.never = nn.Conv2d(4, 6, 2, 2), nn.ReLU(), nn.Linear(3, 3)
        self.lstm, self.list = nn.LSTM(6, 5, batch_first=True), nn.ModuleList([nn.Flatten(2)])

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.list[0](self.again(self.again(self.first(x)))).transpose(1, 2)
        return self.lstm(tokens)[0]


def test_layers_that_are_not_one_map() -> None:
    model = Odd().train()
    found = {row.name: row for row in list_layers(model, (8, 8))}
    assert list(found) == ["first", "again@0", "again@1", "lstm:0", "lstm:1.0", "lstm:1.1", "list.0"]
    assert found["again@1"].grid == "4×4, stride 2, offset 0.5"
    assert found["lstm:0"].output == (16, 5)
    assert found["lstm:0"].parameters == sum(parameter.numel() for parameter in model.lstm.parameters())
    assert model.training  # left as it was found
    assert not any(module._forward_hooks for module in model.modules())


def test_a_network_that_raises_or_is_not_loaded() -> None:
    with pytest.raises(ModelError, match="the model raised RuntimeError on a batch"):
        list_layers(nn.Sequential(nn.Conv2d(3, 4, 9)), (8, 8))
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 4, 1))
    with pytest.raises(ModelError, match="weights are not loaded"):
        list_layers(model, (8, 8))
