"""Networks that cannot run: the errors say why and what to do, and doing it works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netdissect_fast as nd
from netdissect_fast.cli import main
from netdissect_fast.errors import ModelError
from netdissect_fast.network.hooks import outputs, watch

from ..support.networks import two_layers

CLIP = """
from torch import nn

class Text(nn.Module):
    def forward(self, ids):
        return ids.view(ids.size())

class Clip(nn.Module):
    def __init__(self):
        super().__init__()
        self.text_model = Text()
        self.vision_model = nn.Sequential(nn.Conv2d(3, 4, 5, 2), nn.ReLU())

    def forward(self, input_ids=None, pixel_values=None):
        return self.text_model(input_ids), self.vision_model(pixel_values)

def whole():
    return Clip()

def part():
    return whole().vision_model
"""


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the options of a dissection besides the model and its layers; ``net.py`` has a network of two parts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NETDISSECT_FAST_CACHE", str(tmp_path / "cache"))
    (tmp_path / "net.py").write_text(CLIP)
    assert main(["data", "synth", "scenes", "--images", "6", "--size", "32"]) == 0
    return ["--data", "scenes", "--input-size", "32", "--mean", "0.5", "--std", "0.5", "--quantile", "0.05"]


def test_of_a_network_that_reads_text_the_image_part_is_named(
    clip: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dissect", "--model", "net.py:whole", "--layers", "vision_model.1", *clip]) == 1
    said = capsys.readouterr().err
    assert "the model raised AttributeError on a batch" in said or "the model raised TypeError on a batch" in said
    assert "dissect the part that sees them, model.vision_model, alone" in said
    assert "--model FILE.py:FUNCTION" in said
    assert main(["dissect", "--model", "net.py:part", "--layers", "1", *clip]) == 0  # what it says to do


class Fails(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("no such size")


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        (["text_model", "vision_model"], "vision_model"),
        (["visual", "transformer", "token_embedding"], "visual"),
        (["image_encoder", "text_encoder"], "image_encoder"),
        (["vision_tower", "language_model"], "vision_tower"),
        (["vision_model"], ""),  # a CLIPVisionModel of transformers: already the part
        (["text_model"], ""),
        (["conv", "fc"], ""),
    ],
)
def test_only_networks_of_both_get_the_hint(parts: list[str], named: str) -> None:
    model = nn.ModuleDict({name: nn.Identity() for name in parts})
    model["fails"] = Fails()
    model.forward = model["fails"].forward  # type: ignore[method-assign]
    with pytest.raises(ModelError, match=r"raised ValueError on a batch .*: no such size") as told:
        outputs(model, torch.zeros(1, 3, 8, 8))
    assert re.findall(r"model\.(\w+), alone", str(told.value)) == ([named] if named else [])


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return nn.Sequential(nn.Conv2d(3, 4, 5, 2, bias=False), nn.BatchNorm2d(4))


@pytest.mark.parametrize(
    "use",
    [
        lambda model: nd.dissect(model, nd.Synthetic(images=4), "0", preprocess=nd.Preprocess(32), progress=False),
        lambda model: nd.estimate(model, nd.Synthetic(images=4), "0", preprocess=nd.Preprocess(32)),
        lambda model: watch(model, "0", print).__enter__(),
        lambda model: outputs(model, torch.zeros(1, 3, 8, 8)),
        lambda model: outputs(nn.DataParallel(model), torch.zeros(1, 3, 8, 8)),
    ],
    ids=["dissect", "estimate", "watch", "outputs", "wrapped"],
)
def test_weights_that_are_not_loaded(use: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETDISSECT_FAST_CACHE", str(tmp_path))
    with pytest.raises(
        ModelError, match=r"weights are not loaded: 0\.weight, 1\.weight, .*, \.\.\. are on the meta device; make"
    ):
        use(on_meta())


def test_one_tensor_without_values_is_enough(tmp_path: Path) -> None:
    model = two_layers()
    model.register_buffer("scale", torch.zeros(1, device="meta"), persistent=False)
    with pytest.raises(ModelError, match="not loaded: scale are on the meta device"), watch(model, "0", print):
        pass
