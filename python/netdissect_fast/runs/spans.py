"""Ranges of images in whole batches, so that every image is in the same batch however a run is divided."""

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
        """Number of images."""
        return self.last - self.first


def shard_of(images: int, batch_size: int, index: int, count: int) -> Span:
    """Return the images of one of ``count`` shards, numbered from 0: contiguous, differing by at most one batch.

    If there are more shards than batches, some are empty. Raises ArgumentError if there is no such shard.
    """
    if count < 1 or not 0 <= index < count:
        raise ArgumentError(f"shards are numbered 0 to n-1, so there is no shard {index}/{count}")
    batches = -(-images // batch_size)
    first, last = (min(images, batch_size * (batches * edge // count)) for edge in (index, index + 1))
    return Span(first, last)


def missing(whole: Span, done: Iterable[Span]) -> list[Span]:
    """Return the parts of ``whole`` that none of ``done`` covers, ascending."""
    gaps, at = [], whole.first
    for span in sorted(done):
        if min(span.first, whole.last) > at:
            gaps.append(Span(at, min(span.first, whole.last)))
        at = max(at, span.last)
    return [*gaps, Span(at, whole.last)] if at < whole.last else gaps


def portion(spans: Iterable[Span], batch_size: int, index: int, count: int) -> list[Span]:
    """Return one of ``count`` portions of spans that begin at whole batches; portions differ by at most one batch."""
    spans = list(spans)
    total = sum(-(-span.images // batch_size) for span in spans)
    begin, end = total * index // count, total * (index + 1) // count
    mine, at = [], 0  # at: batches before the span
    for span in spans:
        batches = -(-span.images // batch_size)
        first, last = max(begin - at, 0), min(end - at, batches)
        if first < last:
            mine.append(Span(span.first + first * batch_size, min(span.first + last * batch_size, span.last)))
        at += batches
    return mine
