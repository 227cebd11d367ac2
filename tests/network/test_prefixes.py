"""Checkpoints as others write them: the network is found under its prefix, and whatever else is there is named."""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from netdissect_fast.errors import ArgumentError, ModelError
from netdissect_fast.network.models import load_model
from netdissect_fast.network.weights import WeightsWarning, load_weights

Weights = dict[str, Tensor]


class Small(nn.Module):
    """A network with a block of two convolutions, a batch norm and a head."""

    def __init__(self, classes: int = 5, blocks: int = 2) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1, bias=False)
        self.blocks = nn.Sequential(*(nn.Conv2d(4, 4, 1) for _ in range(blocks)))
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.norm(self.blocks(self.stem(x))).mean((2, 3)))


def random_weights(seed: int = 1, network: Callable[[], nn.Module] = Small) -> Weights:
    """Return other values for each tensor of a network."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(value.shape, generator=generator).to(value.dtype)
        for name, value in network().state_dict().items()
    }


def under(prefix: str, weights: Weights) -> Weights:
    return {prefix + name: value for name, value in weights.items()}


def same(model: nn.Module, weights: Weights) -> bool:
    return all(torch.equal(value, weights[name].to(value.dtype)) for name, value in model.state_dict().items())


MINE, OTHER = random_weights(1), random_weights(2)
X = torch.ones(3)


@pytest.mark.parametrize(
    ("content", "left"),
    [
        pytest.param(under("module.", MINE), [], id="DataParallel"),
        pytest.param(under("_orig_mod.", MINE), [], id="torch.compile"),
        pytest.param(under("_orig_mod.module.", MINE), [], id="both"),
        pytest.param({n.replace(".", "._orig_mod.", 1): v for n, v in MINE.items()}, [], id="compiled parts"),
        pytest.param({n.replace("blocks.", "blocks.module."): v for n, v in MINE.items()}, [], id="a parallel part"),
        pytest.param({"model": MINE, "optimizer": {"state": {0: {"exp_avg": X}}}, "epoch": 3}, [], id="optimizer"),
        pytest.param({"model": {"state_dict": MINE}, "args": None}, [], id="nested twice"),
        pytest.param({"state_dict": under("module.", MINE), "best_acc1": 0.5}, [], id="ImageNet example"),
        pytest.param({"state_dict_ema": MINE, "epoch": 1}, [], id="average alone"),
        pytest.param({"state_dict": MINE, "weights": MINE, "list": [X]}, [], id="one dict twice"),
        pytest.param(
            {"state_dict": {**under("model.", MINE), "criterion.w": X}, "epoch": 1, "pytorch-lightning_version": "2"},
            ["state_dict.criterion.w"],
            id="Lightning",
        ),
        pytest.param({**under("module.", MINE), "n_averaged": torch.tensor(7)}, ["n_averaged"], id="SWA"),
        pytest.param(
            {"state_dict": {**under("module.encoder_q.", MINE), "module.queue": X, "module.encoder_k.fc.weight": X}},
            ["state_dict.module.queue", "state_dict.module.encoder_k.fc.weight"],
            id="MoCo",
        ),
        pytest.param(
            {**MINE, "projector.0.weight": X, "temperature": X}, ["projector.0.weight", "temperature"], id="CL"
        ),
    ],
)
def test_the_network_is_found(tmp_path: Path, content: Any, left: list[str]) -> None:
    path, model = tmp_path / "c.ckpt", Small()
    torch.save(content, path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_weights(model, path)
    assert same(model, MINE)
    said = [str(warning.message) for warning in caught if warning.category is WeightsWarning]
    assert len(said) == bool(left)
    for text in said:
        assert text.startswith(f"{path}: ")
        assert text.endswith(f"left over: {len(left)} tensor{'s' if len(left) > 1 else ''} ({', '.join(left)})")


def test_where_it_was_found_is_said(tmp_path: Path) -> None:
    torch.save({"state_dict": {**under("model.", MINE), "criterion.w": X}}, tmp_path / "a.ckpt")
    with pytest.warns(
        WeightsWarning, match=r"the network is under 'state_dict.model'; left over: 1 tensor \(state_dict\.c"
    ):
        load_weights(Small(), tmp_path / "a.ckpt")


NAMES = st.text("abcmodel_0", min_size=1, max_size=4)
PREFIXES = st.lists(st.one_of(NAMES, st.sampled_from(["module", "_orig_mod", "model"])), max_size=3)


@settings(max_examples=60, deadline=None)
@given(dicts=st.lists(NAMES, max_size=3), prefix=PREFIXES, beside=st.dictionaries(NAMES, NAMES, max_size=3))
def test_any_prefix_and_any_nesting(dicts: list[str], prefix: list[str], beside: dict[str, str]) -> None:
    content: dict[str, Any] = under("".join(f"{part}." for part in prefix), MINE)
    content |= {f"loss_{name}.{rest}": X for name, rest in beside.items()}
    for name in dicts:
        content = {"epoch": 3, name: content}
    model = Small()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.save(content, Path(folder) / "w.pth")
        load_weights(model, Path(folder) / "w.pth")
    assert same(model, MINE)
    assert len(caught) == bool(beside)
    for warning in caught:
        assert f"left over: {len(beside)} tensor" in str(warning.message)


TWICE = [
    pytest.param({"state_dict": OTHER, "state_dict_ema": MINE}, "state_dict_ema", id="timm"),
    pytest.param(
        {"state_dict": {**under("module.encoder_q.", MINE), **under("module.encoder_k.", OTHER)}},
        "encoder_q",
        id="MoCo",
    ),
    pytest.param({"state_dict": {**under("net.", OTHER), **under("ema.module.", MINE)}}, "ema", id="Lightning"),
    pytest.param({**MINE, **under("teacher.", OTHER)}, "", id="without any"),
]


@pytest.mark.parametrize(("content", "prefix"), TWICE)
def test_a_network_that_is_there_twice_is_chosen(tmp_path: Path, content: Any, prefix: str) -> None:
    path, model = tmp_path / "c.pth", Small()
    torch.save(content, path)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(
        ModelError, match=r"holds the network 2 times, under .*; choose one with --weights-prefix"
    ) as told:
        load_weights(model, path)
    assert same(model, before)
    with pytest.warns(WeightsWarning, match=f"left over: {len(OTHER)} tensors"):
        load_weights(model, path, prefix=prefix)
    assert same(model, MINE)
    for listed in str(told.value).partition("under ")[2].partition(";")[0].split(", "):  # each that it lists works
        with pytest.warns(WeightsWarning, match="left over"):
            load_weights(model, path, prefix=listed.strip("'"))
        assert same(model, MINE) or same(model, OTHER)


def test_shapes_tell_two_places_apart(tmp_path: Path) -> None:
    wide = random_weights(3, lambda: Small(classes=9))
    torch.save({"a": wide, "b": MINE}, tmp_path / "w.pth")
    model = Small()
    with pytest.warns(
        WeightsWarning, match=rf"under 'b'; left over: {len(wide)} tensors \(a\.stem\.weight, .*, \.\.\.\)"
    ):
        load_weights(model, tmp_path / "w.pth")
    assert same(model, MINE)


def test_a_prefix_that_is_not_there(tmp_path: Path) -> None:
    torch.save({"state_dict": under("net.", MINE)}, tmp_path / "w.pth")
    for wrong in ("ema", "sta", ""):
        with pytest.raises(ArgumentError, match=rf"is under prefix '{wrong}'; it is under 'state_dict.net'$"):
            load_weights(Small(), tmp_path / "w.pth", prefix=wrong)
    for right in ("state_dict", "net", "state_dict.net", "state_dict.net."):
        load_weights(Small(), tmp_path / "w.pth", prefix=right)


def headless(weights: Weights) -> Weights:
    return {name: value for name, value in weights.items() if not name.startswith("fc.")}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (under("module.", headless(MINE)), "under 'module': 2 missing: fc.weight, fc.bias"),
        (random_weights(1, lambda: Small(classes=9)), r"2 of a different shape: fc.weight \[9, 4\] where the model"),
    ],
)
def test_an_absent_head_is_asked_for(tmp_path: Path, content: Weights, problem: str) -> None:
    path, model = tmp_path / "w.pth", Small()
    torch.save(content, path)
    head = model.fc.weight.clone()
    with pytest.raises(ModelError, match=problem) as told:
        load_weights(model, path)
    assert "random weights in fc.weight, fc.bias" in str(told.value)
    assert str(told.value).endswith("--without-head fc (in Python, without_head='fc')")
    with pytest.warns(WeightsWarning) as warned:
        load_weights(model, path, without_head="fc")
    assert any("not read, as without_head says: 2 tensors (fc.weight, fc.bias)" in str(w.message) for w in warned)
    assert torch.equal(model.fc.weight, head)
    assert torch.equal(model.blocks[1].bias, MINE["blocks.1.bias"])


def test_only_what_is_under_the_head_may_be_missing(tmp_path: Path) -> None:
    content = headless(MINE)
    del content["blocks.0.bias"]
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"1 missing: blocks\.0\.bias"):
        load_weights(Small(), tmp_path / "w.pth", without_head=["fc"])
    with pytest.raises(ModelError, match=r"3 missing: blocks\.0\.bias, fc\.weight, fc\.bias$"):  # no head to name
        load_weights(Small(), tmp_path / "w.pth")
    for wrong in ("f", "head", "fc.weight", ""):
        with pytest.raises(ArgumentError, match=r"is no module with weights; the model has stem, blocks, norm, fc"):
            load_weights(Small(), tmp_path / "w.pth", without_head=wrong)
    with pytest.raises(ModelError, match="no weights to load besides its head"):
        load_weights(Small(), tmp_path / "w.pth", without_head=["fc", "blocks", "stem", "norm"])


@pytest.mark.parametrize(
    ("content", "surplus"),
    [
        pytest.param(
            random_weights(1, lambda: Small(blocks=3)), "blocks.2.weight, blocks.2.bias", id="a deeper network"
        ),
        pytest.param({**MINE, "stem.bias": X}, "stem.bias", id="a bias that the model lacks"),
        pytest.param({**MINE, "blocks.0.se.weight": X}, "blocks.0.se.weight", id="more within a block"),
    ],
)
def test_another_network_is_refused(tmp_path: Path, content: Weights, surplus: str) -> None:
    """All that the model has is there, but the file's network computes something else."""
    torch.save({"model": content}, tmp_path / "w.pth")
    names = ", ".join(f"model.{name}" for name in surplus.split(", "))
    with pytest.raises(ModelError, match=f"not in the model: {names}; they belong to modules that the model has"):
        load_weights(Small(), tmp_path / "w.pth")


