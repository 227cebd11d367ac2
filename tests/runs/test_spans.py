"""Cutting images into whole batches: nothing is lost, nothing comes twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdissect_fast.errors import ArgumentError
from netdissect_fast.runs.spans import Span, missing, portion, shard_of

SIZES = {"images": st.integers(1, 200), "batch_size": st.integers(1, 40), "count": st.integers(1, 12)}


@given(**SIZES)
def test_shards_cover_all_images_once_in_whole_batches(images: int, batch_size: int, count: int) -> None:
    shards = [shard_of(images, batch_size, index, count) for index in range(count)]
    assert [i for span in shards for i in range(*span)] == list(range(images))
    assert all(edge % batch_size == 0 or edge == images for span in shards for edge in span)
    batches = [-(-span.images // batch_size) for span in shards]
    assert max(batches) - min(batches) <= 1


@given(done=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted), max_size=6), data=st.data())
def test_missing_is_the_complement(done: list[list[int]], data: st.DataObject) -> None:
    first, last = sorted(data.draw(st.tuples(st.integers(0, 60), st.integers(0, 60))))
    there = {i for span in done for i in range(*span)}
    gaps = missing(Span(first, last), [Span(*span) for span in done])
    assert [i for gap in gaps for i in range(*gap)] == [i for i in range(first, last) if i not in there]
    assert all(gap.images > 0 for gap in gaps)


@given(done=st.lists(st.integers(0, 30), max_size=12, unique=True), **SIZES)
def test_shares_of_what_is_left(done: list[int], images: int, batch_size: int, count: int) -> None:
    """Whatever batches are done already, every other one is in exactly one share, whole; shares are even."""
    batches = [Span(b * batch_size, min(images, (b + 1) * batch_size)) for b in range(-(-images // batch_size))]
    left = missing(Span(0, images), [batches[b] for b in done if b < len(batches)])
    shares = [portion(left, batch_size, index, count) for index in range(count)]
    taken = sorted(span for one in shares for span in one)
    assert [i for span in taken for i in range(*span)] == [i for span in left for i in range(*span)]
    assert all(span.first % batch_size == 0 and (span.last % batch_size == 0 or span.last == images) for span in taken)
    sizes = [sum(-(-span.images // batch_size) for span in one) for one in shares]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("index", "count"), [(3, 3), (-1, 3), (0, 0), (1, -1)])
def test_a_shard_that_does_not_exist(index: int, count: int) -> None:
    with pytest.raises(ArgumentError, match=f"numbered 0 to n-1, so there is no shard {index}/{count}"):
        shard_of(10, 2, index, count)
