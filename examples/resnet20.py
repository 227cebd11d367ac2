"""ResNet-20 for CIFAR-10 (He et al., 2015, arXiv 1512.03385, section 4.2) as a model file for the command line.

    netdissect-fast dissect --model examples/resnet20.py:resnet20 --weights resnet20_cifar10-12fca82f.th
        --layers layer2,layer3 --data broden1_224 --out results

Its shortcuts have no weights (option A of the paper): where the map shrinks, they take every second pixel and pad
with zero channels. Layers are named as in the widely used checkpoint above.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride, self.added = stride, width - channels

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, channels, H, W] to [B, width, H / stride, W / stride]."""
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        if self.added:
            x = functional.pad(x, (0, 0, 0, 0, self.added // 2, self.added // 2))
        return functional.relu(x + y)


class ResNet20(nn.Module):
    """Three stages of three blocks, 16, 32 and 64 channels wide, with 10 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(Block(16, 16, 1), Block(16, 16, 1), Block(16, 16, 1))
        self.layer2 = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1))
        self.layer3 = nn.Sequential(Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, 3, 32, 32] to [B, 10] class scores before the softmax."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean(dim=(2, 3)))


def resnet20() -> nn.Module:
    """Return ResNet-20 with random weights; the command line loads ``--weights`` into it."""
    model = ResNet20()
    # normalisation of the checkpoint's training images
    model.preprocess = {"input_size": (32, 32), "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    return model
