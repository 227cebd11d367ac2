"""Receptive fields measured with gradients: the yardstick for traced grids."""

from __future__ import annotations

import copy
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from netdissect_fast.geometry.traced import Traced
from netdissect_fast.geometry.tracer import trace_grids

MARGIN = 8  # a support that reaches into padding comes nearer to the border than this (strides leave holes)


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function: Any, *parts: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Any:
        return self.function(x, *self.parts)


def conv(*args: Any, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(1, 1, *args, **options)


class AveragePool(nn.Module):
    """Average over the windows of a max pool, dilated ones too."""

    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        p = self.pool
        kernel = p.kernel_size if isinstance(p.kernel_size, tuple) else (p.kernel_size, p.kernel_size)
        size = functional.max_pool2d(
            x, kernel, p.stride, p.padding, p.dilation, ceil_mode=p.ceil_mode, return_indices=False
        ).shape[2:]
        weight = torch.ones(x.shape[1], 1, *kernel, dtype=x.dtype)
        # A window that ceil_mode lets hang over the edge only sees zeros there.
        wide = functional.pad(x, (0, max(kernel) * 4, 0, max(kernel) * 4))
        pooled = functional.conv2d(wide, weight, None, p.stride, p.padding, p.dilation, groups=x.shape[1])
        return pooled[:, :, : size[0], : size[1]]


def linear(net: nn.Module) -> nn.Module:
    """The same network with positive weights, nonlinearities linear, max pools as averages."""
    net = copy.deepcopy(net).double()
    for parent in list(net.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.MaxPool2d):
                setattr(parent, name, AveragePool(child))
            elif isinstance(child, (nn.ReLU, nn.GELU, nn.Sigmoid)):
                setattr(parent, name, nn.Identity())
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.uniform_(0.5, 1.5)
    return net.eval()


def supports(net: nn.Module, size: tuple[int, int]) -> tuple[dict[int, tuple[int, int]], ...]:
    """Per axis: feature → first and last input pixel that reach it, for features away from the border."""
    x = torch.rand(1, 1, *size, dtype=torch.float64, requires_grad=True)
    out = linear(net)(x)
    found: tuple[dict[int, tuple[int, int]], ...] = ({}, {})
    middle = [n // 2 for n in out.shape[2:]]
    for axis in (0, 1):
        for j in range(out.shape[2 + axis]):
            at = (j, middle[1]) if axis == 0 else (middle[0], j)
            (gradient,) = torch.autograd.grad(out[0, :, at[0], at[1]].sum(), x, retain_graph=True)
            pixels = gradient[0, 0].abs().sum(1 - axis).nonzero()[:, 0].tolist()
            if pixels and pixels[0] >= MARGIN and pixels[-1] < size[axis] - MARGIN:
                found[axis][j] = (pixels[0], pixels[-1])
    return found


def check(net: nn.Module, size: tuple[int, int], period: int = 1, *, field: bool = True) -> Traced:
    """Assert that the traced grid is the measured one.

    Where upsampling makes centres repeat with a ``period``, their means over it must lie on the grid.
    """
    traced = trace_grids(net.eval(), {"net": net}, torch.rand(1, 1, *size))["net"]
    assert isinstance(traced, Traced), traced
    for axis, measured in enumerate(supports(net, size)):
        runs = [range(j, j + period) for j in measured if all(i in measured for i in range(j, j + period))]
        assert len(runs) >= 3, f"too few features away from the border: {len(measured)}"
        for run in runs:
            centre = sum(Fraction(sum(measured[j]), 2) for j in run) / period
            expected = traced.stride[axis] * (run[0] + (period - 1) / 2) + traced.offset[axis]
            assert abs(float(centre) - expected) < 1e-9, (axis, run, float(centre), expected)
        if field:
            extents = {last - first + 1 for first, last in measured.values()}
            assert extents == {traced.field[axis]}
    return traced
