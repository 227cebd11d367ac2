"""Furniture. Each piece is drawn standing at (x, y), the middle of its foot, ``h`` high."""

from __future__ import annotations

from .canvas import Canvas, Shape, ellipse, polygon, rectangle
from .colours import paint_of
from .materials import fabric, metal, plain, wood


def table(c: Canvas, x: float, y: float, h: float) -> None:
    """A top on two legs."""
    w, fill = 1.7 * h, wood(c.rng, paint_of(c.rng, "brown", "orange", "white"))
    for s in (-0.4, 0.4):
        c.paint("table", rectangle(x + (s - 0.04) * w, y - 0.85 * h, x + (s + 0.04) * w, y), fill, "leg", "wood")
    c.paint("table", rectangle(x - w / 2, y - h, x + w / 2, y - 0.8 * h), fill, "tabletop", "wood")


def chair(c: Canvas, x: float, y: float, h: float) -> None:
    """Seen from the side: back, seat, two legs."""
    side = 1 if c.chance(0.5) else -1
    fill = wood(c.rng, paint_of(c.rng, "brown", "red", "green", "yellow", "blue"), upright=True)

    def box(u0: float, u1: float, v0: float, v1: float) -> Shape:
        a, b = sorted((x + side * u0 * h, x + side * u1 * h))
        return rectangle(a, y - v1 * h, b, y - v0 * h)

    c.paint("chair", box(-0.26, -0.16, 0, 0.45), fill, "leg", "wood")
    c.paint("chair", box(0.16, 0.26, 0, 0.45), fill, "leg", "wood")
    c.paint("chair", box(-0.28, -0.12, 0.45, 1.0), fill, "backrest", "wood")
    seat = fabric(c.rng, paint_of(c.rng, "red", "blue", "purple", "green"))
    c.paint("chair", box(-0.28, 0.3, 0.4, 0.55), seat, "seat", "fabric")


def lamp(c: Canvas, x: float, y: float, h: float) -> None:
    """A standing lamp: shade, pole, foot."""
    rng = c.rng
    steel = metal(rng, paint_of(rng, "grey", "black"))
    c.paint("lamp", rectangle(x - 0.025 * h, y - 0.7 * h, x + 0.025 * h, y), steel, "pole", "metal")
    c.paint("lamp", ellipse(x, y - 0.02 * h, 0.15 * h, 0.045 * h), steel, material="metal")
    shade = polygon(
        (x - 0.25 * h, y - 0.62 * h),
        (x - 0.13 * h, y - h),
        (x + 0.13 * h, y - h),
        (x + 0.25 * h, y - 0.62 * h),
    )
    c.paint("lamp", shade, fabric(rng, paint_of(rng, "yellow", "orange", "white", "pink")), "shade", "fabric")


def bed(c: Canvas, x: float, y: float, h: float) -> None:
    """Seen from the side: headboard, legs, pillow and a long blanket."""
    w, rng = 2.3 * h, c.rng
    side = 1 if c.chance(0.5) else -1
    boards = wood(rng, paint_of(rng, "brown", "white"), upright=True)
    ends = sorted((x + side * 0.5 * w, x + side * 0.44 * w))
    c.paint("bed", rectangle(ends[0], y - h, ends[1], y), boards, "backrest", "wood")
    for s in (-0.46, 0.46):
        c.paint("bed", rectangle(x + (s - 0.03) * w, y - 0.3 * h, x + (s + 0.03) * w, y), boards, "leg", "wood")
    pillow = ellipse(x + side * 0.32 * w, y - 0.64 * h, 0.12 * w, 0.15 * h)
    c.paint("bed", pillow, plain(rng, paint_of(rng, "white", "white", "pink")), "pillow")
    cloth = fabric(rng, paint_of(rng, "red", "blue", "purple", "pink", "green", "orange"))
    blanket = rectangle(x - 0.48 * w, y - 0.58 * h, x + 0.48 * w, y - 0.18 * h, 0.06 * h)
    c.paint("bed", blanket, cloth, "blanket", "fabric")


def cupboard(c: Canvas, x: float, y: float, h: float) -> None:
    """Two doors with metal handles."""
    w, rng = h * c.uniform(0.7, 1.0), c.rng
    fill = wood(rng, paint_of(rng, "brown", "white", "green", "orange"), upright=True)
    c.paint("cupboard", rectangle(x - w / 2, y - h, x + w / 2, y), fill, material="wood")
    steel = metal(rng, paint_of(rng, "grey"))
    for s in (-1, 1):
        a, b = sorted((x + s * 0.04 * w, x + s * 0.44 * w))
        c.paint("cupboard", rectangle(a, y - 0.92 * h, b, y - 0.08 * h), fill, "door", "wood")
        a, b = sorted((x + s * 0.07 * w, x + s * 0.15 * w))
        c.paint("cupboard", rectangle(a, y - 0.62 * h, b, y - 0.38 * h), steel, "handle", "metal")