def test_a_longer_sequence_is_refused(tmp_path: Path) -> None:
    layers = [nn.Conv2d(3, 3, 1) for _ in range(3)]
    torch.save(nn.Sequential(*layers).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"2 not in the model: 2\.weight, 2\.bias"):
        load_weights(nn.Sequential(*layers[:2]), tmp_path / "w.pth")


def test_what_evaluation_does_not_need_may_be_left(tmp_path: Path) -> None:
    """Indices that were once saved, and the head that was replaced by nothing."""
    model = Small()
    model.fc = nn.Identity()
    torch.save({**MINE, "blocks.0.position_ids": torch.arange(3)}, tmp_path / "w.pth")
    with pytest.warns(WeightsWarning, match=r"left over: 3 tensors \(fc\.weight, fc\.bias, blocks\.0\.pos"):
        load_weights(model, tmp_path / "w.pth")


def test_names_by_which_two_tensors_would_be_one(tmp_path: Path) -> None:
    torch.save({"a": {"b.c": X}, "a.b": {"c": X}}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"holds two tensors named a.b.c"):
        load_weights(Small(), tmp_path / "w.pth")


def test_a_dict_in_itself_ends(tmp_path: Path) -> None:
    content: dict[str, Any] = {"state_dict": MINE}
    content["again"] = content
    torch.save(content, tmp_path / "w.pth")
    model = Small()
    load_weights(model, tmp_path / "w.pth")
    assert same(model, MINE)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (Small(), "Small"),
        ({"state_dict": MINE, "args": argparse.Namespace(lr=1)}, "argparse.Namespace"),
        ({"state_dict": MINE, "best": np.float64(0.5)}, "numpy"),
        ({"state_dict": MINE, "path": Path("a")}, "pathlib"),
    ],
    ids=["model", "argparse", "NumPy scalar", "path"],
)
def test_what_is_more_than_tensors_is_refused(tmp_path: Path, content: Any, named: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=rf"holds Python objects \(\S*{named}\S*\).*save them with torch.save\("):
        load_weights(Small(), tmp_path / "w.pth")


