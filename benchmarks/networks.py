"""Networks to time whole runs with, random weights: also ``--model benchmarks/networks.py:resnet50``."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn

_IMAGENET = {"input_size": (3, 224, 224), "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
STAGES = ("layer1", "layer2", "layer3", "layer4")


def _convolution(channels: int, out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out))


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 convolutions beside a shortcut (He et al., 2016, arXiv 1512.03385)."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        relu = nn.ReLU(inplace=True)
        self.branch = nn.Sequential(
            _convolution(channels, width, 1), relu, _convolution(width, width, 3, stride), relu,
            _convolution(width, 4 * width, 1),
        )  # fmt: skip
        same = stride == 1 and channels == 4 * width
        self.shortcut = nn.Identity() if same else _convolution(channels, 4 * width, 1, stride)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.branch(x) + self.shortcut(x))


class ResNet50(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_convolution(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
        channels = 64
        for number, (name, blocks) in enumerate(zip(STAGES, (3, 4, 6, 3), strict=True)):
            width, stage = 64 << number, []
            for block in range(blocks):
                stage.append(Bottleneck(channels, width, 2 if number and not block else 1))
                channels = 4 * width
            self.add_module(name, nn.Sequential(*stage))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000))

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, 224, 224] to [B, 1000]; layer1 to layer4 are [B, 256, 56, 56] to [B, 2048, 7, 7]."""
        x = self.stem(x)
        for name in STAGES:
            x = self.get_submodule(name)(x)
        return self.head(x)


def resnet50() -> nn.Module:
    torch.manual_seed(0)
    model = ResNet50().eval()
    model.pretrained_cfg = _IMAGENET
    return model


def squeezenet() -> nn.Module:
    """The network of examples/squeezenet.py."""
    path = Path(__file__).parents[1] / "examples" / "squeezenet.py"
    spec = importlib.util.spec_from_file_location("squeezenet_example", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    return module.squeezenet().eval()
