"""The compiled module refuses what it cannot work with, by name, before it touches any memory."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from netdissect_fast import _core

ISAS = _core.available_isas()
Call = dict[str, Any]


def keep_call() -> Call:
    maps = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    return {"maps": maps, "bounds": np.zeros(3, np.float32), "first_image": 0, "threads": 1, "isa": ""}


def crop_arrays() -> Call:
    """Two images, three units, three crops on a 4×5 grid."""
    return {
        "image": np.array([6, 6, 7], np.int32),
        "unit": np.array([0, 2, 1], np.int32),
        "box": np.array([[0, 0, 2, 2], [1, 2, 3, 3], [0, 0, 4, 5]], np.uint16),
        "values": np.random.default_rng(1).random(4 + 9 + 20, np.float32),
    }


def store_call() -> Call:
    return {**crop_arrays(), "bounds": np.full(3, 0.5, np.float32), "threads": 1}


def kth_call() -> Call:
    return {**store_call(), "rank": 2}


def count_call() -> Call:
    """Labels of two images on 9×10 pixels (four tiles), one and two groups of slots; 20 concepts, 2 categories."""
    rng = np.random.default_rng(2)
    return {
        **crop_arrays(),
        "first_image": 6,
        "thresholds": np.full(3, 0.5, np.float32),
        **{f"{a}_{name}": array for a, n, m in (("y", 9, 4), ("x", 10, 5)) for name, array in axis(n, m).items()},
        "map_size": (4, 5),
        "slot_start": np.array([0, 8, 24]),
        "slot_concept": np.concatenate([np.arange(7), [-1], np.arange(16)]).astype(np.int32),
        "word_start": np.array([0, 32, 96]),
        "words": rng.integers(0, 2**63, 96).astype(np.uint64),
        "whole_start": np.array([0, 1, 1]),
        "whole": np.array([19], np.int32),
        "present": np.ones((2, 2), bool),
        "intersection": np.zeros((3, 20), np.int64),
        "unit_area": np.zeros((3, 2), np.int64),
        "threads": 1,
        "isa": "",
    }


def axis(pixels: int, features: int) -> Call:
    x = np.linspace(0, features - 1, pixels)
    i0 = np.floor(x).astype(np.int32)
    return {"i0": i0, "i1": np.minimum(i0 + 1, features - 1).astype(np.int32), "f": (x - i0).astype(np.float32)}


def pack_call() -> Call:
    return {
        "maps": np.array([[[0, 1], [2, 2]]], np.int32),
        "columns": np.array([-1, 0, 1], np.int32),
        "whole": np.zeros(0, np.int32),
    }


def count(call: Call) -> None:
    a = dict(call)
    crops = tuple(a.pop(name) for name in ("image", "unit", "box", "values"))
    names = ("slot_start", "slot_concept", "word_start", "words", "whole_start", "whole", "present")
    labels = tuple(a.pop(name) for name in names)
    y, x = (tuple(a.pop(f"{name}_{part}") for part in ("i0", "i1", "f")) for name in "yx")
    _core.count(crops, labels=labels, y=y, x=x, **a)


def masks_call() -> Call:
    """What count_call's masks depend on."""
    others = ("first_image", "slot", "word", "whole", "present", "intersection", "unit_area")
    return {name: value for name, value in count_call().items() if not name.startswith(others)}


def masks(call: Call) -> np.ndarray:
    a = dict(call)
    crops = tuple(a.pop(name) for name in ("image", "unit", "box", "values"))
    y, x = (tuple(a.pop(f"{name}_{part}") for part in ("i0", "i1", "f")) for name in "yx")
    return _core.masks(crops, y=y, x=x, **a)


FUNCTIONS: dict[str, tuple[Callable[[], Call], Callable[[Call], Any]]] = {
    "keep": (keep_call, lambda call: _core.keep(**call)),
    "prune": (store_call, lambda call: _core.prune(**call)),
    "kth_largest": (kth_call, lambda call: _core.kth_largest(**call)),
    "count": (count_call, count),
    "masks": (masks_call, masks),
    "pack": (pack_call, lambda call: _core.pack(**call)),
}

# ------------------------------------------------------------------------------------------------- changes


def to(value: Any) -> Callable[[Any], Any]:
    return lambda _: value


def dtype(kind: Any) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: array.astype(kind)


def entry(index: Any, value: Any) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array[index] = value
        return array

    return change


