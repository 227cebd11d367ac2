"""The crop store and the packing of labels, against plain NumPy."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from netdissect_fast import _core
from netdissect_fast.concepts import PackedLabels
from netdissect_fast.scoring.backends import reference
from netdissect_fast.scoring.backends.reference import widen
from netdissect_fast.scoring.crops import Crops, flush

from ..support.strategies import (
    ARRANGEMENTS,
    labels_N,
    maps_BUHW,
    rngs,
    thresholds_U,
    vocabularies,
)
from ..support.variants import REFERENCE, assert_same_bits, variants


@given(maps_BUHW(st.integers(0, 4)), rngs())
def test_prune(maps: np.ndarray, rng: np.random.Generator) -> None:
    """Shrinks every crop to the dilated box of what exceeds the bound, or drops it; the rest follows unchanged."""
    low = thresholds_U(rng, maps)
    high = thresholds_U(rng, maps, low)
    crops = REFERENCE.keep(maps, low, 3)
    expected = reference.prune(crops, high)
    for threads in (1, 2, 3, 8):
        pruned = Crops(*(array.copy() for array in crops.arrays))
        pruned.truncate(*_core.prune(*pruned.arrays, high, threads=threads))
        assert_same_bits(pruned, expected)


@given(maps_BUHW(st.integers(0, 4)), rngs())
def test_prune_keeps_what_keep_would(maps: np.ndarray, rng: np.random.Generator) -> None:
    """Pruning later gives the same bytes as keeping with the higher bound at once, in one step or two."""
    low = thresholds_U(rng, maps)
    middle = thresholds_U(rng, maps, low)
    high = thresholds_U(rng, maps, middle)
    once = REFERENCE.keep(maps, high, 0)
    for steps in ([high], [middle, high], [high, high]):
        crops = REFERENCE.keep(maps, low, 0)
        for bounds in steps:
            crops.truncate(*_core.prune(*crops.arrays, bounds))
        assert_same_bits(crops, once)
    assert_same_bits(reference.prune(REFERENCE.keep(maps, low, 0), high), once)


@given(maps_BUHW(st.integers(0, 4)), rngs(), st.integers(1, 60))
def test_kth_largest(maps: np.ndarray, rng: np.random.Generator, rank: int) -> None:
    bounds = thresholds_U(rng, maps)
    crops = REFERENCE.keep(maps, bounds, 0)
    expected = bounds.copy()
    for unit in range(len(bounds)):
        values = np.sort(flush(maps[:, unit]).reshape(-1))[::-1]
        values = values[values > bounds[unit]]
        if len(values) >= rank:
            expected[unit] = values[rank - 1]
    assert reference.kth_largest(crops, bounds, rank).tobytes() == expected.tobytes()
    for threads in (1, 2, 3, 8):
        got = _core.kth_largest(*crops.arrays, bounds, rank, threads=threads)
        assert got.tobytes() == expected.tobytes()


@given(st.data())
def test_pack(data: st.DataObject) -> None:
    """Bit 8·y + x of word [tile, slot] is pixel (y, x) of the tile; overlapping maps are ORed."""
    vocabulary = data.draw(vocabularies())
    size = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    (labels,) = data.draw(labels_N(vocabulary, 1, size))
    packed = PackedLabels.pack([labels], vocabulary)
    assert len(packed.slot_concept) % 8 == 0
    words = packed.words.reshape(-1, max(len(packed.slot_concept), 1))
    tiles_x = (size[1] + 7) // 8
    found = {}
    for slot, column in enumerate(packed.slot_concept):
        bits = np.array([[int(words[y // 8 * tiles_x + x // 8, slot]) >> (8 * (y % 8) + x % 8) & 1
                          for x in range(size[1])] for y in range(size[0])], bool)  # fmt: skip
        # Nothing outside the image either: the padding would be counted.
        assert sum(int(word).bit_count() for word in words[:, slot]) == bits.sum() == packed.slot_area[slot]
        if column >= 0:
            found[int(column)] = bits
        else:
            assert not bits.any()
    whole = {int(vocabulary.columns[n]) for n in labels.whole if n}
    assert packed.whole.tolist() == sorted(whole)
    for column, number in enumerate(vocabulary.numbers):
        expected = (labels.maps == number).any(axis=0)
        if column in whole or not expected.any():
            assert column not in found
        else:
            np.testing.assert_array_equal(found[column], expected)


def test_flush() -> None:
    """Below 2⁻⁷² counts as +0, −0 too; 2⁻⁷² itself does not."""
    tiny = np.float32(2.0**-72)
    given_ = np.array([tiny, -tiny, np.nextafter(tiny, np.float32(0)), -0.0, 1e-45, -1e-45, 1], np.float32)
    expected = np.array([tiny, -tiny, 0, 0, 0, 0, 1], np.float32)
    assert flush(given_).tobytes() == expected.tobytes()
    assert widen(given_.reshape(1, 1, 1, -1)).tobytes() == expected.tobytes()
    for backend in [REFERENCE, *variants()]:
        for arrange in ARRANGEMENTS.values():
            maps = arrange(np.repeat(given_, 16).reshape(1, 7, 16, 1).transpose(0, 2, 1, 3))
            crops = backend.keep(maps, np.zeros(16, np.float32), 0)
            # Above 0 are 2⁻⁷² at row 0 and 1 at row 6, so all rows are kept.
            assert crops.values.tobytes() == np.tile(expected, 16).tobytes()
            lowest = backend.keep(maps[:, :, 2:6], np.zeros(16, np.float32), 0)
            assert len(lowest) == 0, "flushed values do not exceed 0"
