"""Dissect a generator: find its units for the sky, the grass and the walls of its pictures.

A generator's pictures have no labels, so a segmenter labels them as they are generated (nd.Segmented). Both networks
are small and are trained here on drawn scenes: the segmenter to name the object at each pixel; the generator, the
decoder of a variational autoencoder, to produce scenes from 64 random numbers. It is never told what is in a scene.
Then one layer is dissected, in the trained generator and in an untrained one.

    python examples/dissect_generator.py --out generator  # docs/how-to/generators.md says how long that takes
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

import netdissect_fast as nd

PIXELS, LATENT, BATCH = 64, 64, 32
TRAIN_SEED, TEST_SEED, LATENT_SEED = 3000, 3001, 3002
LAYER = "layer3"  # 96 units of 16×16
CLOSENESS = 3  # weight of random latents resembling those of scenes, against drawing scenes well
WORDS = nd.Synthetic(1).vocabulary
OBJECTS = WORDS.numbers[WORDS.category == WORDS.categories.index("object")]
NAMES = [*(WORDS.names[number - 1] for number in OBJECTS), "-"]  # of channels; the last: everything else


def convolution(before: int, after: int, stride: int = 1) -> nn.Sequential:
    """Return a 3×3 convolution with batch normalisation and ReLU."""
    layer = nn.Conv2d(before, after, 3, stride, 1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(after), nn.ReLU())


class Segmenter(nn.Module):
    """Pictures [B, 3, 64, 64] of 0..1 → scores [B, names, 32, 32]: down to 8×8 and up again, a small U-Net."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(convolution(a, b, 2) for a, b in pairwise((3, 32, 64, 96)))
        self.up = nn.ModuleList((convolution(96 + 64, 64), convolution(64 + 32, 48)))
        self.scores = nn.Conv2d(48, len(NAMES), 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the scores; see the class."""
        x, maps = 2 * pictures - 1, []
        for layer in self.down:
            maps.append(x := layer(x))
        for layer, beside in zip(self.up, maps[-2::-1], strict=True):
            x = layer(torch.cat([functional.interpolate(x, scale_factor=2), beside], 1))
        return self.scores(x)


class Generator(nn.Sequential):
    """Latents [B, 64] → pictures [B, 3, 64, 64] of 0..1; layer1 … layer5 have maps of 4×4 to 64×64."""

    def __init__(self) -> None:
        super().__init__()
        first = (nn.Linear(LATENT, 128 * 16), nn.Unflatten(1, (128, 4, 4)), nn.BatchNorm2d(128), nn.ReLU())
        self.add_module("layer1", nn.Sequential(*first))
        for number, (before, after) in enumerate(pairwise((128, 128, 96, 32, 16)), start=2):
            self.add_module(f"up{number}", nn.Upsample(scale_factor=2))
            self.add_module(f"layer{number}", convolution(before, after))
        self.add_module("rgb", nn.Sequential(nn.Conv2d(16, 3, 3, 1, 1), nn.Sigmoid()))


def scenes(images: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw scenes: pictures [N, 3, 64, 64] of 0..1, and the correct channel at each pixel [N, 32, 32]."""
    drawn = nd.Synthetic(images, seed, PIXELS)
    found = [drawing for drawing in map(drawn.draw, range(images)) if len(drawing.labels.maps) > 1]  # no textures
    pictures = np.stack([drawing.pixels for drawing in found]).transpose(0, 3, 1, 2) / np.float32(255)
    channel = np.full(len(WORDS) + 1, len(NAMES) - 1)
    channel[OBJECTS] = np.arange(len(OBJECTS))
    return torch.from_numpy(pictures), torch.from_numpy(channel[np.stack([d.labels.maps[1] for d in found])])


def train(network: nn.Module, images: int, epochs: int, loss: Callable[[Tensor], Tensor]) -> None:
    """Train a network to minimise the loss, a function of the indices of a batch's scenes."""
    network.train().to(memory_format=torch.channels_last)
    batches = images // BATCH
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=epochs * batches)
    for epoch in range(epochs):
        total = 0.0
        for chosen in torch.randperm(images).split(BATCH)[:batches]:
            value = loss(chosen)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
            total += value.item() / batches
        print(f"  epoch {epoch + 1}: loss {total:.4g}", flush=True)
    network.eval().to(memory_format=torch.contiguous_format)


