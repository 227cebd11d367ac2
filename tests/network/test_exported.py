"""Networks saved by torch.export: loaded so that their layers can be watched, refused where they could run code."""

from __future__ import annotations

import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netdissect_fast.errors import LayerError, ModelError
from netdissect_fast.network.hooks import resolve_layers, static_batch_size, watch
from netdissect_fast.network.models import load_model
from netdissect_fast.runs.records import model_hash
from tests.network.test_weights import Payload


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return (self.bn(self.conv(x)) + x).relu_()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.layer1 = nn.Conv2d(3, 8, 3, stride=2), nn.Sequential(Block(8), Block(8))
        self.drop, self.fc = nn.Dropout(0.5), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.drop(self.layer1(self.stem(x))).mean((2, 3)))


def export(model: nn.Module, path: Path, *inputs: Tensor, dynamic: bool = False) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
        torch.export.save(torch.export.export(model, inputs, dynamic_shapes=shapes), path)
    return path


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module", params=["static", "dynamic"])
def saved(request: pytest.FixtureRequest, network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / f"{request.param}.pt2"
    return export(network, path, torch.zeros(4, 3, 16, 16), dynamic=request.param == "dynamic")


LAYERS = ["stem", "layer1.0.bn", "layer1.1", "fc"]


def test_layers_of_an_export_are_those_of_the_network(saved: Path, network: nn.Module) -> None:
    model = load_model(str(saved))
    assert not any(module.training for module in model.modules())
    assert static_batch_size(model) == (4 if saved.stem == "static" else None)
    assert model.input_size == (3, 16, 16)
    assert model_hash(model) == model_hash(network)
    x = torch.randn(7, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected: dict[str, Tensor] = {}
    with watch(network, LAYERS, lambda name, maps: expected.update({name: maps.clone()})) as run:
        run(x)
    seen: dict[str, list[Tensor]] = {}
    with watch(model, LAYERS, lambda name, maps: seen.setdefault(name, []).append(maps.clone())) as run:
        for start in (0, 4):  # the last batch has three images
            run(x[start : start + 4])
    for name in LAYERS:
        assert [len(maps) for maps in seen[name]] == [4, 3]
        torch.testing.assert_close(torch.cat(seen[name]), expected[name])


def test_a_static_batch_size_is_named_where_it_is_exceeded(saved: Path) -> None:
    with watch(load_model(str(saved)), "fc", lambda *_: None) as run:
        if saved.stem == "dynamic":
            assert run(torch.zeros(5, 3, 16, 16)).shape == (5, 4)
        else:
            with pytest.raises(ModelError, match="batches of exactly 4 images, got 5"):
                run(torch.zeros(5, 3, 16, 16))


def test_the_second_call_of_a_module_has_torch_s_name_for_it(tmp_path: Path) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = Block(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.block(self.block(x))

    network, x = Twice().eval(), torch.randn(2, 3, 8, 8)
    model = load_model(str(export(network, tmp_path / "m.pt2", x)))
    with pytest.raises(LayerError, match="closest names: block"):
        resolve_layers(model, "block@one")
    seen: list[Tensor] = []
    with watch(model, "block@1", lambda _, maps: seen.append(maps.clone())) as run:
        run(x)
    torch.testing.assert_close(seen[0], network(x).detach())


class Pair(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (Net().train(), (torch.zeros(4, 3, 16, 16),), r"exported in training mode .*call model.eval\(\) before"),
        (nn.Dropout().train(), (torch.zeros(1, 3, 4, 4),), r"exported in training mode \(aten::dropout\)"),
        (Pair(), (torch.zeros(1, 3, 4, 4),) * 2, r"inputs of shapes \[\[1, 3, 4, 4\], \[1, 3, 4, 4\]\]"),
        (nn.ReLU(), (torch.zeros(4, 3),), r"expected a network with one input \[B, C, Y, X\].*\[\[4, 3\]\]"),
    ],
)
def test_exports_that_cannot_be_dissected(
    tmp_path: Path, model: nn.Module, inputs: tuple[Tensor, ...], message: str
) -> None:
    path = export(model, tmp_path / "m.pt2", *inputs)
    with pytest.raises(ModelError, match=message):
        load_model(str(path))


def changed(path: Path, target: Path, change: Callable[[str, bytes], bytes], extra: dict[str, bytes]) -> Path:
    """Copy an archive with its members changed, and others added."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        root = old.namelist()[0].partition("/")[0]
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
        for name, data in extra.items():
            new.writestr(f"{root}/{name}", data)
    return target


def in_json(member: str, change: Callable[[Any], None]) -> Callable[[str, bytes], bytes]:
    def function(name: str, data: bytes) -> bytes:
        if not name.endswith(member):
            return data
        value = json.loads(data)
        change(value)
        return json.dumps(value).encode()

    return function


def _first_target(value: Any, target: str) -> None:
    value["graph_module"]["graph"]["nodes"][0]["target"] = target


def _first_size(value: Any, expression: str) -> None:
    sizes = value["graph_module"]["graph"]["tensor_values"]["x"]["sizes"]
    sizes[0] = {"as_expr": {"expr_str": expression, "hint": {"as_int": 4}}}


def _pickled_weight(value: Any) -> None:
    next(iter(value["config"].values()))["use_pickle"] = True


def payload(mark: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save({"x": Payload(mark)}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "attack", ["size", "operator", "library", "sample inputs", "weight", "custom object", "opaque object", "compiled"]
)
def test_code_in_an_export_never_runs(tmp_path: Path, saved: Path, attack: str) -> None:
    mark, target = tmp_path / "ran", tmp_path / "m.pt2"
    run = f"__import__('os').system('echo > {mark}')"
    nothing = lambda name, data: data  # noqa: E731
    change, extra, message = {
        "size": (in_json("model.json", lambda v: _first_size(v, run)), {}, "size that is not arithmetic"),
        "operator": (
            in_json("model.json", lambda v: _first_target(v, "torch.os.system")),
            {},
            "not a registered operator",
        ),
        "library": (
            in_json("model.json", lambda v: _first_target(v, "torch.ops.load_library.__call__")),
            {},
            "not a registered operator",
        ),
        "sample inputs": (lambda n, d: payload(mark) if n.endswith("model.pt") else d, {}, "more than tensors"),
        "weight": (
            lambda n, d: (
                payload(mark) if n.endswith("weight_0") else in_json("weights_config.json", _pickled_weight)(n, d)
            ),
            {},
            "more than tensors",
        ),
        "custom object": (nothing, {"data/constants/custom_obj_0": payload(mark)}, "holds a Python object"),
        "opaque object": (nothing, {"data/constants/opaque_obj_0": pickle.dumps(Payload(mark))}, "a Python object"),
        "compiled": (nothing, {"data/aotinductor/model/m.so": b"code"}, "holds compiled or scripted code"),
    }[attack]
    with pytest.raises(ModelError, match=message):
        load_model(str(changed(saved, target, change, extra)))
    assert not mark.exists()


def test_an_export_that_unpacks_to_far_more(tmp_path: Path, saved: Path) -> None:
    target = tmp_path / "m.pt2"
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name) + (b" " * 10**7 if name.endswith("model.json") else b""))
    with pytest.raises(ModelError, match=r"would unpack to \d+ bytes, far more than torch"):
        load_model(str(target))


@pytest.mark.parametrize(
    ("expression", "harmless"),
    [
        ("s77", True),
        ("2*s0 - 1", True),
        ("Max(1, FloorDiv(s0 - 1, 2) + 1)", True),
        ("0.5*s0", True),
        ("Mul(Float('0.5', precision=53), Symbol('s77', positive=True, integer=True))", True),
        ("Symbol('s77'.real)", False),
        ("S('s77')", False),
        ("exec(s0)", False),
        ("s0.real", False),
        ("'s0'", False),
        ("[s0]", False),
        ("a" * 5000 + "!", False),  # and quickly
    ],
)
def test_sizes_may_be_arithmetic_only(expression: str, harmless: bool) -> None:
    from netdissect_fast.network.exported import _SIZE

    assert (_SIZE.fullmatch(expression) is not None) == harmless


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04garbage", "other", "truncated", "no graph"])
def test_broken_exports_are_named(tmp_path: Path, saved: Path, content: Any) -> None:
    path = tmp_path / "m.pt2"
    if content == "other":
        torch.save({"x": torch.zeros(3)}, path)
    elif content == "truncated":
        path.write_bytes(saved.read_bytes()[:-1000])
    elif content == "no graph":
        changed(saved, path, in_json("model.json", lambda v: v.pop("graph_module")), {})
    else:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"m.pt2: "):
        load_model(str(path))
