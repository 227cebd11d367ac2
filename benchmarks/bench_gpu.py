"""keep and count on a GPU, against the read floor (one pass of torch over the same activations) and a forward pass.

    pytest benchmarks/bench_gpu.py -s

Needs an NVIDIA GPU, CuPy and a CUDA build of torch; skips otherwise. Each case checks its answer against the CPU first.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.support.labels import packed_example
from torch import nn

from netdissect_fast.geometry.grids import make_grid
from netdissect_fast.scoring.backends import cupy as cupy_engine
from netdissect_fast.scoring.backends.choice import choose
from netdissect_fast.scoring.backends.cpu import CpuBackend
from netdissect_fast.scoring.counts import Counter

pytestmark = pytest.mark.skipif(
    not (torch.cuda.is_available() and cupy_engine.cupy_is_there()),
    reason="no NVIDIA GPU with CuPy and a CUDA build of torch",
)

SETTINGS = {"alexnet_conv5": (256, 13, 13), "resnet_layer4": (2048, 7, 7), "vgg_conv5_3": (512, 14, 14)}
IMAGES = 64


def milliseconds(work, repeats: int = 20) -> float:
    """Median time of ``work`` on the device."""
    times = []
    for _ in range(repeats + 3):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        work()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end))
    return float(np.median(times[3:]))


@pytest.mark.parametrize("name", SETTINGS)
def test_keep_and_count(name: str) -> None:
    units, height, width = SETTINGS[name]
    maps = torch.nn.functional.avg_pool2d(torch.randn(IMAGES, units, height + 2, width + 2), 3, 1).relu()
    thresholds = torch.quantile(maps.transpose(0, 1).reshape(units, -1), 0.995, dim=1).numpy()
    gpu, cpu, on_gpu = choose("cuda"), CpuBackend(), maps.cuda()
    crops = cpu.keep(maps, thresholds, 0)
    for ours, theirs in zip(gpu.keep(on_gpu, thresholds, 0).arrays, crops.arrays, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    labels, vocabulary = packed_example(IMAGES, size=(112, 112))
    grid = make_grid("half_pixel", None, (height, width), (224, 224))
    counters = [Counter(thresholds, grid, labels, vocabulary) for _ in range(2)]
    for counter, backend in zip(counters, (gpu, cpu), strict=True):
        counter.add(crops, 0, IMAGES, backend)
    np.testing.assert_array_equal(counters[0].counts.intersection, counters[1].counts.intersection)

    stage = gpu.stage()
    floor = milliseconds(lambda: on_gpu.amax((2, 3)))
    keep = milliseconds(lambda: stage.keep(on_gpu, thresholds, 0))
    count = milliseconds(lambda: counters[0].add(crops, 0, IMAGES, gpu))
    network = nn.Sequential(*(nn.Conv2d(256, 256, 3, padding=1) for _ in range(16))).cuda().eval()
    images = torch.randn(IMAGES, 256, 28, 28, device="cuda")
    with torch.no_grad():
        forward = milliseconds(lambda: network(images))
    device = torch.cuda.get_device_name()
    rate = on_gpu.nbytes / 1e6 / keep
    print(f"\n{device}, {name}, {IMAGES} images: keep {keep:.3f} ms ({rate:.0f} GB/s, {keep / floor:.2f} x the read)")
    print(f"count with transfers {count:.3f} ms, sixteen 256-channel convolutions {forward:.3f} ms")
