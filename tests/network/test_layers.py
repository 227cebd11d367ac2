"""Finding layers by name, and one output of those that give several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netdissect_fast.errors import LayerError
from netdissect_fast.network.hooks import resolve_layers
from tests.support.watching import Around, Net, collect, images


def test_aliases_and_the_model_itself() -> None:
    model = Net()
    seen = collect(model, {"conv1": "first", model.fc: "last", "": "logits"})
    assert list(seen) == ["first", "last", "logits"]
    assert torch.equal(seen["last"], seen["logits"])
    assert list(collect(model, model)) == ["model"]


def test_unknown_layer_lists_at_most_five_close_names() -> None:
    names = ["features.1", "features.2", "features.3", "features.12", "features.10", "classifier"]
    model = nn.Module()
    model.features = nn.Sequential(*(nn.Identity() for _ in range(13)))
    model.classifier = nn.Identity()
    with pytest.raises(LayerError, match=r"no layer 'feature.1'; closest names: ") as caught:
        resolve_layers(model, ["feature.1"])
    listed = str(caught.value).split("closest names: ")[1].split(", ")
    assert listed[0] == "features.1"
    assert len(listed) == 5
    assert "classifier" not in listed
    assert set(resolve_layers(model, names)) == set(names)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "no layer was requested"),
        (["conv1", "conv1"], "two layers would be reported as 'conv1'"),
        ({"conv1": "x", "fc": "x"}, "two layers would be reported as 'x'"),
        ([nn.Linear(2, 2)], "Linear given as a layer is not part of the model"),
        ([3], "must be a name or a module of the model, not int"),
        (7, "must be names or modules, not int"),
        ("conv1:", "no layer 'conv1:'"),
        ("conv1@x", "no layer 'conv1@x'"),
        ("nothing:0", "no layer 'nothing:0'; list all with netdissect-fast layers --model"),
    ],
)
def test_layers_that_cannot_be_found(layers: Any, message: str) -> None:
    with pytest.raises(LayerError, match=message):
        resolve_layers(Net(), layers)


def test_a_container_that_never_runs_is_named_at_once() -> None:
    model = nn.Module()
    model.blocks = nn.ModuleList([nn.Identity()])
    with pytest.raises(LayerError, match=r"'blocks' is a ModuleList, a container.*such as blocks.0"):
        resolve_layers(model, "blocks")


@dataclass
class Output:
    hidden: Tensor
    extra: tuple[Tensor, ...]


def _several(x: Tensor) -> Any:
    return {"a": x, "b.c": (x + 1, [x + 2, "text"]), "d": Output(x + 3, (x + 4, x + 5))}


@pytest.mark.parametrize(
    ("key", "added"), [("a", 0), ("b.c.0", None), ("b.c", None), ("d.hidden", 3), ("d.extra.-1", 5)]
)
def test_dict_tuple_and_dataclass_outputs(key: str, added: float | None) -> None:
    x = images()
    if added is None:  # "b.c" is one key that holds a dot, and not a tensor
        with pytest.raises(LayerError, match="layer"):
            collect(Around(_several), f"layer:{key}", x)
    else:
        assert torch.equal(collect(Around(_several), f"layer:{key}", x)[f"layer:{key}"], x + added)


def test_tuple_outputs_by_index_two_at_once() -> None:
    x = images()
    seen = collect(Around(lambda x: (x, 2 * x)), ["layer:0", "layer:1"], x)
    assert torch.equal(seen["layer:1"], 2 * seen["layer:0"])


@pytest.mark.parametrize("layer", ["layer", "layer:2", "layer:_x", "layer:x.0"])
def test_outputs_that_are_not_one_tensor_list_the_keys(layer: str) -> None:
    with pytest.raises(LayerError, match=r"choose one of 'layer:0' \[2, 3, 8, 8\], 'layer:1' \[2, 3, 8, 8\]"):
        collect(Around(lambda x: (x, 2 * x)), layer)


def test_a_key_on_a_plain_tensor_is_an_error() -> None:
    with pytest.raises(LayerError, match="it returns a single tensor: write 'conv1'"):
        collect(Net(), "conv1:0")
    with pytest.raises(LayerError, match="returns a None, not a single tensor; there is no tensor in it"):
        collect(Around(lambda x: None), "layer")


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.same = self.conv

    def forward(self, x: Tensor) -> Tensor:
        return self.same(self.conv(x))


def test_a_module_called_twice_needs_an_occurrence() -> None:
    model, x = Twice(), images()
    for name in ("conv", "same"):
        with pytest.raises(LayerError, match=f"'{name}' runs more than once.*'{name}@0', '{name}@1'"):
            collect(model, name, x)
    seen = collect(model, ["conv@0", "conv@1"], x)
    assert torch.equal(seen["conv@0"], model.conv(x).detach())
    assert torch.equal(seen["conv@1"], model(x).detach())
    with pytest.raises(LayerError, match="'conv' ran 2 times, so its last call is @1"):
        collect(model, "conv@2", x)


@pytest.mark.filterwarnings("ignore")  # TorchScript is deprecated
def test_torchscript_is_refused() -> None:
    with pytest.raises(LayerError, match="'conv1' is TorchScript, which cannot be watched"):
        resolve_layers(torch.jit.trace(Net().eval(), images()), "conv1")