def test_half_precision_and_the_old_format(tmp_path: Path) -> None:
    halves = {name: value.half() if value.is_floating_point() else value for name, value in MINE.items()}
    torch.save(halves, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    model = Small()
    load_weights(model, tmp_path / "w.pth")
    assert same(model, halves)


@pytest.mark.parametrize(
    "content",
    [b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", b"<!DOCTYPE html><html></html>"],
    ids=["empty", "Git LFS", "HTML"],
)
@pytest.mark.parametrize("suffix", ["pth", "safetensors", "npz", "ckpt"])
def test_what_is_no_checkpoint(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"w.{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"w\.{suffix}: is not "):
        load_weights(Small(), path)


def test_a_model_on_the_meta_device_takes_the_weights(tmp_path: Path) -> None:
    torch.save({"state_dict": MINE}, tmp_path / "w.pth")
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\ndef make():\n    with torch.device('meta'):\n"
        "        return nn.Sequential(nn.Conv2d(3, 4, 1, bias=False))\n"
    )
    torch.save({"0.weight": MINE["stem.weight"]}, tmp_path / "one.pth")
    model = load_model(f"{tmp_path / 'net.py'}:make", tmp_path / "one.pth")
    assert torch.equal(model.state_dict()["0.weight"], MINE["stem.weight"])
    with pytest.raises(ModelError, match=r"weights are not loaded: 0\.weight are on the meta device"):
        load_model(f"{tmp_path / 'net.py'}:make")


def test_the_docs_quote_what_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "checkpoints.md").read_text(encoding="utf-8")
    quoted = " ".join(page.split())
    torch.save({"state_dict": {**under("model.", MINE), "criterion.weight": X}}, "last.ckpt")
    with pytest.warns(WeightsWarning) as warned:
        load_weights(Small(), Path("last.ckpt"))
    assert f"netdissect-fast: warning: {warned[0].message}" in quoted
    torch.save({"state_dict": MINE, "state_dict_ema": OTHER}, "last.pth")
    torch.save(headless(MINE), "moco.pth")
    for name in ("last.pth", "moco.pth"):
        with pytest.raises(ModelError) as told:
            load_weights(Small(), Path(name))
        assert f"netdissect-fast: error: {told.value}" in quoted
