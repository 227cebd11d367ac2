"""Eight scenes: backgrounds first, things in front of them, nearer things lower and larger."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...types import Float32Array
from . import indoors, outdoors
from .canvas import Canvas, Plane, below, ellipse, polygon, rectangle
from .colours import paint_of
from .materials import brick, foliage, gradient, noise, plain, shades, stone, tile, wood

Thing = Callable[[Canvas, float, float, float], None]


def draw_scene(canvas: Canvas, name: str) -> None:
    """Draw one scene, then vary the light and, half of the time, mirror it."""
    SCENES[name](canvas)
    rng = canvas.rng
    canvas.rgb *= np.float32(rng.uniform(0.82, 1.1)) * (1 + rng.uniform(-0.04, 0.04, 3)).astype(np.float32)
    axis = np.arange(canvas.size, dtype=np.float32)
    grain = noise(axis[None], axis[:, None], 1, int(rng.integers(256)), smooth=False)
    canvas.rgb += (grain[..., None] - np.float32(0.5)) * np.float32(0.05)
    if canvas.chance(0.5):
        for layer in (canvas.rgb, canvas.object, canvas.part, canvas.material):
            layer[:] = layer[:, ::-1].copy()


def _street(c: Canvas) -> None:
    horizon = c.uniform(0.58, 0.66)
    _sky(c, horizon)
    x = c.uniform(-0.1, 0.1)
    while x < 1.1:
        thing, h = (outdoors.house, c.uniform(0.3, 0.42)) if c.chance(0.5) else (outdoors.building, c.uniform(0.4, 0.6))
        thing(c, x, horizon + 0.02, h)
        x += h * c.uniform(0.75, 1.1)
    c.paint("sidewalk", rectangle(0, horizon, 1, 1), stone(c.rng, paint_of(c.rng, "grey")), material="stone")
    edge = horizon + 0.1
    c.paint("road", rectangle(0, edge, 1, 1), plain(c.rng, paint_of(c.rng, "grey") * np.float32(0.62)))
    white = plain(c.rng, paint_of(c.rng, "white"))
    for dash in np.arange(c.uniform(-0.1, 0.1), 1, 0.28):
        c.paint("road", rectangle(dash, edge + 0.16, dash + 0.14, edge + 0.185), white)
    _some(c, outdoors.tree, (0, 2), (horizon + 0.04, horizon + 0.07), (0.25, 0.4))
    _some(c, outdoors.person, (0, 3), (horizon + 0.06, horizon + 0.1), (0.18, 0.26))
    if c.chance(0.5):
        outdoors.bus(c, c.uniform(0.25, 0.75), edge + 0.12, c.uniform(0.24, 0.32))
    _some(c, outdoors.car, (1, 3), (edge + 0.08, 0.97), (0.13, 0.22))


def _beach(c: Canvas) -> None:
    horizon, shore = c.uniform(0.3, 0.42), c.uniform(0.52, 0.62)
    _sky(c, horizon)
    _sea(c, horizon)
    _some(c, outdoors.boat, (0, 2), (horizon + 0.06, shore - 0.04), (0.18, 0.28))
    sand = plain(c.rng, np.array([0.93, 0.82, 0.56], np.float32), 0.2)
    wave = c.uniform(0, 6)
    c.paint("sand", below(lambda x: shore + np.float32(0.02) * np.sin(9 * x + wave), shore - 0.03), sand)
    _some(c, outdoors.palm, (0, 2), (shore + 0.08, 0.95), (0.45, 0.62))
    _some(c, outdoors.umbrella, (1, 3), (shore + 0.16, 0.97), (0.26, 0.38))
    _some(c, outdoors.person, (0, 3), (shore + 0.14, 0.98), (0.24, 0.34))


def _forest(c: Canvas) -> None:
    horizon = c.uniform(0.5, 0.6)
    _sky(c, horizon)
    thicket = foliage(c.rng, paint_of(c.rng, "green") * np.float32(0.55))
    c.paint("tree", rectangle(0, horizon - c.uniform(0.12, 0.25), 1, 1), thicket, "crown", "foliage")
    _grass(c, horizon, paint_of(c.rng, "green", "brown") * np.float32(0.75))
    for _ in range(int(c.rng.integers(5, 9))):
        y = horizon + c.uniform(0.02, 0.12)
        (outdoors.pine if c.chance(0.5) else outdoors.tree)(c, c.uniform(0, 1), y, c.uniform(0.45, 0.65))
    thing = outdoors.pine if c.chance(0.5) else outdoors.tree
    _some(c, thing, (1, 2), (0.86, 0.99), (0.65, 0.85))
    _some(c, outdoors.person, (0, 1), (0.8, 0.95), (0.22, 0.3))


def _farm(c: Canvas) -> None:
    horizon = c.uniform(0.42, 0.52)
    _sky(c, horizon)
    _grass(c, horizon, paint_of(c.rng, "green", "green", "yellow"))
    _some(c, outdoors.tree, (0, 2), (horizon + 0.03, horizon + 0.08), (0.25, 0.36))
    outdoors.house(c, c.uniform(0.2, 0.8), horizon + 0.1, c.uniform(0.28, 0.4))
    h = c.uniform(0.11, 0.15)
    y = horizon + c.uniform(0.14, 0.2)
    for x in np.arange(0.2, 1.3, 3.8 * h):
        outdoors.fence(c, float(x), y, h)
    _some(c, outdoors.sheep, (2, 4), (y + 0.08, 0.97), (0.14, 0.22))


def _harbor(c: Canvas) -> None:
    horizon = c.uniform(0.36, 0.46)
    _sky(c, horizon)
    _sea(c, horizon)
    if c.chance(0.75):
        x = c.uniform(0.12, 0.88)
        rock = plain(c.rng, paint_of(c.rng, "grey", "brown"), 0.35)
        c.paint("mountain", ellipse(x, horizon + 0.05, 0.2, 0.07), rock, material="stone")
        outdoors.lighthouse(c, x, horizon + 0.02, c.uniform(0.36, 0.5))
    _some(c, outdoors.boat, (2, 4), (horizon + 0.16, 0.86), (0.3, 0.46))
    if c.chance(0.7):
        quay = c.uniform(0.84, 0.9)
        c.paint("sidewalk", rectangle(0, quay, 1, 1), stone(c.rng, paint_of(c.rng, "grey")), material="stone")
        _some(c, outdoors.person, (0, 2), (quay + 0.06, 0.98), (0.24, 0.32))


def _mountain(c: Canvas) -> None:
    horizon = c.uniform(0.6, 0.7)
    _sky(c, horizon)
    for _ in range(3):
        x, top, half = c.uniform(0, 1), c.uniform(0.1, 0.3), c.uniform(0.3, 0.5)
        rock = plain(c.rng, paint_of(c.rng, "grey", "brown", "purple") * np.float32(0.8), 0.4)
        c.paint("mountain", polygon((x - half, horizon), (x, top), (x + half, horizon)), rock)
        snow = (horizon - top) * 0.32
        cap = polygon((x - 0.32 * half, top + snow), (x, top), (x + 0.32 * half, top + snow))
        c.paint("mountain", cap, plain(c.rng, paint_of(c.rng, "white")), "snowcap")
    _grass(c, horizon, paint_of(c.rng, "green"))
    if c.chance(0.5):
        outdoors.house(c, c.uniform(0.2, 0.8), horizon + 0.1, c.uniform(0.22, 0.3))
    _some(c, outdoors.pine, (2, 5), (horizon + 0.06, 0.97), (0.24, 0.4))


def _kitchen(c: Canvas) -> None:
    floor = _room(c, brick if c.chance(0.3) else tile, tile)
    x = c.uniform(0.1, 0.2)
    while x < 0.95:
        indoors.cupboard(c, x, floor + 0.02, c.uniform(0.28, 0.34))
        if c.chance(0.7):
            indoors.cupboard(c, x, c.uniform(0.3, 0.34), c.uniform(0.2, 0.26))
        x += c.uniform(0.3, 0.38)
    x = c.uniform(0.35, 0.65)
    for side in (-1, 1):
        if c.chance(0.75):
            indoors.chair(c, x + side * c.uniform(0.24, 0.32), 0.94, c.uniform(0.34, 0.42))
    indoors.table(c, x, c.uniform(0.93, 0.97), c.uniform(0.24, 0.3))
    _some(c, outdoors.person, (0, 1), (0.9, 0.95), (0.5, 0.6))


def _bedroom(c: Canvas) -> None:
    floor = _room(c, None, wood)
    if c.chance(0.7):
        indoors.cupboard(c, c.uniform(0.1, 0.3), floor + 0.04, c.uniform(0.42, 0.52))
    _some(c, indoors.lamp, (1, 2), (floor + 0.02, floor + 0.08), (0.4, 0.5))
    _some(c, indoors.chair, (0, 1), (floor + 0.04, floor + 0.12), (0.3, 0.36))
    indoors.bed(c, c.uniform(0.4, 0.6), c.uniform(0.86, 0.95), c.uniform(0.3, 0.38))
    _some(c, outdoors.person, (0, 1), (0.92, 0.98), (0.5, 0.6))


SCENES: dict[str, Callable[[Canvas], None]] = {
    "street-s": _street,
    "beach-s": _beach,
    "forest-s": _forest,
    "farm-s": _farm,
    "harbor-s": _harbor,
    "mountain-s": _mountain,
    "kitchen-s": _kitchen,
    "bedroom-s": _bedroom,
}


def _some(
    c: Canvas, thing: Thing, count: tuple[int, int], feet: tuple[float, float], height: tuple[float, float]
) -> None:
    """Draw several of a thing, the nearer (lower) ones later and a little larger."""
    number = int(c.rng.integers(count[0], count[1] + 1))
    for y in np.sort(c.rng.uniform(*feet, number)):
        nearness = (y - feet[0]) / max(feet[1] - feet[0], 1e-6)
        h = height[0] + (height[1] - height[0]) * (0.5 * nearness + 0.5 * c.uniform(0, 1))
        thing(c, c.uniform(0.05, 0.95), float(y), h)


def _sky(c: Canvas, horizon: float) -> None:
    blue, pale = paint_of(c.rng, "blue"), np.array([0.8, 0.9, 1.0], np.float32)
    mood = c.rng.random()
    if mood < 0.2:  # evening
        blue, pale = np.array([0.45, 0.3, 0.55], np.float32), np.array([1.0, 0.62, 0.35], np.float32)
    elif mood < 0.4:  # overcast
        blue = paint_of(c.rng, "grey") + np.float32(0.15)
    else:
        blue = np.array([0.35, 0.58, 0.92], np.float32) * np.float32(0.6) + blue * np.float32(0.4)
    c.paint("sky", rectangle(0, -1, 1, horizon + 0.05), gradient(blue, pale))
    if c.chance(0.35):
        sun = plain(c.rng, np.array([1.0, 0.93, 0.45], np.float32))
        c.paint("sun", ellipse(c.uniform(0.1, 0.9), c.uniform(0.07, 0.2), 0.07, 0.07), sun)
    white = plain(c.rng, np.array([0.97, 0.97, 0.98], np.float32), 0.1)
    for _ in range(int(c.rng.integers(0, 4))):
        x, y, r = c.uniform(0, 1), c.uniform(0.05, 0.25), c.uniform(0.04, 0.07)
        for dx, dy, k in ((-1.2, 0.2, 0.8), (1.2, 0.2, 0.8), (0, 0, 1.1)):
            c.paint("cloud", ellipse(x + dx * r, y + dy * r, 1.3 * k * r, 0.8 * k * r), white)


def _sea(c: Canvas, horizon: float) -> None:
    colour = paint_of(c.rng, "blue") * np.array([0.5, 1.0, 0.95], np.float32)
    shift = int(c.rng.integers(256))

    def fill(x: Plane, y: Plane) -> Plane:  # waves, longer and darker towards the viewer
        wave = np.sin(160 * np.maximum(y - np.float32(horizon), 0) ** np.float32(0.7) + 5 * noise(x, y, 120, shift))
        return shades(colour, np.float32(1) + np.float32(0.2) * wave)

    c.paint("sea", rectangle(0, horizon, 1, 2), fill)


def _grass(c: Canvas, horizon: float, colour: Float32Array) -> None:
    shift, bend, phase = int(c.rng.integers(256)), c.uniform(0, 0.02), c.uniform(0, 6)

    def fill(x: Plane, y: Plane) -> Plane:  # upright blades: noise stretched downwards
        return shades(colour, np.float32(0.7) + np.float32(0.6) * noise(x * 4, y, 140, shift, smooth=True))

    c.paint("grass", below(lambda x: horizon + np.float32(bend) * np.sin(6 * x + phase), horizon - 0.03), fill)


def _room(c: Canvas, wall: Callable[..., object] | None, ground: Callable[..., object]) -> float:
    """Paint wall and floor; return the height of the skirting."""
    rng, floor = c.rng, c.uniform(0.66, 0.74)
    colour = paint_of(rng, "white", "yellow", "pink", "blue", "green", "purple")
    colour = colour * np.float32(0.6) + np.float32(0.4)
    material = wall.__name__ if wall else ""
    fill = (wall or plain)(rng, colour)
    c.paint("wall", rectangle(0, 0, 1, floor + 0.05), fill, material=material)  # type: ignore[arg-type]
    fill = ground(rng, paint_of(rng, "brown", "grey", "orange"))
    c.paint("floor", rectangle(0, floor, 1, 2), fill, material=ground.__name__)  # type: ignore[arg-type]
    return floor
