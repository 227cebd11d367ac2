"""A picture and its label maps, painted shape by shape, back to front."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ...types import Array, Float32Array, Int32Array
from .drawn_concepts import NUMBER

Plane: TypeAlias = Any  # float32 [h, w] or broadcast to it; NumPy's stubs lose track of float32 in arithmetic
Distance: TypeAlias = Callable[[Plane, Plane], Plane]  # of x [1, w], y [h, 1]
Fill: TypeAlias = Callable[[Plane, Plane], Plane]  # of x [1, w], y [h, 1]: RGB 0..1 [h, w, 3]


class Shape(NamedTuple):
    """``box`` (x0, y0, x1, y1) holds the shape; ``distance`` to its edge is negative inside."""

    box: tuple[float, float, float, float]
    distance: Distance


def rectangle(x0: float, y0: float, x1: float, y1: float, rounding: float = 0.0) -> Shape:
    """Return an upright rectangle, with rounded corners if requested."""
    cx, cy, rx, ry = (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2
    corner = min(rounding, rx, ry)

    def distance(x: Plane, y: Plane) -> Plane:
        dx, dy = np.abs(x - cx) - (rx - corner), np.abs(y - cy) - (ry - corner)
        if not corner:
            return np.maximum(dx, dy)
        outside = np.sqrt(np.maximum(dx, 0) ** 2 + np.maximum(dy, 0) ** 2)
        return outside + np.minimum(np.maximum(dx, dy), 0) - np.float32(corner)

    return Shape((x0, y0, x1, y1), distance)


def ellipse(cx: float, cy: float, rx: float, ry: float) -> Shape:
    """Return an upright ellipse."""

    def distance(x: Plane, y: Plane) -> Plane:
        return (np.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2) - 1) * np.float32(min(rx, ry))

    return Shape((cx - rx, cy - ry, cx + rx, cy + ry), distance)


def polygon(*points: tuple[float, float]) -> Shape:
    """Return a convex polygon; its corners are in clockwise order as seen on the picture."""
    px, py = zip(*points, strict=True)

    def distance(x: Plane, y: Plane) -> Plane:
        result = None
        for (ax, ay), (bx, by) in zip(points, points[1:] + points[:1], strict=True):
            length = max(float(np.hypot(bx - ax, by - ay)), 1e-6)
            nx, ny = (by - ay) / length, (ax - bx) / length  # outward
            edge = nx * (x - ax) + ny * (y - ay)
            result = edge if result is None else np.maximum(result, edge)
        assert result is not None
        return result

    return Shape((min(px), min(py), max(px), max(py)), distance)


def stroke(ax: float, ay: float, bx: float, by: float, width: float) -> Shape:
    """Return a straight line with round ends."""
    dx, dy, r = bx - ax, by - ay, width / 2
    length = max(dx * dx + dy * dy, 1e-9)

    def distance(x: Plane, y: Plane) -> Plane:
        along = np.clip(((x - ax) * dx + (y - ay) * dy) / length, 0, 1)
        return np.sqrt((x - ax - along * dx) ** 2 + (y - ay - along * dy) ** 2) - np.float32(r)

    return Shape((min(ax, bx) - r, min(ay, by) - r, max(ax, bx) + r, max(ay, by) + r), distance)


def below(height: Callable[[Plane], Plane], top: float) -> Shape:
    """Return everything under a curve y = height(x), which lies nowhere above ``top``."""
    return Shape((0, top, 1, 1), lambda x, y: height(x) - y)


class Canvas:
    """RGB float32 [size, size, 3] in 0..1, and int32 [size, size] maps of object, part and material."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.size, self.rng = size, rng
        self.rgb: Float32Array = np.zeros((size, size, 3), np.float32)
        self.object, self.part, self.material = np.zeros((3, size, size), np.int32)
        self._axis = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)

    def uniform(self, low: float, high: float) -> float:
        """Return one random number."""
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        """Return True with the given probability."""
        return bool(self.rng.random() < probability)

    def paint(self, thing: str, shape: Shape, fill: Fill, part: str = "", material: str = "") -> None:
        """Paint a shape over the picture; its pixels now belong to ``thing`` and this part and material."""
        x0, y0, x1, y1 = shape.box
        left, top = max(int(x0 * self.size) - 1, 0), max(int(y0 * self.size) - 1, 0)
        right, bottom = min(int(x1 * self.size) + 2, self.size), min(int(y1 * self.size) + 2, self.size)
        if left >= right or top >= bottom:
            return
        window = np.s_[top:bottom, left:right]
        x, y = self._axis[None, left:right], self._axis[top:bottom, None]
        distance = shape.distance(x, y) * np.float32(self.size)
        cover = np.clip(np.float32(0.5) - distance, 0, 1)[..., None]  # how much of each pixel, for smooth edges
        self.rgb[window] += cover * (fill(x, y) - self.rgb[window])
        inside = distance < 0
        self.object[window][inside] = NUMBER[thing]
        self.part[window][inside] = NUMBER[part] if part else 0
        self.material[window][inside] = NUMBER[material] if material else 0

    def labels(self) -> Int32Array:
        """Return int32 [3, size//2, size//2]: object, part, material, every second pixel."""
        half = self.size // 2 * 2
        return np.stack([self.object, self.part, self.material])[:, 1:half:2, 1:half:2]

    def picture(self) -> Array:
        """Return the picture, uint8 [size, size, 3]."""
        pixels: Array = np.clip(self.rgb * 255 + np.float32(0.5), 0, 255).astype(np.uint8)
        return pixels
