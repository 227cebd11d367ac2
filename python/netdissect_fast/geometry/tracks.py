"""Tracks: which dimensions of a tensor run along the image, and where their features are.

A dimension is a tuple of parts, outermost first. Views split and join parts, permutations move them; windows,
token sequences, channels-last maps and pixel shuffles are just different arrangements of the same two axes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal, TypeAlias

Y, X, PLAIN, TOKENS = 0, 1, -1, 2


@dataclass(frozen=True)
class Unknown:
    """A tensor whose grid is not known. ``op`` names the operation that was not understood, or is empty.

    ``kind``: "order" if places are mirrored or reordered; "nowhere" if the values have no place; empty if nothing more
    is known.
    """

    op: str
    reason: str = ""
    kind: Literal["", "order", "nowhere"] = field(default="", compare=False, kw_only=True)

    def __str__(self) -> str:
        return self.reason or f"operation {self.op} is not understood"


class NotUnderstood(Exception):
    """Raised by a rule that cannot follow its operation; ``cause`` when an earlier one is to blame.

    ``reordered``: the operation mirrors or reorders places on the image.
    """

    def __init__(self, cause: Unknown | None = None, *, reordered: bool = False) -> None:
        super().__init__()
        self.cause, self.reordered = cause, reordered


@dataclass(frozen=True)
class Axis:
    """Index j of an image axis is centred on input pixel stride·j + offset and sees ``field`` pixels."""

    stride: Fraction
    offset: Fraction
    field: Fraction

    def resample(self, scale: Fraction, shift: Fraction, taps: Fraction) -> Axis:
        """Return the axis whose index j lies at scale·j + shift of this one and sees ``taps`` more steps."""
        return Axis(self.stride * scale, self.offset + self.stride * shift, self.field + self.stride * taps)


@dataclass(frozen=True)
class Part:
    """A factor of a dimension's size: ``size`` positions that are ``step`` indices of ``axis`` apart.

    PLAIN parts (channels, batch, heads) have no place on the image. TOKENS parts hold a grid (``inner``)
    after ``before`` extra tokens and perhaps before others.
    """

    size: int
    axis: int = PLAIN
    step: int = 1
    before: int = 0
    inner: tuple[Part, ...] = ()


Dim: TypeAlias = tuple[Part, ...]


def plain(size: int) -> Dim:
    """Return a dimension without a place on the image."""
    return (Part(size),)


def length(dim: Iterable[Part]) -> int:
    """Return the size of a dimension."""
    return math.prod(part.size for part in dim)


def places(dim: Iterable[Part]) -> list[Part]:
    """Return the parts of a dimension that run along the image, including those inside token sequences."""
    return [p for part in dim for p in (part.inner if part.axis == TOKENS else (part,)) if p.axis in (Y, X)]


def _join(parts: Iterable[Part]) -> list[Part]:
    """Drop parts of size one, and join neighbours that continue each other."""
    joined: list[Part] = []
    for part in parts:
        last = joined[-1] if joined else None
        if part.size == 1:
            continue
        if part.axis == TOKENS and length(part.inner) == part.size:
            joined += part.inner
        elif last and last.axis == part.axis == PLAIN:
            joined[-1] = Part(last.size * part.size)
        elif last and last.axis == part.axis in (Y, X) and last.step == part.size * part.step:
            joined[-1] = Part(last.size * part.size, part.axis, part.step)
        else:
            joined.append(part)
    return joined


@dataclass(frozen=True)
class Track:
    """Axes y and x, and the parts of every dimension. Made by ``track``, which keeps the form canonical."""

    axes: tuple[Axis, Axis]
    dims: tuple[Dim, ...]

    @property
    def placed(self) -> bool:
        """True if any dimension runs along the image (else one value stands for all of it)."""
        return any(map(places, self.dims))

    def elsewhere(self, axis: int, d: int) -> bool:
        """Return whether a dimension other than ``d`` runs along ``axis`` too."""
        return any(p.axis == axis for i, dim in enumerate(self.dims) if i != d for p in places(dim))

    def permute(self, order: Iterable[int]) -> Track:
        """Reorder the dimensions."""
        return replace(self, dims=tuple(self.dims[d] for d in order))

    def put(self, d: int, dim: Dim) -> Track:
        """Replace dimension ``d``; its place on the image is forgotten."""
        return track(self.axes, (*self.dims[:d], dim, *self.dims[d + 1 :]))

    def without(self, d: int) -> Track:
        """Remove dimension ``d``."""
        return track(self.axes, (*self.dims[:d], *self.dims[d + 1 :]))

    def collapse(self, d: int, size: int) -> Track:
        """Mix everything along dimension ``d`` into each of ``size`` values: a mean, a linear layer."""
        axes = list(self.axes)
        for part in places(self.dims[d]):
            reach = Fraction((part.size - 1) * part.step)
            axes[part.axis] = axes[part.axis].resample(Fraction(1), reach / 2, reach)
        return track((axes[Y], axes[X]), self.dims).put(d, plain(size))

    def regroup(self, shape: Sequence[int]) -> Track:
        """Give the same elements, in the same order, a different shape: a view."""
        parts = _join(part for dim in self.dims for part in dim)[::-1]
        dims: list[Dim] = []
        for size in shape:
            taken: list[Part] = []
            while size > 1:
                if not parts:
                    raise NotUnderstood
                part = parts.pop()
                if size % part.size == 0:
                    taken.append(part)
                    size //= part.size
                elif part.size % size == 0 and part.axis != TOKENS:
                    rest = part.size // size
                    taken.append(replace(part, size=size, step=part.step * rest if part.axis != PLAIN else 1))
                    parts.append(replace(part, size=rest))
                    size = 1
                else:
                    raise NotUnderstood
            dims.append(tuple(taken))
        if parts:
            raise NotUnderstood
        return track(self.axes, dims)

    def resample(self, d: int, size: int, scale: Fraction | int, shift: Fraction | int, taps: Fraction | int) -> Track:
        """Resample dimension ``d``: index j of the new one lies at scale·j + shift of the old one."""
        dim = self.dims[d]
        if not places(dim):
            return self.put(d, plain(size))
        if (scale, shift, taps, size) == (1, 0, 0, length(dim)):
            return self
        fine = self.resolve(d)
        axis = fine.dims[d][0].axis
        axes = list(fine.axes)
        axes[axis] = axes[axis].resample(Fraction(scale), Fraction(shift), Fraction(taps))
        dims = (*fine.dims[:d], (Part(size, axis),), *fine.dims[d + 1 :])
        return track((axes[Y], axes[X]), dims)

    def resolve(self, d: int) -> Track:
        """Turn dimension ``d`` into one whole image axis: sub-positions of a pixel shuffle become indices."""
        dim = self.dims[d]
        if not dim or dim[0].axis not in (Y, X) or len(dim) > 2 or self.elsewhere(dim[0].axis, d):
            raise NotUnderstood
        if len(dim) == 1:  # the only part of its axis, so its step is 1
            return self
        axis, fine = dim[0].axis, dim[1].size
        if dim[1].axis != PLAIN:
            raise NotUnderstood
        axes = list(self.axes)
        axes[axis] = axes[axis].resample(Fraction(1, fine), Fraction(1 - fine, 2 * fine), Fraction(0))
        dims = (*self.dims[:d], (Part(length(dim), axis),), *self.dims[d + 1 :])
        return track((axes[Y], axes[X]), dims)


def track(axes: tuple[Axis, Axis], dims: Iterable[Iterable[Part]]) -> Track:
    """Return a Track in canonical form: parts joined, steps of an axis without a common factor."""
    joined = [_join(dim) for dim in dims]
    done = list(axes)
    for a in (Y, X):
        common = math.gcd(*(p.step for dim in joined for p in places(dim) if p.axis == a)) or 1
        if common > 1:
            done[a] = replace(done[a], stride=done[a].stride * common)
            joined = [[_finer(part, a, common) for part in dim] for dim in joined]
    return Track((done[Y], done[X]), tuple(map(tuple, joined)))


def _finer(part: Part, axis: int, common: int) -> Part:
    if part.axis == TOKENS:
        return replace(part, inner=tuple(_finer(p, axis, common) for p in part.inner))
    return replace(part, step=part.step // common) if part.axis == axis else part


def source(shape: Sequence[int]) -> Track:
    """Return the track of the network's input [B, c, h, w]: feature j is pixel j."""
    pixel = Axis(Fraction(1), Fraction(0), Fraction(1))
    batch, channels, height, width = shape
    return track((pixel, pixel), [plain(batch), plain(channels), [Part(height, Y)], [Part(width, X)]])
