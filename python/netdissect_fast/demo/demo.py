"""The demo: a small network trained on drawn scenes, and the same network with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.formats.broden import Broden
from ..data.formats.synthetic import write_synthetic
from ..errors import ArgumentError
from ..results.run_result import Dissection

if TYPE_CHECKING:
    from torch import nn

    from ..pages.report import Report

CHECKPOINT = Path(__file__).with_name("demo.safetensors")
LAYER = "layer4"
PIXELS = 128  # size of the drawn scenes and of the network's input


def network(concepts: int) -> nn.Module:
    """Return a network of four convolutions and a linear read-out of ``concepts`` scores; layer4: 128 units of 16×16.

    Weights are random; examples/train_demo.py trains them.
    """
    import torch
    from torch import nn

    def layer(units_in: int, units: int, *, kernel: int = 3, stride: int = 1) -> nn.Module:
        convolution = nn.Conv2d(units_in, units, kernel, stride, kernel // 2, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(units), nn.ReLU(inplace=True))

    class DemoNetwork(nn.Module):
        input_size, mean, std = (3, PIXELS, PIXELS), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

        def __init__(self) -> None:
            super().__init__()
            self.layer1 = layer(3, 32, kernel=5, stride=2)
            self.layer2 = layer(32, 64)
            self.layer3 = layer(64, 96)
            self.layer4 = layer(96, 128)
            self.pool = nn.MaxPool2d(2)
            self.readout = nn.Linear(128, concepts)

        def forward(self, images: torch.Tensor) -> Any:
            maps = self.layer2(self.pool(self.layer1(images)))  # [B, 64, 32, 32]
            maps = self.layer4(self.pool(self.layer3(maps)))  # [B, 128, 16, 16]
            return self.readout(maps.mean(dim=(2, 3)))

    return DemoNetwork()


def networks() -> dict[str, nn.Module]:
    """Return the demo's network with "trained" and with "random" weights."""
    import torch
    from safetensors.torch import load_file

    trained_weights = load_file(CHECKPOINT)
    concepts = len(trained_weights["readout.bias"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        random, trained = network(concepts).eval(), network(concepts).eval()
    trained.load_state_dict(trained_weights)
    return {"trained": trained, "random": random}


def report_demo(out: Path, results: dict[str, Dissection], progress: bool = True) -> Report:
    """Write the report of ``run_demo``'s results: the trained network, with its random twin beside it."""
    from ..pages.report import report

    trained, random = results["trained"], results["random"]
    return report(
        trained, out / "report", compare={"random weights": random[LAYER]}, outline=True, cache=out / "cache",
        progress=progress,
    )  # fmt: skip


def run_demo(out: Path, seed: int = 0, images: int = 600, progress: bool = True) -> dict[str, Dissection]:
    """Draw scenes into ``out``, dissect both networks on them, save the results there.

    Returns the Dissections of "trained" and "random". Raises OutputError if ``out`` cannot be written.
    """
    from ..dissection import dissect

    if images < 1:
        raise ArgumentError(f"images must be at least 1, got {images}")
    folder = out / f"scenes-{images}-{seed}"
    if not folder.exists():
        write_synthetic(folder, images=images, seed=seed, size=PIXELS, progress=progress)
    data = Broden(folder)
    return {
        name: dissect(model, data, LAYER, out=out / name, cache=out / "cache", progress=progress)
        for name, model in networks().items()
    }
