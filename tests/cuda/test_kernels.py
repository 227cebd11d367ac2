"""keep and count, run as source and as PTX, equal the definition to the bit; and what the backend does around them."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netdissect_fast.concepts import PackedLabels
from netdissect_fast.errors import CapacityError
from netdissect_fast.geometry.grids import make_grid
from netdissect_fast.scoring.backends import cuda
from netdissect_fast.scoring.backends.base import CountJob, NonFiniteError
from netdissect_fast.scoring.backends.engine import source
from netdissect_fast.scoring.crops import Crops
from tests.support import strategies
from tests.support.strategies import arrangements, labels_N, maps_BUHW, rngs, thresholds_U

from . import cases
from .cases import REFERENCE, KeepCase, Reshaped, count_agrees, in_dtype, keep_agrees, outcome, widened
from .compile_table import faults
from .device import FakeDevice
from .host import SCHEDULES, HostEngine
from .nvrtc import TARGETS, compiled
from .ptx_engine import PtxEngine
from .settings import needs_nvrtc

pytestmark = pytest.mark.cuda_host
KEEP = {case.name: case for case in cases.keep_cases()}
COUNT = {case.name: case for case in cases.count_cases()}
SMS = (80, 90, 100)
SHAPES = [(1, 32), (3, 64), (2, 96), (1, 1024), (5, 256)]  # grid, block

layouts = st.sampled_from(["planes", "channels_last", "rows_apart"])
suffixes = st.sampled_from(["f32", "f16", "bf16"])
schedules = st.sampled_from(SCHEDULES)


def host(schedule: int = 0, memory: int = 2**30) -> HostEngine:
    return HostEngine(source(), schedule, memory=memory)


# --------------------------------------------------------------------------------------------- compilation


@needs_nvrtc
@pytest.mark.parametrize(("wheel", "sm"), TARGETS)
def test_compiles_without_spills_or_forbidden_forms(wheel: str, sm: int) -> None:
    assert faults(compiled(source(), sm, wheel)) == []


def test_no_headers_are_needed() -> None:
    assert not re.search(r"^\s*#\s*include", source(), re.M)


# ------------------------------------------------------------------------------------------------ as source


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", KEEP)
def test_keep_as_source(name: str, schedule: int) -> None:
    assert keep_agrees(host(schedule), KEEP[name])


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", COUNT)
def test_count_as_source(name: str, schedule: int) -> None:
    assert count_agrees(host(schedule), COUNT[name])


@pytest.mark.parametrize("shape", SHAPES)
def test_count_in_any_grid_and_block(shape: tuple[int, int]) -> None:
    for number, case in enumerate(COUNT.values()):
        assert count_agrees(Reshaped(host(number % len(SCHEDULES)), *shape), case), case.name


@given(maps_BUHW(st.integers(1, 3), st.integers(1, 40)), layouts, suffixes, schedules, rngs())
def test_keep(maps: np.ndarray, layout: str, suffix: str, schedule: int, rng: np.random.Generator) -> None:
    exact = widened(in_dtype(np.clip(maps, -65504, 65504) if suffix == "f16" else maps, suffix))
    case = KeepCase("", [exact], thresholds_U(rng, exact), suffix, layout)
    assert keep_agrees(host(schedule), case)


@given(maps_BUHW(), arrangements(), st.booleans(), schedules, rngs())
def test_keep_of_arrays_on_the_host(
    maps: np.ndarray,
    arrange: Callable[[np.ndarray], np.ndarray],
    half: bool,
    schedule: int,
    rng: np.random.Generator,
) -> None:
    """By Backend.keep, which copies them to the device; also arrays without anything in them."""
    view = arrange(np.clip(maps, -65504, 65504).astype(np.float16) if half else maps)
    bounds = thresholds_U(rng, view.astype(np.float32))
    backend = cuda.CudaBackend(host(schedule))
    assert outcome(lambda: backend.keep(view, bounds, 5)) == outcome(lambda: REFERENCE.keep(view, bounds, 5))


@given(strategies.count_cases(), schedules, st.sampled_from(SHAPES))
@settings(max_examples=30)
def test_count(case: strategies.CountCase, schedule: int, shape: tuple[int, int]) -> None:
    given_ = cases.CountCase("", case.maps, case.bounds, case.thresholds, case.axes, case.packed, case.present,
                             len(case.vocabulary.numbers), case.first_image)  # fmt: skip
    assert count_agrees(Reshaped(host(schedule), *shape), given_)


# --------------------------------------------------------------------------------------------------- as PTX


@needs_nvrtc
@pytest.mark.parametrize("sm", SMS)
@pytest.mark.parametrize("name", KEEP)
def test_keep_as_ptx(name: str, sm: int) -> None:
    assert keep_agrees(PtxEngine(source(), sm), KEEP[name])


@needs_nvrtc
@pytest.mark.parametrize("sm", SMS)
@pytest.mark.parametrize("name", COUNT)
def test_count_as_ptx(name: str, sm: int) -> None:
    assert count_agrees(PtxEngine(source(), sm), COUNT[name])


@needs_nvrtc
@pytest.mark.slow
@given(maps_BUHW(st.integers(1, 2), st.integers(1, 33), side=12), layouts, suffixes, st.sampled_from(SMS), rngs())
def test_keep_as_ptx_of_anything(maps: np.ndarray, layout: str, suffix: str, sm: int, rng: np.random.Generator) -> None:
    exact = widened(in_dtype(np.clip(maps, -65504, 65504) if suffix == "f16" else maps, suffix))
    assert keep_agrees(PtxEngine(source(), sm), KeepCase("", [exact], thresholds_U(rng, exact), suffix, layout))


# ------------------------------------------------------------------------------------- store and full memory


def batches_of(images: int, count: int, seed: int = 5) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.maximum(rng.standard_normal((images, 12, 6, 5)), 0).astype(np.float32) for _ in range(count)]


def keep_in_stage(engine: FakeDevice, batches: list[np.ndarray], bounds: np.ndarray) -> tuple[list[int], Crops]:
    """Crops handed over by each call of keep, and all crops."""
    stage = cuda.CudaBackend(engine).stage()
    crops, sizes, first = Crops.empty(), [], 0
    for batch in batches:
        ready = stage.keep(batch, bounds, first)
        sizes.append(len(ready))
        crops.append(ready)
        first += len(batch)
    crops.append(stage.drain())
    return sizes, crops


def same(crops: Crops, expected: Crops) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(crops.arrays, expected.arrays, strict=True))


def by_definition(batches: list[np.ndarray], bounds: np.ndarray) -> Crops:
    crops, first = Crops.empty(), 0
    for batch in batches:
        crops.append(REFERENCE.keep(batch, bounds, first))
        first += len(batch)
    return crops


BOUNDS = np.full(12, 0.8, np.float32)
EACH = 12 * (6 * 5 * 4 + 24)  # bytes that the crops of one image can take


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_crops_gather_on_the_device(schedule: int) -> None:
    batches = batches_of(2, 8)
    sizes, crops = keep_in_stage(host(schedule), batches, BOUNDS)
    assert sizes == [0] * 8
    assert same(crops, by_definition(batches, BOUNDS))


def test_a_full_store_is_emptied_in_time() -> None:
    """Memory for little more than the crops of two batches."""
    batches = batches_of(2, 9)
    engine = host(memory=20 * EACH)
    sizes, crops = keep_in_stage(engine, batches, BOUNDS)
    assert sum(size > 0 for size in sizes) >= 2
    assert same(crops, by_definition(batches, BOUNDS))
    assert engine.most_used <= engine.memory


def test_the_store_grows_for_larger_batches() -> None:
    batches = [*batches_of(1, 2), *batches_of(40, 1), *batches_of(3, 3)]
    sizes, crops = keep_in_stage(host(), batches, BOUNDS)
    assert sizes[2] > 0
    assert same(crops, by_definition(batches, BOUNDS))


def test_the_store_is_reused() -> None:
    engine = host()
    stage = cuda.CudaBackend(engine).stage()
    for first in (0, 10):
        batch = batches_of(3, 1, seed=first)[0]
        assert len(stage.keep(batch, BOUNDS, first)) == 0
        assert same(stage.drain(), REFERENCE.keep(batch, BOUNDS, first))
    assert len(stage.drain()) == 0


@pytest.mark.parametrize("images", [2, 3, 4, 5, 7])
def test_keep_takes_fewer_images_at_a_time_where_memory_is_short(images: int) -> None:
    batches = batches_of(7, 2)
    engine = host(memory=7 * 12 * 6 * 5 * 4 + images * EACH + 200)
    _, crops = keep_in_stage(engine, batches, BOUNDS)
    assert same(crops, by_definition(batches, BOUNDS))
    assert len(engine.launches) > 2 or images == 7


def test_any_amount_of_memory_gives_all_crops_or_an_error() -> None:
    batches = batches_of(3, 2)
    expected = by_definition(batches, BOUNDS)
    outcomes = set()
    for spare in (images * EACH + more for images in (1, 2, 3) for more in range(-48, 200, 4)):
        try:
            _, crops = keep_in_stage(host(memory=batches[0].nbytes + spare), batches, BOUNDS)
        except CapacityError:
            outcomes.add(False)
            continue
        outcomes.add(True)
        assert same(crops, expected)
    assert outcomes == {False, True}


def test_no_room_for_one_image_says_what_to_do() -> None:
    with pytest.raises(CapacityError, match="smaller batch size"):
        keep_in_stage(host(memory=7 * 12 * 6 * 5 * 4 + EACH // 2), batches_of(7, 1), BOUNDS)


def test_count_takes_fewer_images_at_a_time_where_memory_is_short() -> None:
    grid = make_grid("half_pixel", None, (6, 5), (64, 64))
    case = cases.count_case("", batches_of(6, 1)[0], (grid.axis(0, 30), grid.axis(1, 40)), 21)
    roomy = host()
    assert count_agrees(roomy, case)
    tried = set()
    for part in (0.95, 0.8, 0.6, 0.5):
        engine = host(memory=int(roomy.most_used * part))
        try:
            assert count_agrees(engine, case)
        except CapacityError:
            continue
        tried.add(len(engine.launches))
    assert max(tried) > 2
    with pytest.raises(CapacityError, match="smaller batch size"):
        count_agrees(host(memory=roomy.most_used // 10), case)


def test_memory_is_free_again_after_count() -> None:
    engine = host()
    backend = cuda.CudaBackend(engine)
    cases.count_with(backend, COUNT["thirds"])
    assert engine.free_bytes() == engine.memory


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("units_last", [False, True])
def test_the_first_map_that_is_not_finite_is_named(value: float, units_last: bool) -> None:
    """However many batches later the device is asked."""
    batches = batches_of(2, 4)
    batches[2][1, 7, 3, 3] = batches[2][1, 11, 0, 0] = batches[3][0, 0, 5, 4] = value
    if units_last:
        batches = [np.ascontiguousarray(b.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) for b in batches]
    for engine in (host(), host(memory=20 * EACH)):
        with pytest.raises(NonFiniteError) as caught:
            keep_in_stage(engine, batches, BOUNDS)
        assert (caught.value.image, caught.value.unit) == (5, 7)


@given(maps_BUHW(st.integers(1, 3), st.integers(1, 9), side=9), st.data())
@settings(max_examples=20)
def test_both_kernels_after_one_another(maps: np.ndarray, data: st.DataObject) -> None:
    """Crops from the device counted on the device, on labels drawn with them."""
    case = data.draw(strategies.vocabularies())
    packed = PackedLabels.pack(data.draw(labels_N(case, len(maps), (19, 22))), case)
    rng = data.draw(rngs())
    grid = data.draw(strategies.grids_HW((maps.shape[2], maps.shape[3])))
    bounds = thresholds_U(rng, maps)
    totals = []
    for backend in (cuda.CudaBackend(host(int(rng.integers(6)))), REFERENCE):
        crops = backend.keep(maps, bounds, 4)
        sums = [backend.zeros((maps.shape[1], n)) for n in (len(case.numbers), len(case.categories))]
        axes = grid.axis(0, 19), grid.axis(1, 22)
        present = packed.category_present(case)
        backend.count(CountJob(crops, 4, bounds, axes, maps.shape[2:], packed, present, *sums))
        totals.append([backend.totals(s).tolist() for s in sums])
    assert totals[0] == totals[1]
