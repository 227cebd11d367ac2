"""--tokens: what ``tokens=`` can say, the command line can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netdissect_fast as nd
from netdissect_fast.cli import main
from netdissect_fast.commands.options import tokens_of
from netdissect_fast.network.models import load_model

NET = """
import torch
from torch import nn

class Last(nn.Module):
    '''Turn maps into channels last, as Swin has them.'''
    def forward(self, x):
        return x.permute(0, 2, 3, 1)

class AsTokens(nn.Module):
    '''A class token, and the patches in rows.'''
    def forward(self, x):
        x = x.flatten(2).transpose(1, 2)
        return torch.cat([x.mean(1, keepdim=True), x], 1)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.last, self.tokens = nn.Conv2d(3, 40, 4, 4), Last(), AsTokens()
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(40, 3)
        self.input_size, self.mean, self.std = (3, 32, 32), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    def forward(self, x):
        x = self.conv(x)
        y, z = self.last(x), self.tokens(x)
        return self.fc(y.mean((1, 2)) + z.mean(1))

def make():
    return Net()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "net.py").write_text(NET)
    assert main(["data", "synth", str(folder / "scenes"), "--images", "8", "--size", "32"]) == 0
    return folder


@pytest.fixture(autouse=True)
def _in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("NETDISSECT_FAST_CACHE", str(folder / "cache"))


def dissect(*options: str) -> int:
    return main(["dissect", "--model", "net.py:make", "--data", "scenes", "--quantile", "0.05", "--quiet", *options])


@pytest.mark.parametrize(
    ("text", "layer", "tokens"),
    [
        ("BHWC", None, nd.Tokens(layout="BHWC")),
        ("prefix=1,grid=14x14", None, nd.Tokens(grid=(14, 14), prefix=1)),
        ("TBD, prefix=5", None, nd.Tokens(prefix=5, layout="TBD")),
        ("layout=BCHW", None, nd.Tokens(layout="BCHW")),
        ("blocks.3:grid=7x9", "blocks.3", nd.Tokens(grid=(7, 9))),
        ("encoder@0:hidden_states.-1:prefix=0", "encoder@0:hidden_states.-1", nd.Tokens(prefix=0)),
    ],
)
def test_values(text: str, layer: str | None, tokens: nd.Tokens) -> None:
    assert tokens_of(text) == (layer, tokens)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected [LAYER:]TOKENS, such as BHWC or prefix=1,grid=14x14, got ''"),
        ("size=3", "expected [LAYER:]TOKENS, such as"),
        ("prefix=1,prefix=2", "expected [LAYER:]TOKENS, such as"),
        ("prefix=", "expected [LAYER:]TOKENS, such as"),
        ("blocks.3", "layout must be BTD, TBD, BDT, BCHW or BHWC, got 'blocks.3'"),
        ("prefix=one", "expected prefix=a number, got 'prefix=one'"),
        ("grid=14", "expected grid=ROWSxCOLUMNS, got 'grid=14'"),
        ("grid=0x14", "grid must be (rows, columns), each at least 1"),
        ("prefix=-1", "prefix must be at least 0"),
    ],
)
def test_wrong_values_are_wrong_usage(text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        dissect("--layers", "conv", "--tokens", text)
    assert stop.value.code == 2
    assert f"argument --tokens: {message}" in capsys.readouterr().err


def same(a: Any, b: Any) -> None:
    np.testing.assert_array_equal(a.thresholds, b.thresholds)
    np.testing.assert_array_equal(a.iou, b.iou)
    assert a.grid == b.grid


def test_channels_last_and_tokens_by_layer(tmp_path: Path) -> None:
    """The same units as those of the convolution before, and the same as from Python."""
    layers = ["--layers", "conv,last,tokens"]
    assert (
        dissect(*layers, "--tokens", "last:BHWC", "--tokens", "tokens:prefix=1,grid=8x8", "--out", str(tmp_path)) == 0
    )
    result = nd.load(tmp_path)
    for name in ("last", "tokens"):
        assert len(result[name].thresholds) == 40
        same(result[name], result["conv"])
    model, tokens = load_model("net.py:make"), {"last": nd.Tokens(layout="BHWC")}
    other = nd.dissect(model, nd.Broden("scenes"), ["last"], tokens=tokens, quantile="0.05", progress=False)
    assert other["last"].grid == result["last"].grid


def test_one_value_for_all_layers_and_another_for_one(tmp_path: Path) -> None:
    given = ["--tokens", "BHWC", "--tokens", "conv:BCHW"]
    assert dissect("--layers", "conv,last", *given, "--out", str(tmp_path)) == 0
    result = nd.load(tmp_path)
    same(result["last"], result["conv"])


def test_a_layer_that_is_not_dissected_or_is_given_twice(capsys: pytest.CaptureFixture[str]) -> None:
    assert dissect("--layers", "last", "--tokens", "lost:BHWC") == 1
    assert "an option was given for layer 'lost', but the layers are 'last'" in capsys.readouterr().err
    assert dissect("--layers", "last", "--tokens", "BHWC", "--tokens", "BCHW") == 1
    assert "--tokens is given twice" in capsys.readouterr().err


def test_explain_takes_tokens(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dissect("--layers", "last", "--tokens", "BHWC", "--out", str(tmp_path)) == 0
    photo = str(next((folder / "scenes" / "images").rglob("*.png"), None) or next((folder / "scenes").rglob("*.jpg")))
    command = ["explain", str(tmp_path), "--model", "net.py:make", "--image", photo]
    capsys.readouterr()
    for given in ("BHWC", "last:BHWC"):
        assert main([*command, "--tokens", given]) == 0
        assert "unit" in capsys.readouterr().out
    assert main([*command, "--tokens", "conv:BHWC"]) == 1
    assert "--tokens names layer 'conv', but the layer is 'last'" in capsys.readouterr().err
