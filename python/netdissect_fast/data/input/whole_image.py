"""Checks that a user's preprocessing shows the network the whole picture, everything in its place.

Labels are laid over the network's input as if the picture had only been resized. A crop, a border, a mirror
image or a random augmentation would silently misplace all of them, so a callable is tried on test pictures
first: their edges must end up where expected. Only positions of edges are used, so any normalisation, channel
order, interpolation and conversion to grey passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...errors import ArgumentError
from ...network.maps import dtype_name
from ...types import Array, Float64Array
from .preprocess import Preprocess

if TYPE_CHECKING:
    from torch import Tensor

_SIZES = ((480, 360), (360, 480), (256, 256))  # width, height
_SIDES = (("top", "bottom"), ("left", "right"))


def check_sees_whole_image(
    preprocess: Callable[[Any], Any],
    crop: Literal["error", "allow"] = "error",
    sizes: Sequence[tuple[int, int]] = _SIZES,
    channels: int | None = None,
) -> None:
    """Try ``preprocess`` on test pictures of ``sizes`` (width, height): PIL images, or tensors of so many ``channels``.

    Raises
    ------
    ArgumentError The result is not a float tensor as ``as_input`` expects it; or it is random, mirrored or
        turned; or borders of the picture are lost or added (``crop="allow"`` lets these pass).
    """
    if crop not in ("error", "allow"):
        raise ArgumentError(f"crop must be 'error' or 'allow', got {crop!r}")
    if isinstance(preprocess, Preprocess):
        return
    for size in sizes:
        first = _apply(preprocess, _noise(size), channels)
        for _ in range(7):
            again = _apply(preprocess, _noise(size), channels)
            if again.shape != first.shape or np.abs(again - first).max() > 1e-3 * np.ptp(first):
                raise ArgumentError(
                    "preprocess returns a different result each time for the same picture; remove random transforms"
                )
        shape = first.shape[1:]
        problems = _bars(first) or [p for axis in (0, 1) for p in _axis(preprocess, size, axis, shape[axis], channels)]
        if problems and crop == "error":
            raise ArgumentError(
                f"preprocess does not show the network the whole picture: of a picture {size[0]}x{size[1]}, "
                f"{', '.join(problems)}. Labels would be misplaced; resize the whole picture instead, as "
                f"preprocess=nd.Preprocess({shape}, mean, std) does, or pass crop='allow'"
            )


def as_input(result: Any, channels: int | None = None) -> Tensor:
    """Convert the result of a preprocessing callable to a float32 tensor [C, H, W].

    channels   of the tensor that it was given: then C may be any number; None: that was a PIL image, and C is 3 or 1
    Raises ArgumentError if it is something else.
    """
    import torch

    expected = f"preprocess must return a float tensor [{channels or 3}, H, W] (or [1, H, W])"
    usual = {1, 3, channels}
    if not isinstance(result, torch.Tensor):
        hint = "; end it with a conversion to a tensor (ToTensor())" if hasattr(result, "convert") else ""
        raise ArgumentError(f"{expected}, got {type(result).__name__}{hint}")
    last = result.ndim == 3 and result.shape[0] not in usual and result.shape[2] in usual
    if result.ndim != 3 or last or (channels is None and result.shape[0] not in usual) or 0 in result.shape:
        hint = ""
        if result.ndim == 4:
            hint = "; remove the batch axis"
        elif last:
            hint = "; channels come first: permute(2, 0, 1)"
        raise ArgumentError(f"{expected}, got a tensor {list(result.shape)}{hint}")
    if not result.is_floating_point():
        raise ArgumentError(f"{expected}, got {dtype_name(result.dtype)}; scale and convert it to float32")
    return result.detach().to(torch.float32)


def _apply(preprocess: Callable[[Any], Any], pixels: Array, channels: int | None) -> Float64Array:
    """Run the callable on grey ``pixels`` [Y, X] as an RGB picture, or as all bands of a tensor: values [C, H, W]."""
    import torch
    from PIL import Image

    image: Any = Image.fromarray(pixels).convert("RGB")
    what = f"a PIL image {image.width}x{image.height}"
    if channels is not None:
        image = torch.from_numpy(pixels.astype(np.float32) / 255).repeat(channels, 1, 1)
        what = f"a float tensor {list(image.shape)}, which the data set has"
    try:
        result = preprocess(image)
    except Exception as error:
        raise ArgumentError(f"preprocess raised {type(error).__name__} on {what}: {error}") from error
    values: Float64Array = as_input(result, channels).cpu().numpy().astype(np.float64)
    if not np.isfinite(values).all():
        raise ArgumentError("preprocess returns NaN or infinite values; is a std 0?")
    return values


def _noise(size: tuple[int, int]) -> Array:
    """Blocks of random grey, large enough to survive any reduction in size."""
    blocks = np.random.default_rng(0).integers(0, 256, (12, 12), dtype=np.uint8)
    rows, columns = (np.arange(n) * 12 // n for n in (size[1], size[0]))
    return blocks[rows][:, columns]


def _bars(values: Float64Array) -> list[str]:
    """Name the sides on which a picture full of noise acquired rows or columns of a single value."""
    if np.ptp(values) == 0:
        return ["everything lost"]
    problems = []
    for axis in (0, 1):
        flat = np.ptp(values, axis=2 - axis).max(axis=0) <= 1e-6 * np.ptp(values)  # of each row or column
        for name, side in zip(_SIDES[axis], (flat, flat[::-1]), strict=True):
            if bar := int(np.argmin(side)):
                kind = ("rows", "columns")[axis]
                problems.append(f"a border of {bar} of the result's {len(flat)} {kind} added at the {name}")
    return problems


def _axis(
    preprocess: Callable[[Any], Any], size: tuple[int, int], axis: int, pixels: int, channels: int | None
) -> list[str]:
    """Find where edges across ``axis`` (0 = y, 1 = x) end up, and describe what that implies for both sides.

    ``pixels`` is the result's size along that axis.
    """
    first, last = _SIDES[axis]
    length = size[1 - axis]
    margin = min(1 / 4, max(1 / 16, 2 / pixels))  # two pixels of the result show the level beside an edge
    profiles, sources = [], []
    for edge in (margin, 1 / 3, 2 / 3, 1 - margin):
        at = round(edge * length)
        line = np.where(np.arange(length) < at, 32, 224).astype(np.uint8)
        picture = np.broadcast_to(line[:, None] if axis == 0 else line, (size[1], size[0]))
        along = _apply(preprocess, picture.copy(), channels).mean(axis=2 - axis)  # [C, pixels]
        profiles.append(along[np.argmax(np.ptp(along, axis=1))])
        sources.append(at / length)
    contrast = max(abs(p[0] - p[-1]) for p in profiles)
    # the part of the result that has the level of its first pixel: that much lies before the edge
    seen = [
        (source, np.clip((p - p[-1]) / (p[0] - p[-1]), 0, 1).mean())
        for source, p in zip(sources, profiles, strict=True)
        if abs(p[0] - p[-1]) > contrast / 2
    ]
    if len(seen) < 2:
        return [f"most lost between {first} and {last}"]
    source, target = np.array(seen).T
    scale, shift = np.polyfit(source, target, 1)
    misfit = np.abs(scale * source + shift - target).max() * pixels
    if scale <= 0 or misfit > 2:
        what = "mirrored" if scale < 0 and misfit <= 2 else "turned or warped"
        raise ArgumentError(f"preprocess returns pictures {what} between {first} and {last}; only resize them")
    borders = (-shift / scale, 1 - (1 - shift) / scale)  # parts of the picture beyond the result's edges
    problems = []
    for name, lost in zip((first, last), borders, strict=True):
        if abs(lost) * scale * pixels > 1.5:  # nearest-neighbour resizing is off by up to that much
            problems.append(f"{abs(lost):.1%} {'lost' if lost > 0 else 'added'} at the {name}")
    return problems
