"""Traced grids of networks whose grids are known, of transformers, and of what cannot be followed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from netdissect_fast.errors import LayerError, ShapeError
from netdissect_fast.geometry.grids import GridWarning, make_grid
from netdissect_fast.geometry.traced import Traced
from netdissect_fast.geometry.tracer import GridTracer, trace_grids
from netdissect_fast.geometry.tracks import Unknown

from ..support.receptive_fields import Apply

torch.set_num_threads(1)


def traced(net: nn.Module, size: int, layer: nn.Module | None = None, channels: int = 3) -> Traced | Unknown:
    return trace_grids(net.eval(), {"it": layer or net}, torch.rand(1, channels, size, size))["it"]


def grid(net: nn.Module, size: int, layer: nn.Module | None = None, channels: int = 3) -> tuple[Any, ...]:
    it = traced(net, size, layer, channels)
    assert isinstance(it, Traced), it
    assert it.stride[0] == it.stride[1]
    assert it.offset[0] == it.offset[1]
    return it.size, it.stride[0], it.offset[0]


def relu(*args: Any, **options: Any) -> list[nn.Module]:
    return [nn.Conv2d(*args, **options), nn.ReLU(inplace=True)]


def alexnet() -> nn.Sequential:
    """torchvision's layout, few channels."""
    features = [*relu(3, 2, 11, 4, 2), nn.MaxPool2d(3, 2), *relu(2, 2, 5, padding=2), nn.MaxPool2d(3, 2)]
    features += [*relu(2, 2, 3, padding=1), *relu(2, 2, 3, padding=1), *relu(2, 2, 3, padding=1), nn.MaxPool2d(3, 2)]
    head = [nn.AdaptiveAvgPool2d((6, 6)), nn.Flatten(), nn.Dropout(), nn.Linear(72, 5), nn.ReLU(True), nn.Linear(5, 3)]
    return nn.Sequential(*features, *head)


def test_alexnet() -> None:
    net = alexnet()
    assert grid(net, 224, net[10]) == ((13, 13), 16, 15)
    assert grid(net, 224, net[13]) == ((6, 6), 32, 31)  # an adaptive pool that is the identity
    assert grid(net, 224, net[16]) == ((1, 1), 224, 111.5)


def test_vgg16() -> None:
    layers: list[nn.Module] = []
    for count, before, width in ((2, 3, 2), (2, 2, 2), (3, 2, 2), (3, 2, 2), (3, 2, 2)):
        for i in range(count):
            layers += relu(width if i else before, width, 3, padding=1)
        layers.append(nn.MaxPool2d(2))
    net = nn.Sequential(*layers)
    assert grid(net, 224, net[28]) == ((14, 14), 16, 7.5)
    half = make_grid("half_pixel", None, (14, 14), (224, 224))
    full = make_grid("receptive_field", traced(net, 224, net[28]), (14, 14), (224, 224))
    assert (full.stride, full.offset) == (half.stride, half.offset)


