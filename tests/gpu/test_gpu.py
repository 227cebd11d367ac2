"""On a machine with an NVIDIA GPU, CuPy and a CUDA build of torch: the GPU gives the CPU's integers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import netdissect_fast as nd
from netdissect_fast.errors import ActivationError, CapacityError
from netdissect_fast.geometry.grids import make_grid
from netdissect_fast.scoring.backends import cupy as cupy_engine
from netdissect_fast.scoring.backends.choice import choose
from netdissect_fast.scoring.backends.cpu import CpuBackend
from netdissect_fast.scoring.counts import Counter
from netdissect_fast.scoring.peaks import peaks_of

from ..support.labels import packed_example
from ..support.networks import two_layers

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(
        not (torch.cuda.is_available() and cupy_engine.cupy_is_there()),
        reason="no NVIDIA GPU with CuPy and a CUDA build of torch: nothing was run on a GPU",
    ),
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NETDISSECT_FAST_CACHE", str(tmp_path))


def activations(dtype: torch.dtype, layout: torch.memory_format, shape: tuple[int, ...]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(shape[1])
    return torch.randn(shape, generator=generator).relu().to(dtype).contiguous(memory_format=layout)


@pytest.mark.parametrize("shape", [(3, 64, 7, 7), (2, 33, 13, 13), (2, 5, 56, 55), (4, 1000, 1, 1), (1, 2, 200, 3)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_peaks_and_counts_are_the_cpus(shape, layout, dtype):
    maps = activations(dtype, layout, shape)
    gpu, cpu = choose("cuda"), CpuBackend()
    ours, theirs = peaks_of(maps.cuda(), "0.02", gpu), peaks_of(maps, "0.02", cpu)
    np.testing.assert_array_equal(ours.bounds, theirs.bounds)
    for one, other in zip(ours.crops.arrays, theirs.crops.arrays, strict=True):
        np.testing.assert_array_equal(one, other)
    labels, vocabulary = packed_example(images=shape[0])
    grid = make_grid("half_pixel", None, shape[2:], (224, 224))
    counters = [Counter(theirs.bounds, grid, labels, vocabulary) for _ in range(2)]
    for counter, backend in zip(counters, (gpu, cpu), strict=True):
        counter.add(theirs.crops, 0, shape[0], backend)
    np.testing.assert_array_equal(counters[0].counts.intersection, counters[1].counts.intersection)
    np.testing.assert_array_equal(counters[0].counts.unit_area, counters[1].counts.unit_area)


def test_a_whole_dissection_and_its_activations_scored_on_the_cpu():
    scenes, model = nd.Synthetic(40, seed=2, size=48), two_layers().cuda()
    kept: list[torch.Tensor] = []
    result = nd.dissect(model, scenes, "3", quantile="0.02", batch_size=8)
    assert result.run["settings"]["backend"] == "cuda"
    handle = model[3].register_forward_hook(lambda _m, _i, out: kept.append(out.cpu()))
    nd.dissect(model, scenes, "3", quantile="0.02", batch_size=8)
    handle.remove()
    maps = torch.cat(kept[1:])  # the first is the image that plans the run
    layer, grid = result["3"], result["3"].grid
    again = nd.score(
        maps, scenes, quantile="0.02", alignment=(grid.stride, grid.offset), input_size=grid.input_size, backend="cpu"
    )
    np.testing.assert_array_equal(layer.thresholds, again.thresholds)
    np.testing.assert_array_equal(layer.counts.intersection, again.counts.intersection)


def test_another_stream_and_its_work_are_respected():
    maps = activations(torch.float32, torch.contiguous_format, (8, 256, 14, 14)).cuda()
    expected = peaks_of(maps, "0.01", choose("cuda"))
    with torch.cuda.stream(torch.cuda.Stream()):
        later = torch.zeros_like(maps)
        torch.cuda._sleep(50_000_000)
        later.copy_(maps)
        found = peaks_of(later, "0.01", choose("cuda"))
    np.testing.assert_array_equal(found.bounds, expected.bounds)


def test_nan_is_named():
    maps = torch.zeros(4, 3, 5, 5)
    maps[2, 1, 0, 4] = float("nan")
    with pytest.raises(ActivationError, match="unit 1, image 2"):
        nd.score(maps.cuda(), np.ones((4, 8, 8), np.int32), backend="cuda")


def test_memory_that_is_full():
    maps = torch.ones(2, 64, 32, 32).cuda()
    torch.cuda.set_per_process_memory_fraction(1e-9)  # what is allocated stays, nothing more can be
    try:
        torch.cuda.empty_cache()
        with pytest.raises(CapacityError, match="batch size"):
            peaks_of(maps, "0.5", choose("cuda"))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
