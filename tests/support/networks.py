"""Small networks that several tests dissect."""

from __future__ import annotations

import torch
from torch import nn


def two_layers(units: int = 6, seed: int = 0) -> nn.Sequential:
    """conv (stride 2) → in-place ReLU → pool → conv, with preprocessing for 32×32 images on the network."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(3, units, 5, stride=2, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(units, 2 * units, 3, padding=1),
    )
    net.input_size, net.mean, net.std = (3, 32, 32), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    return net.eval()
