"""The output of a layer as maps [B, U, H, W]: vectors, tokens, channels-last outputs."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd, isqrt
from typing import TYPE_CHECKING, Literal

from ..errors import ArgumentError, LayerError
from ..geometry.layout import Layout
from ..geometry.traced import Traced
from ..geometry.tracks import Unknown

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
        number of class and register tokens before the patch tokens; None: inferred, and those that a given
        grid leaves over. With both, tokens that are left over come after the grid.
    layout :
        of 3-D outputs ``"BTD"`` (batch first), ``"TBD"`` (tokens first, as in OpenAI's CLIP) or ``"BDT"`` (units
        first); of 4-D outputs ``"BCHW"`` or ``"BHWC"`` (channels last, as in Swin). None: as the trace of the
        network says, else inferred (spec 3.1).

    What is given here is taken as it is, whatever the trace says. Raises ArgumentError for any other layout, and for a
    grid or prefix that is impossible.

    >>> nd.Tokens(grid=(14, 14), prefix=1)  # 196 patches after a class token
    Tokens(grid=(14, 14), prefix=1, layout=None)
    >>> nd.Tokens(layout="HWC")
    Traceback (most recent call last):
    netdissect_fast.errors.ArgumentError: tokens: layout must be BTD, TBD, BDT, BCHW or BHWC, got 'HWC'
    """

    grid: tuple[int, int] | None = None
    prefix: int | None = None
    layout: Literal["BTD", "TBD", "BDT", "BCHW", "BHWC"] | None = None

    def __post_init__(self) -> None:
        if self.grid is not None and (len(self.grid) != 2 or min(self.grid) < 1):
            raise ArgumentError(f"tokens: grid must be (rows, columns), each at least 1, got {self.grid!r}")
        if self.prefix is not None and self.prefix < 0:
            raise ArgumentError(f"tokens: prefix must be at least 0, got {self.prefix}")
        if self.layout not in ("BTD", "TBD", "BDT", "BCHW", "BHWC", None):
            raise ArgumentError(f"tokens: layout must be BTD, TBD, BDT, BCHW or BHWC, got {self.layout!r}")


def dtype_name(dtype: torch.dtype) -> str:
    """Return a torch dtype's name without ``torch.``, such as float32."""
    return str(dtype).removeprefix("torch.")


def find_layout(
    name: str, output: Tensor, tokens: Tokens | None, batch: Tensor, traced: Traced | Unknown | None = None
) -> Layout:
    """Return how ``output`` of layer ``name`` is cut into maps (spec 3.1); ``batch`` is the network's input.

    ``tokens`` states it, else ``traced`` says it, else it is inferred from the sizes. Raises LayerError if the output
    is no stack of maps, vectors or tokens, or the sizes can be read in several ways.
    """
    import torch

    if output.layout != torch.strided or output.is_nested:
        raise LayerError(f"layer {name!r} returns a sparse or nested tensor; choose a layer with dense output")
    if output.ndim not in (2, 3, 4):
        raise LayerError(
            f"layer {name!r} returns a tensor {list(output.shape)}; expected [B, units], [B, tokens, units] or "
            "[B, units, height, width]"
        )
    tokens = tokens or Tokens()
    stated = tokens.layout if len(tokens.layout or "") == output.ndim else None
    shape, image = tuple(output.shape), tuple(batch.shape[2:])
    known = traced.layout if isinstance(traced, Traced) and output.ndim > 2 else None
    if known and known.fits(shape) and 0 not in shape and _agrees(known, tokens, stated):
        return known
    _require_batch(name, shape, len(batch), axis=int(stated == "TBD"))
    if output.ndim == 2:
        return Layout.of("BC", shape[1:])
    if stated is None and tokens == Tokens():
        _require_readable(name, shape, image, traced)
    if output.ndim == 4:
        return Layout.of(stated or "BCHW", shape[1:])
    letters = stated or "BTD"
    sides = shape[:1] + shape[2:] if letters == "TBD" else shape[1:]
    count = sides[letters.replace("B", "").index("T")]
    grid, before = _token_grid(name, count, tokens, image)
    return Layout.of(letters, sides, grid, before)


def as_maps(name: str, output: Tensor, layout: Layout, images: int) -> Tensor:
    """View ``output`` of layer ``name``, of a batch of ``images``, as [B, U, H, W]. Raises LayerError if it differs."""
    shape = tuple(output.shape)
    _require_batch(name, shape, images, layout.batch)
    if not layout.fits(shape):
        raise LayerError(
            f"layer {name!r} returned maps of shape {list(shape[1:])} after {list(layout.shape)} in earlier batches; "
            "all images must have the same size"
        )
    return layout.maps(output.detach())


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
    """Return whether axes 1 and 2 have exactly the image's aspect ratio, so that they may be rows and columns."""
    if len(image) != 2 or 0 in shape or shape[1:] == (1, 1, 1):
        return False
    return shape[1] * image[1] == shape[2] * image[0]


