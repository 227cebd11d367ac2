"""Small networks, and a way to watch them, that several test files share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from netdissect_fast.network.hooks import watch


class Net(nn.Module):
    """A convolution followed by an in-place ReLU, a batch norm, dropout and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2), nn.BatchNorm2d(6), nn.Dropout(0.5))
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layer1(self.relu(self.conv1(x))).mean((2, 3)))


class Returns(nn.Module):
    """A layer that gives whatever a function makes of its input."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


class Around(nn.Module):
    """A network of one layer, whose output is not used."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.layer = Returns(function)

    def forward(self, x: Tensor) -> Tensor:
        self.layer(x)
        return x.mean((1, 2, 3))


def images(count: int = 2, size: tuple[int, int] = (8, 8)) -> Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(count))


def collect(model: nn.Module, layers: Any, *batches: Tensor, **options: Any) -> dict[str, Tensor]:
    """Return copies of the last maps of each layer."""
    seen: dict[str, Tensor] = {}
    with watch(model, layers, lambda name, maps: seen.__setitem__(name, maps.clone()), **options) as run:
        for batch in batches or (images(),):
            run(batch)
    return seen
