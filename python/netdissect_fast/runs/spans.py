"""Ranges of images in whole batches, so that every image meets the same batch however a run is cut."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..errors import ArgumentError


class Span(NamedTuple):
    """Images ``first`` ≤ i < ``last``."""

    first: int
    last: int

    @property
    def images(self) -> int:
        """How many."""
        return self.last - self.first


def shard_of(images: int, batch_size: int, index: int, count: int) -> Span:
    """The images of one of ``count`` shards, numbered from 0: contiguous, and as many batches as any, or one more.

    With more shards than batches some have none. ArgumentError where there is no such shard.
    """
    if count < 1 or not 0 <= index < count:
        raise ArgumentError(f"shards are numbered 0 to n-1, so there is no shard {index}/{count}")
    batches = -(-images // batch_size)
    first, last = (min(images, batch_size * (batches * edge // count)) for edge in (index, index + 1))
    return Span(first, last)


def missing(whole: Span, done: Iterable[Span]) -> list[Span]:
    """What of ``whole`` none of ``done`` covers, ascending."""
    gaps, at = [], whole.first
    for span in sorted(done):
        if min(span.first, whole.last) > at:
            gaps.append(Span(at, min(span.first, whole.last)))
        at = max(at, span.last)
    return [*gaps, Span(at, whole.last)] if at < whole.last else gaps


def portion(spans: Iterable[Span], batch_size: int, index: int, count: int) -> list[Span]:
    """One of ``count`` portions of these spans, which begin at whole batches: as many batches as any, or one more."""
    spans = list(spans)
    total = sum(-(-span.images // batch_size) for span in spans)
    begin, end = total * index // count, total * (index + 1) // count
    mine, at = [], 0  # batches before the span
    for span in spans:
        batches = -(-span.images // batch_size)
        first, last = max(begin - at, 0), min(end - at, batches)
        if first < last:
            mine.append(Span(span.first + first * batch_size, min(span.first + last * batch_size, span.last)))
        at += batches
    return mine
