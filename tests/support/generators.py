"""A generator and a segmenter of which everything is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from netdissect_fast.data.formats.segmented import Segmented

COUNT, SIDE, UNITS = 21, 4, 5
NAMES = ("red", "green", "blue")


class Generator(nn.Module):
    """Latents [B, 3, 4, 4] → units → pictures [B, 3, 8, 8] of -1..1: the latents themselves, each value four pixels."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.units, self.up = nn.Conv2d(3, UNITS, 1), nn.Upsample(scale_factor=2)

    def forward(self, latents: Tensor) -> Any:
        self.units(latents)
        return self.up(latents)


class Brightest(nn.Module):
    """Scores [B, 3, 8, 8]: red, green, blue. Or values [B, 2, 8, 8]: the highest, 0 where it is dark; much blue."""

    def __init__(self, values: bool = False) -> None:
        super().__init__()
        self.values, self.calls = values, []

    def forward(self, pictures: Tensor) -> Tensor:
        self.calls.append(len(pictures))
        if not self.values:
            return pictures
        bright = torch.where(pictures.amax(1) > 0.5, pictures.argmax(1) + 1, 0)
        return torch.stack([bright, 3 * (pictures[:, 2] > 0.75)], 1)


def latents(count: int = COUNT) -> Tensor:
    torch.manual_seed(1)
    return torch.rand(count, 3, SIDE, SIDE) * 2 - 1


def generated(segmenter: Any = None, names: Any = NAMES, z: Tensor | None = None, **options: Any) -> Segmented:
    given = {"generator": Generator().eval(), "label_size": 8, "batch_size": 4, **options}
    return Segmented(
        latents() if z is None else z, Brightest().eval() if segmenter is None else segmenter, names, **given
    )


def eight_bits(z: Tensor) -> np.ndarray:
    """The pictures of latents, uint8 [N, 3, 8, 8]."""
    pixels = ((z + 1) / 2 * 255).round().byte().numpy()
    return pixels.repeat(2, 2).repeat(2, 3)
