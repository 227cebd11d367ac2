"""What the kernels execute and move on typical layers, from the PTX run: ``python -m tests.cuda.instructions``.

Crops are from activations of which 0.5 % exceed each unit's threshold, clustered as in real maps; labels are packed
8×8 tiles of 112×112 with about 20 concepts an image. Thread-instructions of PTX, not of the machine code.
"""

from __future__ import annotations

import sys
from unittest.mock import patch

import numpy as np

from netdissect_fast.backends import cuda

from .cases import CountCase, count_case, count_with, on_device
from .ptx_engine import PtxEngine

LAYERS = {"ResNet-50 layer4 7×7": (4, 96, 7, 7), "AlexNet conv5 13×13": (4, 64, 13, 13), "28×28": (2, 32, 28, 28)}
PIXELS = 112


def clustered(shape: tuple[int, int, int, int], seed: int = 1) -> np.ndarray:
    """Maps [N, U, H, W] of one blob each, of random height: few maps reach a unit's highest values."""
    rng = np.random.default_rng(seed)
    images, units, height, width = shape
    y, x = np.ogrid[:height, :width]
    at = rng.random((2, images, units, 1, 1)) * np.array([height, width]).reshape(2, 1, 1, 1, 1)
    spread = (rng.random((images, units, 1, 1)) + 0.5) * height / 7
    blobs = rng.exponential(1, (images, units, 1, 1)) * np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * spread**2))
    return (blobs + 0.05 * rng.random(shape)).astype(np.float32)


def measure(shape: tuple[int, int, int, int], layout: str, sm: int) -> tuple[float, float, float, float, float]:
    """Of keep: instructions and bytes read an activation; of count: instructions and bytes a pixel; live share."""
    from netdissect_fast.grids import make_grid

    maps = clustered(shape)
    grid = make_grid("half_pixel", None, shape[2:], (224, 224))
    labels = count_case("", maps, (grid.axis(0, PIXELS), grid.axis(1, PIXELS)), 3, 0.995, concepts=20, block=9)
    case = CountCase("", maps, labels.thresholds, labels.thresholds, labels.axes, labels.packed, labels.present, 20)

    engine = PtxEngine(cuda.source(), sm, watch=False)
    view = on_device(engine, maps, layout)
    with patch.object(cuda._Maps, "of", lambda maps, engine: maps):  # they are on the device already
        crops = cuda.CudaBackend(engine).keep(view, case.bounds, case.first_image)
    count_with(cuda.CudaBackend(engine), case)
    keep, count = engine.profiles[0][1], engine.profiles[1][1]
    pixels = len(crops) * PIXELS**2
    return (keep["instructions"] / maps.size, keep["global read"] / maps.size, count["instructions"] / pixels,
            count["global read"] / pixels, len(crops) / (shape[0] * shape[1]))  # fmt: skip


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