class Fire(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.squeeze, self.one = nn.Sequential(*relu(4, 2, 1)), nn.Sequential(*relu(2, 2, 1))
        self.three = nn.Sequential(*relu(2, 2, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x)
        return torch.cat([self.one(x), self.three(x)], 1)


def test_squeezenet() -> None:
    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    fires = [Fire() for _ in range(8)]
    net = nn.Sequential(*relu(3, 4, 7, 2), pool, *fires[:3], pool, *fires[3:7], pool, fires[7])
    assert grid(net, 227) == ((13, 13), 16, 17)
    assert grid(net, 227, fires[6]) == ((27, 27), 8, 9)


class Bottleneck(nn.Module):
    def __init__(self, stride: int, *, basic: bool) -> None:
        super().__init__()
        kernels = ((3, stride), (3, 1)) if basic else ((1, 1), (3, stride), (1, 1))
        self.body = nn.Sequential(
            *(m for k, s in kernels for m in (nn.Conv2d(2, 2, k, s, k // 2, bias=False), nn.BatchNorm2d(2)))
        )
        self.short = nn.Sequential(nn.Conv2d(2, 2, 1, stride), nn.BatchNorm2d(2)) if stride > 1 else nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.body(x)
        out += self.short(x)
        return self.relu(out)


@pytest.mark.parametrize(("basic", "depths"), [(True, (2, 2, 2, 2)), (False, (3, 4, 6, 3))])
def test_resnets(basic: bool, depths: tuple[int, ...]) -> None:
    stem = [nn.Conv2d(3, 2, 7, 2, 3), nn.BatchNorm2d(2), nn.ReLU(True), nn.MaxPool2d(3, 2, 1)]
    strides = [1 if i or stage == 0 else 2 for stage, depth in enumerate(depths) for i in range(depth)]
    net = nn.Sequential(*stem, *(Bottleneck(s, basic=basic) for s in strides), nn.AdaptiveAvgPool2d(1))
    assert grid(net, 224, net[-2]) == ((7, 7), 32, 0)
    assert grid(net, 224) == ((1, 1), 224, 111.5)
    assert isinstance(traced(net, 224, net[-2].relu), Traced)  # runs several times, on one grid


def test_inference_mode() -> None:
    """There the tracer sees whole operations, which it follows through their parts."""
    net = nn.Sequential(
        *alexnet()[:12], nn.Conv2d(2, 4, 3, padding="same"), nn.PixelShuffle(2), nn.Conv2d(1, 3, 1), nn.Flatten(2)
    )
    plainly = traced(net, 224)
    with torch.inference_mode():
        assert traced(net, 224) == plainly
    assert isinstance(plainly, Traced)
    assert (plainly.size, plainly.stride, plainly.offset) == ((26, 26), (8, 8), (11, 11))


def test_gates_and_pooled_context_do_not_move_the_grid() -> None:
    """Squeeze-and-excitation, and ASPP's image pooling."""
    gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(2, 2, 1), nn.Sigmoid())
    net = Apply(lambda x, a, g: (y := a(x)) * g(y), nn.Conv2d(3, 2, 3, 2, 1), gate)
    assert grid(net, 32) == ((16, 16), 2, 0)
    up = nn.Upsample((16, 16), mode="bilinear")
    net = Apply(lambda x, a, g, u: torch.cat([y := a(x), u(g(y))], 1), nn.Conv2d(3, 2, 3, 2, 1), gate, up)
    assert grid(net, 32) == ((16, 16), 2, 0)
    # A gate that cannot be followed cannot move the grid either.
    net = Apply(lambda x, a: (y := a(x)) * y.flatten(2).sort(2)[0][:, :, :1, None], nn.Conv2d(3, 2, 3, 2, 1))
    assert grid(net, 32) == ((16, 16), 2, 0)


class Transformer(nn.Module):
    def __init__(self, block: nn.Module, prefix: int) -> None:
        super().__init__()
        self.patch, self.block = nn.Conv2d(3, 8, 4, 4), block
        self.extra = nn.Parameter(torch.randn(1, prefix, 8))
        self.place = nn.Parameter(torch.randn(1, 64 + prefix, 8))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.extra.expand(len(x), -1, -1), x], 1) + self.place
        return self.head(self.norm(self.block(x))[:, 0])


class Attention(nn.Module):
    def __init__(self, *, fused: bool) -> None:
        super().__init__()
        self.qkv, self.fused = nn.Linear(8, 24), fused

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        if self.fused:
            y = functional.scaled_dot_product_attention(q, k, v)
        else:
            y = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        return x + y.transpose(1, 2).reshape(b, t, 8)


BLOCKS: dict[str, nn.Module] = {
    "encoder layer": nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
    "encoder layer, sequence first": Apply(
        lambda x, e: e(x.transpose(0, 1)).transpose(0, 1), nn.TransformerEncoderLayer(8, 2, 16)
    ),
    "encoder": nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2),
    "multihead": Apply(lambda x, m: x + m(x, x, x)[0], nn.MultiheadAttention(8, 2, batch_first=True)),
    "multihead, no weights": Apply(
        lambda x, m: x + m(x, x, x, need_weights=False)[0], nn.MultiheadAttention(8, 2, batch_first=True)
    ),
    "fused attention": Attention(fused=True),
    "written out": Attention(fused=False),
    "einsum": Apply(lambda x: x + torch.einsum("bij,bjd->bid", torch.einsum("bid,bjd->bij", x, x).softmax(-1), x)),
}


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_transformers_keep_their_patches(name: str, prefix: int) -> None:
    net = Transformer(BLOCKS[name], prefix)
    it = traced(net, 32, net.block)
    assert isinstance(it, Traced), it
    assert (it.size, it.stride, it.offset, it.prefix) == ((8, 8), (4, 4), (1.5, 1.5), prefix)
    if prefix:
        assert grid(net, 32) == ((1, 1), 32, 15.5)  # read from the class token


def test_multihead_attention_hooked_by_entry() -> None:
    net = Transformer(BLOCKS["multihead"], 1)
    attention = net.block.parts[0]
    found = trace_grids(net.eval(), {"a:0": attention, "a": attention}, torch.rand(1, 3, 32, 32))
    assert isinstance(found["a:0"], Traced)
    assert (found["a:0"].size, found["a:0"].prefix) == ((8, 8), 1)
    assert isinstance(found["a"], Unknown)
    assert "tuple" in str(found["a"])


def windows(x: Tensor, attend: nn.Module) -> Tensor:
    """Swin's shifted windows of 4×4 on maps [B, H, W, C]."""
    b, h, w, c = x.shape
    y = x.roll((-2, -2), (1, 2)).view(b, h // 4, 4, w // 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, c)
    y = attend(y).view(b, h // 4, w // 4, 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c)
    return x + y.roll((2, 2), (1, 2))


def test_windows() -> None:
    attend = Attention(fused=False)
    net = Apply(lambda x, p, a: windows(p(x).permute(0, 2, 3, 1), a), nn.Conv2d(3, 8, 4, 4), attend)
    assert grid(net, 64) == ((16, 16), 4, 1.5)
    inside = traced(net, 64, attend)
    assert isinstance(inside, Unknown)
    assert "windows" in str(inside)


def test_positions_as_attention_writes_them_elsewhere() -> None:
    """Non-local blocks on [B, C, H·W], with the attention matrix on the right."""
    net = Apply(
        lambda x, a: torch.bmm(
            (y := a(x).flatten(2)), torch.bmm(y.transpose(1, 2), y).softmax(-1).transpose(1, 2)
        ).view(1, 8, 16, 16),
        nn.Conv2d(3, 8, 3, 2, 1),
    )
    assert grid(net, 32) == ((16, 16), 2, 0)


@pytest.mark.parametrize(("size", "stride", "offset"), [(15, 4 * 7 / 14, 0.0), (8, 4.0, 0.0), (1, 32.0, 15.5)])
def test_corners_aligned(size: int, stride: float, offset: float) -> None:
    up = nn.Upsample((size, size), mode="bilinear", align_corners=True)
    assert grid(nn.Sequential(nn.Conv2d(3, 2, 3, 4, 1), up), 32) == ((size, size), stride, offset)


def test_smoothed_downsampling() -> None:
    down = Apply(lambda x, a: functional.interpolate(a(x), (4, 4), mode="bilinear", antialias=True), nn.Conv2d(3, 2, 1))
    assert grid(down, 16) == ((4, 4), 4, 1.5)


def test_one_direction() -> None:
    """Maps that were averaged along y only; tokens in column order; mixed positions, which are no map."""
    rows = traced(Apply(lambda x, a: a(x).mean(2, keepdim=True), nn.Conv2d(3, 2, 3, 2, 1)), 16)
    assert isinstance(rows, Traced)
    assert (rows.size, rows.stride, rows.offset) == ((1, 8), (16, 2), (7.5, 0))
    columns = traced(Apply(lambda x, a: a(x).transpose(2, 3).flatten(2), nn.Conv2d(3, 2, 3, 2, 1)), 16)
    assert isinstance(columns, Traced)
    assert columns.layout
    assert columns.layout.order == (0, 2, 1)  # units, then rows, which come second, then columns
    averaged = traced(Apply(lambda x, a: a(x).flatten(1, 2), nn.Conv2d(3, 2, 3, 2, 1)), 16)
    assert isinstance(averaged, Traced)
    assert averaged.layout is None  # rows share a dimension with units
    mixed = traced(Apply(lambda x, a: a(x).flatten(2) @ torch.ones(64, 5), nn.Conv2d(3, 2, 3, 2, 1)), 16)
    assert "no place" in str(mixed)


def test_written_over() -> None:
    """Constants written into a map leave it where it is; something unknown written into part of it does not."""
    net = Apply(lambda x, a: _fill(a(x), 0.0), nn.Conv2d(3, 2, 3, 2, 1))
    assert grid(net, 16) == ((8, 8), 2, 0)
    net = Apply(lambda x, a: _fill(a(x), a(x)[:, :, :4].flip(2)), nn.Conv2d(3, 2, 3, 2, 1))
    assert traced(net, 16) == Unknown("aten::flip")
    net = Apply(lambda x, a: _fill(a(x), a(x)[:, :, 4:]), nn.Conv2d(3, 2, 3, 2, 1))  # halves exchanged
    assert traced(net, 16) == Unknown("aten::copy_")


def _fill(x: Tensor, value: Any) -> Tensor:
    x[:, :, :4] = value
    return x


PRODUCTS: dict[str, Any] = {
    "weights on the left": lambda x: (torch.ones(4, 2) @ x.flatten(2)).unflatten(2, (8, 8)),
    "channel attention": lambda x: ((y := x.flatten(2)) @ y.mT).softmax(-1) @ y,
    "linear attention": lambda x: (y := x.flatten(2).mT) @ (y.mT @ y),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_that_keep_places(name: str) -> None:
    net = Apply(lambda x, a: PRODUCTS[name](a(x)), nn.Conv2d(3, 2, 3, 2, 1))
    assert grid(net, 16) == ((8, 8), 2, 0)


def test_learned_queries_have_no_place() -> None:
    net = Apply(lambda x, a: (torch.ones(5, 2) @ (y := a(x).flatten(2))).softmax(-1) @ y.mT, nn.Conv2d(3, 2, 3, 2, 1))
    assert "no place" in str(traced(net, 16))


def test_mixing_all_positions_gives_one_value() -> None:
    net = Apply(lambda x, a, b: b(a(x).flatten(1)), nn.Conv2d(3, 2, 3), nn.Linear(72, 4))
    assert grid(net, 8) == ((1, 1), 8, 3.5)
    assert grid(Apply(lambda x, a: a(x).mean((2, 3)), nn.Conv2d(3, 2, 3)), 8) == ((1, 1), 8, 3.5)
    # Labels computed from one value still stand for the whole image.
    assert grid(Apply(lambda x, a: a(x).mean((2, 3)).sort()[0], nn.Conv2d(3, 2, 3)), 8) == ((1, 1), 8, 3.5)


REORDERED = ("aten::flip", "aten::index")
UNKNOWN = {
    "aten::grid_sampler_2d": lambda x, a: functional.grid_sample(
        a(x), functional.affine_grid(torch.eye(2, 3)[None], [1, 2, 5, 5], align_corners=False), align_corners=False
    ),
    "aten::_fft_r2c": lambda x, a: torch.fft.rfft2(a(x)).real,
    "aten::flip": lambda x, a: a(x).flip(3),
    "aten::_adaptive_avg_pool2d": lambda x, a: functional.adaptive_avg_pool2d(a(x), 4),
    "aten::cumsum": lambda x, a: a(x).cumsum(2),
    "aten::index": lambda x, a: a(x)[:, :, torch.tensor([0, 2, 1, 3])],
    "aten::repeat": lambda x, a: a(x).repeat(1, 1, 2, 1),
    "aten::cat": lambda x, a: torch.cat([a(x), a(x)], 2),
}


@pytest.mark.parametrize("op", UNKNOWN)
def test_an_operation_not_understood_is_named(op: str) -> None:
    """Directly, and by what is computed from its result; before it everything is known."""
    first, last = nn.Conv2d(3, 2, 3, 2, 1), nn.Sequential(nn.ReLU(), nn.Conv2d(2, 2, 1))
    net = Apply(lambda x, a, b: b(UNKNOWN[op](x, a)), first, last)
    found = trace_grids(net, {"first": first, "last": last}, torch.rand(1, 3, 13, 13))
    assert isinstance(found["first"], Traced)
    assert found["last"] == Unknown(op)
    if op in REORDERED:
        with pytest.raises(LayerError, match=f"layer 'last'.*{op} mirrors or reorders places"):
            make_grid("receptive_field", found["last"], (5, 5), (13, 13), layer="last")
        return
    with pytest.warns(GridWarning, match=op):
        assert make_grid("receptive_field", found["last"], (5, 5), (13, 13), layer="last").alignment == "half_pixel"


def test_what_does_not_come_from_the_input() -> None:
    net = Apply(lambda x, a: a(torch.ones(1, 3, 8, 8)), nn.Conv2d(3, 2, 3))
    found = traced(net, 8)
    assert isinstance(found, Unknown)
    assert "is not computed from the input" in str(found)
    assert isinstance(trace_grids(net, {"a": nn.Identity()}, torch.rand(1, 3, 8, 8))["a"], Unknown)


def test_a_layer_that_runs_twice() -> None:
    pool, conv2 = nn.MaxPool2d(2), nn.Conv2d(3, 3, 3, padding=1)
    net = nn.Sequential(conv2, conv2, pool, pool)
    found = trace_grids(net, {"pool": pool, "conv": conv2}, torch.rand(1, 3, 16, 16))
    assert "more than once" in str(found["pool"])
    assert isinstance(found["conv"], Traced)
    assert found["conv"].field == (5, 5)


def test_the_model_is_left_as_found() -> None:
    net = alexnet().train()
    net[0].eval()
    state = [(m.training, len(m._forward_hooks)) for m in net.modules()]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = trace_grids(net, {"conv5": net[10]}, torch.rand(1, 3, 224, 224))
    assert isinstance(found["conv5"], Traced)
    assert torch.is_grad_enabled()

    def fail(x: Tensor) -> None:
        net(x)
        raise RuntimeError("the model's own error")

    with pytest.raises(RuntimeError, match="own error"):
        trace_grids(net, {"conv5": net[10]}, torch.rand(1, 3, 224, 224), run=fail)
    assert torch.is_grad_enabled()
    assert [(m.training, len(m._forward_hooks)) for m in net.modules()] == state
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_lookup_inside_a_hook() -> None:
    """As dissect() uses it: several layers, whatever transform the hook applies first."""
    net, found = alexnet().eval(), {}
    images = torch.rand(2, 3, 224, 224)
    with GridTracer(images) as tracer:
        net[10].register_forward_hook(lambda m, i, o: found.update(conv5=tracer.lookup(o[:, :1] * 2)))
        net(images)
    assert isinstance(found["conv5"], Traced)
    assert (found["conv5"].stride, found["conv5"].offset, found["conv5"].field) == ((16, 16), (15, 15), (163, 163))


def test_input_of_another_shape() -> None:
    with pytest.raises(ShapeError, match=r"\[B, c, h, w\], got shape \(3, 8, 8\)"):
        GridTracer(torch.rand(3, 8, 8))
