"""Eleven colour names: paints of each, and the rule that names the colour of a pixel."""

from __future__ import annotations

import numpy as np

from ...types import Array, Float32Array, Int32Array
from .drawn_concepts import NUMBER

PAINTS = {  # RGB 0..255, each well inside its name
    "black": (25, 25, 28),
    "blue": (40, 90, 205),
    "brown": (115, 70, 35),
    "grey": (130, 130, 132),
    "green": (50, 150, 55),
    "orange": (240, 135, 25),
    "pink": (245, 150, 185),
    "purple": (125, 60, 185),
    "red": (205, 35, 35),
    "white": (240, 240, 238),
    "yellow": (245, 215, 45),
}


def paint_of(rng: np.random.Generator, *names: str) -> Float32Array:
    """Return a paint of one of these names (default: any), slightly varied: RGB 0..1, float32 [3]."""
    name = str(rng.choice(names or tuple(PAINTS)))
    shade = rng.uniform(0.88, 1.08) + rng.uniform(-0.03, 0.03, 3)
    return np.clip(np.array(PAINTS[name]) / 255 * shade, 0, 1).astype(np.float32)


def name_colours(rgb: Array) -> Int32Array:
    """Return the concept number of the colour of each pixel, int32 [Y, X], from uint8 RGB [Y, X, 3].

    By brightness v, saturation s and hue h (in sixths of the circle, red 0, green 2, blue 4): black where
    v < 0.22; where s < 0.2, white if v > 0.78 and else grey; red to yellow hues are brown where v < 0.62;
    pale reds and magentas are pink; the other names are ranges of hue.
    """
    r, g, b = (rgb[..., i].astype(np.float32) / np.float32(255) for i in range(3))
    high, low = np.maximum(np.maximum(r, g), b), np.minimum(np.minimum(r, g), b)
    chroma = high - low
    safe = np.where(chroma > 0, chroma, np.float32(1))
    hue = np.where(high == r, (g - b) / safe, np.where(high == g, (b - r) / safe + 2, (r - g) / safe + 4)) % 6
    saturation = chroma / np.where(high > 0, high, np.float32(1))
    bounds = np.array([0.28, 0.72, 1.15, 2.85, 4.2, 4.9, 5.65], np.float32)
    names = ["red-c", "orange-c", "yellow-c", "green-c", "blue-c", "purple-c", "pink-c", "red-c"]
    numbers = np.array([NUMBER[name] for name in names], np.int32)[np.searchsorted(bounds, hue, side="right")]
    warm = (hue < 1.0) | (hue > 5.8)
    numbers[warm & (high < 0.62)] = NUMBER["brown-c"]
    numbers[((hue > 4.95) | (hue < 0.4)) & (saturation < 0.5) & (high > 0.65)] = NUMBER["pink-c"]
    grey = saturation < 0.2
    numbers[grey] = np.where(high[grey] > 0.78, NUMBER["white-c"], NUMBER["grey-c"])
    numbers[high < 0.22] = NUMBER["black-c"]
    return numbers
