"""Watching layers: what is measured is what the layer gave, and the model is left as found."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netdissect_fast.errors import ActivationError, ArgumentError, LayerError, ModelError
from netdissect_fast.hooks import Tokens, pad_batch, resolve_layers, static_batch_size, watch


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


class Net(nn.Module):
    """A convolution followed by an in-place ReLU, a batch norm, dropout and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2), nn.BatchNorm2d(6), nn.Dropout(0.5))
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layer1(self.relu(self.conv1(x))).mean((2, 3)))


class Returns(nn.Module):
    """A layer that gives whatever a function makes of its input."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


class Around(nn.Module):
    """A network of one layer, whose output is not used."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.layer = Returns(function)

    def forward(self, x: Tensor) -> Tensor:
        self.layer(x)
        return x.mean((1, 2, 3))


def images(count: int = 2, size: tuple[int, int] = (8, 8)) -> Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(count))


def collect(model: nn.Module, layers: Any, *batches: Tensor, **options: Any) -> dict[str, Tensor]:
    """Return copies of the last maps of each layer."""
    seen: dict[str, Tensor] = {}
    with watch(model, layers, lambda name, maps: seen.__setitem__(name, maps.clone()), **options) as run:
        for batch in batches or (images(),):
            run(batch)
    return seen


def test_values_before_an_in_place_relu() -> None:
    model, x = Net().eval(), images()
    maps = collect(model, "conv1", x)["conv1"]
    expected = torch.nn.functional.conv2d(x, model.conv1.weight, model.conv1.bias, padding=1)
    assert maps.min() < 0
    assert torch.equal(maps, expected)
    assert not maps.requires_grad


def test_several_layers_in_one_forward_pass_in_the_order_they_run() -> None:
    model, order = Net(), []
    forwards = []
    model.register_forward_pre_hook(lambda *_: forwards.append(1))
    layers = ["fc", model.layer1, "layer1.0", "conv1"]
    with watch(model, layers, lambda name, maps: order.append((name, *maps.shape))) as run:
        assert run.layers == ("fc", "layer1", "layer1.0", "conv1")
        output = run(images())
    assert order == [
        ("conv1", 2, 4, 8, 8),
        ("layer1.0", 2, 6, 3, 3),
        ("layer1", 2, 6, 3, 3),
        ("fc", 2, 5, 1, 1),
    ]
    assert len(forwards) == 1
    assert output.shape == (2, 5)


def test_aliases_and_the_model_itself() -> None:
    model = Net()
    seen = collect(model, {"conv1": "first", model.fc: "last", "": "logits"})
    assert list(seen) == ["first", "last", "logits"]
    assert torch.equal(seen["last"], seen["logits"])
    assert list(collect(model, model)) == ["model"]


def _state(model: nn.Module) -> tuple[Any, ...]:
    return (
        [(name, module.training) for name, module in model.named_modules()],
        [len(module._forward_hooks) for module in model.modules()],
        {name: tensor.clone() for name, tensor in model.state_dict().items()},
        torch.is_grad_enabled(),
        torch.get_rng_state(),
        [parameter.requires_grad for parameter in model.parameters()],
    )


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


@pytest.mark.parametrize("failing", ["nothing", "consumer", "model", "caller", "layer name"])
def test_model_is_left_as_found(failing: str) -> None:
    model = nn.Sequential(OrderedDict(net=Net(), noise=Returns(lambda x: x + torch.rand_like(x))))
    model.train()
    model.net.layer1[1].eval()  # flags that differ from module to module
    model.net.conv1.weight.requires_grad_(False)
    before = _state(model)

    def consume(name: str, maps: Tensor) -> None:
        assert not torch.is_grad_enabled()
        assert not any(module.training for module in model.modules())
        if failing == "consumer":
            raise KeyError("mine")

    class CallerError(Exception):
        pass

    def dissect() -> None:
        layers = ["net.conv1", "net.nothing"] if failing == "layer name" else ["net.conv1", "net.fc"]
        with watch(model, layers, consume) as run:
            run(images() if failing != "model" else images()[:, :2])
            if failing == "caller":
                raise CallerError

    expected = {"consumer": KeyError, "model": ModelError, "caller": CallerError, "layer name": LayerError}
    if failing == "nothing":
        dissect()
    else:
        with pytest.raises(expected[failing]):
            dissect()
    assert _same(before, _state(model))


