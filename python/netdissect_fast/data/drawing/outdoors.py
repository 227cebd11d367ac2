"""Things that stand outdoors. Each is drawn standing at (x, y), the middle of its foot, ``h`` high."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .canvas import Canvas, Fill, ellipse, polygon, rectangle, stroke
from .colours import paint_of
from .materials import brick, fabric, foliage, glass, metal, plain, stone, tile, wood


def house(c: Canvas, x: float, y: float, h: float) -> None:
    """Walls of brick, wood or stone under a tiled gable roof; door and windows."""
    w, eaves = h * c.uniform(0.85, 1.1), y - 0.6 * h
    rng = c.rng
    material = str(rng.choice(["brick", "wood", "stone"]))
    walls = {
        "brick": lambda: brick(rng, paint_of(rng, "red", "brown", "orange", "yellow")),
        "wood": lambda: wood(rng, paint_of(rng, "red", "white", "blue", "brown", "green")),
        "stone": lambda: stone(rng, paint_of(rng, "grey", "white")),
    }[material]()
    c.paint("house", rectangle(x - w / 2, eaves, x + w / 2, y), walls, material=material)
    roof = polygon((x - 0.62 * w, eaves), (x, y - h), (x + 0.62 * w, eaves))
    c.paint("house", roof, tile(rng, paint_of(rng, "red", "orange", "grey", "brown")), "roof", "tile")
    side = 1 if c.chance(0.5) else -1
    _door(c, "house", x + side * 0.24 * w, y, 0.2 * w, 0.36 * h)
    _window(c, "house", x - side * 0.22 * w, y - 0.3 * h, 0.26 * w, 0.2 * h)


def building(c: Canvas, x: float, y: float, h: float) -> None:
    """A tower with rows of windows."""
    w, rng = h * c.uniform(0.42, 0.6), c.rng
    material = str(rng.choice(["brick", "stone"]))
    pattern = brick if material == "brick" else stone
    walls = pattern(rng, paint_of(rng, "grey", "brown", "pink", "yellow", "white"))
    c.paint("building", rectangle(x - w / 2, y - h, x + w / 2, y), walls, material=material)
    for row in np.arange(y - 0.9 * h, y - 0.3 * h, 0.19 * h):
        for column in (-0.27, 0.27):
            _window(c, "building", x + column * w, row + 0.06 * h, 0.3 * w, 0.12 * h)
    _door(c, "building", x, y, 0.28 * w, 0.2 * h)


def car(c: Canvas, x: float, y: float, h: float) -> None:
    """A saloon: cabin with windows on a long body."""
    w, rng = 2.3 * h, c.rng
    side = 1 if c.chance(0.5) else -1
    fill = metal(rng, paint_of(rng, "red", "blue", "yellow", "white", "green", "orange", "purple", "black"))
    cabin = polygon(
        (x - 0.3 * w, y - 0.55 * h), (x - 0.17 * w, y - h), (x + 0.17 * w, y - h), (x + 0.3 * w, y - 0.55 * h)
    )
    c.paint("car", cabin, fill, material="metal")
    for s in (-1, 1):
        pane = ((0.02, 0.58), (0.02, 0.92), (0.15, 0.92), (0.24, 0.58))[::s]  # clockwise on either side
        corners = [(x + s * dx * w, y - dy * h) for dx, dy in pane]
        c.paint("car", polygon(*corners), glass(rng, paint_of(rng, "blue")), "window", "glass")
    body = rectangle(x - w / 2, y - 0.6 * h, x + w / 2, y - 0.16 * h, 0.15 * h)
    c.paint("car", body, fill, material="metal")
    lamp = ellipse(x + side * 0.45 * w, y - 0.42 * h, 0.09 * h, 0.09 * h)
    c.paint("car", lamp, plain(rng, paint_of(rng, "yellow", "white")), "headlight", "glass")
    for place in (-0.29, 0.29):
        _wheel(c, "car", x + place * w, y - 0.19 * h, 0.2 * h)


def bus(c: Canvas, x: float, y: float, h: float) -> None:
    """A long box with a row of windows and a door."""
    w, rng = 2.2 * h, c.rng
    body = rectangle(x - w / 2, y - h, x + w / 2, y - 0.12 * h, 0.08 * h)
    c.paint("bus", body, metal(rng, paint_of(rng, "red", "yellow", "green", "blue", "orange")), material="metal")
    for s in (-0.38, -0.18, 0.02, 0.22):
        _window(c, "bus", x + s * w, y - 0.66 * h, 0.16 * w, 0.32 * h, frame=False)
    _door(c, "bus", x + 0.41 * w, y - 0.14 * h, 0.1 * w, 0.66 * h)
    for s in (-0.3, 0.24):
        _wheel(c, "bus", x + s * w, y - 0.14 * h, 0.14 * h)


def tree(c: Canvas, x: float, y: float, h: float) -> None:
    """A round crown on a trunk."""
    rng = c.rng
    c.paint("tree", rectangle(x - 0.06 * h, y - 0.5 * h, x + 0.06 * h, y), _bark(c), "trunk", "wood")
    leaves = foliage(rng, paint_of(rng, "green", "green", "green", "orange", "yellow"))
    for dx, dy, r in ((-0.17, 0.55, 0.2), (0.17, 0.55, 0.2), (0, 0.72, 0.27)):
        crown = ellipse(x + dx * h, y - dy * h, r * h, r * h)
        c.paint("tree", crown, leaves, "crown", "foliage")


def pine(c: Canvas, x: float, y: float, h: float) -> None:
    """Three tiers of dark needles on a short trunk."""
    c.paint("pine", rectangle(x - 0.04 * h, y - 0.2 * h, x + 0.04 * h, y), _bark(c), "trunk", "wood")
    needles = foliage(c.rng, paint_of(c.rng, "green") * np.array([0.7, 0.8, 1.2], np.float32))
    for base, top, half in ((0.14, 0.58, 0.28), (0.38, 0.8, 0.22), (0.6, 1.0, 0.16)):
        tier = polygon((x - half * h, y - base * h), (x, y - top * h), (x + half * h, y - base * h))
        c.paint("pine", tier, needles, "crown", "foliage")


def palm(c: Canvas, x: float, y: float, h: float) -> None:
    """A leaning trunk with fronds."""
    top, head = x + h * c.uniform(-0.2, 0.2), y - 0.78 * h
    c.paint("palm", stroke(x, y, top, head, 0.075 * h), _bark(c), "trunk", "wood")
    leaves = foliage(c.rng, paint_of(c.rng, "green"))
    for dx, dy in ((-0.36, 0.16), (0.36, 0.16), (-0.38, -0.08), (0.38, -0.08), (-0.2, -0.22), (0.2, -0.22)):
        frond = stroke(top, head, top + dx * h, head + dy * h, 0.085 * h)
        c.paint("palm", frond, leaves, "frond", "foliage")


def boat(c: Canvas, x: float, y: float, h: float) -> None:
    """A wooden hull, a mast and two sails."""
    rng = c.rng
    c.paint("boat", rectangle(x - 0.02 * h, y - h, x + 0.02 * h, y - 0.15 * h), _bark(c), "mast", "wood")
    cloth = fabric(rng, paint_of(rng, "white", "red", "orange", "yellow", "pink"))
    for points in (((0.05, 0.26), (0.05, 0.96), (0.42, 0.26)), ((-0.34, 0.26), (-0.05, 0.8), (-0.05, 0.26))):
        corners = [(x + dx * h, y - dy * h) for dx, dy in points]
        c.paint("boat", polygon(*corners), cloth, "sail", "fabric")
    hull = [(-0.48, 0.2), (0.48, 0.2), (0.32, 0.0), (-0.32, 0.0)]
    planks = wood(rng, paint_of(rng, "brown", "blue", "red", "green", "white"))
    c.paint("boat", polygon(*((x + dx * h, y - dy * h) for dx, dy in hull)), planks, "hull", "wood")


def umbrella(c: Canvas, x: float, y: float, h: float) -> None:
    """A parasol: half a disc of cloth on a pole."""
    rng, top = c.rng, y - 0.98 * h
    c.paint("umbrella", rectangle(x - 0.025 * h, top + 0.3 * h, x + 0.025 * h, y), _steel(c), "pole", "metal")
    disc = ellipse(x, top + 0.44 * h, 0.52 * h, 0.44 * h)
    half = disc._replace(distance=lambda px, py: np.maximum(disc.distance(px, py), py - np.float32(top + 0.44 * h)))
    cloth = fabric(rng, paint_of(rng, "red", "yellow", "pink", "purple", "blue", "orange"))
    c.paint("umbrella", half, cloth, "canopy", "fabric")


def person(c: Canvas, x: float, y: float, h: float) -> None:
    """Head, dressed torso and two legs."""
    rng = c.rng
    trousers = plain(rng, paint_of(rng, "blue", "black", "brown", "grey"))
    for s in (-0.07, 0.07):
        leg = rectangle(x + (s - 0.055) * h, y - 0.45 * h, x + (s + 0.055) * h, y)
        c.paint("person", leg, trousers, "leg")
    shirt = fabric(rng, paint_of(rng, "red", "purple", "pink", "yellow", "green", "white"))
    torso = rectangle(x - 0.17 * h, y - 0.8 * h, x + 0.17 * h, y - 0.42 * h, 0.06 * h)
    c.paint("person", torso, shirt, "torso", "fabric")
    skin = np.array([0.95, 0.75, 0.6], np.float32) * np.float32(c.uniform(0.5, 1.0))
    c.paint("person", ellipse(x, y - 0.89 * h, 0.105 * h, 0.12 * h), plain(rng, skin), "head")


def sheep(c: Canvas, x: float, y: float, h: float) -> None:
    """A white cloud of wool with dark legs and head."""
    rng, side = c.rng, 1 if c.chance(0.5) else -1
    dark = plain(rng, paint_of(rng, "black"))
    for s in (-0.32, -0.16, 0.16, 0.32):
        leg = rectangle(x + (s - 0.05) * h, y - 0.4 * h, x + (s + 0.05) * h, y)
        c.paint("sheep", leg, dark, "leg")
    wool = plain(rng, paint_of(rng, "white"), 0.25)
    for dx, dy, r in ((-0.3, 0.58, 0.27), (0.3, 0.58, 0.27), (0, 0.66, 0.32), (0, 0.5, 0.28)):
        c.paint("sheep", ellipse(x + dx * h, y - dy * h, r * h, r * h), wool, "torso")
    c.paint("sheep", ellipse(x + side * 0.6 * h, y - 0.72 * h, 0.16 * h, 0.2 * h), dark, "head")


def fence(c: Canvas, x: float, y: float, h: float) -> None:
    """Posts and two rails, a few lengths wide."""
    fill = wood(c.rng, paint_of(c.rng, "brown", "white"), upright=True)
    for level in (0.72, 0.35):
        c.paint(
            "fence",
            rectangle(x - 2.2 * h, y - level * h, x + 2.2 * h, y - (level - 0.16) * h),
            fill,
            "rail",
            "wood",
        )
    for s in (-1.9, -0.95, 0, 0.95, 1.9):
        post = rectangle(x + s * h - 0.1 * h, y - h, x + s * h + 0.1 * h, y)
        c.paint("fence", post, fill, "pole", "wood")


def lighthouse(c: Canvas, x: float, y: float, h: float) -> None:
    """A tapering tower in two colours with a glazed lantern under a cap."""
    rng = c.rng
    white, red = (plain(rng, paint_of(rng, name)) for name in ("white", "red"))
    steps = np.linspace(0, 0.72, 6)
    for band, (low, high) in enumerate(pairwise(steps)):
        a, b = 0.17 - 0.1 * low, 0.17 - 0.1 * high
        corners = (
            (x - a * h, y - low * h),
            (x - b * h, y - high * h),
            (x + b * h, y - high * h),
            (x + a * h, y - low * h),
        )
        c.paint("lighthouse", polygon(*corners), red if band % 2 else white, material="stone")
    lantern = rectangle(x - 0.08 * h, y - 0.86 * h, x + 0.08 * h, y - 0.71 * h)
    c.paint("lighthouse", lantern, glass(rng, paint_of(rng, "yellow")), "window", "glass")
    cap = polygon((x - 0.13 * h, y - 0.86 * h), (x, y - h), (x + 0.13 * h, y - 0.86 * h))
    c.paint("lighthouse", cap, tile(rng, paint_of(rng, "red")), "roof", "tile")
    _door(c, "lighthouse", x, y, 0.11 * h, 0.17 * h)


def _door(c: Canvas, thing: str, x: float, y: float, w: float, h: float) -> None:
    fill = wood(c.rng, paint_of(c.rng, "brown", "green", "blue", "red"), upright=True)
    c.paint(thing, rectangle(x - w / 2, y - h, x + w / 2, y), fill, "door", "wood")


def _window(c: Canvas, thing: str, x: float, y: float, w: float, h: float, frame: bool = True) -> None:
    pane = rectangle(x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    c.paint(thing, pane, glass(c.rng, paint_of(c.rng, "blue")), "window", "glass")
    if frame:
        white = plain(c.rng, paint_of(c.rng, "white"))
        c.paint(thing, rectangle(x - w / 2, y - 0.008, x + w / 2, y + 0.008), white, "window", "glass")


def _wheel(c: Canvas, thing: str, x: float, y: float, r: float) -> None:
    c.paint(thing, ellipse(x, y, r, r), plain(c.rng, paint_of(c.rng, "black")), "wheel")
    c.paint(
        thing,
        ellipse(x, y, 0.45 * r, 0.45 * r),
        plain(c.rng, paint_of(c.rng, "grey", "white")),
        "wheel",
        "metal",
    )


def _bark(c: Canvas) -> Fill:
    return wood(c.rng, paint_of(c.rng, "brown"), upright=True)


def _steel(c: Canvas) -> Fill:
    return metal(c.rng, paint_of(c.rng, "grey"))
