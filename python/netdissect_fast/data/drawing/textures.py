"""Pictures of one texture each, as in the Describable Textures Dataset: no object, no scene."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .canvas import Canvas, Plane
from .colours import PAINTS, paint_of
from .materials import noise

# Each maps pattern coordinates u, v (one period is 1) to −1..1, positive where the second colour shows.


def _dotted(u: Plane, v: Plane) -> Plane:
    u = u + np.float32(0.5) * (np.floor(v) % 2)
    return np.float32(0.34) - np.sqrt((u % 1 - np.float32(0.5)) ** 2 + (v % 1 - np.float32(0.5)) ** 2)


def _striped(u: Plane, v: Plane) -> Plane:
    return np.float32(0.25) - np.abs(v % 1 - np.float32(0.5))


def _checkered(u: Plane, v: Plane) -> Plane:
    return np.sin(np.float32(np.pi) * u) * np.sin(np.float32(np.pi) * v)


def _zigzagged(u: Plane, v: Plane) -> Plane:
    return _striped(u, v + np.float32(1.4) * np.abs(u % 1 - np.float32(0.5)))


def _grid(u: Plane, v: Plane) -> Plane:
    return np.float32(0.13) - np.minimum(np.abs(u % 1 - np.float32(0.5)), np.abs(v % 1 - np.float32(0.5)))


def _honeycombed(u: Plane, v: Plane) -> Plane:
    root = np.float32(np.sqrt(3))

    def edge(a: Plane, b: Plane) -> Plane:  # how far inside the hexagon around (0, 0)
        a, b = np.abs(a), np.abs(b)
        return np.float32(0.5) - np.maximum(a, a / 2 + b * root / 2)

    first = edge((u + np.float32(0.5)) % 1 - np.float32(0.5), (v + root / 2) % root - root / 2)
    second = edge(u % 1 - np.float32(0.5), v % root - root / 2)
    return np.float32(0.1) - np.maximum(first, second)


def _spiralled(u: Plane, v: Plane) -> Plane:
    turn = np.arctan2(v, u) / np.float32(2 * np.pi)
    return np.float32(0.25) - np.abs((np.sqrt(u * u + v * v) + 2 * turn) % 1 - np.float32(0.5))


def _marbled(u: Plane, v: Plane) -> Plane:
    return np.sin(np.float32(2 * np.pi) * v) * np.float32(0.5)  # the warp of draw_texture makes the veins


TEXTURES: dict[str, Callable[[Plane, Plane], Plane]] = {
    "dotted": _dotted,
    "striped": _striped,
    "checkered": _checkered,
    "zigzagged": _zigzagged,
    "grid": _grid,
    "honeycombed": _honeycombed,
    "marbled": _marbled,
    "spiralled": _spiralled,
}


def draw_texture(canvas: Canvas, name: str) -> None:
    """Fill the canvas with one texture in two colours, turned, scaled and a little warped."""
    rng, size = canvas.rng, canvas.size
    axis = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
    x, y = axis[None], axis[:, None]
    centre = 0.5 if name == "spiralled" else 0.0
    angle, period = rng.uniform(0, 2 * np.pi), rng.uniform(0.09, 0.18)
    shift = rng.uniform(-0.15, 0.15, 2) if centre else rng.uniform(0, 1, 2)
    warp = rng.uniform(0.3, 0.45) if name == "marbled" else rng.uniform(0, 0.02)
    field = int(rng.integers(256))
    bend = np.float32(warp) * noise(x, y, 70, field), np.float32(warp) * noise(x, y, 70, field + 91)
    px, py = x - np.float32(centre + shift[0]) + bend[0], y - np.float32(centre + shift[1]) + bend[1]
    cos, sin = np.float32(np.cos(angle) / period), np.float32(np.sin(angle) / period)
    pattern = TEXTURES[name](cos * px - sin * py, sin * px + cos * py)
    cover = np.clip(np.float32(0.5) + pattern * np.float32(size * period), 0, 1)[..., None]
    first, second = rng.choice(len(PAINTS), 2, replace=False)
    names = tuple(PAINTS)
    ground, figure = paint_of(rng, names[first]), paint_of(rng, names[second])
    light = np.float32(0.85) + np.float32(0.3) * noise(x, y, 60, field + 17)
    canvas.rgb[:] = (ground + cover * (figure - ground)) * light[..., None]