def test_unknown_layer_lists_the_five_closest_names() -> None:
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
        ([], "no layer was asked for"),
        (["conv1", "conv1"], "two layers would be reported as 'conv1'"),
        ({"conv1": "x", "fc": "x"}, "two layers would be reported as 'x'"),
        ([nn.Linear(2, 2)], "Linear given as a layer is not part of the model"),
        ([3], "must be a name or a module of the model, not int"),
        (7, "must be names or modules, not int"),
        ("conv1:", "no layer 'conv1:'"),
        ("conv1@x", "no layer 'conv1@x'"),
        ("nothing:0", "no layer 'nothing:0'; closest names: "),
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


def test_a_layer_that_never_ran_is_named() -> None:
    model = Net()
    model.unused = nn.Conv2d(3, 3, 1)
    with watch(model, ["conv1", "unused"], lambda *_: None) as run:
        with pytest.raises(LayerError, match=r"layer 'unused' \(Conv2d\) did not run"):
            run(images())


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
    with pytest.raises(LayerError, match="it gives a single tensor: write 'conv1'"):
        collect(Net(), "conv1:0")
    with pytest.raises(LayerError, match="gives a None, not one tensor; there is no tensor in it"):
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


def test_calls_are_counted_anew_in_each_forward_pass() -> None:
    assert collect(Net(), "conv1", images(2), images(3))["conv1"].shape[0] == 3


def test_a_changing_shape_names_the_layer_and_both_shapes() -> None:
    with watch(Net(), "conv1", lambda *_: None) as run:
        run(images(2))
        run(images(1))  # another batch size is fine
        with pytest.raises(LayerError, match=r"'conv1' gave maps of shape \[4, 8, 10\].*after \[4, 8, 8\]"):
            run(images(2, (8, 10)))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x.long(), "gives int64 values, expected floats"),
        (lambda x: x > 0, "gives bool values"),
        (lambda x: torch.complex(x, x), "gives complex64 values"),
        (lambda x: x.mean((1, 2, 3)), r"gives a tensor \[2\]; expected"),
        (lambda x: x[..., None], r"gives a tensor \[2, 3, 8, 8, 1\]; expected"),
        (lambda x: torch.cat([x, x]), r"\[4, 3, 8, 8\] for a batch of 2 images: its first axis"),
        (lambda x: x.new_zeros(5, 2, 7), r"if tokens come first, give Tokens\(layout='TBD'\)"),
        (lambda x: x[:, :0], "gives empty maps"),
        (lambda x: x.to_sparse(), "sparse or nested"),
    ],
)
def test_outputs_that_are_no_maps(function: Any, message: str) -> None:
    with pytest.raises(LayerError, match=f"layer 'layer' {message}" if message[0] == "g" else message):
        collect(Around(function), "layer")


@pytest.mark.filterwarnings("ignore")  # torch announces the end of quantised tensors
def test_quantised_outputs_are_an_error_that_says_what_to_give() -> None:
    model = Around(lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8))
    with pytest.raises(LayerError, match="expected floats; give transform=torch.dequantize"):
        collect(model, "layer")
    assert collect(model, "layer", transform=torch.dequantize)["layer"].dtype == torch.float32


@pytest.mark.parametrize(("dtype", "seen"), [(torch.bfloat16,) * 2, (torch.float64, torch.float32)])
def test_half_precision_stays_double_is_rounded(dtype: torch.dtype, seen: torch.dtype) -> None:
    assert collect(Around(lambda x: x.to(dtype)), "layer")["layer"].dtype == seen


