"""SqueezeNet 1.0 (Iandola et al., 2016, arXiv 1602.07360) as a model file for the command line.

    netdissect-fast dissect --model examples/squeezenet.py:squeezenet --weights squeezenet1_0_imagenet.npz
        --layers features.9,features.12 --data broden1_227 --out results

Your own model file needs the same two things: a function without arguments that returns the network and, as an
attribute of the network, how its images are preprocessed (or pass --input-size, --mean, --std, --channels and
--value-range instead). Layers are named as in ``model.named_modules()``; here the names are torchvision's, so
that its weights fit too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Fire(nn.Module):
    """A squeeze to few channels, then 1x1 and 3x3 convolutions in parallel."""

    def __init__(self, channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeeze, kernel_size=1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, kernel_size=1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, kernel_size=3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, channels, H, W] to [B, 2 * expand, H, W]."""
        x = self.relu(self.squeeze(x))
        return torch.cat([self.relu(self.expand1x1(x)), self.relu(self.expand3x3(x))], dim=1)


class SqueezeNet(nn.Module):
    """SqueezeNet 1.0 with 1000 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 96, kernel_size=7, stride=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True),
            Fire(96, 16, 64),
            Fire(128, 16, 64),
            Fire(128, 32, 128),
            nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True),
            Fire(256, 32, 128),
            Fire(256, 48, 192),
            Fire(384, 48, 192),
            Fire(384, 64, 256),
            nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True),
            Fire(512, 64, 256),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(),
            nn.Conv2d(512, 1000, kernel_size=1, padding=1),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, 3, 227, 227] to [B, 1000] class scores before the softmax."""
        return self.classifier(self.features(x)).flatten(1)


def squeezenet() -> nn.Module:
    """Return SqueezeNet 1.0 with random weights; the command line loads ``--weights`` into it."""
    model = SqueezeNet()
    # as the published ImageNet weights were trained: pixel values 0 to 255, blue first, minus the mean
    model.preprocess = {
        "input_size": (227, 227),
        "mean": (104, 117, 123),
        "std": (1, 1, 1),
        "channels": "BGR",
        "value_range": 255,
    }
    return model
