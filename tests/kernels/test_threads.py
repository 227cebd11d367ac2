"""The kernels called from several Python threads at once: they release the GIL, and disturb nobody's results."""

from __future__ import annotations

import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netdissect_fast as nd
from netdissect_fast import _core

from .test_bindings import FUNCTIONS, Call

THREADS = 4
WRITTEN = {"prune": ("image", "unit", "box", "values"), "count": ("intersection", "unit_area")}
ISAS = {"keep": _core.available_isas(), "count": _core.available_isas(), "masks": _core.available_isas()}


@pytest.fixture(autouse=True)
def _switch_interval() -> Iterator[None]:
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


# ---------------------------------------------------------------------------------------------------- the GIL


def test_the_module_says_that_it_needs_no_gil() -> None:
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        assert not sys._is_gil_enabled()  # importing a module that does not say so turns it on
    else:
        source = Path(__file__).parents[2] / "csrc" / "bindings.cpp"
        assert "PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used())" in source.read_text("utf-8")


def large(function: str) -> Call:
    """A call that works long enough for another thread to be woken, and can be repeated."""
    call = FUNCTIONS[function][0]()
    if function == "pack":
        return {**call, "maps": np.ones((4, 1000, 1000), np.int32)}
    units, side = 2000, 40
    if function == "keep":
        maps = np.ones((2, units, side, side), np.float32)
        return {**call, "maps": maps, "bounds": np.zeros(units, np.float32)}
    pixels = 300
    crops = {
        "image": np.full(units, 6, np.int32),
        "unit": np.arange(units, dtype=np.int32),
        "box": np.tile(np.array([0, 0, side, side], np.uint16), (units, 1)),
        "values": np.ones(units * side * side, np.float32),
    }
    call |= crops
    if function in ("prune", "kth_largest"):
        return {**call, "bounds": np.zeros(units, np.float32)}
    step = (np.arange(pixels) * side // pixels).astype(np.int32)
    for axis in "yx":
        call |= {f"{axis}_i0": step, f"{axis}_i1": step, f"{axis}_f": np.zeros(pixels, np.float32)}
    call |= {"map_size": (side, side), "thresholds": np.zeros(units, np.float32)}
    if function == "count":
        none = np.zeros(3, np.int64)
        call |= {"slot_start": none, "slot_concept": np.zeros(0, np.int32), "word_start": none}
        call |= {"words": np.zeros(0, np.uint64)}
        call |= {"intersection": np.zeros((units, 20), np.int64), "unit_area": np.zeros((units, 2), np.int64)}
    return call


@pytest.mark.parametrize("function", FUNCTIONS)
def test_other_threads_run_meanwhile(function: str) -> None:
    """Without being forced to: while the switch interval lasts, only a kernel that gives the GIL away lets them."""
    call, run, steps, done = large(function), FUNCTIONS[function][1], 0, threading.Event()

    def other() -> None:
        nonlocal steps
        while not done.is_set():
            steps += 1
            time.sleep(1e-4)

    thread = threading.Thread(target=other)
    thread.start()
    sys.setswitchinterval(1000)
    try:
        for _ in range(200):
            before = steps
            run(call)
            if steps > before:
                return
        pytest.fail(f"{function} holds the GIL")
    finally:
        done.set()
        thread.join()


# ----------------------------------------------------------------------------------------------- many at once


def together(work: Any) -> list[Any]:
    """``work(n)`` in each of THREADS threads, all from the same moment and switched as often as can be."""
    barrier = threading.Barrier(THREADS)
    sys.setswitchinterval(1e-6)

    def one(n: int) -> Any:
        barrier.wait(60)
        return work(n)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, range(THREADS)))


def test_kernels_called_at_once() -> None:
    """Every kernel, variant and number of threads, on the same inputs: what it gives alone."""
    calls = [
        (name, make() | ({} if name == "pack" else {"threads": threads}) | ({"isa": isa} if isa else {}))
        for name, (make, _) in FUNCTIONS.items()
        for threads in (1, 3)
        for isa in ISAS.get(name, [""])
    ]

    def results(name: str, call: Call) -> list[Any]:
        own = {argument: call[argument].copy() for argument in WRITTEN.get(name, ())}
        return [FUNCTIONS[name][1](call | own), *own.values()]

    expected = [results(*call) for call in calls]

    def work(n: int) -> None:
        for i in np.random.default_rng(n).integers(0, len(calls), 300):
            np.testing.assert_equal(results(*calls[i]), expected[i])

    together(work)


def test_scores_at_once() -> None:
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((6, 20, 9, 9)).astype(np.float32)
    labels = rng.integers(0, 12, (6, 40, 40))
    alone = nd.score(maps, labels, quantile="0.05")

    def work(_: int) -> None:
        for _ in range(5):
            layer = nd.score(maps, labels, quantile="0.05")
            np.testing.assert_array_equal(layer.thresholds, alone.thresholds)
            np.testing.assert_array_equal(layer.counts.intersection, alone.counts.intersection)
            np.testing.assert_array_equal(layer.counts.unit_area, alone.counts.unit_area)

    together(work)
