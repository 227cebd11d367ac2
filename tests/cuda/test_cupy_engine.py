"""The Python around CuPy, with a stand-in for CuPy whose modules run on the host and torch on the CPU."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from netdissect_fast.errors import BackendUnavailable
from netdissect_fast.geometry.grids import make_grid
from netdissect_fast.scoring.backends import cuda
from netdissect_fast.scoring.backends import cupy as cupy_engine
from netdissect_fast.scoring.backends.choice import choose
from netdissect_fast.scoring.backends.engine import DeviceOutOfMemory
from netdissect_fast.scoring.backends.reference import ReferenceBackend
from netdissect_fast.scoring.counts import Counter

from ..support.labels import packed_example
from .host import HostEngine

pytestmark = pytest.mark.cuda_host


class Kernel:
    """A kernel of a RawModule: arrays arrive as CuPy's would, by address."""

    def __init__(self, engine: HostEngine, name: str) -> None:
        self.engine, self.name = engine, name

    def __call__(self, grid: tuple[int], block: tuple[int], args: tuple[Any, ...], *, shared_mem: int) -> None:
        assert all(isinstance(arg, np.ndarray | np.int32 | np.int64) for arg in args)
        copies = [self.engine.to_device(arg) if isinstance(arg, np.ndarray) else arg for arg in args]
        self.engine.launch(self.name, grid[0], block[0], shared_mem, copies)
        for arg, copy in zip(args, copies, strict=True):
            if isinstance(arg, np.ndarray):
                arg[:] = self.engine.to_host(copy)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> cupy_engine.CupyEngine:
    """A CupyEngine on the CPU, through a module that looks like cupy."""
    cupy = ModuleType("cupy")
    entered: list[Any] = []

    def raw_module(code: str, options: tuple[str, ...]) -> SimpleNamespace:
        assert options == ("--std=c++17",)
        host = HostEngine(code)
        return SimpleNamespace(get_function=lambda name: Kernel(host, name))

    def from_dlpack(tensor: torch.Tensor) -> np.ndarray:
        return tensor.as_strided((tensor.numel(),), (1,)).numpy()  # its memory, as a kernel sees it

    stream = SimpleNamespace(cuda_stream=7, device_index=0)
    cupy.RawModule, cupy.from_dlpack = raw_module, from_dlpack  # type: ignore[attr-defined]
    cupy.cuda = SimpleNamespace(  # type: ignore[attr-defined]
        Device=lambda index: nullcontext(),
        Stream=SimpleNamespace(),
        ExternalStream=lambda pointer, index: entered.append((pointer, index)) or nullcontext(),
    )
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**28, 2**30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 0)
    made = cupy_engine.CupyEngine(torch.device("cpu"))
    made.entered = entered  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_keep_and_count_through_the_engine(engine, dtype, layout):
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(5, 37, 6, 7, generator=generator).to(dtype).contiguous(memory_format=layout)
    bounds = np.full(37, 1.5, np.float32)
    backend, reference = cuda.CudaBackend(engine), ReferenceBackend()
    crops, expected = backend.keep(maps, bounds, 0), reference.keep(maps, bounds, 0)
    for ours, theirs in zip(crops.arrays, expected.arrays, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert engine.entered == [(7, 0)]
    labels, vocabulary = packed_example(images=5)
    grid = make_grid("half_pixel", None, (6, 7), (60, 70))
    counters = [Counter(bounds, grid, labels, vocabulary) for _ in range(2)]
    for counter, which in zip(counters, (backend, reference), strict=True):
        counter.add(expected, 0, 5, which)
    np.testing.assert_array_equal(counters[0].counts.intersection, counters[1].counts.intersection)
    np.testing.assert_array_equal(counters[0].counts.unit_area, counters[1].counts.unit_area)
    assert counters[1].counts.intersection.any()


def test_torchs_out_of_memory_becomes_the_engines(engine, monkeypatch):
    def full(*_args: Any, **_options: Any) -> None:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(torch, "empty", full)
    with pytest.raises(DeviceOutOfMemory):
        engine.zeros((3,), np.int64)


def test_without_cupy_or_a_device_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(BackendUnavailable, match=r"cupy is not installed: .*netdissect-fast\[cuda12\]"):
        choose("cuda")
    with pytest.warns(UserWarning, match=r"netdissect-fast\[cuda12\]"):
        assert choose("auto", device="cuda").name == "cpu"
    monkeypatch.setitem(sys.modules, "cupy", ModuleType("cupy"))
    with pytest.raises(BackendUnavailable, match="torch sees none"):
        choose("cuda")


def test_a_cupy_that_does_not_fit_is_named(monkeypatch, tmp_path):
    (tmp_path / "cupy.py").write_text("raise RuntimeError('CUDA driver is too old')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    with pytest.raises(BackendUnavailable, match=r"importing it raised RuntimeError: CUDA driver is too old: pip"):
        choose("cuda")
    with pytest.warns(UserWarning, match="CuPy cannot be imported"):
        assert choose("auto", device="cuda").name == "cpu"
