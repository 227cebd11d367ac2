"""Activations with the statistics of a convolutional layer: relu(low-pass noise − bias) · log-normal gain.

Every image comes from its own seed, so that a layer can be made batch by batch and never lies in memory whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


def _smoother(side: int) -> np.ndarray:
    """Rows of a Gaussian low-pass filter that keeps the variance of white noise."""
    sigma, x = 0.09 * side + 0.35, np.arange(side)
    m = np.exp(-0.5 * ((x[:, None] - x[None]) / sigma) ** 2)
    return (m / np.sqrt((m**2).sum(axis=1, keepdims=True))).astype(np.float32)


@dataclass(frozen=True)
class Layer:
    units: int
    side: int
    images: int

    @property
    def nbytes(self) -> int:
        """Bytes of the dense float32 activations."""
        return 4 * self.units * self.side**2 * self.images

    def image(self, number: int) -> np.ndarray:
        rng = np.random.default_rng([number, self.units, self.side])
        low_pass = _smoother(self.side)
        maps = low_pass @ rng.standard_normal((self.units, self.side, self.side), np.float32) @ low_pass.T
        gain = np.exp(0.9 * rng.standard_normal((self.units, 1, 1), np.float32))
        result: np.ndarray = np.maximum(maps - np.float32(0.6), 0) * gain
        return result

    def batches(self, size: int) -> Iterator[tuple[int, np.ndarray]]:
        """(first image, [B, U, H, W]) one after the other."""
        for first in range(0, self.images, size):
            last = min(first + size, self.images)
            yield first, np.stack([self.image(number) for number in range(first, last)])


RESNET_LAYER4 = Layer(2048, 7, 400)
VGG_CONV5_3 = Layer(512, 14, 400)
