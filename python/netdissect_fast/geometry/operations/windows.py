"""Rules for operations that slide or resample: convolution, pooling, padding, interpolation, unfolding."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from ..tracks import NotUnderstood, Track, length, places, plain
from .branches import as_tokens
from .calls import Call, rule


@rule("convolution", "_convolution", "convolution_overrideable", "cudnn_convolution", "mkldnn_convolution")
def convolution(call: Call) -> Track:
    """Follow a convolution: dilated, grouped or transposed; every unit sees all channels."""
    x, shape = call.track("input", "self"), call.shape
    kernel = tuple(call.args["weight"].shape[2:])
    n = len(kernel)
    stride, padding, dilation = (call.per_axis(name, n) for name in ("stride", "padding", "dilation"))
    x = x.collapse(1, shape[1])
    for i in range(n):
        reach = dilation[i] * (kernel[i] - 1)
        if call.args.get("transposed"):
            # Output j gets input i through tap k where j = i·stride − padding + k·dilation.
            shift = Fraction(2 * padding[i] - reach, 2 * stride[i])
            x = x.resample(2 + i, shape[2 + i], Fraction(1, stride[i]), shift, Fraction(reach, stride[i]))
        else:
            x = x.resample(2 + i, shape[2 + i], stride[i], Fraction(reach, 2) - padding[i], reach)
    return x


@rule(*(f"{kind}_pool{n}d{tail}" for kind in ("max", "avg") for n in (1, 2, 3) for tail in ("", "_with_indices")))
def pool(call: Call) -> Track:
    """Follow max or average pooling over the last dimensions; ceil_mode only affects the size."""
    x, shape = call.track("self"), call.shape
    n = int(call.name.split("pool")[1][0])
    kernel = call.per_axis("kernel_size", n)
    stride = call.per_axis("stride", n) or kernel
    padding = call.per_axis("padding", n)
    dilation = call.per_axis("dilation", n) if "dilation" in call.args else [1] * n
    for i in range(n):
        d, reach = len(shape) - n + i, dilation[i] * (kernel[i] - 1)
        x = x.resample(d, shape[d], stride[i], Fraction(reach, 2) - padding[i], reach)
    return x


@rule(*(f"{mark}adaptive_{kind}_pool{n}d" for mark in ("", "_") for kind in ("max", "avg") for n in (1, 2, 3)))
def adaptive_pool(call: Call) -> Track:
    """Follow adaptive pooling if its windows are evenly spaced and of one size, or there is only one window."""
    x, shape = call.track("self"), call.shape
    n = int(call.name.split("pool")[1][0])
    for d in range(len(shape) - n, len(shape)):
        out, size = shape[d], length(x.dims[d])
        starts = [j * size // out for j in range(out)]
        lengths = {-(-(j + 1) * size // out) - start for j, start in enumerate(starts)}
        steps = {b - a for a, b in pairwise(starts)}
        if len(lengths) > 1 or len(steps) > 1:
            raise NotUnderstood
        kernel = lengths.pop()
        step = steps.pop() if steps else kernel
        x = x.resample(d, out, step, Fraction(kernel - 1, 2), kernel - 1) if step else x.put(d, plain(out))
    return x


@rule("constant_pad_nd", *(f"{kind}_pad{n}d" for kind in ("reflection", "replication") for n in (1, 2, 3)))
def pad(call: Call) -> Track:
    """Follow padding, which may be uneven or negative (a crop)."""
    x, shape = call.track("self"), call.shape
    amounts = call.args["pad" if "pad" in call.args else "padding"]
    for i, before in enumerate(amounts[::2]):
        d = len(shape) - 1 - i
        if before >= 0 and shape[d] >= before + length(x.dims[d]) and (tokens := as_tokens(x, d, shape[d], before)):
            x = tokens
            continue
        x = x.resample(d, shape[d], 1, -before, 0)
    return x


_UPSAMPLE = ("nearest", "linear", "bilinear", "trilinear", "bicubic")


@rule(*(f"upsample_{kind}{n}d" for kind in _UPSAMPLE for n in (1, 2, 3)),
      *(f"_upsample_nearest_exact{n}d" for n in (1, 2, 3)),
      *(f"_upsample_{kind}2d_aa" for kind in ("bilinear", "bicubic")))  # fmt: skip
def interpolate(call: Call) -> Track:
    """Follow interpolation. A single value becomes a constant map, which has no grid of its own."""
    x, shape = call.track("self", "input"), call.shape
    reach = 3 if "bicubic" in call.name else 1
    corners, antialias = bool(call.args.get("align_corners")), call.name.endswith("_aa")
    for i, factor in enumerate(_factors(call, len(shape) - 2)):
        d = 2 + i
        old, new = length(x.dims[d]), shape[d]
        if not places(x.dims[d]):
            x = x.put(d, plain(new))
            continue
        scale = 1 / Fraction(factor).limit_denominator(4096) if factor else Fraction(old, new)
        if "nearest" in call.name:
            x = x.resample(d, new, scale, _nearest(scale, exact="exact" in call.name), 0)
        elif corners:
            scale = Fraction(old - 1, new - 1) if new > 1 else Fraction(1)
            x = x.resample(d, new, scale, 0, 0 if old == new else reach)
        else:
            taps = reach * (max(scale, Fraction(1)) if antialias else 1)
            x = x.resample(d, new, scale, (scale - 1) / 2, 0 if scale == 1 else taps)
    return x


def _factors(call: Call, n: int) -> list[float | None]:
    """Return the scale factors that torch computes with, if it was given any, else None."""
    if call.args.get("scale_factors"):
        return list(call.args["scale_factors"])
    if "scales" in call.args:
        return [call.args["scales"]]
    return [call.args.get(f"scales_{axis}") for axis in "dhw"[3 - n :]]


def _nearest(scale: Fraction, *, exact: bool) -> Fraction:
    """Return the mean over j of (index taken − scale·j); the index taken is ⌊scale·j⌋, if exact ⌊scale·(j + ½)⌋."""
    period = scale.denominator
    start = scale / 2 if exact else Fraction(0)
    return sum(((j * scale + start) // 1 - j * scale for j in range(period)), Fraction(0)) / period


@rule("im2col")
def unfold(call: Call) -> Track:
    """Follow F.unfold: the windows of a convolution as a token sequence."""
    x, shape = call.track("self"), call.shape
    x = x.collapse(1, shape[1])
    sizes = _positions(call, [length(dim) for dim in x.dims[2:]])
    for i, (size, reach, stride, padding) in enumerate(sizes):
        x = x.resample(2 + i, size, stride, Fraction(reach, 2) - padding, reach)
    return x.regroup(shape)


@rule("col2im")
def fold(call: Call) -> Track:
    """Follow F.fold: a token sequence of windows, added up into a map (a transposed convolution)."""
    x, shape = call.track("self"), call.shape
    sizes = _positions(call, shape[2:])
    x = x.collapse(1, shape[1]).regroup([*shape[:2], *(size for size, *_ in sizes)])
    for i, (_, reach, stride, padding) in enumerate(sizes):
        shift = Fraction(2 * padding - reach, 2 * stride)
        x = x.resample(2 + i, shape[2 + i], Fraction(1, stride), shift, Fraction(reach, stride))
    return x


def _positions(call: Call, pixels: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Return, per axis, how many windows fit into ``pixels``, and their reach, stride and padding."""
    names = ("kernel_size", "stride", "padding", "dilation")
    rows = zip(pixels, *(call.per_axis(name, 2) for name in names), strict=True)
    return [
        ((size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1, dilation * (kernel - 1), stride, pad)
        for size, kernel, stride, pad, dilation in rows
    ]
