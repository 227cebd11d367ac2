"""Loading networks by name: from Python files, exports and libraries."""

from __future__ import annotations

import json
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from netdissect_fast.cli import main
from netdissect_fast.data.input.preprocess import Preprocess, from_model
from netdissect_fast.errors import ArgumentError, BackendUnavailable, ModelError
from netdissect_fast.network.hooks import watch
from netdissect_fast.network.models import load_model
from netdissect_fast.runs.records import model_hash

from ..support.tiny_broden import write_tiny

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def write(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_function_of_a_python_file(tmp_path: Path) -> None:
    write(tmp_path, "WIDTH = 5\n", "neighbour_of_mine.py")
    path = write(
        tmp_path,
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from torch import nn\n"
        "@dataclass\nclass Config:\n    width: int = 5\n"
        "def make(width=None):\n"
        "    import neighbour_of_mine\n"
        "    return nn.Conv2d(3, width or neighbour_of_mine.WIDTH, 1).train()\n",
        "torch.py",  # a name that is taken
    )
    before = sys.path.copy()
    model = load_model(f"{path}:make")
    assert isinstance(model, nn.Conv2d)
    assert model.out_channels == 5
    assert not model.training
    assert sys.path == before
    assert sys.modules["torch"] is torch
    del sys.modules["neighbour_of_mine"]


@pytest.mark.parametrize(
    ("text", "name", "kind", "message"),
    [
        ("def make(): return 3", "make", ModelError, r"make\(\) must return an nn.Module, got int"),
        ("def other(): pass\nclass Net: pass", "make", ArgumentError, "no function 'make'; it defines other, Net"),
        ("make = 3", "make", ArgumentError, "no function 'make'; it defines no function"),
        ("def make(depth): pass", "make", ArgumentError, r"callable without arguments \(missing .* 'depth'\)"),
        ("def make():\n    x = 1\n    return x / 0", "make", ModelError, r"mine.py, line 3: make\(\) raised ZeroDiv"),
        ("\nimport nothing_of_that_name", "make", ModelError, "mine.py, line 2: importing it raised ModuleNotFound"),
        ("raise SystemExit(3)", "make", ModelError, "mine.py, line 1: importing it raised SystemExit"),
        ("x = 1\ndef make(:\n", "make", ModelError, "mine.py, line 2: not Python"),
        ("def make(): pass\ndef _no(): pass", "", ArgumentError, "which function makes the network: .*defines make$"),
    ],
)
def test_python_files_that_give_no_network(tmp_path: Path, text: str, name: str, kind: Any, message: str) -> None:
    path = write(tmp_path, text)
    loaded = set(sys.modules)
    with pytest.raises(kind, match=message):
        load_model(f"{path}:{name}" if name else str(path))
    if "raised" in message and "make" not in message:  # a file that cannot be imported leaves nothing behind
        assert not [module for module in set(sys.modules) - loaded if "netdissect_fast_model" in module]


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ("nothing.py:make", ModelError, "nothing.py: no such file"),
        ("nothing.pt2", ModelError, "nothing.pt2: no such file"),
        ("resnet18", ArgumentError, "a model is given as path/to/file.py:function, .*; got 'resnet18'"),
        ("best.pth", ArgumentError, "that is a weights file: pass it as --weights"),
        ("last.ckpt", ArgumentError, "that is a weights file: pass it as --weights"),
        ("keras:resnet18", ArgumentError, "a model is given as"),
        ("", ArgumentError, "a model is given as"),
    ],
)
def test_specs_that_name_nothing(spec: str, kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        load_model(spec)


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_libraries_that_are_not_installed(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)  # type: ignore[arg-type]
    with pytest.raises(BackendUnavailable, match=f"{library} is not installed .*pip install {library}"):
        load_model(f"{library}:resnet18")


@pytest.mark.parametrize("library", ["torchvision", "timm"])
@pytest.mark.parametrize(
    "raised",
    [
        "RuntimeError('operator torchvision::nms\\ndoes not exist')",
        "AttributeError('no extension')",
        "ImportError('DLL')",
    ],
)
def test_libraries_that_do_not_fit_torch(
    library: str, raised: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are installed, but importing them raises anything: one line says what, and which version is needed."""
    write(tmp_path, f"raise {raised}\n", f"{library}.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, library, raising=False)
    kind, said = raised.split("(")[0], raised.split("'")[1].replace("\\n", " ")
    message = (
        f"{library} is installed, but importing it raised {kind}: {said}; its version must fit that of torch, "
        f"{torch.__version__}: pip install --upgrade torch torchvision"
    )
    with pytest.raises(BackendUnavailable, match=f"^{re.escape(message)}"):
        load_model(f"{library}:resnet18")
    assert (
        main(["dissect", "--model", f"{library}:resnet18", "--layers", "a", "--data", str(write_tiny(tmp_path))]) == 1
    )
    assert message in capsys.readouterr().err.splitlines()[0]


class Preset:
    crop_size, resize_size, mean, std = [224], [256], [0.5, 0.5, 0.5], [0.2, 0.2, 0.2]


def test_torchvision_never_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def resnet18(*, weights: Any = "download") -> nn.Module:
        asked.append({"weights": weights})
        return nn.Conv2d(3, 4, 1)

    def fcn(*, weights: Any = "download", weights_backbone: Any = "download") -> nn.Module:
        asked.append({"weights": weights, "weights_backbone": weights_backbone})
        return nn.Conv2d(3, 4, 1)

    builders = {"resnet18": resnet18, "fcn": fcn}
    models = types.SimpleNamespace(
        list_models=lambda: list(builders),
        get_model_builder=builders.__getitem__,
        get_model_weights=lambda name: types.SimpleNamespace(DEFAULT=types.SimpleNamespace(transforms=Preset)),
    )
    monkeypatch.setitem(sys.modules, "torchvision", types.SimpleNamespace(models=models))  # type: ignore[arg-type]
    assert from_model(load_model("torchvision:resnet18")) == Preprocess(224, 0.5, 0.2)  # resized, not cropped
    load_model("torchvision:fcn")
    assert asked == [{"weights": None}, {"weights": None, "weights_backbone": None}]
    with pytest.raises(ArgumentError, match="torchvision has no architecture 'resnet8'; closest names: resnet18"):
        load_model("torchvision:resnet8")


def test_timm_never_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    def create_model(name: str, *, pretrained: bool) -> nn.Module:
        assert not pretrained
        model = nn.Conv2d(3, 4, 1)
        model.pretrained_cfg = {"input_size": (3, 224, 224), "mean": (0.5,) * 3, "std": (0.2,) * 3, "crop_pct": 0.9}
        return model

    timm = types.SimpleNamespace(create_model=create_model, list_models=lambda: ["vit_tiny", "resnet50"])
    monkeypatch.setitem(sys.modules, "timm", timm)  # type: ignore[arg-type]
    assert from_model(load_model("timm:resnet50.a1_in1k")) == Preprocess(224, 0.5, 0.2)
    with pytest.raises(ArgumentError, match=r"timm has no architecture 'resnet49'; closest names: resnet50$"):
        load_model("timm:resnet49")
    with pytest.raises(ArgumentError, match=r"no architecture 'hf-hub:someone/model'; see timm's list_models\(\)$"):
        load_model("timm:hf-hub:someone/model")


def test_an_architecture_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def create_model(name: str, *, pretrained: bool) -> nn.Module:
        raise RuntimeError("operator torchvision::nms\ndoes not exist")

    timm = types.SimpleNamespace(create_model=create_model, list_models=lambda: ["resnet50"])
    monkeypatch.setitem(sys.modules, "timm", timm)  # type: ignore[arg-type]
    said = "timm cannot make 'resnet50': RuntimeError: operator torchvision::nms does not exist"
    with pytest.raises(ModelError, match=f"^{said}$"):
        load_model("timm:resnet50")


def test_hash_covers_names_dtypes_shapes_and_values() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    first = model_hash(model)
    assert len(first) == 64
    assert first == model_hash(nn.DataParallel(model)) == model_hash(model.to(memory_format=torch.channels_last))
    seen = {first, model_hash(nn.Sequential(model)), model_hash(model[0])}
    with torch.no_grad():
        model[1].running_mean[2] += 1
    seen.add(model_hash(model))
    with torch.no_grad():
        model[0].weight.copy_(model[0].weight.flatten()[torch.arange(11, -1, -1)].view(4, 3, 1, 1))
    seen.add(model_hash(model))
    seen.add(model_hash(model.to(torch.bfloat16)))
    seen.add(model_hash(nn.Linear(4, 3)))
    assert len(seen) == 7


@pytest.mark.data
def test_squeezenet_is_rebuilt_rightly(shared_data: Path) -> None:
    model = load_model(
        f"{EXAMPLES / 'squeezenet.py'}:squeezenet", shared_data / "models" / "squeezenet1_0_imagenet.npz"
    )
    prepare = from_model(model)
    assert prepare == Preprocess(227, (104, 117, 123), 1, "BGR", 255)
    expected = json.loads((shared_data / "sample_photos" / "expected.json").read_text())
    maps: list[Tensor] = []
    with watch(model, "features.12", lambda name, a: maps.append(a.clone())) as run:
        for name, networks in expected.items():
            wanted = networks["squeezenet1_0"]
            photo = Image.open(shared_data / "sample_photos" / name).convert("RGB").crop((14, 14, 241, 241))
            probabilities = run(prepare(photo)[None])[0].softmax(0)
            classes = [entry[0] for entry in wanted["top5"]]
            np.testing.assert_allclose(probabilities[classes], [entry[2] for entry in wanted["top5"]], atol=1e-3)
            assert probabilities.argmax() == classes[0]
            assert list(maps[-1].shape[1:]) == wanted["fire9_shape"]
            assert float(maps[-1].mean()) == pytest.approx(wanted["fire9_mean"], rel=1e-4)
            assert float(maps[-1].max()) == pytest.approx(wanted["fire9_max"], rel=1e-4)
    assert len(maps) == 7


@pytest.mark.data
def test_resnet20_is_rebuilt_rightly(shared_data: Path) -> None:
    model = load_model(f"{EXAMPLES / 'resnet20.py'}:resnet20", shared_data / "models" / "resnet20_cifar10-12fca82f.th")
    prepare, shapes = from_model(model), {}
    with watch(model, ["layer1", "layer2", "layer3"], lambda n, a: shapes.update({n: list(a.shape)})) as run:
        for name, label in (("cat.jpg", 3), ("bird.jpg", 2), ("parrot.jpg", 2)):  # CIFAR's cat and bird
            scores = run(prepare(Image.open(shared_data / "sample_photos" / name))[None])
            assert scores.argmax() == label
    assert shapes == {"layer1": [1, 16, 32, 32], "layer2": [1, 32, 16, 16], "layer3": [1, 64, 8, 8]}
