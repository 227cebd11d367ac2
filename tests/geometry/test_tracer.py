"""Traced grids against gradient-measured receptive fields, on small and on random networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from netdissect_fast.geometry.traced import Traced
from netdissect_fast.geometry.tracer import trace_grids

from ..support.receptive_fields import Apply, check, conv

torch.set_num_threads(1)
SIZE = (73, 89)  # odd, so that ceil_mode matters
EVEN = {"shifted windows", "tokens and back", "unfold", "pixel unshuffle"}


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 7, 11, (3, 7), (2, 11)])
@pytest.mark.parametrize("stride", [1, 2, 3, (2, 4)])
def test_kernels(kernel: Any, stride: Any) -> None:
    check(nn.Sequential(conv(kernel, stride, padding=1), nn.ReLU(), conv(3)), SIZE)


NETS: dict[str, nn.Module] = {
    "even kernels": nn.Sequential(conv(2, 1), conv(4, 2, 1), nn.MaxPool2d(2)),
    "padding": nn.Sequential(conv(7, 2, 3), nn.MaxPool2d(3, 2, 1), conv(5, 1, 2)),
    "uneven zeros": nn.Sequential(nn.ZeroPad2d((2, 0, 1, 3)), conv(3, 2), nn.ZeroPad2d((0, 1, 0, 1)), conv(3, 2)),
    "uneven reflection": nn.Sequential(nn.ReflectionPad2d((2, 0, 1, 3)), conv(3, 2)),
    "uneven replication": nn.Sequential(nn.ReplicationPad2d((0, 3, 2, 1)), conv(5, 2)),
    "negative padding": nn.Sequential(conv(3), nn.ZeroPad2d((-2, -1, -3, 0)), conv(3, 2)),
    "circular": nn.Sequential(conv(3, padding=2, padding_mode="circular"), conv(3, 2)),
    "same": nn.Sequential(conv(4, padding="same"), conv(3, 2)),
    "dilation": nn.Sequential(conv(3, dilation=2), conv(3, 2, 3, dilation=(3, 4)), nn.MaxPool2d(3, 2, 1, dilation=2)),
    "ceil_mode": nn.Sequential(
        conv(7, 2), nn.MaxPool2d(3, 2, ceil_mode=True), conv(3, padding=1), nn.AvgPool2d(3, 2, ceil_mode=True)
    ),
    "average pool": nn.Sequential(nn.AvgPool2d((3, 2), (2, 2), (1, 0)), conv(3)),
    "LP pool": nn.Sequential(conv(3), nn.LPPool2d(1, 3, 2)),
    "adaptive pool": nn.Sequential(conv(3), nn.AdaptiveAvgPool2d((35, 43))),
    "crop": Apply(lambda x, a, b: b(a(x)[:, :, 3:-2, 5:]), conv(3, 2), conv(3)),
    "narrow": Apply(lambda x, a: a(x).narrow(2, 2, 9).narrow(3, 4, 12), conv(3, 2)),
    "strided slice": Apply(lambda x, a, b: b(a(x)[:, :, ::2, 1::3]), conv(3), conv(2)),
    "channels last": Apply(lambda x, a, b: b(a(x).permute(0, 2, 3, 1)[:, 1::2].permute(0, 3, 1, 2)), conv(3), conv(3)),
    "tokens and back": Apply(
        lambda x, a, b: b(a(x).flatten(2).transpose(1, 2).transpose(1, 2).unflatten(2, (24, 30))), conv(2, 2), conv(3)
    ),
    "residual": Apply(lambda x, a, b, c: c(a(x) + b(x)), conv(3, 2, 1), conv(1, 2), nn.MaxPool2d(2)),
    "residual, pooled": Apply(lambda x, a, b: a(x) + b(x), conv(3, 2, 1), nn.AvgPool2d(2, ceil_mode=True)),
    "in place": Apply(lambda x, a, b: a(x).mul_(2).add_(b(x)), conv(5, 2, 2), conv(3, 2, 1)),
    "concatenated": Apply(
        lambda x, a, b, c, d: torch.cat([a(x), b(x), c(x), d(x)], 1),
        conv(1, 2), conv(3, 2, 1), conv(5, 2, 2), nn.MaxPool2d(3, 2, 1),
    ),
    "patch merging": Apply(
        lambda x, a, b: b(torch.cat([a(x)[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)], 1)),
        conv(4, 4), nn.Conv2d(4, 1, 1),
    ),
    "stacked": Apply(lambda x, a, b: torch.stack([a(x), b(x)]).amax(0), conv(3, 2, 1), conv(5, 2, 2)),
    "chunks": Apply(
        lambda x, a, b: torch.cat([b(c) if i else c for i, c in enumerate(a(x).chunk(2, 1))], 1),
        nn.Conv2d(1, 2, 3, 2), conv(3, padding=1),
    ),
    "pixel unshuffle": nn.Sequential(nn.PixelUnshuffle(3), nn.Conv2d(9, 2, 3)),
    "group convolution": nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, 2, groups=4), nn.ChannelShuffle(2)),
    "shifted windows": Apply(
        lambda x, a: a(x).roll((-2, -1), (2, 3)).unflatten(2, (6, 4)).flatten(2, 3).roll((2, 1), (2, 3)), conv(2, 2)
    ),
    "unfold": Apply(lambda x, a: a(functional.unfold(x, 3, 1, 1, 2).unflatten(2, (24, 30))), nn.Conv2d(9, 1, 2)),
    "Tensor.unfold": Apply(
        lambda x, a, b: b(a(x).unfold(2, 2, 2).unfold(3, 2, 2).permute(0, 1, 4, 5, 2, 3).flatten(1, 3)),
        conv(2, 3), nn.Conv2d(4, 1, 2),
    ),
    "repeated channels": Apply(
        lambda x, a, b: b(a(x).repeat(1, 2, 1, 1)[:, torch.tensor([1, 0])].flip(1).index_select(1, torch.tensor([0]))),
        conv(3, 2), conv(3),
    ),
    "unbound": Apply(lambda x, a, b: b(torch.stack(a(x).unbind(1)[1:], 1)), nn.Conv2d(1, 3, 3, 2), nn.Conv2d(2, 1, 3)),
    "glu": nn.Sequential(nn.Conv2d(1, 4, 3), nn.GLU(1), nn.Conv2d(2, 1, 3, 2)),
    "split and squeezed": Apply(
        lambda x, a: torch.cat(a(x).squeeze(0).split([1, 2], 0)[::-1]).unsqueeze(0), nn.Conv2d(1, 3, 5, 2)
    ),
    "written into": Apply(lambda x, a: _into(a(x)), conv(3, 2)),
}  # fmt: skip


def _into(x: Tensor) -> Tensor:
    wide = x.new_zeros(x.shape[0], 3, x.shape[2] + 3, x.shape[3] + 1)
    wide[:, 1:2, 2:-1, 1:] = x
    return wide


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", NETS)
def test_small_networks(name: str) -> None:
    check(NETS[name], (48, 60) if name in EVEN else SIZE)


class OptionA(nn.Module):
    """A block of ResNet-20: the shortcut is a strided slice with zero channels around."""

    def forward(self, x: Tensor) -> Tensor:
        short = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1))
        return functional.relu(self.b(functional.relu(self.a(x))) + short)

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1)


def test_option_a() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), OptionA(), nn.Conv2d(4, 2, 1), OptionA())
    assert check(net, (63, 64)).stride == (4, 4)


UP: dict[str, tuple[nn.Module, int]] = {
    "transposed 2": (nn.Sequential(conv(2, 2), nn.ConvTranspose2d(1, 1, 2, 2)), 2),
    "transposed 3": (nn.Sequential(conv(3, 4), nn.ConvTranspose2d(1, 1, 3, 2, 1, output_padding=1)), 2),
    "transposed 4": (nn.Sequential(conv(3, 4), nn.ConvTranspose2d(1, 1, 4, 2, 1), nn.ReLU()), 2),
    "transposed 5 by 3": (nn.Sequential(conv(3, 3), nn.ConvTranspose2d(1, 1, 5, 3, 0)), 3),
    "nearest": (nn.Sequential(conv(3, 2), nn.Upsample(scale_factor=3, mode="nearest")), 3),
    "nearest, down": (nn.Sequential(conv(3), nn.Upsample(scale_factor=0.5, mode="nearest")), 1),
    "nearest, exact": (nn.Sequential(conv(3), nn.Upsample(scale_factor=2, mode="nearest-exact")), 2),
    "bilinear": (nn.Sequential(conv(3, 4), nn.Upsample(scale_factor=2, mode="bilinear")), 2),
    "bilinear to a size": (nn.Sequential(conv(3, 2), nn.Upsample((72, 88), mode="bilinear")), 2),
    "bicubic": (nn.Sequential(conv(3, 4), nn.Upsample(scale_factor=2, mode="bicubic")), 2),
    "pixel shuffle": (nn.Sequential(nn.Conv2d(1, 4, 3, 3), nn.PixelShuffle(2)), 2),
    "shuffled by hand": (
        Apply(
            lambda x, a: a(x).unflatten(1, (1, 2, 2)).permute(0, 1, 4, 2, 5, 3).flatten(4).flatten(2, 3),
            nn.Conv2d(1, 4, 3, 3),
        ),
        2,
    ),
    "shuffled by hand, joined": (
        Apply(
            lambda x, a, b: b(x) + a(x).unflatten(1, (1, 2, 2)).permute(0, 1, 4, 2, 5, 3).flatten(4).flatten(2, 3),
            nn.Conv2d(1, 4, 4, 4), nn.Sequential(conv(4, 4), nn.ConvTranspose2d(1, 1, 2, 2)),
        ),
        2,
    ),
    "repeated": (Apply(lambda x, a: a(x).repeat_interleave(2, 2).repeat_interleave(2, 3), conv(3, 3)), 2),
    "skip": (
        Apply(
            lambda x, a, b, c: torch.cat([c(b(y := a(x))), y], 1),
            conv(5, 4), conv(3, 2), nn.ConvTranspose2d(1, 1, 4, 2),
        ),
        2,
    ),
    "folded": (
        Apply(lambda x, a: functional.fold(functional.unfold(a(x), 2, stride=2), (70, 86), 2, stride=2), conv(4)), 2
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UP)
def test_upsampling(name: str) -> None:
    net, period = UP[name]
    check(net, SIZE, period, field=False)


@st.composite
def stacks(draw: st.DrawFn) -> nn.Sequential:
    """Up to four random layers."""
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 4))):
        stride, padding = draw(st.integers(1, 2)), draw(st.integers(0, 3))
        kernel = draw(st.sampled_from([1, 2, 3, 5, 7]))
        if draw(st.booleans()):
            layers.append(conv(kernel, stride, padding, dilation=draw(st.integers(1, 2))))
        elif draw(st.booleans()):
            layers.append(nn.MaxPool2d(kernel, stride, min(padding, kernel // 2), ceil_mode=draw(st.booleans())))
        else:
            layers.append(nn.ZeroPad2d(tuple(draw(st.lists(st.integers(0, 3), min_size=4, max_size=4)))))
    return nn.Sequential(*layers)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stacks())
def test_random_stacks(net: nn.Sequential) -> None:
    first = trace_grids(net, {"net": net}, torch.rand(1, 1, 200, 200))["net"]
    assert isinstance(first, Traced)
    side = int(first.field[0] + 4 * first.stride[0]) + 24
    check(net, (side + 4, side))
