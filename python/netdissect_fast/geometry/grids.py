"""Grids: the place of a layer's features on the image, and the tables that map label pixels to features.

One formula for every alignment (spec 1.2): feature j of a map is centred on input pixel ``stride·j + offset``. The
tables are made once, here, in float64, so that no backend divides.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from ..errors import ArgumentError, LayerError, shortened
from ..types import Float32Array, Float64Array, Int32Array
from .traced import Traced
from .tracer import GridTracer, trace_grids
from .tracks import Unknown

__all__ = ["AxisTable", "Grid", "GridTracer", "GridWarning", "Traced", "Unknown", "make_grid", "trace_grids"]

Alignment: TypeAlias = Literal["receptive_field", "half_pixel", "align_corners"] | Sequence[Any]
ALIGNMENTS = ("receptive_field", "half_pixel", "align_corners", "explicit")
_FRACTION = float(1 << 24)  # f is a multiple of 2^-24 in [0, 1): exact in float32


class GridWarning(UserWarning):
    """A layer's grid could not be traced, so half_pixel is used; or maps do not have the shape of the image."""


@dataclass(frozen=True)
class AxisTable:
    """For the P label pixels along one axis: the two features that each lies between, and how far along it lies.

    i0  int32 [P]: the feature at or before the pixel
    i1  int32 [P]: i0 or i0 + 1, never past the map
    f   float32 [P]: in [0, 1), a multiple of 2^-24; the value there is a[i0] + f·(a[i1] − a[i0])
    """

    i0: Int32Array
    i1: Int32Array
    f: Float32Array

    def __len__(self) -> int:
        return len(self.i0)