def test_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert collect(Net(), "conv1")["conv1"].dtype == torch.bfloat16


def test_channels_last_is_left_as_it_is() -> None:
    model, x = Net().to(memory_format=torch.channels_last), images()
    seen = []
    x = x.to(memory_format=torch.channels_last)
    with watch(model, "conv1", lambda _, maps: seen.append(maps)) as run:
        run(x)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert not seen[0].is_contiguous()
    assert torch.allclose(collect(Net().eval(), "conv1")["conv1"].sum(), torch.tensor(0.0), atol=1e9)


def test_maps_are_handed_over_without_a_copy() -> None:
    kept: list[Tensor] = []
    model = Around(lambda x: kept.append(2 * x) or kept[-1])
    pointers = []
    with watch(model, "layer", lambda _, maps: pointers.append(maps.data_ptr())) as run:
        run(images())
    assert pointers == [kept[0].data_ptr()]


@pytest.mark.parametrize(("prefix", "grid"), [(0, (4, 4)), (1, (7, 7)), (2, (7, 7)), (5, (16, 16))])
def test_token_grids_are_inferred(prefix: int, grid: tuple[int, int]) -> None:
    tokens = torch.arange(2 * (prefix + grid[0] * grid[1]) * 3.0).reshape(2, -1, 3)
    maps = collect(Around(lambda x: tokens), "layer")["layer"]
    assert maps.shape == (2, 3, *grid)
    assert torch.equal(maps[1, :, 2, 1], tokens[1, prefix + 2 * grid[1] + 1])


def test_token_grids_follow_the_shape_of_the_image() -> None:
    x = images(2, (12, 18))
    maps = collect(Around(lambda x: torch.zeros(2, 1 + 4 * 6, 3)), "layer", x)[
        "layer"
    ]  # 25 = 5 x 5 would be wrong
    assert maps.shape == (2, 3, 4, 6)


def test_ambiguous_tokens_say_which_argument_to_give() -> None:
    nine = Around(lambda x: x.new_zeros(2, 9, 3))
    with pytest.raises(LayerError, match=r"9 tokens .* could be 0 \+ 3x3 or 5 \+ 2x2; .*Tokens\(grid="):
        collect(nine, "layer")
    seven = Around(lambda x: x.new_zeros(2, 8, 3))
    with pytest.raises(LayerError, match=r"8 tokens .*no grid of that shape fits.*Tokens\(grid="):
        collect(seven, "layer")
    assert collect(nine, "layer", tokens=Tokens(prefix=5))["layer"].shape == (2, 3, 2, 2)
    assert collect(nine, "layer", tokens={"layer": Tokens(prefix=0)})["layer"].shape == (2, 3, 3, 3)
    assert collect(seven, "layer", tokens=Tokens(grid=(2, 3)))["layer"].shape == (2, 3, 2, 3)
    with pytest.raises(LayerError, match="8 tokens, which cannot be a 2x3 grid after 1 others"):
        collect(seven, "layer", tokens=Tokens(grid=(2, 3), prefix=1))
    with pytest.raises(LayerError, match="cannot be a 3x3 grid"):
        collect(seven, "layer", tokens=Tokens(grid=(3, 3)))


def test_tokens_first_and_channels_last_layouts() -> None:
    x = images(2)
    tokens = torch.randn(17, 2, 3)
    seen = collect(Around(lambda x: tokens), "layer", x, tokens=Tokens(layout="TBD"))["layer"]
    assert torch.equal(seen[1, :, 0, 2], tokens[3, 1])
    swin = torch.randn(2, 4, 4, 96)
    with pytest.raises(LayerError, match=r"looks like \[B, H, W, C\]; give tokens=Tokens\(layout='BHWC'\)"):
        collect(Around(lambda x: swin), "layer", x)
    assert torch.equal(
        collect(Around(lambda x: swin), "layer", x, tokens=Tokens(layout="BHWC"))["layer"],
        swin.permute(0, 3, 1, 2),
    )
    assert (
        collect(Around(lambda x: swin), "layer", x, tokens=Tokens(layout="BCHW"))["layer"].shape == swin.shape
    )


