"""The output of a layer as maps [B, U, H, W]: vectors, tokens, channels-last outputs."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd, isqrt
from typing import TYPE_CHECKING, Literal

from ..errors import ArgumentError, LayerError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# none, class, class + distillation, 4 registers, class + 4 registers: the prefixes of published transformers
_PREFIXES = (0, 1, 2, 4, 5)


@dataclass(frozen=True)
class Tokens:
    """The layout of a transformer's output on the image.

    Parameters
    ----------
    grid :
        (h, w), rows and columns of patch tokens; None: inferred from the number of tokens and the image's
        shape.
    prefix :
        number of class and register tokens before the patch tokens; None: inferred.
    layout :
        of 3-D outputs ``"BTD"`` (batch first, the default) or ``"TBD"`` (tokens first, as in OpenAI's CLIP);
        of 4-D outputs ``"BCHW"`` (the default) or ``"BHWC"`` (channels last, as in Swin).

    Raises ArgumentError for any other layout, and for a grid or prefix that is impossible.

    >>> nd.Tokens(grid=(14, 14), prefix=1)  # 196 patches after a class token
    Tokens(grid=(14, 14), prefix=1, layout=None)
    >>> nd.Tokens(layout="HWC")
    Traceback (most recent call last):
    netdissect_fast.errors.ArgumentError: tokens: layout must be BTD, TBD, BCHW or BHWC, got 'HWC'
    """

    grid: tuple[int, int] | None = None
    prefix: int | None = None
    layout: Literal["BTD", "TBD", "BCHW", "BHWC"] | None = None

    def __post_init__(self) -> None:
        if self.grid is not None and (len(self.grid) != 2 or min(self.grid) < 1):
            raise ArgumentError(f"tokens: grid must be (rows, columns), each at least 1, got {self.grid!r}")
        if self.prefix is not None and self.prefix < 0:
            raise ArgumentError(f"tokens: prefix must be at least 0, got {self.prefix}")
        if self.layout not in ("BTD", "TBD", "BCHW", "BHWC", None):
            raise ArgumentError(f"tokens: layout must be BTD, TBD, BCHW or BHWC, got {self.layout!r}")


def dtype_name(dtype: torch.dtype) -> str:
    """Return a torch dtype's name without ``torch.``, such as float32."""
    return str(dtype).removeprefix("torch.")


def as_maps(name: str, output: Tensor, tokens: Tokens | None, batch: Tensor) -> Tensor:
    """View ``output`` of layer ``name`` as [B, K, H, W]; ``batch`` [B, C, Y, X] is the network's input.

    [B, K] becomes [B, K, 1, 1]; [B, T, D] becomes [B, D, h, w] (see Tokens). Nothing is copied. Raises LayerError
    if the output is anything else or the token grid is ambiguous.
    """
    import torch

    if output.layout != torch.strided or output.is_nested:
        raise LayerError(f"layer {name!r} returns a sparse or nested tensor; choose a layer with dense output")
    output, tokens = output.detach(), tokens or Tokens()
    if output.ndim == 3 and tokens.layout == "TBD":
        output = output.transpose(0, 1)
    if output.ndim not in (2, 3, 4):
        raise LayerError(
            f"layer {name!r} returns a tensor {list(output.shape)}; expected [B, units], [B, tokens, units] or "
            "[B, units, height, width]"
        )
    if output.shape[0] != len(batch):
        hint = "; if tokens come first, pass tokens=Tokens(layout='TBD')" if output.ndim == 3 else ""
        raise LayerError(
            f"layer {name!r} returns a tensor {list(output.shape)} for a batch of {len(batch)} images: its "
            f"first axis is not the batch{hint}"
        )
    if output.ndim == 2:
        return output[:, :, None, None]
    image = tuple(batch.shape[2:])
    if output.ndim == 4:
        if tokens.layout is None and _looks_channels_last(tuple(output.shape), image):
            raise LayerError(
                f"layer {name!r} returns a tensor {list(output.shape)} for images {list(image)}, which looks "
                "like [B, H, W, C]; pass tokens=Tokens(layout='BHWC'), or 'BCHW' if it is not"
            )
        return output.permute(0, 3, 1, 2) if tokens.layout == "BHWC" else output
    (rows, columns), prefix = _token_grid(name, output.shape[1], tokens, image)
    patches = output[:, prefix:].transpose(1, 2)
    return patches.view(*patches.shape[:2], rows, columns)


def checked_maps(name: str, maps: Tensor) -> Tensor:
    """Return ``maps`` [B, U, H, W] as float32, float16 or bfloat16, contiguous or channels_last.

    Raises LayerError if they are not floats, or empty.
    """
    import torch

    if maps.is_quantized or not maps.is_floating_point():
        hint = "transform=torch.dequantize" if maps.is_quantized else "a transform that converts it to floats"
        raise LayerError(f"layer {name!r} returns {dtype_name(maps.dtype)} values, expected floats; pass {hint}")
    if 0 in maps.shape:
        raise LayerError(f"layer {name!r} returns empty maps {list(maps.shape)} (batch, units, height, width)")
    maps = maps.detach()
    if maps.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        maps = maps.float()
    if maps.is_contiguous() or maps.is_contiguous(memory_format=torch.channels_last):
        return maps
    dense = torch.channels_last if maps.stride(1) == 1 else torch.contiguous_format
    return maps.contiguous(memory_format=dense)


def _looks_channels_last(shape: tuple[int, ...], image: tuple[int, ...]) -> bool:
    """Return whether axes 1 and 2 have the image's aspect ratio while axes 2 and 3 are far from it."""
    if len(image) != 2 or 0 in shape:
        return False
    ratio = shape[2] * image[1] / (shape[3] * image[0])
    return shape[1] * image[1] == shape[2] * image[0] and not 0.4 < ratio < 2.5


def _token_grid(name: str, count: int, tokens: Tokens, image: tuple[int, ...]) -> tuple[tuple[int, int], int]:
    """Return the grid and the number of prefix tokens of ``count`` tokens; infer what is not given, or raise."""
    grid, prefix = tokens.grid, tokens.prefix
    if grid is not None:
        left = count - grid[0] * grid[1]
        if left < 0 or prefix not in (left, None):
            asked = f"a {grid[0]}x{grid[1]} grid" + ("" if prefix is None else f" after {prefix} others")
            raise LayerError(f"layer {name!r} returns {count} tokens, which cannot be {asked}; correct tokens=")
        return grid, left
    prefixes = _PREFIXES if prefix is None else (prefix,)
    found = [(grid, p) for p in prefixes if (grid := _rectangle(count - p, image)) is not None]
    if len(found) == 1:
        return found[0]
    reading = " or ".join(f"{p} + {h}x{w}" for (h, w), p in found)
    raise LayerError(
        f"layer {name!r} returns {count} tokens for images {list(image)}, "
        f"{f'which could be {reading}' if found else 'and no grid of that shape fits'}; say which: "
        "tokens=Tokens(grid=(rows, columns), prefix=number of class and register tokens)"
    )


def _rectangle(count: int, image: tuple[int, ...]) -> tuple[int, int] | None:
    """Return rows and columns of ``count`` patches with exactly the image's aspect ratio; None if none fit."""
    if count < 1 or len(image) != 2:
        return None
    unit = gcd(*image)
    rows, columns = image[0] // unit, image[1] // unit
    scale = isqrt(count // (rows * columns))
    return (rows * scale, columns * scale) if scale and scale * scale * rows * columns == count else None
