"""The grid of a layer as the tracer reports it."""

from __future__ import annotations

from dataclasses import dataclass

from .layout import Layout
from .tracks import TOKENS, NotUnderstood, Part, Track, Unknown, X, Y, length, places


@dataclass(frozen=True)
class Traced:
    """A layer's place on the input. Pairs are (y, x), lengths are in input pixels.

    size    (H, W) of the map; (1, 1) if one value stands for the whole image
    stride  from one feature to the next
    offset  where feature 0 is centred; the centre of pixel 0 is 0.0
    field   extent of the receptive field (of the largest branch; attention and gates not counted)
    prefix  extra tokens (class, registers) before the H·W patches, for outputs [B, T, D]; else None
    layout  which axes of the output are units, rows and columns; None if that is not clear
    """

    size: tuple[int, int]
    stride: tuple[float, float]
    offset: tuple[float, float]
    field: tuple[float, float]
    prefix: int | None = None
    layout: Layout | None = None


def describe(known: Track, input_size: tuple[int, int]) -> Traced | Unknown:
    """Return the grid of a tensor from its track: find the dimensions that are the image, mix the others."""
    shared = False  # do units and places share a dimension?
    for d, dim in enumerate(known.dims):
        if len(dim) == 2 and dim[0].axis in (Y, X) and not known.elsewhere(dim[0].axis, d) and len(known.dims) > 2:
            try:
                known = known.resolve(d)
            except NotUnderstood:
                continue
            shared = shared or len(known.dims) < 4  # [B, H, W·C] reads like a pixel shuffle
    pure = [d for d, dim in enumerate(known.dims) if places(dim) and all(part.axis >= 0 for part in dim)]
    on_image = {part.axis for d in pure for part in places(known.dims[d])}
    for d, dim in enumerate(known.dims):
        if places(dim) and d not in pure:
            shared = shared or bool(pure and {part.axis for part in places(dim)} - on_image)
            known = known.collapse(d, length(dim))
    layout = None if shared else Layout.traced(known, pure)
    sizes, strides, offsets, fields, order = [], [], [], [], []
    prefix = None
    for a in (Y, X):
        found = sorted(((d, p) for d in pure for p in places(known.dims[d]) if p.axis == a), key=lambda f: -f[1].step)
        parts = [part for _, part in found]
        if len(found) > 1 and (layout is None or not _whole(parts)):
            return Unknown("", "its values are grouped in windows", kind="order")
        axis = known.axes[a]
        sizes.append(length(parts))
        strides.append(float(axis.stride) if found else float(input_size[a]))
        offsets.append(float(axis.offset) if found else (input_size[a] - 1) / 2)
        fields.append(float(axis.field))
        order.append([p.axis for p in places(known.dims[found[0][0]])] if found else [])
    if not pure and sum(length(dim) > 1 for dim in known.dims[1:]) > 1:
        return Unknown("", "its values have no place on the image", kind="nowhere")
    if layout is None and [X, Y] in order:
        return Unknown("", "its tokens run down the image's columns", kind="order")
    if pure:
        first = known.dims[pure[0]]
        tokens = len(places(first)) >= 2
        prefix = (first[0].before if first[0].axis == TOKENS else 0) if tokens else None
    return Traced(
        (sizes[0], sizes[1]),
        (strides[0], strides[1]),
        (offsets[0], offsets[1]),
        (fields[0], fields[1]),
        prefix,
        layout,
    )


def _whole(parts: list[Part]) -> bool:
    """Return whether parts of one axis, the largest step first, are all of its positions."""
    return all(part.step == length(parts[i + 1 :]) for i, part in enumerate(parts))