@dataclass(frozen=True)
class Grid:
    """The place of a layer's H×W features on the network's input. All pairs are (y, x).

    size        (H, W) of the activation map
    input_size  the network's input in pixels
    stride      input pixels from one feature to the next, > 0
    offset      input pixel on which feature 0 is centred; the centre of pixel 0 is 0.0
    alignment   "receptive_field", "half_pixel", "align_corners" or "explicit"

    With "align_corners" the corners of the label grid decide; stride and offset then only say what that means for
    labels of the input's own size. Raises ArgumentError for sizes below 1, strides that are not positive, and
    unknown alignments.

    >>> grid = nd.Grid((4, 4), (8, 8), stride=(2, 2), offset=(0.5, 0.5), alignment="half_pixel")
    >>> print(grid)
    stride 2, offset 0.5 (half_pixel)
    >>> table = grid.axis(0, labels=4)  # as many label pixels as features: each lies on one
    >>> table.i0.tolist(), table.f.tolist()
    ([0, 1, 2, 3], [0.0, 0.0, 0.0, 0.0])
    """

    size: tuple[int, int]
    input_size: tuple[int, int]
    stride: tuple[float, float]
    offset: tuple[float, float]
    alignment: str

    def __post_init__(self) -> None:
        for name in ("size", "input_size", "stride", "offset"):
            pair = getattr(self, name)
            if len(pair) != 2:
                raise ArgumentError(f"a grid's {name} must be a pair (y, x), got {pair!r}")
        if min(*self.size, *self.input_size) < 1:
            raise ArgumentError(
                f"a grid needs sizes of at least 1, got map {self.size} and network input {self.input_size}"
            )
        if self.alignment not in ALIGNMENTS:
            raise ArgumentError(f"unknown alignment {self.alignment!r}: expected one of {', '.join(ALIGNMENTS)}")
        if not all(math.isfinite(s) and s > 0 for s in self.stride):
            raise ArgumentError(
                f"a grid's stride must be positive and finite, got {self.stride}: give the distance between two "
                "neighbouring features in input pixels, as (y, x)"
            )
        if not all(math.isfinite(o) for o in self.offset):
            raise ArgumentError(
                f"a grid's offset must be finite, got {self.offset}: give the input pixel on which the first "
                "feature is centred, as (y, x)"
            )

    def axis(self, axis: int, labels: int) -> AxisTable:
        """Return the table of one axis (0 = y, 1 = x) for ``labels`` label pixels along it (spec 1.2)."""
        if axis not in (0, 1) or labels < 0:
            raise ArgumentError(f"expected axis 0 (y) or 1 (x) and labels ≥ 0, got axis {axis}, labels {labels}")
        w = self.size[axis]
        p = np.arange(labels, dtype=np.float64)
        if self.alignment == "align_corners":
            x = p * (w - 1) / (labels - 1) if labels > 1 else np.zeros(labels)
        else:
            c = (p + 0.5) * (self.input_size[axis] / max(labels, 1)) - 0.5
            with np.errstate(over="ignore"):  # far outside the map, where it is clipped
                x = np.clip((c - self.offset[axis]) / self.stride[axis], 0, w - 1)
        return _table(x, w)

    def __str__(self) -> str:
        stride, offset = (f"{y:g}" if y == x else f"({y:g}, {x:g})" for y, x in (self.stride, self.offset))
        return f"stride {stride}, offset {offset} ({self.alignment})"

    def to_json(self) -> dict[str, Any]:
        """Return plain lists, numbers and one string; ``from_json`` returns an equal grid."""
        return {
            "size": list(self.size),
            "input_size": list(self.input_size),
            "stride": list(self.stride),
            "offset": list(self.offset),
            "alignment": self.alignment,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Grid:
        """Read the grid that ``to_json`` wrote. Raises ArgumentError if a field is missing or not a pair of numbers."""
        try:
            height, width = data["size"]
            rows, columns = data["input_size"]
            (sy, sx), (oy, ox) = data["stride"], data["offset"]
            if max(height, width, rows, columns) >= 2**31:
                raise ValueError("sizes must be below 2³¹")
            return cls(
                (int(height), int(width)),
                (int(rows), int(columns)),
                (float(sy), float(sx)),
                (float(oy), float(ox)),
                str(data["alignment"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ArgumentError(
                f"expected a grid as Grid.to_json writes it, got {shortened(repr(data))} ({shortened(error)})"
            ) from error


def _table(x: Float64Array, w: int) -> AxisTable:
    """Split feature coordinates x, already within 0..w−1, into integer and fraction."""
    i0 = np.floor(x)
    f = np.rint((x - i0) * _FRACTION) / _FRACTION
    carry = f == 1
    i0, f = i0 + carry, np.where(carry, 0.0, f)
    first = i0.astype(np.int32)
    return AxisTable(first, np.minimum(first + 1, w - 1).astype(np.int32), f.astype(np.float32))


def make_grid(
    alignment: Alignment,
    traced: Traced | Unknown | None,
    size: tuple[int, int],
    input_size: tuple[int, int],
    *,
    layer: str | None = None,
) -> Grid:
    """Return the grid of a layer with maps of ``size`` (H, W) in a network that saw ``input_size`` pixels.

    ``alignment`` is "receptive_field" (``traced`` says where), "half_pixel", "align_corners", or the explicit
    (stride, offset), each a number or a pair (y, x). If "receptive_field" was requested and the layer could not
    be traced, half_pixel is used instead and a GridWarning names the operation that was not understood; there is no
    warning for 1×1 maps, which are constant on any grid. If places were mirrored or reordered there is no plain grid to
    fall back on: a LayerError. ``layer`` is the name used in messages.
    """
    height, width = size
    plain = (input_size[0] / height, input_size[1] / width) if min(size) > 0 else (1.0, 1.0)
    half = ((plain[0] - 1) / 2, (plain[1] - 1) / 2)
    if not isinstance(alignment, str):
        return Grid(size, input_size, *_explicit(alignment), "explicit")
    if alignment == "half_pixel":
        return Grid(size, input_size, plain, half, "half_pixel")
    if alignment == "align_corners":
        ends = [((i - 1) / (n - 1), 0.0) if n > 1 and i > 1 else (float(i), (i - 1) / 2)
                for n, i in zip(size, input_size, strict=True)]  # fmt: skip
        return Grid(size, input_size, (ends[0][0], ends[1][0]), (ends[0][1], ends[1][1]), "align_corners")
    if alignment != "receptive_field":
        raise ArgumentError(
            f"unknown alignment {alignment!r}: expected 'receptive_field', 'half_pixel', 'align_corners' or explicit "
            "numbers (stride, offset)"
        )
    if isinstance(traced, Traced) and traced.size == tuple(size):
        return Grid(size, input_size, traced.stride, traced.offset, "receptive_field")
    if tuple(size) != (1, 1):
        if isinstance(traced, Unknown) and traced.kind == "order":
            why = f"operation {traced.op} mirrors or reorders places" if traced.op else str(traced)
            raise LayerError(
                f"the places of layer {layer!r} on the image are not known: {why}. A plain grid would be wrong unless "
                "this is undone before the layer; if it is, pass alignment='half_pixel' (--alignment half_pixel) or "
                "alignment=(stride, offset) in input pixels; else choose a layer before it"
            )
        if isinstance(traced, Traced):
            why = f"its output was traced as a map of {traced.size} but has the size {tuple(size)}"
        else:
            why = str(traced) if traced else "it was not traced"
        warnings.warn(
            f"the grid of layer {layer!r} cannot be traced: {why}; using alignment 'half_pixel'. Give "
            "alignment=(stride, offset) in input pixels if you know them"
            if layer
            else f"the grid cannot be traced: {why}; using alignment 'half_pixel'",
            GridWarning,
            stacklevel=2,
        )
    return Grid(size, input_size, plain, half, "half_pixel")


def _explicit(alignment: Sequence[Any]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return (stride, offset), each a number or a pair, as two pairs of floats."""
    pairs = []
    try:
        stride, offset = alignment
        for given in (stride, offset):
            y, x = given if isinstance(given, (Sequence, np.ndarray)) else (given, given)
            pairs.append((float(y), float(x)))
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"expected alignment=(stride, offset) or ((stride_y, stride_x), (offset_y, offset_x)) in input pixels, "
            f"got {alignment!r}"
        ) from error
    return pairs[0], pairs[1]