def train_segmenter(segmenter: Segmenter, pictures: Tensor, channels: Tensor, epochs: int) -> None:
    """Train on sharp scenes and on blurred ones, because the generator's are blurred."""

    def loss(chosen: Tensor) -> Tensor:
        x = pictures[chosen]
        if torch.rand(()) < 0.5:
            x = functional.interpolate(functional.avg_pool2d(x, 2), scale_factor=2, mode="bilinear")
        return functional.cross_entropy(segmenter(x.contiguous(memory_format=torch.channels_last)), channels[chosen])

    train(segmenter, len(pictures), epochs, loss)


def train_generator(generator: Generator, pictures: Tensor, epochs: int) -> None:
    """Train the generator as the decoder of a variational autoencoder; its encoder is then discarded."""
    layers = [convolution(a, b, 2) for a, b in pairwise((3, 32, 64, 96, 128))]
    encoder = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 16, 2 * LATENT))

    def loss(chosen: Tensor) -> Tensor:
        x = pictures[chosen].contiguous(memory_format=torch.channels_last)
        mean, log_variance = encoder(x).clamp(-10, 10).chunk(2, 1)
        drawn = generator(mean + torch.randn_like(mean) * (log_variance / 2).exp())
        far = (mean**2 + log_variance.exp() - log_variance - 1).sum(1) / 2
        return (drawn - x).abs().sum((1, 2, 3)).mean() + CLOSENESS * far.mean()

    train(nn.ModuleList((generator, encoder)), len(pictures), epochs, loss)


def trained(network: nn.Module, path: Path, train_it: Callable[[], None]) -> None:
    """Load the network's weights if they were saved, else train it and save them."""
    if not path.exists():
        started = time.perf_counter()
        print(f"training {path.stem}", flush=True)
        train_it()
        print(f"  {time.perf_counter() - started:.0f} s", flush=True)
        save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
    network.load_state_dict(load_file(path))
    network.eval()


@torch.no_grad()
def accuracy(segmenter: Segmenter, pictures: Tensor, channels: Tensor) -> float:
    """Return the share of pixels that are named correctly."""
    right = [segmenter(x).argmax(1) == y for x, y in zip(pictures.split(100), channels.split(100), strict=True)]
    return float(torch.cat(right).float().mean())


def rows(layer: nd.LayerResult) -> Iterator[str]:
    """Yield, for each detected concept, its best unit and how many units detect it; best concept first."""
    detectors = sorted((row for row in layer.units() if row.detector), key=lambda row: -row.iou)
    counts = Counter(row.label for row in detectors)
    for label in counts:
        best = next(row for row in detectors if row.label == label)
        yield f"{label:12} {counts[label]:3} units, best {best.unit:3}: IoU {best.iou:.3f}, by chance {best.chance:.3f}"


def main() -> None:
    """Train, dissect, print, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=3000, help="scenes to train on")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=1000, help="pictures to generate and dissect on")
    options = parser.parse_args()

    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(TRAIN_SEED)
    segmenter, generator, untrained = Segmenter(), Generator(), Generator().eval()
    pictures, channels = scenes(options.images, TRAIN_SEED)
    trained(segmenter, options.out / "segmenter.safetensors",
            lambda: train_segmenter(segmenter, pictures, channels, options.epochs))  # fmt: skip
    trained(generator, options.out / "generator.safetensors",
            lambda: train_generator(generator, pictures, options.epochs))  # fmt: skip
    print(f"the segmenter names {accuracy(segmenter, *scenes(500, TEST_SEED)):.1%} of pixels in new scenes correctly")

    latents = torch.randn(options.pictures, LATENT, generator=torch.Generator().manual_seed(LATENT_SEED))
    for name, network in (("untrained", untrained), ("trained", generator)):
        started = time.perf_counter()
        data = nd.Segmented(latents, segmenter, NAMES, generator=network, output_range=(0, 1), label_size=32)
        result = nd.dissect(network, data, LAYER, alignment="half_pixel", quantile=0.05, out=options.out / name)
        layer = result[LAYER]
        print(f"\n{name}: {layer!r}, {time.perf_counter() - started:.0f} s")
        print("\n".join(rows(layer)))
    print(nd.report(result, options.out / "report", data=data, outline=True))


if __name__ == "__main__":
    main()
