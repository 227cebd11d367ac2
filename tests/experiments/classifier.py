"""A network whose last layer goes to the scores by pooling and a linear map, as in a ResNet."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

UNITS, CLASSES = 8, 5


class Classifier(nn.Module):
    """conv → in-place ReLU → ``features`` (a convolution and its ReLU) → mean over positions → linear."""

    input_size, mean, std = (3, 32, 32), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 5, stride=2, padding=2), nn.ReLU(inplace=True))
        self.conv = nn.Conv2d(6, UNITS, 3, padding=1)
        self.features = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.read = nn.Linear(UNITS, CLASSES)
        self.again = nn.Identity()  # runs twice
        self.unused = nn.Conv2d(6, UNITS, 3)

    def forward(self, images: torch.Tensor) -> Any:
        maps = self.again(self.features(self.conv(self.stem(images))))
        return self.read(self.drop(self.again(maps).mean(dim=(2, 3))))


class Wrapped(nn.Module):
    """The same, with something else as its output."""

    input_size, mean, std = Classifier.input_size, Classifier.mean, Classifier.std

    def __init__(self, change: Any, seed: int = 0) -> None:
        super().__init__()
        self.net, self.change = Classifier(seed), change

    def forward(self, images: torch.Tensor) -> Any:
        return self.change(self.net, images)


def state_of(model: nn.Module) -> Any:
    """What must be as it was found: flags, hooks, gradients, weights."""
    return (
        [module.training for module in model.modules()],
        [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()],
        [(value.requires_grad, value.grad is None, value.sum().item()) for value in model.parameters()],
        torch.is_grad_enabled(),
        torch.random.get_rng_state().sum().item(),
    )
