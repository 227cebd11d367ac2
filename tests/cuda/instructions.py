"""What the kernels execute and move on typical layers, from the PTX run: ``python -m tests.cuda.instructions``.

Of the activations 0.5 % exceed each unit's threshold (over 80 images, of which four are run); labels are 112×112 with
20 concepts. Thread-instructions of PTX, not of the machine code.
"""

from __future__ import annotations

import sys
from unittest.mock import patch

import numpy as np

from netdissect_fast.scoring.backends import cuda
from netdissect_fast.scoring.backends.engine import source

from .cases import CountCase, count_case, count_with, on_device
from .ptx_engine import PtxEngine

LAYERS = {"7×7, as ResNet-50 layer4": (128, 7, 7), "13×13, as AlexNet conv5": (128, 13, 13), "28×28": (32, 28, 28)}
PIXELS = 112


def network_like(shape: tuple[int, int, int, int], seed: int = 1) -> np.ndarray:
    """Maps [N, U, H, W] as after a ReLU: smooth noise less a bias, times a gain that differs from map to map."""
    rng = np.random.default_rng(seed)
    maps = rng.standard_normal(shape).astype(np.float32)
    for axis, size in ((2, shape[2]), (3, shape[3])):
        at = np.arange(size)
        kernel = np.exp(-0.5 * ((at[:, None] - at) / (0.09 * size + 0.35)) ** 2)
        kernel /= np.sqrt((kernel**2).sum(1, keepdims=True))
        maps = np.moveaxis(np.moveaxis(maps, axis, -1) @ kernel.T.astype(np.float32), -1, axis)
    gains = np.exp(0.9 * rng.standard_normal((*shape[:2], 1, 1)))
    return np.ascontiguousarray(np.maximum(maps - 0.6, 0) * gains, np.float32)


def measure(shape: tuple[int, int, int], layout: str, sm: int) -> tuple[float, float, float, float, float]:
    """Of keep: instructions and bytes read an activation; of count: instructions and bytes a pixel; live share."""
    from netdissect_fast.geometry.grids import make_grid

    every = network_like((80, *shape))
    thresholds = np.quantile(every, 0.995, axis=(0, 2, 3), method="nearest").astype(np.float32)
    maps = every[:4]
    grid = make_grid("half_pixel", None, shape[1:], (224, 224))
    labels = count_case("", maps, (grid.axis(0, PIXELS), grid.axis(1, PIXELS)), 3, concepts=20, block=9)
    case = CountCase("", maps, thresholds, thresholds, labels.axes, labels.packed, labels.present, 20)

    engine = PtxEngine(source(), sm, watch=False)
    view = on_device(engine, maps, layout)
    with patch.object(cuda._Maps, "of", lambda maps, engine: maps):  # they are on the device already
        crops = cuda.CudaBackend(engine).keep(view, case.bounds, case.first_image)
    count_with(cuda.CudaBackend(engine), case)
    keep, count = engine.profiles[0][1], engine.profiles[1][1]
    pixels = len(crops) * PIXELS**2
    return (keep["instructions"] / maps.size, keep["global read"] / maps.size, count["instructions"] / pixels,
            count["global read"] / pixels, len(crops) / (len(maps) * shape[0]))  # fmt: skip


def main() -> int:
    print("| layer | layout | sm | live maps | keep: instr./activation | bytes read/activation "
          "| count: instr./pixel of a live map | bytes read/pixel |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
    for name, shape in LAYERS.items():
        for layout in ("planes", "channels_last"):
            for sm in (80, 90, 100):
                *numbers, live = measure(shape, layout, sm)
                cells = " | ".join(f"{number:.2f}" for number in numbers)
                print(f"| {name} | {layout} | {sm} | {live:.1%} | {cells} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
