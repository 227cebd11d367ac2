"""Fills that make surfaces look like plain paint or one of eight materials, each with its own pattern."""

from __future__ import annotations

from functools import cache

import numpy as np

from ...types import Float32Array
from .canvas import Fill, Plane

_TABLE = 256  # side of the noise tables, a power of 2


@cache
def _noise_table(smooth: bool) -> Float32Array:
    """Return periodic noise in 0..1, float32 [_TABLE, _TABLE]: white, or smooth over some 16 cells."""
    rng = np.random.Generator(np.random.PCG64(20170411))
    if not smooth:
        return rng.random((_TABLE, _TABLE), np.float32)
    total = np.zeros((_TABLE, _TABLE), np.float32)
    for cell in (32, 16, 8):
        coarse = rng.random((_TABLE // cell, _TABLE // cell), np.float32)
        place = np.arange(_TABLE) / cell
        i = place.astype(int)
        f = (place - i).astype(np.float32)
        f = f * f * (3 - 2 * f)
        j = (i + 1) % len(coarse)
        rows = coarse[i] * (1 - f[:, None]) + coarse[j] * f[:, None]
        total += cell * (rows[:, i] * (1 - f) + rows[:, j] * f)
    total -= total.min()
    total /= total.max()
    return total


def noise(x: Float32Array, y: Float32Array, scale: float, shift: int = 0, smooth: bool = True) -> Plane:
    """Return noise in 0..1 at x [1, w], y [h, 1] (float32 [h, w]); ``scale``: table cells per picture width."""
    columns, rows = x[0] * np.float32(scale), y[:, 0] * np.float32(scale)
    j, i = columns.astype(np.int64) + shift, rows.astype(np.int64) + 7 * shift
    table = _noise_table(smooth)
    if not smooth:
        return table[i[:, None] % _TABLE, j % _TABLE]
    above, below = table[i % _TABLE], table[(i + 1) % _TABLE]
    between = above + (rows % 1)[:, None] * (below - above)
    left, right = between[:, j % _TABLE], between[:, (j + 1) % _TABLE]
    return left + columns % 1 * (right - left)


def shades(colour: Float32Array, light: Plane) -> Plane:
    """Return a colour [3] under light [h, w]: float32 [h, w, 3]."""
    return light[..., None] * colour


def plain(rng: np.random.Generator, colour: Float32Array, variation: float = 0.12) -> Fill:
    """Paint, slightly uneven."""
    shift = int(rng.integers(_TABLE))
    return lambda x, y: shades(colour, 1 + np.float32(variation) * (noise(x, y, 200, shift) - np.float32(0.5)))


def gradient(top: Float32Array, bottom: Float32Array) -> Fill:
    """Fade from one colour at the picture's top to a different one at its bottom."""
    return lambda x, y: (top + y[..., None] * (bottom - top)) + np.zeros((1, x.shape[1], 1), np.float32)


def brick(rng: np.random.Generator, colour: Float32Array) -> Fill:
    """Courses of bricks in running bond, light joints."""
    height, shift = rng.uniform(0.042, 0.06), int(rng.integers(_TABLE))
    mortar = np.float32(0.72) + colour * np.float32(0.1)

    def fill(x: Plane, y: Plane) -> Plane:
        v = y / np.float32(height)
        u = x / np.float32(2.2 * height) + np.float32(0.5) * (np.floor(v) % 2)
        joint = (v % 1 < 0.22) | (u % 1 < 0.11)
        tone = _noise_table(False)[(np.floor(v).astype(int) + shift) % _TABLE, np.floor(u).astype(int) % _TABLE]
        return np.where(joint[..., None], mortar, shades(colour, np.float32(0.8) + np.float32(0.35) * tone))

    return fill


def wood(rng: np.random.Generator, colour: Float32Array, upright: bool = False) -> Fill:
    """Boards with dark seams and wavy grain along them."""
    board, shift = rng.uniform(0.07, 0.1), int(rng.integers(_TABLE))

    def fill(x: Plane, y: Plane) -> Plane:
        across = x if upright else y
        wave = noise(x, y, 90, shift)
        grain = np.sin(across * np.float32(2 * np.pi / 0.026) + np.float32(7) * wave)
        seam = (across / np.float32(board) + np.float32(shift / _TABLE)) % 1 < 0.14
        light = np.float32(0.92) + np.float32(0.2) * grain + np.float32(0.2) * (wave - np.float32(0.5))
        return shades(colour, np.where(seam, np.float32(0.5), light))

    return fill


def metal(rng: np.random.Generator, colour: Float32Array) -> Fill:
    """Smooth sheet: a bright band near the top, darker below."""
    place = rng.uniform(0.2, 0.35)

    def fill(x: Plane, y: Plane) -> Plane:
        v = (y - y[0]) / max(float(y[-1, 0] - y[0, 0]), 1e-3)
        shine = np.exp(-(((v - np.float32(place)) / np.float32(0.1)) ** 2)) * np.float32(0.55)
        base = shades(colour, (np.float32(1.1) - np.float32(0.5) * v) + 0 * x)
        return base + shine[..., None] * (1 - base)

    return fill


def fabric(rng: np.random.Generator, colour: Float32Array) -> Fill:
    """Coarse weave: threads over and under, with a tartan of darker bands."""
    thread, band = rng.uniform(0.036, 0.046), rng.uniform(0.16, 0.24)

    def fill(x: Plane, y: Plane) -> Plane:
        over = np.sin(x * np.float32(2 * np.pi / thread)) * np.sin(y * np.float32(2 * np.pi / thread))
        bands = (x / np.float32(band) % 1 < 0.3).astype(np.float32) + (y / np.float32(band) % 1 < 0.3)
        return shades(colour, np.float32(1) + np.float32(0.32) * over - np.float32(0.2) * bands)

    return fill


def glass(rng: np.random.Generator, colour: Float32Array) -> Fill:
    """Pale panes with slanting reflections."""
    shift = rng.uniform(0, 1)
    colour = np.float32(0.35) * colour + np.float32(0.65) * np.array([0.5, 0.74, 0.88], np.float32)

    def fill(x: Plane, y: Plane) -> Plane:
        slant = ((x + y) / np.float32(0.11) + np.float32(shift)) % 1
        light = np.float32(0.85) + np.float32(0.4) * (slant < 0.3)
        return np.minimum(shades(colour, light), 1)

    return fill


def foliage(rng: np.random.Generator, colour: Float32Array) -> Fill:
    """Clumps of leaves: patches of three shades."""
    shift = int(rng.integers(_TABLE))

    def fill(x: Plane, y: Plane) -> Plane:
        clumps = noise(x, y, 330, shift)
        light = np.select([clumps > 0.6, clumps > 0.42], [np.float32(1.35), np.float32(0.95)], np.float32(0.55))
        return np.minimum(shades(colour, light), 1)

    return fill


def stone(rng: np.random.Generator, colour: Float32Array) -> Fill:
    """Rows of rounded cobbles with dark gaps."""
    side, shift = rng.uniform(0.055, 0.075), int(rng.integers(_TABLE))

    def fill(x: Plane, y: Plane) -> Plane:
        v = y / np.float32(side)
        u = x / np.float32(side) + np.float32(0.5) * (np.floor(v) % 2)
        tone = _noise_table(False)[(np.floor(v).astype(int) + shift) % _TABLE, np.floor(u).astype(int) % _TABLE]
        bulge = ((u % 1 - np.float32(0.5)) ** 2 + (v % 1 - np.float32(0.5)) ** 2) * np.float32(4)
        light = (np.float32(1.1) - np.float32(0.45) * bulge) * (np.float32(0.75) + np.float32(0.4) * tone)
        return np.minimum(shades(colour, np.where(bulge > 1, np.float32(0.35), light)), 1)

    return fill


def tile(rng: np.random.Generator, colour: Float32Array) -> Fill:
    """Overlapping rows of round-ended tiles, as on a roof."""
    side, shift = rng.uniform(0.045, 0.06), int(rng.integers(_TABLE))

    def fill(x: Plane, y: Plane) -> Plane:
        v = y / np.float32(side) + np.float32(shift / _TABLE)
        u = x / np.float32(side) + np.float32(0.5) * (np.floor(v) % 2)
        end = np.float32(0.45) + np.float32(0.55) * np.sqrt(1 - (2 * (u % 1) - 1) ** 2)  # the round lower end
        light = np.where(v % 1 > end, np.float32(0.4), np.float32(0.8) + np.float32(0.35) * (v % 1))
        return shades(colour, light)

    return fill


MATERIALS = {
    "brick": brick,
    "wood": wood,
    "metal": metal,
    "fabric": fabric,
    "glass": glass,
    "foliage": foliage,
    "stone": stone,
    "tile": tile,
}