def swapped(array: np.ndarray) -> np.ndarray:
    return array.astype(array.dtype.newbyteorder())


def spread(array: np.ndarray) -> np.ndarray:
    """The same values, but not side by side in memory."""
    wide = np.zeros((*array.shape, 2), array.dtype)
    wide[..., 0] = array
    return wide[..., 0]


def frozen(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


def shorter(array: np.ndarray) -> np.ndarray:
    return array[:-1].copy()


def wrapped(array: np.ndarray) -> np.ndarray:
    return array[None]


def misaligned(array: np.ndarray) -> np.ndarray:
    buffer = np.zeros(array.nbytes + 1, np.uint8)
    view = buffer[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def odd_stride(array: np.ndarray) -> np.ndarray:
    """Strides that are not a whole number of elements: a field of a packed record."""
    record = np.zeros(array.shape, [("a", array.dtype), ("b", np.uint8)])
    record["a"] = array
    return record["a"]


T, V = TypeError, ValueError

BAD: list[tuple[str, str, Callable[[Any], Any], type[Exception], str]] = [
    ("keep", "maps", dtype(np.float64), T, "maps must be float32, float16, or bfloat16 given as uint16, got float64"),
    ("keep", "maps", dtype(np.int32), T, "maps must be float32"),
    ("keep", "maps", dtype(np.uint16), T, "maps must be float32"),
    ("keep", "maps", swapped, T, "maps must be float32.*got >f4"),
    ("keep", "maps", lambda a: swapped(a.astype(np.float16)), T, "maps must be float32.*got >f2"),
    ("keep", "maps", lambda a: a[0], V, r"maps must be \[B, U, H, W\], got 3 axes"),
    ("keep", "maps", wrapped, V, "got 5 axes"),
    ("keep", "maps", misaligned, V, "maps is not aligned"),
    ("keep", "maps", odd_stride, V, "maps has a stride that is not a whole number of elements"),
    ("keep", "maps", lambda a: np.broadcast_to(a[:, :, :1, :1], (2, 3, 1, 65536)), V, "maps larger than 65535"),
    ("keep", "maps", lambda a: a.tolist(), T, "incompatible function arguments"),
    ("keep", "bounds", dtype(np.float64), T, "bounds must be float32, got float64"),
    ("keep", "bounds", swapped, T, "bounds must be float32, got >f4"),
    ("keep", "bounds", shorter, V, r"bounds must have shape \(3,\), got \(2,\)"),
    ("keep", "bounds", wrapped, V, r"bounds must have shape \(3,\), got \(1, 3\)"),
    ("keep", "bounds", spread, V, "bounds must be C-contiguous"),
    ("keep", "bounds", to(None), T, "bounds must be float32|incompatible function arguments"),
    ("keep", "threads", to(0), V, "threads must be at least 1, got 0"),
    ("keep", "threads", to(-4), V, "threads must be at least 1, got -4"),
    ("keep", "threads", to(1.5), T, "incompatible function arguments"),
    ("keep", "first_image", to(-1), V, "first_image must be at least 0"),
    ("keep", "first_image", to(2**31 - 2), V, "below 2\\^31"),
    ("keep", "first_image", to(2**63 - 1), V, "below 2\\^31"),
    ("keep", "isa", to("AVX2"), V, r"instruction set 'AVX2' \(argument isa\) is unknown or not available"),
    ("prune", "threads", to(0), V, "threads must be at least 1, got 0"),
    ("prune", "box", misaligned, V, "box is not aligned"),
    ("prune", "values", misaligned, V, "values is not aligned"),
    ("prune", "image", dtype(np.int64), T, "image must be int32, got int64"),
    ("prune", "image", frozen, V, "image is read-only"),
    ("prune", "unit", frozen, V, "unit is read-only"),
    ("prune", "box", frozen, V, "box is read-only"),
    ("prune", "values", frozen, V, "values is read-only, but is written to"),
    ("prune", "unit", shorter, V, r"unit must have shape \(3,\), got \(2,\)"),
    ("prune", "unit", entry(1, 3), V, "unit out of range in crop 1"),
    ("prune", "unit", entry(1, -1), V, "unit out of range in crop 1"),
    ("prune", "box", lambda a: a[:, :3].copy(), V, r"box must have shape \(3, 4\), got \(3, 3\)"),
    ("prune", "box", np.asfortranarray, V, "box must be C-contiguous"),
    ("prune", "box", dtype(np.int16), T, "box must be uint16, got int16"),
    ("prune", "box", entry((2, 2), 0), V, "empty crop 2"),
    ("prune", "box", entry((2, 3), 65535), V, "values does not hold what the boxes say"),
    ("prune", "values", shorter, V, "values does not hold what the boxes say"),
    ("prune", "values", spread, V, "values must be C-contiguous"),
    ("prune", "bounds", shorter, V, "unit out of range in crop 1"),
    ("prune", "bounds", dtype(np.float16), T, "bounds must be float32, got float16"),
    ("kth_largest", "rank", to(0), V, "rank must be at least 1, got 0"),
    ("kth_largest", "rank", to(2**63), T, "incompatible function arguments"),
    ("kth_largest", "threads", to(0), V, "threads must be at least 1"),
    ("kth_largest", "unit", entry(2, 2**31 - 1), V, "unit out of range in crop 2"),
    ("kth_largest", "values", dtype(np.float64), T, "values must be float32, got float64"),
    ("kth_largest", "values", lambda a: np.append(a, a), V, "values does not hold what the boxes say"),
    ("count", "image", entry(0, 5), V, "crop 0 is of an image without labels"),
    ("count", "image", entry(2, 8), V, "crop 2 is of an image without labels"),
    ("count", "image", entry(slice(None), [7, 6, 6]), V, "crops must ascend by image, then unit"),
    ("count", "unit", entry(slice(None), [2, 0, 1]), V, "crops must ascend by image, then unit"),
    ("count", "unit", entry(1, 0), V, "crops must ascend by image, then unit"),
    ("count", "box", entry((1, 0), 2), V, "crop 1 leaves the grid"),
    ("count", "box", entry((1, 1), 65535), V, "crop 1 leaves the grid"),
    ("count", "first_image", to(2**62), V, "crop 0 is of an image without labels"),
    ("count", "first_image", to(-(2**62)), V, "crop 0 is of an image without labels"),
    ("count", "first_image", to(-(2**63)), V, "crop 0 is of an image without labels"),
    ("count", "thresholds", shorter, V, r"unit out of range|intersection must have shape"),
    ("count", "thresholds", dtype(np.float64), T, "thresholds must be float32"),
    ("count", "thresholds", spread, V, "thresholds must be C-contiguous"),
    ("count", "thresholds", misaligned, V, "thresholds is not aligned"),
    ("count", "map_size", to((3, 5)), V, "y points outside the activation grid"),
    ("count", "map_size", to((4, 4)), V, "x points outside the activation grid"),
    ("count", "map_size", to((2**40, 5)), V, "map_size must lie between 0 and 65535"),
    ("count", "map_size", to((4, -1)), V, "map_size must lie between 0 and 65535"),
    ("count", "map_size", to((4,)), T, "incompatible function arguments"),
    ("count", "y_i0", entry(0, -1), V, "y points outside the activation grid at pixel 0"),
    ("count", "y_i1", entry(8, 4), V, "y points outside the activation grid at pixel 8"),
    ("count", "x_i1", entry(0, 2), V, "x points outside the activation grid at pixel 0"),
    ("count", "x_i1", entry(9, 3), V, "x points outside the activation grid at pixel 9"),
    ("count", "x_i0", entry(slice(None), [1] + [0] * 9), V, "x does not ascend"),
    ("count", "x_i0", dtype(np.int64), T, "x i0 must be int32, got int64"),
    ("count", "y_i0", lambda a: np.zeros(262_137, a.dtype), V, "y has more than 262136 label pixels"),
    ("count", "x_i1", shorter, V, r"x i1 must have shape \(10,\), got \(9,\)"),
    ("count", "y_f", entry(3, 1), V, r"y has a weight outside \[0, 1\)"),
    ("count", "y_f", entry(3, np.nan), V, r"y has a weight outside \[0, 1\)"),
    ("count", "y_f", entry(3, -1e-9), V, r"y has a weight outside \[0, 1\)"),
    ("count", "slot_start", dtype(np.int32), T, "slot_start must be int64"),
    ("count", "slot_start", entry(1, 9), V, "slots of image 0 are not a multiple of 8"),
    ("count", "slot_start", entry(0, 16), V, "slots of image 0 are not a multiple of 8"),
    ("count", "slot_start", entry(slice(None), [8, 16, 32]), V, "labels are shorter than their starts say"),
    ("count", "slot_start", entry(slice(None), [-8, 0, 16]), V, "labels are shorter than their starts say"),
    ("count", "slot_start", entry(1, -(2**63)), V, "labels are shorter than their starts say"),
    ("count", "slot_start", entry(1, 2**62), V, "labels are shorter than their starts say"),
    ("count", "slot_start", lambda a: a[:0], V, "word_start must have shape|slot_start must have one entry more"),
    ("count", "slot_concept", shorter, V, "labels are shorter than their starts say"),
    ("count", "slot_concept", entry(3, 20), V, "slot_concept out of range"),
    ("count", "slot_concept", entry(3, -2), V, "slot_concept out of range"),
    ("count", "word_start", entry(1, 31), V, "words of image 0 do not fit its grid"),
    ("count", "word_start", entry(1, -(2**63)), V, "labels are shorter than their starts say"),
    ("count", "word_start", shorter, V, r"word_start must have shape \(3,\)"),
    ("count", "word_start", entry(slice(None), [32, 64, 128]), V, "labels are shorter than their starts say"),
    ("count", "words", shorter, V, "labels are shorter than their starts say"),
    ("count", "words", dtype(np.int64), T, "words must be uint64, got int64"),
    ("count", "words", misaligned, V, "words is not aligned"),
    ("count", "words", swapped, T, "words must be uint64, got >u8"),
    ("count", "whole_start", entry(1, 2), V, "labels are shorter than their starts say"),
    ("count", "whole_start", entry(2, 0), V, "whole_start does not ascend"),
    ("count", "whole_start", entry(2, 2), V, "labels are shorter than their starts say"),
    ("count", "whole", entry(0, 20), V, "whole out of range"),
    ("count", "whole", entry(0, -1), V, "whole out of range"),
    ("count", "present", dtype(np.uint8), T, "present must be bool, got uint8"),
    ("count", "present", lambda a: a[:1], V, r"present must have shape \(2, 2\), got \(1, 2\)"),
    ("count", "present", np.asfortranarray, V, "present must be C-contiguous"),
    ("count", "intersection", dtype(np.int32), T, "intersection must be int64, got int32"),
    ("count", "intersection", frozen, V, "intersection is read-only, but is written to"),
    ("count", "intersection", spread, V, "intersection must be C-contiguous"),
    ("count", "intersection", shorter, V, r"intersection must have shape \(3, \*\), got \(2, 20\)"),
    ("count", "intersection", lambda a: a[:, :19].copy(), V, "whole out of range"),
    ("count", "unit_area", frozen, V, "unit_area is read-only"),
    ("count", "unit_area", lambda a: a[:, :1].copy(), V, r"present must have shape \(2, 1\)"),
    ("count", "unit_area", dtype(np.float64), T, "unit_area must be int64, got float64"),
    ("count", "threads", to(0), V, "threads must be at least 1"),
    ("masks", "unit", entry(1, 3), V, "unit out of range in crop 1"),
    ("masks", "box", entry((1, 0), 2), V, "crop 1 leaves the grid"),
    ("masks", "values", shorter, V, "values does not hold what the boxes say"),
    ("masks", "thresholds", dtype(np.float64), T, "thresholds must be float32"),
    ("masks", "map_size", to((3, 5)), V, "y points outside the activation grid"),
    ("masks", "map_size", to((4, -1)), V, "map_size must lie between 0 and 65535"),
    ("masks", "x_i0", entry(slice(None), [1] + [0] * 9), V, "x does not ascend"),
    ("masks", "y_f", entry(3, np.nan), V, r"y has a weight outside \[0, 1\)"),
    ("masks", "threads", to(0), V, "threads must be at least 1"),
    ("masks", "isa", to("sse9"), V, r"instruction set 'sse9' \(argument isa\)"),
    ("count", "isa", to("sse9"), V, r"instruction set 'sse9' \(argument isa\)"),
    ("pack", "maps", dtype(np.int64), T, "maps must be int32, got int64"),
    ("pack", "maps", lambda a: a[0], V, r"maps must have shape \(\*, \*, \*\), got \(2, 2\)"),
    ("pack", "maps", spread, V, "maps must be C-contiguous"),
    ("pack", "maps", misaligned, V, "maps is not aligned"),
    ("pack", "maps", lambda a: np.zeros((0, 2**16, 2**15), a.dtype), V, "an image has at most 2147483647"),
    ("pack", "maps", entry((0, 0, 0), 3), V, "concept number 3 "),
    ("pack", "maps", entry((0, 0, 0), -1), V, "concept number -1 "),
    ("pack", "maps", entry((0, 0, 0), -(2**31)), V, "concept number -2147483648 "),
    ("pack", "columns", entry(1, -1), V, "concept number 1 "),
    ("pack", "columns", dtype(np.int64), T, "columns must be int32"),
    ("pack", "whole", dtype(np.int64), T, "whole must be int32"),
    ("pack", "whole", lambda a: a[None], V, r"whole must have shape \(\*,\)"),
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_good_calls(function: str) -> None:
    """The calls that are broken below work as they stand."""
    make, run = FUNCTIONS[function]
    call = make()
    run(call)
    if function == "count":
        assert call["intersection"].any()
        assert call["unit_area"].any()


@pytest.mark.parametrize(
    ("function", "argument", "change", "error", "message"),
    BAD,
    ids=[f"{function}-{argument}-{i}" for i, (function, argument, *_) in enumerate(BAD)],
)
def test_bad_calls(
    function: str, argument: str, change: Callable[[Any], Any], error: type[Exception], message: str
) -> None:
    make, run = FUNCTIONS[function]
    call = make()
    call[argument] = change(call[argument])
    before = copy.deepcopy(call)
    with pytest.raises(error, match=message) as caught:
        run(call)
    assert type(caught.value) is error
    for name, value in call.items():
        np.testing.assert_array_equal(value, before[name], err_msg=f"{name} was written to")


@pytest.mark.parametrize("labels", [(), (1, 2), tuple([None] * 7)])
def test_count_wants_its_tuples_whole(labels: tuple[Any, ...]) -> None:
    call = count_call()
    y, x = ((call[f"{a}_i0"], call[f"{a}_i1"], call[f"{a}_f"]) for a in "yx")
    crops = tuple(call[name] for name in ("image", "unit", "box", "values"))
    options = {name: call[name] for name in ("first_image", "thresholds", "map_size", "intersection", "unit_area")}
    with pytest.raises((TypeError, ValueError)):
        _core.count(crops, y=y, x=x, labels=labels, **options)
    with pytest.raises(ValueError, match="crops are 4 arrays"):
        _core.count(crops[:3], y=y, x=x, labels=(call["whole"],) * 7, **options)


@pytest.mark.parametrize("isa", ISAS)
def test_more_threads_than_work(isa: str) -> None:
    """Any number of threads is allowed; no more are started than there are units."""
    expected = _core.keep(**keep_call())
    got = _core.keep(**{**keep_call(), "threads": 10**12, "isa": isa})
    for array, wanted in zip(got[:4], expected[:4], strict=True):
        np.testing.assert_array_equal(array, wanted)
    one, many = count_call(), {**count_call(), "threads": 10**12, "isa": isa}
    count(one)
    count(many)
    np.testing.assert_array_equal(one["intersection"], many["intersection"])

    for function in ("prune", "kth_largest"):
        make, run = FUNCTIONS[function]
        alone, crowd = make(), {**make(), "threads": 10**12}
        np.testing.assert_array_equal(run(alone), run(crowd))
        np.testing.assert_array_equal(alone["values"], crowd["values"])


STARVED = """
import resource
import numpy as np
from netdissect_fast import _core
maps = np.random.default_rng(0).random((1, 256, 4, 4), np.float32)
expected = _core.keep(maps, np.zeros(256, np.float32))
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, used + 2**26))
got = _core.keep(maps, np.zeros(256, np.float32), threads=256)
print(all((a == b).all() for a, b in zip(expected[:4], got[:4])))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux's /proc")  # noqa: PTH110
def test_threads_that_cannot_be_started() -> None:
    """Where the system gives no more threads, the work is done by those there are."""
    done = subprocess.run([sys.executable, "-c", STARVED], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_results_own_their_memory() -> None:
    """What keep gives stays valid when all else is gone, and can be written to."""
    call = keep_call()
    *arrays, _ = _core.keep(**call)
    expected = [array.copy() for array in arrays]
    del call
    rubbish = [np.full(1000, 7.0) for _ in range(100)]
    for array, wanted in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(array, wanted)
        array += 1
    assert len(rubbish) == 100
