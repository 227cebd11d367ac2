"""The compiled kernels equal the NumPy definition to the bit, variant by variant, thread count by thread count."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from netdissect_fast import _core
from netdissect_fast.concepts import ImageLabels, PackedLabels, Vocabulary
from netdissect_fast.geometry.grids import AxisTable, make_grid
from netdissect_fast.scoring.backends.base import Backend, CountJob, NonFiniteError, unpack_masks
from netdissect_fast.scoring.backends.cpu import CpuBackend
from netdissect_fast.scoring.backends.reference import masks
from netdissect_fast.scoring.crops import Crops, flush

from ..support.strategies import (
    ARRANGEMENTS,
    LARGEST,
    CountCase,
    arrangements,
    count_cases,
    maps_BUHW,
    rngs,
    thresholds_U,
)
from ..support.variants import ISAS, REFERENCE, assert_same_bits, variants


def assert_keep_agrees(maps: object, bounds: np.ndarray, first_image: int = 0) -> None:
    expected = REFERENCE.keep(maps, bounds, first_image)
    for backend in variants():
        assert_same_bits(backend.keep(maps, bounds, first_image), expected)


# ---------------------------------------------------------------------------------------------------- keep


@given(maps_BUHW(), arrangements(), rngs(), st.integers(0, 5000))
def test_keep_float32(
    maps: np.ndarray, arrange: Callable[[np.ndarray], np.ndarray], rng: np.random.Generator, first: int
) -> None:
    view = arrange(maps)
    np.testing.assert_array_equal(view, maps)
    assert_keep_agrees(view, thresholds_U(rng, maps), first)


@given(maps_BUHW(), arrangements(), rngs())
def test_keep_float16(maps: np.ndarray, arrange: Callable[[np.ndarray], np.ndarray], rng: np.random.Generator) -> None:
    half = np.clip(maps, -65504, 65504).astype(np.float16)
    subnormal = rng.random(half.shape) < 0.1
    half[subnormal] = np.float16(5.9604645e-08) * rng.integers(-3, 4, half.shape)[subnormal]
    assert_keep_agrees(arrange(half), thresholds_U(rng, half.astype(np.float32)))


@given(maps_BUHW(), arrangements(), rngs())
def test_keep_bfloat16(maps: np.ndarray, arrange: Callable[[np.ndarray], np.ndarray], rng: np.random.Generator) -> None:
    """bfloat16 is the upper half of a float32: as uint16 at the binding, as a torch tensor at the backend."""
    bits = (maps.view(np.uint32) >> 16).astype(np.uint16)
    wide = (bits.astype(np.uint32) << 16).view(np.float32)
    bounds = thresholds_U(rng, wide)
    expected = REFERENCE.keep(wide, bounds, 0)
    tensor = torch.from_numpy(bits.astype(np.int16).copy()).view(torch.bfloat16)
    assert_same_bits(REFERENCE.keep(tensor, bounds, 0), expected)
    for backend in variants():
        *arrays, bad = _core.keep(arrange(bits), bounds, bfloat16=True, threads=backend.threads, isa=backend.isa)
        assert bad is None
        assert_same_bits(Crops(*arrays), expected)
        assert_same_bits(backend.keep(tensor, bounds, 0), expected)


@pytest.mark.parametrize("bits", [np.arange(0, 0x7C00), np.arange(0x8000, 0xFC00)], ids=["positive", "negative"])
def test_every_float16(bits: np.ndarray) -> None:
    """Both ways in: looking for what exceeds the bound, and copying it."""
    half = bits.astype(np.uint16).view(np.float16)
    expected = flush(half.astype(np.float32))
    for backend in variants():
        whole = backend.keep(half.reshape(1, 1, 124, -1), np.full(1, -np.inf, np.float32), 0)
        assert whole.values.tobytes() == expected.tobytes()
        single = backend.keep(half.reshape(-1, 1, 1, 1), np.zeros(1, np.float32), 0)
        np.testing.assert_array_equal(single.image, np.flatnonzero(expected > 0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int32])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_keep_torch(dtype: torch.dtype, layout: torch.memory_format) -> None:
    values = torch.randn(3, 21, 5, 7, generator=torch.Generator().manual_seed(0)) * 3
    tensor = values.to(dtype).to(memory_format=layout)
    if dtype.is_floating_point:
        tensor.requires_grad_()
    expected = REFERENCE.keep(tensor.detach().float().numpy(), np.full(21, 1, np.float32), 4)
    assert len(expected)
    assert_same_bits(REFERENCE.keep(tensor, np.full(21, 1, np.float32), 4), expected)
    for backend in variants():
        assert_same_bits(backend.keep(tensor, np.full(21, 1, np.float32), 4), expected)


def test_keep_stride_zero() -> None:
    """A map expanded over images and units, as torch.expand gives it."""
    one = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
    assert_keep_agrees(np.broadcast_to(one, (3, 17, 3, 4)), np.full(17, 6, np.float32))
    assert_keep_agrees(np.broadcast_to(np.float32(1), (2, 3, 4, 5)), np.zeros(3, np.float32))


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4), (0, 0, 1, 1), (2, 3, 0, 4), (2, 3, 4, 0)])
def test_keep_nothing(shape: tuple[int, ...]) -> None:
    bounds = np.full(shape[1], -np.inf, np.float32)
    for backend in [REFERENCE, *variants()]:
        assert_same_bits(backend.keep(np.ones(shape, np.float32), bounds, 0), Crops.empty())


def test_keep_box_is_dilated_by_one() -> None:
    """By hand: one peak inside, one at a corner, one exactly at the bound."""
    maps = np.zeros((1, 3, 5, 6), np.float32)
    maps[0, 0, 2, 3] = 2
    maps[0, 1, 0, 5] = 2
    maps[0, 2, 2, 2] = 1
    for backend in [REFERENCE, *variants()]:
        crops = backend.keep(maps, np.ones(3, np.float32), 9)
        assert crops.image.tolist() == [9, 9]
        assert crops.unit.tolist() == [0, 1]
        assert crops.box.tolist() == [[1, 2, 3, 3], [0, 4, 2, 2]]
        assert crops.values.tolist() == [0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 2, 0, 0]


@given(maps_BUHW(st.integers(1, 4), side=8), arrangements(), st.data())
def test_nonfinite(maps: np.ndarray, arrange: Callable[[np.ndarray], np.ndarray], data: st.DataObject) -> None:
    """The first in (image, unit) order is named, whatever the layout and wherever the values are."""
    assume(maps.size)
    maps = maps.copy()
    places = []
    for _ in range(data.draw(st.integers(1, 3))):
        place = tuple(data.draw(st.integers(0, side - 1)) for side in maps.shape)
        maps[place] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
        places.append(place[:2])
    first = min(places)
    for backend in [REFERENCE, *variants()]:
        with pytest.raises(NonFiniteError) as caught:
            backend.keep(arrange(maps), np.full(maps.shape[1], 0.5, np.float32), 100)
        assert (caught.value.image - 100, caught.value.unit) == first


@pytest.mark.parametrize("arrangement", sorted(ARRANGEMENTS))
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_nonfinite_in_every_lane(arrangement: str, dtype: type) -> None:
    """Units are looked at several at a time; the one that is named must be the one."""
    for unit in (0, 1, 7, 8, 14, 15, 16, 17, 31, 32, 34):
        maps = np.zeros((2, 35, 3, 5), dtype)
        maps[1, unit, 2, 4] = np.nan
        for backend in variants():
            with pytest.raises(NonFiniteError) as caught:
                backend.keep(ARRANGEMENTS[arrangement](maps), np.ones(35, np.float32), 0)
            assert (caught.value.image, caught.value.unit) == (1, unit)


# --------------------------------------------------------------------------------------------------- count


def count(case: CountCase, backend: Backend, crops: Crops) -> tuple[np.ndarray, np.ndarray]:
    units = len(case.thresholds)
    intersection = np.full((units, len(case.vocabulary)), 5, np.int64)  # added to, not overwritten
    unit_area = np.full((units, len(case.vocabulary.categories)), 7, np.int64)
    size = case.maps.shape[2], case.maps.shape[3]
    given = case.first_image, case.thresholds, case.axes, size, case.packed, case.present
    backend.count(CountJob(crops, *given, intersection, unit_area))
    return intersection - 5, unit_area - 7


def dense(case: CountCase) -> tuple[np.ndarray, np.ndarray]:
    """I and A of whole maps, without crops or packing."""
    y, x = case.axes
    maps = flush(case.maps)
    t = case.thresholds[:, None, None]
    with np.errstate(over="ignore", invalid="ignore"):
        a00, a01 = maps[:, :, y.i0][..., x.i0], maps[:, :, y.i0][..., x.i1]
        a10, a11 = maps[:, :, y.i1][..., x.i0], maps[:, :, y.i1][..., x.i1]
        top, bottom = a00 + x.f * (a01 - a00), a10 + x.f * (a11 - a10)
        on = top + y.f[:, None] * (bottom - top) > t
    on &= (a00 > t) | (a01 > t) | (a10 > t) | (a11 > t)
    carried = np.zeros((len(maps), len(case.vocabulary), len(y), len(x)), bool)
    for image, labels in enumerate(case.labels):
        for column, number in enumerate(case.vocabulary.numbers):
            carried[image, column] = (labels.maps == number).any(axis=0) | (number in labels.whole)
    intersection = np.einsum("nuyx,ncyx->uc", on.astype(np.int64), carried.astype(np.int64))
    area = np.einsum("nu,nc->uc", on.sum(axis=(2, 3), dtype=np.int64), case.present.astype(np.int64))
    return intersection, area


@given(count_cases())
def test_count(case: CountCase) -> None:
    """Reference and every variant equal the dense computation, from crops kept with any lower bound."""
    crops = REFERENCE.keep(case.maps, case.bounds, case.first_image)
    wanted = dense(case)
    for backend in [REFERENCE, *variants()]:
        for got, expected in zip(count(case, backend, crops), wanted, strict=True):
            np.testing.assert_array_equal(got, expected, err_msg=str(vars(backend)))


@given(count_cases())
def test_masks(case: CountCase) -> None:
    """Reference and every variant give the masks that the dense computation gives; what count counts."""
    crops = REFERENCE.keep(case.maps, case.bounds, case.first_image)
    given = crops, case.thresholds, case.axes, (case.maps.shape[2], case.maps.shape[3])
    y, x = case.axes
    on = masks(flush(case.maps), case.thresholds, y, x)
    wanted = on[crops.image - case.first_image, crops.unit]
    assert on.sum() == wanted.sum()  # no mask lies outside the crops
    for backend in [REFERENCE, *variants()]:
        words = backend.masks(*given)
        assert words.dtype == np.uint64
        got = unpack_masks(words, (len(y), len(x)))
        np.testing.assert_array_equal(got, wanted, err_msg=str(vars(backend)))


@given(count_cases())
def test_silent_units(case: CountCase) -> None:
    silent = case.silent
    for backend in [REFERENCE, *variants()]:
        crops = backend.keep(silent.maps, silent.thresholds, silent.first_image)
        assert len(crops) == 0
        assert not any(result.any() for result in count(silent, backend, crops))


def whole_width_case(width: int, pixels: int, seed: int) -> CountCase:
    """One image, 3 units, 9 concepts (more than one group of 8 slots)."""
    rng = np.random.default_rng(seed)
    numbers = np.arange(1, 10)
    vocabulary = Vocabulary(numbers, tuple(map(str, numbers)), np.zeros(9, np.int32), ("c",))
    labels = [ImageLabels(rng.integers(0, 10, (2, 9, pixels)).astype(np.int32), (9,))]
    packed = PackedLabels.pack(labels, vocabulary)
    maps = rng.standard_normal((1, 3, 3, width)).astype(np.float32)
    grid = make_grid("half_pixel", None, (3, width), (224, 224))
    axes = grid.axis(0, 9), grid.axis(1, pixels)
    thresholds = np.array([0, 1, -1], np.float32)
    return CountCase(maps, thresholds, thresholds, axes, packed, labels, vocabulary, np.ones((1, 1), bool), 0)


@pytest.mark.parametrize("isa", ISAS)
def test_every_width(isa: str) -> None:
    """Label widths 1 to 130 cross tiles, groups of 16 and words; map widths 1 to 130 cross the registers."""
    backend = CpuBackend(1, isa)
    for pixels in range(1, 131):
        for width in (1, 7, 8, 9, 16, 17, 70, pixels):
            case = whole_width_case(width, pixels, pixels)
            crops = REFERENCE.keep(case.maps, case.bounds, 0)
            for got, expected in zip(count(case, backend, crops), dense(case), strict=True):
                np.testing.assert_array_equal(got, expected, err_msg=f"{pixels} pixels, {width} features")


@pytest.mark.parametrize("backend", [REFERENCE, *(CpuBackend(1, isa) for isa in ISAS)], ids=["reference", *ISAS])
def test_no_fused_multiply_add(backend: Backend) -> None:
    """Pixels whose rounding differs when a multiplication and an addition are fused, found by search."""
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 4000), np.float32)
    f = np.float32(1 / 3)
    apart = a + f * (b - a)
    fused = (a.astype(np.float64) + np.float64(f) * (b - a).astype(np.float64)).astype(np.float32)
    lower = np.flatnonzero(apart < fused)
    higher = np.flatnonzero(apart > fused)
    assert len(lower) > 50 < len(higher)
    chosen = np.concatenate([lower[:50], higher[:50]])
    maps = np.stack([a, b], axis=1)[chosen].reshape(1, 100, 1, 2)
    # With the smaller of the two results as threshold, a fused evaluation turns on what must be off, or the reverse.
    thresholds = np.minimum(apart, fused)[chosen]
    table = AxisTable(np.zeros(1, np.int32), np.ones(1, np.int32), np.full(1, f))
    point = AxisTable(np.zeros(1, np.int32), np.zeros(1, np.int32), np.zeros(1, np.float32))
    vocabulary = Vocabulary(np.array([1]), ("one",), np.zeros(1, np.int32), ("c",))
    labels = [ImageLabels(np.zeros((0, 1, 1), np.int32), (1,))]
    packed = PackedLabels.pack(labels, vocabulary)
    case = CountCase(maps, np.full(100, -np.inf, np.float32), thresholds, (point, table), packed, labels, vocabulary,
                     np.ones((1, 1), bool), 0)  # fmt: skip
    crops = REFERENCE.keep(maps, case.bounds, 0)
    intersection, _ = count(case, backend, crops)
    np.testing.assert_array_equal(intersection[:, 0], (apart > np.minimum(apart, fused))[chosen])
    assert 0 < intersection.sum() < 100


@pytest.mark.parametrize("backend", [REFERENCE, *(CpuBackend(1, isa) for isa in ISAS)], ids=["reference", *ISAS])
def test_overflow_turns_no_pixel_on(backend: Backend) -> None:
    """Between two samples that do not exceed T, an overflowing S may: such a pixel is off (spec 1.3, second test)."""
    b = LARGEST * np.linspace(0.3, 0.9, 50, dtype=np.float32)
    a = np.full(50, -LARGEST)
    f = np.float32(0.75)
    with np.errstate(over="ignore"):
        assert np.isposinf(a + f * (b - a)).all()
    high = np.full(50, LARGEST)
    # [50, H, W]: large samples around the two and beside them, so that nothing is skipped as a whole.
    maps = np.stack([np.stack([high, a, b, high], axis=1), np.tile(high, (4, 1)).T], axis=2)[None]
    y = AxisTable(np.array([0, 1, 2], np.int32), np.array([1, 2, 3], np.int32), np.full(3, f))
    x = AxisTable(np.array([0, 1], np.int32), np.array([0, 1], np.int32), np.zeros(2, np.float32))
    numbers = np.arange(1, 7)
    vocabulary = Vocabulary(numbers, tuple(map(str, numbers)), np.zeros(6, np.int32), ("c",))
    labels = [ImageLabels(numbers.reshape(1, 3, 2).astype(np.int32))]
    packed = PackedLabels.pack(labels, vocabulary)
    case = CountCase(maps, b, b, (y, x), packed, labels, vocabulary, np.ones((1, 1), bool), 0)
    intersection, _ = count(case, backend, REFERENCE.keep(maps, b, 0))
    assert intersection.tolist() == [[0, 1, 0, 1, 1, 1]] * 50
