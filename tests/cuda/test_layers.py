"""Slices of realistic layers: the kernels find the CPU's crops and counts, as source and as PTX."""

from __future__ import annotations

import numpy as np
import pytest

from netdissect_fast.geometry.grids import make_grid
from netdissect_fast.scoring.backends.cpu import CpuBackend
from netdissect_fast.scoring.backends.cuda import CudaBackend
from netdissect_fast.scoring.backends.engine import source
from netdissect_fast.scoring.counts import Counter
from netdissect_fast.scoring.peaks import peaks_of

from ..support.labels import packed_example
from ..support.recorded_maps import Layer
from .host import HostEngine
from .ptx_engine import PtxEngine
from .settings import needs_nvrtc

pytestmark = pytest.mark.cuda_host

LAYERS = {"alexnet conv5": 13, "resnet layer4": 7, "vgg conv5_3": 14, "wide": 14}  # H = W
UNITS = {"alexnet conv5": 96, "resnet layer4": 160, "vgg conv5_3": 80, "wide": 256}


def agrees(name: str, engine: HostEngine | PtxEngine, images: int, units: int, channels_last: bool) -> bool:
    side = LAYERS[name]
    maps = np.concatenate([batch for _, batch in Layer(units, side, images).batches(2)])
    if channels_last:
        maps = np.ascontiguousarray(maps.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    labels, vocabulary = packed_example(images, size=(112, 112))
    grid = make_grid("half_pixel", None, (side, side), (224, 224))
    results = []
    for backend in (CudaBackend(engine), CpuBackend()):
        peaks = peaks_of(maps, "0.02", backend)
        counter = Counter(peaks.bounds, grid, labels, vocabulary)
        counter.add(peaks.crops, 0, images, backend)
        counts = counter.counts
        assert counts.intersection.any()
        results.append([*peaks.crops.arrays, peaks.bounds, counts.intersection, counts.unit_area])
    return all(map(np.array_equal, *results))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_as_source(name: str, channels_last: bool) -> None:
    assert agrees(name, HostEngine(source(), schedule=3), 6, UNITS[name], channels_last)


@needs_nvrtc
@pytest.mark.parametrize("name", LAYERS)
def test_as_ptx(name: str) -> None:
    assert agrees(name, PtxEngine(source(), 90), 2, 24, channels_last=False)
