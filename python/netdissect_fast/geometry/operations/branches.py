"""The track where branches meet: of a sum, a product or a concatenation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..tracks import PLAIN, TOKENS, Axis, Dim, NotUnderstood, Part, Track, X, Y, length, places, plain, track


def meet(tracks: Sequence[Track], shape: Sequence[int]) -> Track:
    """Return the track where branches meet (add, multiply, concatenate): per axis, the one with the largest field.

    Branches with equal receptive fields but different centres count as their union (patch merging). A branch that is
    constant along an axis (broadcast: a gate, a pooled context) has no say in where that axis lies.
    """
    wide = [replace(t, dims=((),) * (len(shape) - len(t.dims)) + t.dims) for t in tracks]
    try:
        dims = _common(wide, shape)
    except NotUnderstood:  # the same map may come both as a pixel shuffle and as a plain axis
        wide = [resolved(t) for t in wide]
        dims = _common(wide, shape)
    axes = tuple(_larger([t for t in wide if _spans(t, a, shape)] or wide, a) for a in (Y, X))
    return track((axes[0], axes[1]), dims)


def _spans(t: Track, axis: int, shape: Sequence[int]) -> bool:
    carried = [d for d, dim in enumerate(t.dims) if any(p.axis == axis for p in places(dim))]
    return bool(carried) and all(length(t.dims[d]) == shape[d] for d in carried)


def _common(tracks: Sequence[Track], shape: Sequence[int]) -> list[Dim]:
    dims: list[Dim] = []
    for d, size in enumerate(shape):
        forms = {t.dims[d] for t in tracks if places(t.dims[d]) and length(t.dims[d]) == size}
        if len(forms) > 1:
            raise NotUnderstood
        dims.append(forms.pop() if forms else plain(size))
    return dims


def resolved(t: Track) -> Track:
    """Turn every dimension that a pixel shuffle made into a whole image axis."""
    for d, dim in enumerate(t.dims):
        if len(dim) == 2 and dim[0].axis in (Y, X) and dim[1].axis == PLAIN and not t.elsewhere(dim[0].axis, d):
            t = t.resolve(d)
    return t


def joined(grid: Track, d: int, size: int, before: int) -> Track:
    """Return the track of a grid along dimension ``d`` with other tokens around it, ``before`` of them in front."""
    inner = grid.dims[d]
    if inner[0].axis == TOKENS:
        before, inner = before + inner[0].before, inner[0].inner
    return grid.put(d, (Part(size, TOKENS, 1, before, inner),))


def as_tokens(t: Track, d: int, size: int, before: int) -> Track | None:
    """Return the track after dimension ``d`` was padded, if it is a sequence of tokens; None if not."""
    pure = all(part.axis >= 0 for part in t.dims[d])
    sequence = len(places(t.dims[d])) > 1 or any(part.axis == TOKENS for part in t.dims[d])
    return joined(t, d, size, before) if pure and sequence else None


def _larger(tracks: Sequence[Track], a: int) -> Axis:
    best = max((t.axes[a] for t in tracks), key=lambda axis: axis.field)
    equal = [t.axes[a].offset for t in tracks if (t.axes[a].field, t.axes[a].stride) == (best.field, best.stride)]
    spread = max(equal) - min(equal)
    return Axis(best.stride, min(equal) + spread / 2, best.field + spread)
