"""Watching layers: what is measured is what the layer gave, and the model is left as found."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netdissect_fast.errors import ActivationError, LayerError, ModelError
from netdissect_fast.network.hooks import pad_batch, resolve_layers, static_batch_size, watch
from tests.support.watching import Around, Net, Returns, collect, images


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


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
    model.register_forward_pre_hook(lambda _, inputs: forwards.append(len(inputs[0])))
    layers = ["fc", model.layer1, "layer1.0", "conv1"]
    with watch(model, layers, lambda name, maps: order.append((name, *maps.shape))) as run:
        assert run.layers == ("fc", "layer1", "layer1.0", "conv1")
        output = run(images())
        run(images())
    assert (
        order[4:]
        == order[:4]
        == [
            ("conv1", 2, 4, 8, 8),
            ("layer1.0", 2, 6, 3, 3),
            ("layer1", 2, 6, 3, 3),
            ("fc", 2, 5, 1, 1),
        ]
    )
    assert forwards == [1, 2, 2]  # the first image is traced
    assert output.shape == (2, 5)


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


def test_a_layer_that_never_ran_is_named() -> None:
    model = Net()
    model.unused = nn.Conv2d(3, 3, 1)
    with pytest.raises(LayerError, match=r"layer 'unused' \(Conv2d\) did not run"):
        collect(model, ["conv1", "unused"])


def test_calls_are_counted_anew_in_each_forward_pass() -> None:
    assert collect(Net(), "conv1", images(2), images(3))["conv1"].shape[0] == 3


def test_a_changing_shape_names_the_layer_and_both_shapes() -> None:
    with watch(Net(), "conv1", lambda *_: None) as run:
        run(images(2))
        run(images(1))  # another batch size is fine
        with pytest.raises(LayerError, match=r"'conv1' returned maps of shape \[4, 8, 10\].*after \[4, 8, 8\]"):
            run(images(2, (8, 10)))


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


def test_maps_are_handed_over_without_a_copy() -> None:
    kept: list[Tensor] = []
    model = Around(lambda x: kept.append(2 * x) or kept[-1])
    pointers = []
    with watch(model, "layer", lambda _, maps: pointers.append(maps.data_ptr())) as run:
        run(images())
    assert pointers == [kept[1].data_ptr()]  # kept[0]: the first image, traced


def test_transform_as_function_module_or_by_layer() -> None:
    x, encoder = images(), nn.Sequential(nn.Conv2d(4, 11, 1), nn.Dropout(0.5)).train()
    seen = collect(Net(), ["conv1", "fc"], x, transform={"conv1": encoder})
    assert seen["conv1"].shape == (2, 11, 8, 8)
    assert seen["fc"].shape == (2, 5, 1, 1)
    assert (seen["conv1"] == 0).sum() == 0  # dropout was off ...
    assert encoder.training  # ... and is left as found
    assert encoder[1].training
    with pytest.raises(LayerError, match=r"option .* layer 'conv2', but the layers are 'conv1'"):
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
    expected = r"raised RuntimeError on a batch \[2, 2, 8, 8\].*\(a.jpg ... b.jpg\)"
    with watch(Net(), "conv1", lambda *_: None) as run, pytest.raises(ModelError, match=expected) as caught:
        run(images()[:, :2], ["a.jpg", "b.jpg"])
    assert isinstance(caught.value.__cause__, RuntimeError)


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


def test_another_thread_may_run_the_network_meanwhile() -> None:
    """As a segmenter does that is dissected on images that it labels."""
    model, found = Net().eval(), []
    other = images() * 2

    def run_elsewhere(*_: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            thread = threading.Thread(target=model, args=(other,))
            thread.start()
            thread.join()

    model.conv1.register_forward_pre_hook(run_elsewhere)
    with watch(model, ["conv1", "fc"], lambda name, maps: found.append((name, maps.clone()))) as run:
        run(images())
    assert [name for name, _ in found] == ["conv1", "fc"]
    expected = torch.nn.functional.conv2d(images(), model.conv1.weight, model.conv1.bias, padding=1)
    assert torch.equal(found[0][1], expected)


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


def test_inside_pytorch_s_own_transformer() -> None:
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False)

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


def test_several_views_of_one_layer_in_one_pass() -> None:
    """Each is transformed on its own; the layer as it is may be among them."""
    model, seen = Net(), {}
    views = {"plain": None, "less": lambda maps: maps[:, :2] - 1, "module": nn.Conv2d(4, 7, 1)}

    def keep(name: str, maps: Tensor) -> None:
        assert name not in seen
        seen[name] = maps.clone()

    with watch(model, ["conv1", "fc"], keep, transform={"conv1": views}) as run:
        assert run.layers == ("conv1 plain", "conv1 less", "conv1 module", "fc")
        run(images())
    assert set(seen) == set(run.layers)
    torch.testing.assert_close(seen["conv1 less"], seen["conv1 plain"][:, :2] - 1)
    torch.testing.assert_close(seen["conv1 plain"], collect(model, "conv1")["conv1"])
    assert seen["conv1 module"].shape == (2, 7, 8, 8)
    with pytest.raises(LayerError, match="the transform of layer 'conv1 less' raised ZeroDivisionError"):
        collect(Net(), "conv1", transform={"conv1": {"less": lambda maps: maps / (1 // 0)}})
