"""Reading weights: every tensor accounted for, nothing run."""

from __future__ import annotations

import os
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from netdissect_fast.cli import main
from netdissect_fast.errors import ModelError
from netdissect_fast.network.weights import load_weights, read_weights

from ..support.planted import plant
from ..support.tiny_broden import write_tiny


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {name: torch.rand_like(value.float()).to(value.dtype) for name, value in network().state_dict().items()}


def save(path: Path, weights: dict[str, torch.Tensor]) -> Path:
    if path.suffix == ".safetensors":
        save_file(weights, path)
    elif path.suffix == ".npz":
        np.savez(path, **{name: value.numpy() for name, value in weights.items()})
    else:
        torch.save(weights, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth", ".th", ".pt", ".bin"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module."])
def test_every_format(tmp_path: Path, weights: dict[str, torch.Tensor], suffix: str, prefix: str) -> None:
    model = network()
    load_weights(model, save(tmp_path / f"w{suffix}", {prefix + name: value for name, value in weights.items()}))
    loaded = model.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: {"state_dict": w, "epoch": 3, "best": 0.5},
        lambda w: {"model": w, "optimizer": {"lr": 0.1}},
        lambda w: {"net": {"state_dict": w}, "args": None},
    ],
)
def test_state_dicts_within_checkpoints(tmp_path: Path, weights: dict[str, torch.Tensor], wrap: Any) -> None:
    torch.save(wrap(weights), tmp_path / "w.pth")
    model = network()
    load_weights(model, tmp_path / "w.pth")
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_old_checkpoints_lack_the_batch_counter(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    del weights["1.num_batches_tracked"]
    model = network()
    load_weights(model, save(tmp_path / "w.pth", weights))
    assert torch.equal(model[1].running_var, weights["1.running_var"])


def test_names_and_shapes_that_do_not_fit_are_listed(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    weights["0.weight"] = torch.zeros(4, 2, 1, 1)
    for name in ("a", "b", "c", "d"):
        weights[name] = torch.zeros(1)
    del weights["1.bias"], weights["0.bias"]
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    expected = (
        r"does not fit the model: 2 missing: 0.bias, 1.bias; 4 not in the model: a, b, c, ...; "
        r"1 of a different shape: 0.weight \[4, 2, 1, 1\] where the model has \[4, 3, 1, 1\]$"
    )
    with pytest.raises(ModelError, match=expected):
        load_weights(model, save(tmp_path / "w.pth", weights))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


class Payload:
    """Something that runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"echo ran > '{self.mark}'",)


@pytest.mark.parametrize("how", ["torch", "pickle", "npz", "legacy torch", "in a zip"])
@pytest.mark.parametrize("suffix", [".pth", ".npz", ".safetensors", ".pkl"])
def test_a_planted_payload_never_runs(tmp_path: Path, how: str, suffix: str) -> None:
    mark, path = tmp_path / "ran", tmp_path / f"w{suffix}"
    payload = {"0.weight": torch.zeros(1), "x": Payload(mark)}
    with path.open("wb") as file:
        if how == "pickle":
            pickle.dump(payload, file)
        elif how == "npz":
            np.savez(file, x=np.array([Payload(mark)], dtype=object))
        elif how == "in a zip":
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("w/data.pkl", pickle.dumps(payload))
                archive.writestr("w/x.npy", pickle.dumps(payload))
        else:
            torch.save(payload, file, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(ModelError, match=str(path)):
        load_weights(network(), path)
    assert not mark.exists()
    with path.open("rb") as file:  # the payload is a real one
        if how == "pickle":
            pickle.load(file)
            assert mark.exists()


@pytest.mark.parametrize("name", ["evil.pkl", "evil.pt", "evil.pth", "evil.npz", "evil.pt2", "evil.safetensors"])
@pytest.mark.parametrize("option", ["--weights", "--model", "--data"])
def test_code_given_to_the_command_never_runs(
    tmp_path: Path, name: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(tmp_path / name, tmp_path / "ran")
    (tmp_path / "net.py").write_text("from torch import nn\ndef net():\n    return nn.Conv2d(3, 4, 1)\n")
    options = {"--model": f"{tmp_path / 'net.py'}:net", "--data": str(write_tiny(tmp_path / "tiny"))}
    options |= {"--layers": "none", "--out": str(tmp_path / "out"), option: str(tmp_path / name)}
    assert main(["dissect", *(text for pair in options.items() for text in pair)]) != 0
    assert name in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (nn.Conv2d(3, 4, 1), r"holds Python objects \(torch.nn.modules.conv.Conv2d\).* only tensors are read: save"),
        ({"epoch": 3, "optimizer": {}}, "expected weights by name, or under state_dict .* holds epoch, optimizer"),
        ([torch.zeros(3)], "expected weights by name, got a list; save them with torch.save"),
        ({}, "it holds nothing"),
    ],
)
def test_checkpoints_without_weights(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=message):
        read_weights(tmp_path / "w.pth")


@pytest.mark.filterwarnings("ignore")  # TorchScript is deprecated
def test_torchscript_is_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(network().eval(), torch.zeros(1, 3, 2, 2)), tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"is a TorchScript or exported network, not weights; save them with"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize("suffix", [".npz", ".pth"])
def test_an_archive_that_unpacks_to_far_more(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused by what its directory says; nothing is unpacked."""
    monkeypatch.setattr("netdissect_fast.network.weights._MOST", 1 << 20)
    path = tmp_path / f"w{suffix}"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/0.weight.npy", bytes(1 << 25))
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match="would unpack to 33554432 bytes"):
            read_weights(path)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_an_array_that_claims_to_be_huge(tmp_path: Path) -> None:
    header = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118)
    header += b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000,)}".ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("0.weight.npy", header + bytes(16))
    with pytest.raises(ModelError, match=r"w\.npz: is not an \.npz file of numbers"):
        read_weights(tmp_path / "w.npz")


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth"])
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no such files")
def test_what_is_no_file_is_not_opened(tmp_path: Path, suffix: str, kind: str) -> None:
    path = tmp_path / f"w{suffix}"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(ModelError, match="no such weights file"):
        read_weights(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04garbage", None])
def test_broken_files_are_named(tmp_path: Path, suffix: str, content: bytes | None) -> None:
    path = tmp_path / f"w{suffix}"
    if content is None:  # truncated
        whole = save(path, network().state_dict()).read_bytes()
        content = whole[: len(whole) // 2]
    path.write_bytes(content)
    with pytest.raises(ModelError, match="w\\" + suffix) as caught:
        read_weights(path)
    assert "weights_only=False" not in str(caught.value)
    with pytest.raises(ModelError, match="no such weights file"):
        read_weights(tmp_path / "nothing.pth")