@pytest.mark.parametrize("options", [{"grid": (0, 3)}, {"grid": (3,)}, {"prefix": -1}, {"layout": "DTB"}])
def test_bad_token_options(options: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=f"tokens: {next(iter(options))} must be"):
        Tokens(**options)


def test_every_map_is_contiguous_or_channels_last() -> None:
    for function in (
        lambda x: x.new_zeros(2, 17, 3),
        lambda x: x.transpose(2, 3),
        lambda x: x[:, :, ::2, 1:],
        lambda x: x[:, :1].expand(2, 5, 8, 8),
    ):
        seen: list[bool] = []

        def consume(_: str, maps: Tensor, seen: list[bool] = seen) -> None:
            seen.append(maps.is_contiguous() or maps.is_contiguous(memory_format=torch.channels_last))

        with watch(Around(function), "layer", consume) as run:
            run(images())
        assert seen == [True]


def test_transform_as_function_module_or_by_layer() -> None:
    x, encoder = images(), nn.Sequential(nn.Conv2d(4, 11, 1), nn.Dropout(0.5)).train()
    seen = collect(Net(), ["conv1", "fc"], x, transform={"conv1": encoder})
    assert seen["conv1"].shape == (2, 11, 8, 8)
    assert seen["fc"].shape == (2, 5, 1, 1)
    assert (seen["conv1"] == 0).sum() == 0  # dropout was off ...
    assert encoder.training  # ... and is left as found
    assert encoder[1].training
    with pytest.raises(LayerError, match="option .* layer 'conv2', but the layers are 'conv1'"):
        collect(Net(), "conv1", x, transform={"conv2": encoder})


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (lambda maps: maps.mean(1), r"must return a tensor \[2, units, 8, 8\], got \[2, 8, 8\]"),
        (lambda maps: maps[:, :, ::2], r"got \[2, 4, 4, 8\]"),
        (lambda maps: [maps], "got list"),
        (lambda maps: maps.relu_(), "changed its input in place"),
        (lambda maps: maps @ torch.zeros(3, 3), r"raised RuntimeError on maps \[2, 4, 8, 8\]"),
    ],
)
def test_transforms_that_go_wrong(transform: Any, message: str) -> None:
    with pytest.raises(LayerError, match=f"the transform of layer 'conv1' .*{message}"):
        collect(Net(), "conv1", transform=transform)


def test_a_model_that_raises_names_the_batch_and_its_images() -> None:
    with watch(Net(), "conv1", lambda *_: None) as run:
        with pytest.raises(
            ModelError, match=r"raised RuntimeError on a batch \[2, 2, 8, 8\].*\(a.jpg ... b.jpg\)"
        ) as e:
            run(images()[:, :2], ["a.jpg", "b.jpg"])
    assert isinstance(e.value.__cause__, RuntimeError)