def _agrees(known: Layout, tokens: Tokens, stated: str | None) -> bool:
    """Return whether a traced layout is what ``tokens`` states, where it states anything."""
    if stated not in (None, known.letters):
        return False
    if "T" not in known.letters:
        return len(known.letters) == 4 or (tokens.grid is None and tokens.prefix is None)
    return tokens.grid in (None, known.size[1:]) and tokens.prefix in (None, known.before)


def _require_batch(name: str, shape: tuple[int, ...], images: int, axis: int) -> None:
    """Raise LayerError unless the output's ``axis`` is the batch."""
    if len(shape) <= axis or shape[axis] != images:
        hint = "; if tokens come first, pass tokens=Tokens(layout='TBD') (--tokens TBD)" if len(shape) == 3 else ""
        raise LayerError(
            f"layer {name!r} returns a tensor {list(shape)} for a batch of {images} images: its "
            f"{('first', 'second')[axis]} axis is not the batch{hint if axis == 0 else ''}"
        )


def _require_readable(
    name: str, shape: tuple[int, ...], image: tuple[int, ...], traced: Traced | Unknown | None
) -> None:
    """Raise LayerError if an output must not be read as [B, U, H, W] or [B, T, D]: the trace or its sizes object."""
    what = f"layer {name!r} returns a tensor [B, {', '.join(map(str, shape[1:]))}] for images {list(image)}"
    remedy = (
        "pass tokens=Tokens(layout='BHWC'), or 'BCHW' if it is not (--tokens BHWC, --tokens BCHW)"
        if len(shape) == 4
        else "pass tokens=Tokens(layout='BTD'), or 'BDT', if need be with grid=(rows, columns) and prefix= (--tokens)"
    )
    objection = "units and places share an axis" if isinstance(traced, Traced) and not traced.layout else None
    if isinstance(traced, Unknown) and not traced.op and traced.kind and (len(shape) == 3 or traced.kind == "order"):
        objection = str(traced)
    if objection:
        raise LayerError(f"{what}, which is no map: {objection}. Choose a different layer; if it is one, {remedy}")
    why = f" ({traced})" if isinstance(traced, Unknown) else ""
    if len(shape) == 4 and _looks_channels_last(shape, image):
        raise LayerError(f"{what}, which looks like [B, H, W, C]{why}; {remedy}")
    # 16 up: smaller numbers of units are a grid, or one with a class token, too often to mean anything.
    if len(shape) == 3 and shape[2] >= 16 and all(any(_rectangle(n - p, image) for p in (0, 1)) for n in shape[1:]):
        raise LayerError(f"{what}, of which either axis could be tokens{why}; {remedy}")


def _token_grid(name: str, count: int, tokens: Tokens, image: tuple[int, ...]) -> tuple[tuple[int, int], int]:
    """Return the grid and the number of prefix tokens of ``count`` tokens; infer what is not given, or raise."""
    grid, prefix = tokens.grid, tokens.prefix
    if grid is not None:
        left = count - grid[0] * grid[1]
        if left < (prefix or 0):
            asked = f"a {grid[0]}x{grid[1]} grid" + ("" if prefix is None else f" after {prefix} others")
            raise LayerError(f"layer {name!r} returns {count} tokens, which cannot be {asked}; correct tokens=")
        return grid, left if prefix is None else prefix
    prefixes = _PREFIXES if prefix is None else (prefix,)
    found = [(grid, p) for p in prefixes if (grid := _rectangle(count - p, image)) is not None]
    if len(found) == 1:
        return found[0]
    reading = " or ".join(f"{p} + {h}x{w}" for (h, w), p in found)
    raise LayerError(
        f"layer {name!r} returns {count} tokens for images {list(image)}, "
        f"{f'which could be {reading}' if found else 'and no grid of that shape fits'}; say which: "
        "tokens=Tokens(grid=(rows, columns), prefix=number of class and register tokens) (--tokens)"
    )


def _rectangle(count: int, image: tuple[int, ...]) -> tuple[int, int] | None:
    """Return rows and columns of ``count`` patches with exactly the image's aspect ratio; None if none fit."""
    if count < 1 or len(image) != 2:
        return None
    unit = gcd(*image)
    rows, columns = image[0] // unit, image[1] // unit
    scale = isqrt(count // (rows * columns))
    return (rows * scale, columns * scale) if scale and scale * scale * rows * columns == count else None