def test_out_of_memory_says_what_to_do() -> None:
    def explode(x: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("allocating")

    with pytest.raises(ModelError, match="use a smaller batch size"):
        collect(Around(explode), "layer")


@pytest.mark.parametrize("error", [ActivationError("unit 3 of image x"), KeyError("mine"), MemoryError()])
@pytest.mark.parametrize("swallow", [False, True])
def test_errors_of_the_consumer_come_out_unchanged(error: Exception, swallow: bool) -> None:
    class Wrapping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()

        def forward(self, x: Tensor) -> Tensor:
            try:
                return self.net(x)
            except Exception as inner:
                if swallow:
                    return x
                raise RuntimeError("the model's own words") from inner

    def consume(name: str, maps: Tensor) -> None:
        raise error

    with watch(Wrapping(), "net.conv1", consume) as run:
        with pytest.raises(type(error)) as caught:
            run(images())
        assert caught.value is error
        with pytest.raises(type(error)):  # the watch is still usable
            run(images())


def test_hooks_sleep_outside_a_run() -> None:
    model, seen = Net(), []
    with watch(model, "conv1", lambda name, maps: seen.append(name)):
        model(images())
    assert seen == []


def test_data_parallel_is_run_as_the_network_inside() -> None:
    model = nn.DataParallel(Net())
    expected = collect(model.module, "conv1")["conv1"]
    for layer in ("conv1", "module.conv1", model.module.conv1):
        (seen,) = collect(model, layer).values()
        assert torch.equal(seen, expected)
    assert list(collect(model, model)) == ["model"]
    assert list(resolve_layers(model, "module.fc@0:x")) == ["fc@0:x"]


@pytest.mark.filterwarnings("ignore")  # torch's compiler has deprecations of its own
def test_compiled_networks_and_parts_are_watched_uncompiled() -> None:
    torch._dynamo.reset()
    plain, x = Net().eval(), images()
    expected = collect(plain, "layer1.0", x)["layer1.0"]
    compiled = torch.compile(plain, backend="eager")
    with torch.no_grad():
        compiled(x)  # compiled before the hooks come
    for layer in ("layer1.0", "_orig_mod.layer1.0"):
        assert torch.equal(collect(compiled, layer, x)["layer1.0"], expected)
    part = Net().eval()
    part.load_state_dict(plain.state_dict())
    part.layer1 = torch.compile(part.layer1, backend="eager")
    with torch.no_grad():
        part(x)
    assert torch.equal(collect(part, ["layer1.0", "layer1"], x)["layer1.0"], expected)
    part = Net().eval()
    part.load_state_dict(plain.state_dict())
    part.compile(backend="eager")
    with torch.no_grad():
        part(x)
    assert torch.equal(collect(part, "layer1.0", x)["layer1.0"], expected)


@pytest.mark.filterwarnings("ignore")  # TorchScript is deprecated
def test_torchscript_is_refused() -> None:
    with pytest.raises(LayerError, match="'conv1' is TorchScript, which cannot be watched"):
        resolve_layers(torch.jit.trace(Net().eval(), images()), "conv1")


def test_inside_pytorch_s_own_transformer() -> None:
    model = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False
    )
    seen = collect(
        nn.Sequential(
            OrderedDict(
                patch=nn.Conv2d(3, 8, 2), flat=nn.Flatten(2), t=Returns(lambda x: model(x.mT)), e=model
            )
        ),
        "patch",
    )
    assert seen["patch"].shape == (2, 8, 7, 7)

    class Vit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.encoder = nn.Conv2d(3, 8, 2, stride=2), model

        def forward(self, x: Tensor) -> Tensor:
            return self.encoder(self.patch(x).flatten(2).mT)

    seen = collect(Vit(), ["patch", "encoder.layers.1.linear1", "encoder.layers.0.self_attn:0", "encoder"])
    assert seen["encoder.layers.1.linear1"].shape == (2, 16, 4, 4)
    assert seen["encoder.layers.0.self_attn:0"].shape == seen["encoder"].shape == (2, 8, 4, 4)


def test_static_batch_sizes_are_padded_and_cut() -> None:
    class Static(Net):
        static_batch_size = 4

        def forward(self, x: Tensor) -> Tensor:
            assert len(x) == 4
            return super().forward(x)

    model, x = Static(), images(3)
    assert static_batch_size(model) == 4
    assert static_batch_size(Net()) is None
    assert torch.equal(pad_batch(model, x), torch.cat([x, x[2:]]))
    assert collect(model, ["conv1", "fc"], x)["fc"].shape == (3, 5, 1, 1)
    with pytest.raises(ModelError, match="batches of exactly 4 images, got 5; set the batch size to 4"):
        collect(model, "conv1", images(5))
